"""What a raw file is that is not what its name says, told by its first bytes: an error page, a pointer, another format.

The readers look here before they judge a line, so that a user reads "a page of HTML" and not that a column is missing.
Nothing of it depends on a dataset. `disguise` knows what no reader of text wants; a reader of another format asks it
only of files that lack its own mark.
"""

import re
from typing import Final, NamedTuple

from stages.core.errors import BadUnit

HEAD_BYTES: Final = 1 << 14  # that are looked at; a line has fewer, the header of a log of Splendor 8 KB


class Disguise(NamedTuple):
    """What a file is instead, and what to do about it where text is wanted.

    `is_packed` says that something else is in it, `is_table` that it may hold the same in another form.
    """

    found: str
    cure: str
    is_packed: bool = False
    is_table: bool = False


_UNPACK = "unpack it"
_EXPORT = "export it as text"
_UNTOLD = "which its name does not say"
_MARKS: Final = {
    b"\x1f\x8b": Disguise(f"compressed with gzip, {_UNTOLD}", "add .gz to the name or unpack it", is_packed=True),
    b"\x28\xb5\x2f\xfd": Disguise(f"compressed with zstd, {_UNTOLD}", "add .zst or unpack it", is_packed=True),
    b"PK\x03\x04": Disguise("a ZIP archive or an Excel workbook", "unpack it, or export the sheet as CSV"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": Disguise("an old Excel workbook", "export the sheet as CSV"),
    b"BZh": Disguise("compressed with bzip2", _UNPACK, is_packed=True),
    b"\xfd7zXZ\x00": Disguise("compressed with xz", _UNPACK, is_packed=True),
    b"7z\xbc\xaf\x27\x1c": Disguise("a 7z archive", _UNPACK, is_packed=True),
    b"Rar!\x1a\x07": Disguise("a RAR archive", _UNPACK, is_packed=True),
    b"PAR1": Disguise("a Parquet file", _EXPORT, is_table=True),
    b"PARE": Disguise("an encrypted Parquet file", "decrypt it"),
    b"ARROW1": Disguise("an Arrow file", _EXPORT, is_table=True),
    b"\x89HDF\r\n": Disguise("an HDF5 file", _EXPORT, is_table=True),
    b"SQLite format 3\x00": Disguise("an SQLite database", _EXPORT, is_table=True),
    b"\x93NUMPY": Disguise("a NumPy array", _EXPORT, is_table=True),
    b"%PDF-": Disguise("a PDF", _EXPORT, is_table=True),
    b"\x00\x05\x16\x07": Disguise("macOS's notes on another file", "remove it"),
    b"version https://git-lfs.github.com/spec/": Disguise("a pointer of git-lfs", "`git lfs pull` fetches the file"),
    b"/annex/objects/": Disguise("a pointer of git-annex", "`git annex get` fetches the file"),
    b"outs:\n- md5: ": Disguise("a pointer of DVC", "`dvc pull` fetches the file"),
}
_UTF16 = Disguise("text in UTF-16", "save it as UTF-8")
_UTF32 = Disguise("text in UTF-32", "save it as UTF-8")
_WIDE_MARKS: Final = {
    b"\xff\xfe\x00\x00": _UTF32,
    b"\x00\x00\xfe\xff": _UTF32,
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
}
_ALL: Final = (*_WIDE_MARKS, *_MARKS)
# Not every "<": some brokers write their columns' names as <DATE>.
_MARKUP: Final = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml|!--|error[ >])", re.IGNORECASE)
_JSON: Final = re.compile(rb'(\xef\xbb\xbf)?\s*(\{\s*["}]|\[\s*[{[])')
_RETURNS = Disguise("text whose lines end in carriage returns alone", "write line feeds, such as by `tr '\\r' '\\n'`")
# Of text of two bytes a character every other byte is zero, but for letters that are not Latin, and no other one.
LEAST_ZERO, MOST_ZERO = 0.6, 0.05


def disguise(head: bytes) -> Disguise | None:
    r"""Say what the file is that begins with these bytes; None if it may be text in lines, or is empty.

    Parameters
    ----------
    head
        The first `HEAD_BYTES` bytes, or all of a shorter file.

    Examples
    --------
    >>> disguise(b"<!DOCTYPE html><title>503</title>").found
    'a page of HTML or XML'
    >>> disguise(b"time,open\n1,2\n") is None
    True
    """
    if head.startswith(_ALL):  # one look for nearly all files
        return next(found for mark, found in (*_WIDE_MARKS.items(), *_MARKS.items()) if head.startswith(mark))
    has_zero = b"\0" in head  # most of the time that a look takes
    if has_zero and _is_wide(head):
        return _UTF16
    if has_zero and b"\n" not in head:  # else some lines may be sound, and the others are told one by one
        return Disguise("binary data", "correct or remove it")
    if _MARKUP.match(head):
        return Disguise("a page of HTML or XML", "look what it says: the download may have failed")
    if _JSON.match(head):
        return Disguise("JSON", "look what it says: the download may have failed")
    if b"\n" not in head and b"\r" in head.rstrip(b"\r"):
        return _RETURNS
    return None


def _is_wide(head: bytes) -> bool:
    """Say whether some bytes are text of two bytes a character."""
    half = max(1, len(head) // 2)
    low, high = sorted(head[start::2].count(b"\0") / half for start in (0, 1))
    return low <= MOST_ZERO and high >= LEAST_ZERO


def refuse_disguise(head: bytes, where: str, expected: str) -> None:
    """Refuse a file that is no text in lines.

    Parameters
    ----------
    head
        The first `HEAD_BYTES` bytes, or all of a shorter file.
    where
        The file, for the error.
    expected
        What should be in it, such as ``one game a line``.

    Raises
    ------
    BadUnit
        With what it is and what to do.
    """
    found = disguise(head)
    if found and found.is_packed and where.lower().endswith((".gz", ".zst")):
        raise BadUnit(f"{where}: compressed twice, expected {expected}; unpack it once")
    if found:
        raise BadUnit(f"{where}: {found.found}, expected {expected}; {found.cure}")
