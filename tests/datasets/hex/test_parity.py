"""The positions of 240 lines equal those of the earlier system, but for a named list of games and why they differ.

Its arrays name a game by file and by line among the lines that are not blank. Lines that are no ordinary game are
listed with their kind in special_lines.tsv.
"""

import csv

import numpy as np
import pytest

from stages.core import bits
from stages.datasets.hex import encode
from stages.datasets.hex.find import find
from tests.helpers.places import REFERENCE_DIR

REFERENCE = REFERENCE_DIR / "hex"
RAW = REFERENCE / "trmph"
pytestmark = pytest.mark.skipif(not RAW.is_dir(), reason="the reference games are not beside the repository")

SELECTORS = ("all", "final", "penultimate")
STRICT = {"max_bad_lines": 0.3}
LENIENT = STRICT | {
    "legacy_winners": True,
    "repeated": "truncate",
    "unfinished": "keep",
    "contradiction": "recompute",
    "after_win": "truncate",
}
# Kinds of lines of which the earlier system makes a game and we do not, with the reason that is reported.
REFUSED = {
    "repeated_move": "cell played twice",
    "unfinished_game": "nobody has won",
    "wrong_winner": "winner is not the board's",
    "moves_after_win": "moves after the win",
    "other_board_size": "other board size",
}
# The last move is on an occupied cell: the earlier system never placed it if it took the penultimate positions only.
ALSO_REFUSED = {"penultimate": {"leading_zero_repeat": "cell played twice"}}
# Kinds of which only we make a game: the board decides who has won; a comment is no part of the game.
READ = {"missing_winner", "inline_comment"}
# With the lenient options: reported and refused, reported and read by us only, reported and read with other rows.
STILL_REFUSED = {"other_board_size": "other board size"}
READ_IF_LENIENT = READ | {"legacy_winner_digit", "leading_zero_repeat"}
CHANGED = {"moves_after_win": "cut after the win", "wrong_winner": "winner taken from the board"}
PAIRS = {"policy_index": "label_policy", "value": "label_value", "player_to_move": "player_to_move"}
PAIRS |= {"position_in_game": "ply", "winner": "label_value"}


def special():
    """Return the kind of each special line by file and line among those that are not blank."""
    with (REFERENCE / "special_lines.tsv").open(encoding="utf-8", newline="") as lines:
        found = list(csv.DictReader(lines, delimiter="\t"))
    return {
        (int(row["file"][4:6]), numbers(row["file"])[int(row["physical_line"])]): row["kind"]
        for row in found
        if row["kind"] != "blank_line"
    }


def numbers(name):
    """Return, for each line of a file from 1, its number among those that are not blank."""
    lines = (RAW / name).read_text(encoding="utf-8").splitlines()
    return np.cumsum([False, *(bool(line.strip()) for line in lines)])


def by_game(arrays, file, line):
    """Return the rows of each game by file and line; rows of a game are contiguous."""
    first = np.flatnonzero((np.diff(file, prepend=-1) != 0) | (np.diff(line, prepend=-1) != 0))
    stops = [*first[1:], len(file)]
    return {
        (int(file[a]), int(line[a])): {name: array[a:b] for name, array in arrays.items()}
        for a, b in zip(first, stops, strict=True)
    }


def theirs(selector):
    with np.load(REFERENCE / f"examples_{selector}.npz") as loaded:
        arrays = {name: loaded[name] for name in (*PAIRS, "board", "total_positions", "value_sample_tier")}
        return by_game(arrays, loaded["game_file_idx"], loaded["game_line_idx"])


def ours(selector, options):
    """Return our rows under their names, and the id of each game."""
    options = options | {"positions": selector}
    units = find(RAW, options)
    assert len(units) == 4
    found = encode.encode(encode.read(RAW, units, options), options)
    sizes = np.diff(found["group_offsets"])
    file = np.repeat(found["source"], sizes)
    lines = [numbers(f"ref_{i:02d}.trmph") for i in range(4)]
    line = np.array([lines[i][physical] for i, physical in zip(file, found["line"], strict=True)])
    arrays = {theirs: found[name] for theirs, name in PAIRS.items()}
    arrays["board"] = bits.unpack(found["board"], (2, 13, 13))
    arrays |= {"total_positions": found["n_plies"] + 1, "value_sample_tier": found["tier"]}
    arrays["group_id"] = np.repeat(found["group_id"], sizes)
    return by_game(arrays, file, line)


