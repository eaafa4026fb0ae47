"""Hostile Splendor logs: each is refused with file, line, column, found and expected, or read as what it says.

The base is the golden game (54 rows, so lines 2 to 55): line 2 takes three, line 10 reserves with ten tokens in hand,
line 18 takes two white with 1B0:01310 reserved, line 55 builds with a noble.
"""

import csv
import io
import math
import os
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.core.errors import BadUnit, ExpectedError
from stages.datasets.base.raw import file_units
from stages.datasets.splendor import encode
from stages.datasets.splendor.encode.parse import MISSING
from stages.datasets.splendor.find import find
from stages.datasets.splendor.schema import ACTION_TYPES, COLOURS, RAW_COLUMNS
from tests.helpers.splendor_games import (
    GOLDEN,
    card_values,
    content_of,
    is_missing,
    no_card,
    read,
    rows_of,
    set_field,
    set_fields,
    simulated,
    write_units,
)

BASE = content_of(rows_of((GOLDEN / "2_games" / "1.csv").read_bytes()))
N_ROWS = 54
HEADER = BASE.split(b"\r\n")[0]
NOBLE = {f"noble0_{part}": "nan" for part in ("vp", *(f"req_{colour}" for colour in COLOURS))}
PLAIN = "a whole number of at most two digits, or nothing"


def refuse(folder, content, line, text):
    """Check that a file is refused, at this line and in these words."""
    where = f"{folder / '2_games' / '0.csv'}:{line}: {text}"
    with pytest.raises(BadUnit, match=f"^{re.escape(where)}"):
        read(folder, content)


@pytest.mark.parametrize(
    "value", [b"4x", b"nan5", b"5nan", b"1.5", b"-2", b"1e3", b" 1", b'"1', b'1"2"', b'" 1"', b"123", b"\x00", b"1\x00",
              b"+1", b"0x1", b"NaN5", b"n", b"na", b"1.", b".0", b"1.00", b"5-1", b"5-1.0", b"1\r", b"\r1",
              "\u0661".encode(), b"7" * 256, b"7" * 257, b"7" * 258],
)  # fmt: skip
@pytest.mark.parametrize("column", ["gems_board_white", "card9_vp", "noble_selection", "gems_removed_gold"])
def test_a_field_that_is_no_small_number_is_refused(tmp_path, value, column):
    if value == b"1\r" and column == "gems_removed_gold":
        value = b"1\r\r"  # a single one before the line feed is part of the line end
    found = value[:40].decode() if value != b'" 1"' else " 1"  # quotes around a whole cell are taken off
    if column == "gems_removed_gold" and value.endswith(b"\r"):
        found = "1\r\r"
    refuse(tmp_path, set_field(BASE, 18, column, value), 18, f"{column} is {found!r}, expected {PLAIN}; correct")


@pytest.mark.parametrize("value", [b"", b"nan", b"-3", b"1.5", b"1" * 19, b"9" * 40, b"1e2", b"x", b"1.0.0"])
@pytest.mark.parametrize("column", ["game_id", "turn_number"])
def test_a_key_that_is_no_whole_number_is_refused(tmp_path, value, column):
    refuse(tmp_path, set_field(BASE, 7, column, value), 7, f"{column} is {value.decode()!r}, expected a whole number")


