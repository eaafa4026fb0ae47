"""Takes of two colours in the columns of a take of two like tokens, as an old exporter wrote them."""

import pytest

from stages.core.errors import BadUnit
from stages.datasets.splendor import encode
from stages.datasets.splendor.schema import COLOURS
from tests.helpers.splendor_games import content_of, read, rows_of, simulated

PLAIN = rows_of(simulated(15, 3))
TAKES = [i for i, row in enumerate(PLAIN) if row["action_type"] == "take 3 tokens"]


def taken(row, kind):
    return [row[f"gem_{kind}_{colour}"] for colour in COLOURS]


def put(row, kind, values):
    return row | {f"gem_{kind}_{colour}": value for colour, value in zip(COLOURS, values, strict=True)}


def two_of(row):
    """Return a take of three colours as one of the first two of them."""
    ones = [i for i, value in enumerate(taken(row, "take3")) if value == "1"][:2]
    return put(row, "take3", ["1" if i in ones else "0" for i in range(5)])


def old(row):
    return put(put(row, "take2", taken(row, "take3")), "take3", ["nan"] * 5)


def games(form=lambda text: text):
    """Return a game with two takes of two colours, as it should be and as the old exporter wrote it."""
    chosen = TAKES[1:3]
    right = [two_of(row) if i in chosen else row for i, row in enumerate(PLAIN)]
    wrong = [old(row) if i in chosen else row for i, row in enumerate(right)]
    return [form(content_of(game)) for game in (right, wrong)], [line + 2 for line in chosen]


DIALECTS = {
    "A": lambda text: text,
    "B": lambda text: text.replace(b"nan", b"").replace(b"\r\n", b"\n"),
    "C": lambda text: text.replace(b"nan", b"").replace(b",1,", b",1.0,").replace(b"\r\n", b"\n"),
}


@pytest.mark.parametrize("form", DIALECTS.values(), ids=DIALECTS)
def test_they_are_read_as_what_they_are_and_counted(tmp_path, form):
    """In all dialects; also as one game of several."""
    (right, wrong), lines = games(form)
    expected, found = read(tmp_path, right), read(tmp_path, wrong)
    assert found.values.tobytes() == expected.values.tobytes()
    assert encode.findings(expected) == []
    together = encode.findings(read(tmp_path, right, wrong, right, wrong))
    assert [(finding.unit, finding.count, finding.line) for finding in together] == [(1, 2, lines[0]), (3, 2, lines[0])]
    assert "two colours of a take 3 tokens stand in the columns gem_take2" in together[0].reason


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["2", "0", "0", "0", "0"], "gem_take3_white is empty, expected a number for action_type 'take 3 tokens'"),
        (["1", "2", "0", "0", "0"], "gem_take3_white is empty"),
        (["0"] * 5, "gem_take3_white is empty"),
        (["1", "nan", "0", "0", "1"], "gem_take3_white is empty"),
        (["1"] * 4 + ["0"], "gem_take3_white is 4, expected 1 to 3 colours in all"),
    ],
)
def test_what_is_not_that_exporters_work_is_refused(tmp_path, values, message):
    game = [*PLAIN]
    game[TAKES[0]] = put(put(game[TAKES[0]], "take3", ["nan"] * 5), "take2", values)
    with pytest.raises(BadUnit, match=message):
        read(tmp_path, content_of(game))


def test_a_take_that_stands_in_both_is_refused(tmp_path):
    game = [*PLAIN]
    game[TAKES[0]] = put(game[TAKES[0]], "take2", taken(game[TAKES[0]], "take3"))
    with pytest.raises(
        BadUnit, match=r"gem_take2_white is [01], expected nothing unless action_type is 'take 2 tokens'"
    ):
        read(tmp_path, content_of(game))
