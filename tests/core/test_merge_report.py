"""What merge reports is read back as it was, or refused by name."""

import contextlib

import pytest

from stages.core import paths
from stages.core.arrays import DamagedFile
from stages.core.merge_report import read_report, report_text

REPORT = {"batches": 2, "by_batch": {"b0": {"rows": 3}}, "bad_units": {"count": 0, "list": []}}


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = paths.report("toy")
    path.parent.mkdir(parents=True)
    path.write_text(report_text(REPORT))
    return path


def test_a_report_is_read_as_it_was_written(written):
    assert read_report("toy") == REPORT


def test_every_flipped_bit_that_leaves_other_json_is_refused(written):
    content = written.read_bytes()
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        written.write_bytes(flipped)
        with contextlib.suppress(DamagedFile):
            assert read_report("toy") == REPORT  # the bit was one of white space


def test_a_report_that_lacks_is_named(written):
    written.unlink()
    with pytest.raises(DamagedFile, match=r"^data/reports/toy\.json: not found, expected what merge reports; run merg"):
        read_report("toy")