def differing(one, other, names=(*PAIRS, "board", "total_positions")):
    """Return the names of arrays that differ between two games."""
    return {name for name in names if not np.array_equal(one[name], other[name])}


def kinds(games):
    """Return the kinds of some lines, `None` for an ordinary one."""
    known = special()
    return {known.get(game) for game in games}


@pytest.mark.parametrize("selector", SELECTORS)
def test_positions_are_the_references(selector):
    """All rows of all games that both make; the others are those of the lists above."""
    expected, found = theirs(selector), ours(selector, STRICT)
    both = expected.keys() & found.keys()
    assert len(both) == 203
    assert {game: differences for game in both if (differences := differing(found[game], expected[game]))} == {}
    assert kinds(expected.keys() - both) == REFUSED.keys() | ALSO_REFUSED.get(selector, {}).keys()
    assert kinds(found.keys() - both) == READ


@pytest.mark.parametrize(("options", "expected"), [
    (STRICT, REFUSED | ALSO_REFUSED["penultimate"]),
    (LENIENT, STILL_REFUSED | CHANGED),
])  # fmt: skip
def test_each_difference_is_reported_with_its_rule(options, expected):
    found = encode.findings(encode.read(RAW, find(RAW, options), options))
    known = special()
    reasons = {
        known[finding.unit, numbers(f"ref_{finding.unit:02d}.trmph")[finding.line]]: finding.reason for finding in found
    }
    assert reasons.items() >= expected.items()
    assert len(reasons) == len(found)
    assert not reasons.keys() & READ


@pytest.mark.parametrize("selector", SELECTORS)
def test_lenient_positions_are_the_references(selector):
    """Cut and unfinished games too, as the earlier system had them; few kinds have other rows."""
    expected, found = theirs(selector), ours(selector, LENIENT)
    known, both = special(), expected.keys() & found.keys()
    changed = {known.get(game) for game in both if differing(found[game], expected[game])}
    also = ALSO_REFUSED.get(selector, {}).keys()
    assert changed == CHANGED.keys() | also
    assert kinds(expected.keys() - both) == STILL_REFUSED.keys()
    assert kinds(found.keys() - both) == READ_IF_LENIENT - also


def test_changed_games_are_the_references_but_for_the_change():
    """A wrong winner changes the value alone; moves after the win are the rows that are gone, and the move before."""
    expected, found = theirs("all"), ours("all", LENIENT)
    place = {kind: game for game, kind in special().items()}
    game = place["wrong_winner"]
    assert differing(found[game], expected[game]) == {"value", "winner"}
    np.testing.assert_array_equal(found[game]["value"], 1 - expected[game]["value"])
    one, other = found[place["moves_after_win"]], expected[place["moves_after_win"]]
    n = len(one["board"])
    assert n < len(other["board"])
    rows = {name: other[name][:n] for name in PAIRS | {"board": ""}}
    assert differing(one, rows, rows) == {"policy_index"}
    np.testing.assert_array_equal(one["policy_index"], [*rows["policy_index"][:-1], -1])


def test_lines_that_say_the_same_are_one_game():
    """A tab for a space, a last move that repeats one and is cut; a winner left out, or written as 1."""
    found = ours("final", LENIENT)
    place = {kind: game for game, kind in special().items()}
    for one, other in (("tab_separator", "leading_zero_repeat"), ("missing_winner", "legacy_winner_digit")):
        assert found[place[one]]["group_id"] == found[place[other]]["group_id"]


def test_tiers_have_the_references_sizes():
    """Which positions are in a tier is drawn; how many are is not."""
    expected, found = theirs("all"), ours("all", STRICT)
    for game in expected.keys() & found.keys():
        one, other = (np.bincount(rows[game]["value_sample_tier"], minlength=4) for rows in (found, expected))
        np.testing.assert_array_equal(one, other)
    drawn = [rows["position_in_game"][rows["value_sample_tier"] == 0] for rows in found.values()]
    means = [some.mean() / rows["position_in_game"][-1] for some, rows in zip(drawn, found.values(), strict=True)]
    assert np.mean(means) == pytest.approx(0.5, abs=0.04)  # 4 standard errors of 5 draws from each of 205 games