FAULTS = {
    "empty bank": (18, {"gems_board_white": "nan"}, "gems_board_white is empty, expected a number"),
    "empty noble choice": (18, {"noble_selection": ""}, "noble_selection is empty, expected a number"),
    "empty player": (18, {"player1_vp": "nan"}, "player1_vp is empty, expected a number"),
    "noble choice -2": (18, {"noble_selection": "-2"}, f"noble_selection is '-2', expected {PLAIN}"),
    "bank of 8": (18, {"gems_board_blue": 8}, "gems_board_blue is 8, expected 0..7"),
    "five players": (2, {"num_players": 5}, "num_players is 5, expected 2..4"),
    "seat 4": (3, {"current_player": 4}, "current_player is 4, expected 0..3"),
    "deck of 37": (3, {"deck_level1_remaining": 37}, "deck_level1_remaining is 37, expected 0..36"),
    "unknown cost": (2, {"card0_cost_green": 7}, "card0_cost_white is 0, expected a cost of one of the 90 cards"),
    "points of a card": (2, {"card0_vp": 1}, "card0_vp is 1, expected the value of the card with this cost"),
    "level of a card": (2, {"card0_level": 2}, "card0_level is 2, expected the value of the card with this cost"),
    "no bonus": (2, {"card0_bonus_blue": 0}, "card0_bonus_blue is 0, expected the value of the card with this cost"),
    "two bonuses": (2, {"card0_bonus_red": 1}, "card0_bonus_red is 1, expected the value of the card with this cost"),
    "reserved cost": (18, {"player0_reserved0_cost_blue": 7}, "player0_reserved0_cost_white is 0, expected a cost"),
    "reserved level": (18, {"player0_reserved0_level": 3}, "player0_reserved0_level is 3, expected the value of"),
    "slot of another level": (
        2, card_values("card0", 2, "blue", 2, "53000"), "card0_level is 2, expected the level of its slot"
    ),
    "gap in a level": (
        18, no_card("card1"), "card2_vp is 0, expected no card after an empty slot of its level"
    ),
    "unknown noble": (2, {"noble0_req_white": 3}, "noble0_req_white is 3, expected the requirements of one of the ten"),
    "points of a noble": (2, {"noble1_vp": 2}, "noble1_vp is 2, expected 3"),
    "gap in the nobles": (2, NOBLE, "noble1_vp is 3, expected no noble after an empty one"),
    "gap in the hand": (
        2, card_values("player0_reserved1", 1, "red", 0, "20020"),
        "player0_reserved1_vp is 0, expected no reserved card after an empty place",
    ),
    "eleven tokens": (
        10, {"player0_gems_red": 1}, "player0_gems_white is 11, expected at most 10 tokens in a hand (sum over gems)"
    ),
    "eleven tokens elsewhere": (11, {"player1_gems_red": 1}, "player1_gems_white is 11, expected at most 10 tokens"),
    "turn order": (3, {"current_player": 0}, "current_player is 0, expected the next seat in turn order"),
    "round": (4, {"turn_number": 1}, "turn_number is 1, expected the round, from 1, one for each seat"),
    "another game": (5, {"game_id": 99}, "game_id is 99, expected the game id of the first row"),
    "another game by one": (5, {"game_id": 2**53 + 1}, f"game_id is {2**53 + 1}, expected the game id of the first"),
    "another number of players": (5, {"num_players": 3}, "num_players is 3, expected the number of players of the"),
    "position": (5, {"player0_position": 0}, "player0_position is 0, expected seats in turn order from the player to"),
    "absent seat": (5, {"player2_vp": 0}, "player2_vp is 0, expected nothing for a seat that is not played"),
    "absent card": (5, {"player3_reserved2_bonus_black": 0}, "player3_reserved2_bonus_black is 0, expected nothing"),
    "unknown action": (2, {"action_type": "pass"}, "action_type is 'pass', expected one of build, reserve, take 2"),
    "empty action": (2, {"action_type": ""}, "action_type is '', expected one of build"),
    "missing action": (2, {"action_type": "nan"}, "action_type is 'nan', expected one of build"),
    "upper-case action": (2, {"action_type": "Build"}, "action_type is 'Build', expected one of build"),
    "action with a space": (2, {"action_type": "take 3 tokens "}, "action_type is 'take 3 tokens ', expected one of"),
    "build of nothing": (55, {"card_selection": "nan"}, "card_selection is empty, expected a number for action_type"),
    "reservation of nothing": (10, {"card_reservation": ""}, "card_reservation is empty, expected a number for action"),
    "reserve and build": (10, {"card_selection": 0}, "card_selection is 0, expected nothing unless action_type is 'b"),
    "take and reserve": (2, {"card_reservation": 0}, "card_reservation is 0, expected nothing unless action_type is"),
    "take three and two": (2, {"gem_take2_red": 2}, "gem_take2_red is 2, expected nothing unless action_type is 'take"),
    "half a take": (2, {"gem_take3_red": "nan"}, "gem_take3_red is empty, expected a number for action_type 'take 3"),
    "four colours": (2, {"gem_take3_blue": 1}, "gem_take3_white is 4, expected 1 to 3 colours in all"),
    "no colour": (2, {f"gem_take3_{c}": 0 for c in COLOURS}, "gem_take3_white is 0, expected 1 to 3 colours in all"),
    "two of two": (18, {"gem_take2_blue": 2}, "gem_take2_white is 2, expected 2 in one colour, 0 in the others"),
    "one of two": (18, {"gem_take2_white": 1}, "gem_take2_white is 1, expected 2 in one colour, 0 in the others"),
    "two and one": (18, {"gem_take2_blue": 1}, "gem_take2_white is 2, expected 2 in one colour, 0 in the others"),
    "four returned": (
        18, {"gems_removed_white": 3, "gems_removed_gold": 1}, "gems_removed_white is 4, expected at most 3 tokens"
    ),
    "absent noble": (55, {"noble_selection": 3}, "noble_selection is 3, expected -1 or a noble on the table"),
    "noble without a build": (2, {"noble_selection": 0}, "noble_selection is 0, expected -1 unless action_type is 'b"),
    "absent reserved card": (55, {"card_selection": 13}, "card_selection is 13, expected a face-up card that exists"),
    "absent face-up card": (
        55, {"card_selection": 11} | no_card("card11"), "card_selection is 11, expected a face-up card that exists"
    ),
    "absent card to reserve": (
        10, {"card_reservation": 10} | no_card("card10") | no_card("card11"),
        "card_reservation is 10, expected a face-up card that exists, or 11.. for a deck",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_row_against_the_rules_is_refused(tmp_path, fault):
    line, values, text = FAULTS[fault]
    refuse(tmp_path, set_fields(BASE, line, values), line, text)


def line_changed(line, change):
    lines = BASE.split(b"\r\n")
    lines[line - 1] = change(lines[line - 1])
    return b"\r\n".join(lines)


STRUCTURES = {
    "empty file": (b"", 1, "empty, expected a header of 403 columns"),
    "blank file": (b"\r\n\r\n", 1, "empty, expected a header of 403 columns"),
    "header only": (HEADER + b"\r\n", 2, "no rows after the header"),
    "header without line end": (HEADER, 2, "no rows after the header"),
    "no header": (BASE.split(b"\r\n", 1)[1], 1, "column 1 is '1', expected 'game_id'"),
    "header name": (BASE.replace(b"card3_vp", b"card3_VP", 1), 1, "column 47 is 'card3_VP', expected 'card3_vp'"),
    "header short": (BASE.replace(b"num_players,", b"", 1), 1, "column 2 is 'turn_number', expected 'num_players'"),
    "header cut": (BASE.replace(b",gems_removed_gold", b"", 1), 1, "402 columns, expected 403"),
    "header long": (BASE.replace(b"removed_gold", b"removed_gold,x", 1), 1, "404 columns, expected 403"),
    "two byte order marks": (b"\xef\xbb\xbf" * 2 + BASE, 1, "column 1 is '\\ufeffgame_id', expected 'game_id'"),
    "UTF-16": (BASE.decode().encode("utf-16"), 1, "column 1 is "),
    "lone CR": (BASE.replace(b"\r\n", b"\r"), 1, "column 403 is 'gems_removed_gold\\r1', expected 'gems_removed_gold'"),
    "extra field": (line_changed(10, lambda row: row + b",0"), 10, "404 columns, expected 403; correct the row"),
    "trailing comma": (line_changed(10, lambda row: row + b","), 10, "404 columns, expected 403; correct the row"),
    "missing field": (line_changed(10, lambda row: row[:-2]), 10, "402 columns, expected 403; correct the row"),
    "a field moved to the next row": (
        set_field(line_changed(10, lambda row: row[:-2]), 11, "game_id", b"0,1").replace(b"\r", b""), 10, "402 columns"
    ),
    "blank line": (line_changed(10, lambda row: b"\r\n" + row), 10, "blank line, expected 403 columns"),
    "a line for spreadsheets": (b"sep=,\r\n" + BASE, 1, "a line 'sep=' for spreadsheets, expected the header; remove"),
    "only empty rows": (HEADER + b"\n\n" + b"," * 402 + b"\n", 2, "no rows after the header"),
    "blank first row": (HEADER + b"\n\n" + BASE.split(b"\r\n", 1)[1], 2, "blank line, expected 403 columns"),
    "cut in a row": (BASE[:-45], 55, f"{403 - BASE[-45:].count(b',')} columns, expected 403; the file looks truncated"),
    "cut in a round": (BASE[: BASE[:-2].rindex(b"\r\n") + 2], 54, "current_player is 0, expected the last seat"),
    "CR in a row": (line_changed(10, lambda row: row.replace(b",", b"\r,", 1)), 10, "game_id is '1\\r', expected a"),
    "not UTF-8": (set_field(BASE, 10, "card0_vp", b"\xff"), 10, "card0_vp is b'\\xff', which is not UTF-8"),
    "Latin-1 in an action": (set_field(BASE, 10, "action_type", b"r\xe9s"), 10, "action_type is b'r\\xe9s', which"),
    "header twice": (HEADER + b"\r\n" + BASE, 2, "game_id is 'game_id', expected a whole number"),
    "two files in one": (BASE + BASE, 56, "game_id is 'game_id', expected a whole number"),
    "all rows twice": (BASE + BASE.split(b"\r\n", 1)[1], 56, "turn_number is 1, expected the round"),
}  # fmt: skip


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_damaged_file_is_refused(tmp_path, structure):
    content, line, text = STRUCTURES[structure]
    refuse(tmp_path, content, line, text)


def quoted(content):
    """Return a log with quotes around each cell, as spreadsheets write it."""
    lines = content.removesuffix(b"\r\n").split(b"\r\n")
    return b"".join(b'"' + line.replace(b",", b'","') + b'"\r\n' for line in lines)


def each_line(content, change):
    """Return a log with each of its lines changed."""
    return b"".join(change(line) + b"\r\n" for line in content.removesuffix(b"\r\n").split(b"\r\n"))


def with_decimal_commas(content):
    """Return a log with semicolons, zeros as 0,0, and nothing for nothing."""
    return content.replace(b",", b";").replace(b";0;", b";0,0;").replace(b"nan", b"")


SPREADSHEETS = {
    "semicolons": lambda content: content.replace(b",", b";"),
    "semicolons and decimal commas": with_decimal_commas,
    "mark, quotes and semicolons": lambda content: b"\xef\xbb\xbf" + quoted(content).replace(b",", b";"),
    "tabs and nothing": lambda content: content.replace(b",", b"\t").replace(b"nan", b""),
    "blanks behind commas": lambda content: content.replace(b",", b", "),
    "blanks around cells": lambda content: content.replace(b",", b" , ").replace(b"\r\n", b" \r\n"),
    "blanks for nothing": lambda content: content.replace(b"nan", b"  "),
    "two empty columns behind": lambda content: each_line(content, lambda line: line + b",,"),
    "a quoted empty column behind": lambda content: each_line(content, lambda line: line + b',""'),
    "empty lines behind": lambda content: content + b"\r\n \n",
    "empty rows behind": lambda content: content.replace(b"nan", b"") + (b"," * 402 + b"\r\n") * 2,
    "byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "quotes": quoted,
    "quotes and line feeds": lambda content: quoted(content).replace(b"\r\n", b"\n"),
    "quotes without the last line end": lambda content: quoted(content)[:-2],
    "mark and quotes": lambda content: b"\xef\xbb\xbf" + quoted(content),
    **{
        word: lambda content, word=word: content.replace(b"nan", word.encode())
        for word in ("NaN", "NAN", "NA", "<NA>", "N/A", "#N/A", "NULL", "null", "None", '"NaN"', '""')
    },
}


@pytest.mark.parametrize("change", SPREADSHEETS.values(), ids=SPREADSHEETS)
@pytest.mark.parametrize("content", [simulated(15, 3), simulated(58, 4)], ids=["three players", "four players"])
def test_a_log_from_a_spreadsheet_is_the_same_log(tmp_path, change, content):
    """Alone and beside a plain one."""
    expected = read(tmp_path, content)
    assert b"nan" in content
    table = read(tmp_path, change(content))
    assert by_reader(table) == by_reader(expected)
    both = read(tmp_path, BASE, change(content))
    assert by_reader(both) == by_reader(read(tmp_path, BASE)) + by_reader(expected)


def test_a_fault_in_a_quoted_log_is_told_with_its_line_and_column(tmp_path):
    content = quoted(set_field(BASE, 18, "card9_vp", b"1.5"))
    refuse(tmp_path, content, 18, f"card9_vp is '1.5', expected {PLAIN}; correct")


@pytest.mark.parametrize("ending", [b"", b"\r", b"\n", b"\r\n"])
def test_the_last_line_end_may_be_missing(tmp_path, ending):
    assert read(tmp_path, BASE[:-2] + ending).values.tobytes() == read(tmp_path, BASE).values.tobytes()


def make_fifo(path):
    os.mkfifo(path)


def make_unreadable(path):
    path.write_bytes(BASE)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (make_fifo, "not a regular file, expected one"),
        (lambda path: path.mkdir(), "not a regular file, expected one"),
        (lambda path: path.symlink_to("nowhere.csv"), "not readable (No such file or directory)"),
        (lambda path: path.symlink_to(path.name), "not readable (Too many levels of symbolic links)"),
        (make_unreadable, "not readable (Permission denied)"),
    ],
    ids=["FIFO", "directory", "dangling link", "link to itself", "unreadable"],
)
def test_what_is_no_readable_file_is_refused(tmp_path, make, found):
    """It is found, so that it is reported and not passed over."""
    path = tmp_path / "2_games" / "0.csv"
    path.parent.mkdir()
    make(path)
    units = find(tmp_path, {})
    assert [unit.key for unit in units] == ["2_games/0.csv"]
    with pytest.raises(BadUnit, match=f"^{re.escape(f'{path}: {found}')}"):
        encode.read(tmp_path, units, {})


