"""CRC-32 of files and of joined stretches is that of zlib."""

import zlib

from hypothesis import given
from hypothesis import strategies as st

from stages.core import checksum


def test_the_checksum_of_a_file_is_that_of_its_bytes(tmp_path):
    for content in (b"", b"123456789", bytes(range(256)) * 9000):
        (tmp_path / "file").write_bytes(content)
        assert checksum.of_file(tmp_path / "file") == zlib.crc32(content)


def test_the_text_is_that_of_the_published_check_value():
    """The CRC-32 of "123456789" is cbf43926 in every catalogue; of one that begins with zeros they stay."""
    assert checksum.text(zlib.crc32(b"123456789")) == "cbf43926"
    assert checksum.text(0xABC) == "00000abc"
    assert checksum.of_text("00000abc") == 0xABC


@given(st.binary(), st.binary())
def test_two_stretches_joined_have_the_checksum_of_both(first, second):
    assert checksum.joined(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_a_long_stretch_is_joined_without_reading_it():
    zeros = zlib.crc32(bytes(5_000_001))
    assert checksum.joined(zlib.crc32(b"a"), zeros, 5_000_001) == zlib.crc32(b"a" + bytes(5_000_001))
