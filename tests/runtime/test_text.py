"""What reaches the terminal: nothing but characters that can be seen."""

import logging
import sys
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import ExpectedError
from stages.runtime import cli
from stages.runtime.text import LineFormatter, printable, printable_lines, show_defect

HOSTILE = "\x1b[2J\x1b]0;x\x07\x9b2J\x7f\r\n\u202e\ud800\u2028.csv"
SHOWN = r"\x1b[2J\x1b]0;x\x07\x9b2J\x7f\r\n\u202e\ud800\u2028.csv"


@pytest.fixture(autouse=True)
def _process_as_before(monkeypatch):
    """Keep what a command does to its process out of the tests' own."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(cli.signals, "stop_cleanly_on_term", lambda: None)


def fail(error):
    raise error


@given(st.text(st.characters(codec=None)))
def test_every_text_becomes_one_line_that_can_be_seen(text):
    shown = printable(text)
    assert shown.isprintable()
    assert len(f"{shown}.".splitlines()) == 1
    assert printable(shown) == shown


@pytest.mark.parametrize("text", ["", "data/games/2.csv:17: x is 8, expected 0..7", "café Жуков 東京 ━─ 'q' \\n"])
def test_what_can_be_seen_stays(text):
    assert printable(text) == text


def test_what_cannot_be_seen_is_written_out():
    assert printable(HOSTILE) == SHOWN
    assert printable_lines(f"a\n{HOSTILE}\n") == "a\n" + SHOWN.replace(r"\n", "\n") + "\n"


def test_a_log_line_is_one_line_and_its_traceback_keeps_its_lines():
    with pytest.raises(ValueError, match="2J") as caught:
        fail(ValueError(HOSTILE))
    record = logging.LogRecord("batchwise", logging.INFO, "", 0, "read %s", (HOSTILE,), caught._excinfo)
    first, second, *_, last = LineFormatter().format(record).splitlines()
    assert first == f"read {SHOWN}"
    assert second == "Traceback (most recent call last):"
    assert last.isprintable()


@pytest.mark.parametrize("kind", [ExpectedError, OSError])
def test_an_error_is_one_line(capsys, kind):
    assert cli.run(partial(fail, kind(HOSTILE))) == 1
    assert capsys.readouterr().err == f"error: {SHOWN}\n"


def test_an_error_made_of_several_lines_has_as_many(capsys):
    assert cli.run(partial(fail, ExpectedError("2 errors:", f"  {HOSTILE}", "  b"))) == 1
    assert capsys.readouterr().err == f"error: 2 errors:\n  {SHOWN}\n  b\n"


def test_a_defect_keeps_its_traceback_and_hides_what_cannot_be_seen(capsys):
    with pytest.raises(RuntimeError) as caught:
        fail(RuntimeError(f"\x1b[2J{HOSTILE}"))
    show_defect(caught.type, caught.value, caught.tb)
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):\n")
    assert told.endswith(r"\u2028.csv" + "\n")
    assert printable_lines(told) == told


def test_wrong_usage_is_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.parser("x", "y").parse_args([HOSTILE])
    assert capsys.readouterr().err.endswith(f"error: unrecognized arguments: {SHOWN}\n")
