"""A file that is not what its name says is named for what it is, by its first bytes."""

import gzip
import io
import zipfile

import pyarrow as pa
import pytest

from stages.core.errors import BadUnit
from stages.datasets.base.disguises import disguise, refuse_disguise

ROWS = "time,open\n2024-01-02,1.5\n2024-01-03,2.5\n"


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("NQ.csv", ROWS)
    return file.getvalue()


DISGUISED = {
    "page": (b"\n <!DOCTYPE html>\n<html><title>503 Service Unavailable</title>", "HTML"),
    "page without a doctype": (b"<HTML><body>Not found</body></HTML>\n", "HTML"),
    "error of an object store": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "XML"),
    "answer of an API": (b'{"error": "limit reached"}\n', "JSON"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n", "git-lfs"),
    "git-annex": (b"/annex/objects/SHA256E-s3--ab.csv\n", "git-annex"),
    "DVC": (b"outs:\n- md5: ab\n  path: NQ.csv\n", "DVC"),
    "UTF-16 of Excel": (ROWS.encode("utf-16"), "UTF-16"),
    "UTF-16, big end first": (b"\xfe\xff" + ROWS.encode("utf-16-be"), "UTF-16"),
    "UTF-16 without a mark": (ROWS.encode("utf-16-le"), "UTF-16"),
    "UTF-32": (ROWS.encode("utf-32"), "UTF-32"),
    "gzip": (gzip.compress(ROWS.encode()), "gzip"),
    "zstd": (pa.compress(ROWS.encode(), "zstd", asbytes=True), "zstd"),
    "zip": (zipped(), "ZIP"),
    "returns": (ROWS.replace("\n", "\r").encode(), "carriage returns alone"),
    "binary": (b"\x7fELF\x00\x01\x02\x00\x00\x00\x00", "binary"),
}
PLAIN = {
    "rows": ROWS.encode(),
    "byte order mark": ROWS.encode("utf-8-sig"),
    "CRLF": ROWS.replace("\n", "\r\n").encode(),
    "no line end": b"#13,a1b2 b",
    "one line that ends in a return": b"#13,a1b2 b\r",
    "names in angle brackets": b"<DATE>\t<TIME>\t<OPEN>\n",
    "nothing": b"",
    "a line of zeros, as after a crash": b"#13,a1b2 b\n" + bytes(4096),
    "a zero in a line": b"#13,a1b2 b\n\x00\n#13,a1b2 b\n",
}


@pytest.mark.parametrize(("head", "expected"), DISGUISED.values(), ids=DISGUISED)
def test_what_is_no_text_in_lines_is_named(head, expected):
    assert expected in disguise(head).found
    assert disguise(head).cure


@pytest.mark.parametrize("head", PLAIN.values(), ids=PLAIN)
def test_text_in_lines_is_none(head):
    assert disguise(head) is None
    refuse_disguise(head, "NQ.csv", "one bar a line")


def test_an_error_says_where_what_expected_and_what_to_do():
    with pytest.raises(BadUnit, match=r"^NQ.csv: text in UTF-16, expected one bar a line; save it as UTF-8$"):
        refuse_disguise(ROWS.encode("utf-16"), "NQ.csv", "one bar a line")


@pytest.mark.parametrize("name", ["NQ.csv.gz", "NQ.csv.ZST"])
def test_a_file_that_is_compressed_twice_is_told_so(name):
    """Another ending would be no cure: such names are not read."""
    with pytest.raises(BadUnit, match=rf"^{name}: compressed twice, expected one bar a line; unpack it once$"):
        refuse_disguise(gzip.compress(b"x"), name, "one bar a line")
