"""Tests that are skipped say why, all in one line at the end."""

from tests.conftest import skip_line


def test_reasons_are_counted_in_one_line():
    found = [("a.py", 3, "Skipped: no sshd"), ("b.py", 9, "Skipped: no sshd"), ("c.py", 1, "Skipped: no torch")]
    assert skip_line(found) == "skipped: 2 since no sshd, 1 since no torch"
    assert skip_line([]) == ""