def test_a_file_that_changed_since_it_was_found_stops_the_run(tmp_path):
    """Not a bad unit: its digest is what makes the arrays reproducible."""
    units = write_units(tmp_path, {"2_games/0.csv": BASE})
    (tmp_path / "2_games" / "0.csv").write_bytes(BASE[:-2])
    with pytest.raises(ExpectedError, match=r"0\.csv: changed since discover listed it") as caught:
        encode.read(tmp_path, units, {})
    assert not isinstance(caught.value, BadUnit)


@pytest.mark.parametrize("fault", ["empty bank", "unknown cost", "eleven tokens", "empty action", "unknown noble"])
def test_a_bad_game_is_told_alike_alone_and_among_others(tmp_path, fault):
    line, values, _ = FAULTS[fault]
    bad = set_fields(BASE, line, values)
    files = {"3_games/7.csv": simulated(15, 3), "2_games/5.csv": bad, "2_games/0.csv": BASE}
    units = write_units(tmp_path, files)
    messages = []
    for chosen in (units, [units[1]], units[::-1]):
        with pytest.raises(BadUnit, match=r"2_games/5\.csv:") as caught:
            encode.read(tmp_path, chosen, {})
        messages.append(str(caught.value))
    assert len(set(messages)) == 1


def test_a_chunk_holds_its_games_in_the_order_of_the_units(tmp_path):
    contents = [simulated(58, 4), BASE, simulated(15, 3)]
    together = read(tmp_path, *contents)
    alone = [read(tmp_path, content) for content in contents]
    assert together.values.tobytes() == np.concatenate([table.values for table in alone], axis=1).tobytes()
    assert together.offsets.tolist() == np.cumsum([0, *(table.offsets[1] for table in alone)]).tolist()
    for name in ("game_id", "turn_number"):
        joined = np.concatenate([getattr(table, name) for table in alone])
        np.testing.assert_array_equal(getattr(together, name), joined)


