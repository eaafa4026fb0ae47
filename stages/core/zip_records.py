"""The records of a zip archive of stored members, written byte by byte, so that no library's version shows in them.

Python's `zipfile` writes other bytes for one archive from release to release (3.11.2 and 3.11.7 differ), and so files
with equal arrays would have other digests on another machine. This module is the format's specification; it follows
PKWARE's APPNOTE 6.3.10, and `zipfile` and `numpy.load` read what it writes. All numbers are little-endian.

A member is a local header (30 bytes), its name, a zip64 field (20 bytes) and its content:

- signature ``PK 03 04``, version needed 45, flags 0, method 0 (stored), time 0 and date 33 (1980-01-01), CRC-32 of the
  content, both sizes 0xFFFFFFFF, lengths of name and field;
- the zip64 field, id 1: both sizes as 64-bit numbers. It is there for small members too: the size of a header does
  not depend on the content then.

After the members comes the central directory: for each member a header (46 bytes: ``PK 01 02``, made by version 45 on
Unix, as above, attributes of a plain file with mode 0644, offset of the local header), its name and, where a size or
the offset is above 2**31 - 1, a zip64 field with these numbers. The end record ``PK 05 06`` (22 bytes) closes the file;
where the directory's place or size is above 2**31 - 1, or there are more than 65,535 members, a zip64 end record
``PK 06 06`` and its locator ``PK 06 07`` come before it.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s4B4H3L5H2L")
END = struct.Struct("<4s4H2LH")
END_64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR_64 = struct.Struct("<4sLQL")

VERSION = 45  # the first one with zip64
UNIX = 3
DATE = 33  # 1980-01-01, the first day a zip can name
PLAIN_FILE = 0o100644 << 16
LARGEST = 2**31 - 1  # what stands in a 32-bit field itself
MOST_MEMBERS = 2**16 - 1
IN_ZIP64 = 2**32 - 1  # in a 32-bit field: see the zip64 field


@dataclass(frozen=True)
class Member:
    """A stored member: its name, where its local header begins, and its content's size in bytes and CRC-32."""

    name: bytes
    offset: int
    size: int
    crc: int = 0


def local_header(member: Member) -> bytes:
    """Return what stands before the content of a member; its length depends on the name alone."""
    extra = _zip64([member.size, member.size])
    sizes = (member.crc, IN_ZIP64, IN_ZIP64, len(member.name), len(extra))
    return LOCAL.pack(b"PK\3\4", VERSION, 0, 0, 0, DATE, *sizes) + member.name + extra


def directory(members: Sequence[Member], start: int) -> bytes:
    """Return what stands behind the last member, from byte `start` of the file on."""
    headers = b"".join(map(_central_header, members))
    return headers + _end(len(members), len(headers), start)


def _central_header(member: Member) -> bytes:
    sizes = [member.size, member.size] if member.size > LARGEST else []
    offset = [member.offset] if member.offset > LARGEST else []
    extra = _zip64([*sizes, *offset])
    size = IN_ZIP64 if sizes else member.size
    versions = (VERSION, UNIX, VERSION, 0)
    lengths = (len(member.name), len(extra), 0, 0, 0)
    place = IN_ZIP64 if offset else member.offset
    fixed = CENTRAL.pack(b"PK\1\2", *versions, 0, 0, 0, DATE, member.crc, size, size, *lengths, PLAIN_FILE, place)
    return fixed + member.name + extra


def _end(n_members: int, size: int, start: int) -> bytes:
    if n_members <= MOST_MEMBERS and max(size, start) <= LARGEST:
        return END.pack(b"PK\5\6", 0, 0, n_members, n_members, size, start, 0)
    counts = (n_members, n_members, size, start)
    record = END_64.pack(b"PK\6\6", END_64.size - 12, VERSION, VERSION, 0, 0, *counts)
    locator = LOCATOR_64.pack(b"PK\6\7", 0, start + size, 1)
    short = (min(n_members, MOST_MEMBERS), min(n_members, MOST_MEMBERS), min(size, IN_ZIP64), min(start, IN_ZIP64))
    return record + locator + END.pack(b"PK\5\6", 0, 0, *short, 0)


def _zip64(numbers: Sequence[int]) -> bytes:
    """Return the zip64 field with these numbers, nothing for none."""
    return struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers) if numbers else b""