def by_csv_module(content):
    """Return the rows as tuples of integers, None for nothing; action types stay text."""
    reader = csv.reader(io.StringIO(content.decode(), newline=""))
    assert tuple(next(reader)) == RAW_COLUMNS
    return [tuple(map(value_of, row)) for row in reader]


def value_of(field):
    """Return what a field says: a number, the name of an action, or None where it is missing or NaN of any spelling."""
    if is_missing(field) or field in ACTION_TYPES:
        return field if field in ACTION_TYPES else None
    number = float(field)
    return None if math.isnan(number) else int(number)


def by_reader(table):
    values = [[None if v == MISSING else v for v in row] for row in table.values.T.tolist()]
    for row, game_id, turn_number in zip(values, table.game_id.tolist(), table.turn_number.tolist(), strict=True):
        row[0], row[2], row[383] = game_id, turn_number, ACTION_TYPES[row[383]]
    return [tuple(row) for row in values]


def read_or_none(folder, content):
    """Return the table, or None where the file is refused by name."""
    path = folder / "2_games" / "0.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    try:
        return encode.read(folder, file_units(folder, ["2_games/0.csv"]), {})
    except BadUnit as error:
        assert str(error).startswith(f"{path}:")  # noqa: PT017
        return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("raw")


BASES = (BASE, simulated(58, 4), simulated(15, 3).replace(b"nan", b"").replace(b"\r\n", b"\n"))
FIELD = st.one_of(
    st.integers(-2, 20).map(lambda value: str(value).encode()),
    st.text("0123456789.-na,\r\n \"'e+", max_size=5).map(str.encode),
    st.binary(max_size=5),
    st.sampled_from([b"", b"nan", b"1.0", b"00", b"04", *(name.encode() for name in ACTION_TYPES)]),
)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.sampled_from(range(len(BASES))), st.integers(1, 10**6), st.integers(0, 402), FIELD)
@example(0, 17, 4, b"04")
@example(0, 17, 4, b"4.0")
@example(0, 17, 10, b"-nan")
def test_a_random_field_is_refused_or_read_as_it_is(folder, number, row, column, value):
    """Never another exception, never a value other than that of an independent parser."""
    base = BASES[number]
    end = b"\r\n" if b"\r\n" in base else b"\n"
    lines = base.split(end)
    line = 1 + row % (len(lines) - 2)
    fields = lines[line].split(b",")
    fields[column] = value
    lines[line] = b",".join(fields)
    content = end.join(lines)
    table = read_or_none(folder, content)
    if table is not None:
        assert by_reader(table) == by_csv_module(content)
        assert {array.dtype.kind for array in encode.encode(table, {}).values()} <= {"i", "u"}


@settings(max_examples=150)
@given(st.sampled_from(BASES[1:]), st.integers(0, 10**6))
def test_a_file_cut_anywhere_is_refused_unless_whole_rounds_are_left(folder, base, offset):
    check_cut(folder, base, offset % (len(base) + 1))


def test_a_file_cut_near_a_line_end_is_refused_unless_whole_rounds_are_left(folder):
    """Every offset in the first five and the last three line ends."""
    ends = [match.end() for match in re.finditer(b"\n", BASE)]
    for end in (*ends[:5], *ends[-3:]):
        for offset in range(end - 6, min(end + 4, len(BASE) + 1)):
            check_cut(folder, BASE, offset)


def check_cut(folder, base, offset):
    rows = [line.removesuffix(b"\r") for line in base.split(b"\n")[1:-1]]
    left = [line.removesuffix(b"\r") for line in base[:offset].split(b"\n")[1:]]
    left = left[:-1] if left and not left[-1] else left
    n_players = int(rows[0].split(b",")[1])
    is_whole = bool(left) and left == rows[: len(left)] and len(left) % n_players == 0
    table = read_or_none(folder, base[:offset])
    assert (table is not None) == is_whole
    if table is not None:
        assert table.values.shape[1] == len(left)
