"""Every kind of line is read or refused for its reason, and the rules of the game are kept."""

import csv
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.errors import BadUnit, ExpectedError
from stages.datasets.hex.encode.games import read_games
from stages.datasets.hex.encode.grammar import read_line
from stages.datasets.hex.encode.lines import Records, read_lines
from stages.datasets.hex.encode.rules import judge, select
from stages.datasets.hex.find import find
from stages.datasets.hex.schema import CELL_NAMES, N_CELLS, SIZE, Options
from tests.helpers.hex_boards import neighbours
from tests.helpers.places import REFERENCE_DIR

REFERENCE = REFERENCE_DIR / "hex"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference games are not beside the repository")

BLUE_WINS = "a1m1a2m2a3m3a4m4a5m5a6m6a7m7a8m8a9m9a10m10a11m11a12m12a13"
RED_WINS = "a1a7b1b7c1c7d1d7e1e7f1f7g1g7h1h7i1i7j1j7k1k7l1l7m13m7"
TRUNCATE = {"repeated": "truncate", "after_win": "truncate", "unfinished": "keep", "contradiction": "recompute"}
ALL_CUT = "cut before a cell played twice, cut after the win, winner taken from the board"

LINES = {  # line: winner and reason; every game in it is BLUE_WINS or RED_WINS
    f"#13,{BLUE_WINS} b": (0, ""),
    f"#13,{RED_WINS} r": (1, ""),
    f"#13,{BLUE_WINS}\tb\r": (0, ""),
    f" \t #13,{BLUE_WINS}   b  ": (0, ""),
    f"#13,{BLUE_WINS} b # resigned, after #13,a1": (0, ""),
    f"#13,{BLUE_WINS} b #": (0, ""),
    f"#13,{BLUE_WINS}": (0, ""),
    f"#13,{RED_WINS} # no winner": (1, ""),
    f"http://www.trmph.com/hex/board#13,{BLUE_WINS} b": (0, ""),
    f"\ufeff#13,{BLUE_WINS} b": (0, ""),
    f"\ufeff #13,{BLUE_WINS} b": (0, ""),
    f"#13,{BLUE_WINS.replace('a1m', 'a01m').replace('a13', 'a013')} b": (0, ""),
    f"#13,{RED_WINS} b": (None, "winner is not the board's"),
    f"#13,{BLUE_WINS} 1": (None, "winner is 1 or 2"),
    f"#13,{BLUE_WINS} B": (None, "winner is not b or r"),
    f"#13,{BLUE_WINS} blue": (None, "winner is not b or r"),
    f"#13,{BLUE_WINS} b 57": (None, "text after the winner"),
    f"#13,{BLUE_WINS} b#resigned": (None, "lines glued into one"),
    f"#13,{BLUE_WINS} b\r#13,{BLUE_WINS} b": (None, "lines glued into one"),
    f"#13,{BLUE_WINS} b # resigned\r#13,{BLUE_WINS} b": (None, "lines glued into one"),
    f"# Self-play games\r#13,{BLUE_WINS} b": (None, "lines glued into one"),
    f"#13,{BLUE_WINS}k#13,{BLUE_WINS} b": (None, "lines glued into one"),
    f"#13,{BLUE_WINS} b#13,{BLUE_WINS} b": (None, "lines glued into one"),
    f"#13,{BLUE_WINS} #13,{BLUE_WINS} b": (None, "lines glued into one"),
    f"game 7: #13,{BLUE_WINS} b": (None, "no game"),
    f"13,{BLUE_WINS} b": (None, "no game"),
    f"##13,{BLUE_WINS} b": (None, "no game"),
    f"#11,{BLUE_WINS} b": (None, "other board size"),
    "#13, b": (None, "no moves"),
    "#13,": (None, "no moves"),
    "#13,a1Bb2 b": (None, "character that is no move"),
    "#13,1a1 b": (None, "character that is no move"),
    "#13,a1\x00 b": (None, "character that is no move"),
    "#13,a1b2c": (None, "move without a number"),
    "#13,a0001 b": (None, "move with more than three digits"),
    "#13,a0 b": (None, "move outside the board"),
    "#13,a14 b": (None, "move outside the board"),
    "#13,n1 b": (None, "move outside the board"),
    "#13,a1a1 b": (None, "cell played twice"),
    "#13,a1b1a01 b": (None, "cell played twice"),
    f"#13,{BLUE_WINS}m13 b": (None, "moves after the win"),
    f"#13,{BLUE_WINS}m13 r": (None, "moves after the win"),
    "#13,a1b2": (None, "nobody has won"),
    f"#13,{BLUE_WINS[:-3]} b": (None, "nobody has won"),
}
NO_GAMES = ("", "  \t", "#", "# Self-play games - 2025", "# Example: #13,a1b2 r", "\ufeff# caf\xe9", "#\t", "\r")


def write(folder, lines, end="\n"):
    """Write the lines, text or bytes, as one file."""
    content = (line if isinstance(line, bytes) else line.encode() for line in lines)
    (folder / "g.trmph").write_bytes(b"".join(line + end.encode() for line in content))
    return folder


def read(folder, lines=None, end="\n", **options):
    """Return the games of these lines, or of those that are in the folder."""
    if lines is not None:
        write(folder, lines, end)
    options = {"max_bad_lines": 1.0, **options}
    return read_games(folder, find(folder, options), options)


def text(games, i):
    """Return a game as a plain line."""
    cells = games.cells[games.offsets[i] : games.offsets[i + 1]]
    return f"#13,{''.join(CELL_NAMES[cell] for cell in cells)} {'br'[games.winner[i]]}"


def reasons(games):
    return Counter(found.reason for found in games.findings)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines(tmp_path, end):
    """Each line of the table is read or refused, at its place; lines that hold no game are not counted."""
    lines = [line for pair in zip(NO_GAMES * 9, LINES, strict=False) for line in pair]
    games = read(tmp_path, lines, end, games_per_unit=7)
    expected = [(i, *LINES[line]) for i, line in enumerate(lines, 1) if line in LINES]
    assert len(expected) == len(LINES)
    first = games.unit * 7
    assert list(zip(games.line + first, games.winner, strict=True)) == [(i, w) for i, w, why in expected if not why]
    assert {text(games, i) for i in range(len(games.winner))} == {f"#13,{BLUE_WINS} b", f"#13,{RED_WINS} r"}
    assert [(f.where, f.reason) for f in games.findings] == [(f"g.trmph:{i}", why) for i, _, why in expected if why]
    assert all(found.where.endswith(f":{found.unit * 7 + found.line}") for found in games.findings)
    assert [getattr(games, name).dtype for name in ("cells", "offsets", "winner", "unit", "line")] == [
        np.dtype(name) for name in ("uint8", "int64", "uint8", "int32", "int32")
    ]


def test_bytes_that_are_no_text(tmp_path):
    """They are refused line by line; a comment may hold anything."""
    rng = np.random.default_rng(0)
    garbage = rng.integers(128, 256, 20_000).astype(np.uint8).tobytes() + b"\n\xff\x00\n"
    games = read(tmp_path, [b"# caf\xe9", f"#13,{BLUE_WINS} b", garbage, b"#13,a1 b # \xff"])
    assert len(games.winner) == 1
    assert reasons(games) == {"not UTF-8": len(games.findings)}
    assert len(games.findings) >= 3


@pytest.mark.parametrize(
    ("moves", "winner", "expected"),
    [
        ("a1b2a1c3", "r", ("a1b2", "r", "cut before a cell played twice")),
        ("a1b2a01", "", ("", "", "cut before a cell played twice, nobody has won")),
        (BLUE_WINS + "b1b2", "b", (BLUE_WINS, "b", "cut after the win")),
        (BLUE_WINS + "b1b1b3", "r", (BLUE_WINS, "b", ALL_CUT)),
        (BLUE_WINS + "a1", "b", (BLUE_WINS, "b", "cut before a cell played twice")),
        (RED_WINS, "b", (RED_WINS, "r", "winner taken from the board")),
        (RED_WINS, "", (RED_WINS, "r", "")),
        ("a1b2", "b", ("a1b2", "b", "")),
        ("a1b2", "", ("", "", "nobody has won")),
    ],
)  # fmt: skip
def test_repairs(tmp_path, moves, winner, expected):
    """What the options allow is cut or corrected, and told; a game of unknown winner is never kept."""
    games = read(tmp_path, [f"#13,{moves} {winner}"], **TRUNCATE)
    kept, by, reason = expected
    assert [text(games, i) for i in range(len(games.winner))] == ([f"#13,{kept} {by}"] if kept else [])
    assert [found.reason for found in games.findings] == [reason] * bool(reason)


def test_one_option_does_not_do_the_work_of_another(tmp_path):
    """A game that is cut before a repeated cell is judged as what is left: nobody has won it."""
    lines = [f"#13,{BLUE_WINS[:-3]}a1 b", f"#13,{BLUE_WINS}m13 r"]
    assert list(reasons(read(tmp_path, lines, repeated="truncate"))) == [
        "cut before a cell played twice, nobody has won",
        "moves after the win",
    ]
    assert reasons(read(tmp_path, lines, after_win="truncate"))["cut after the win, winner is not the board's"] == 1


def test_legacy_winners(tmp_path):
    """1 is blue and 2 is red, beside b and r, if the options say so."""
    lines = [f"#13,{BLUE_WINS} 1", f"#13,{RED_WINS} 2", f"#13,{RED_WINS} r", f"#13,{RED_WINS} 1", f"#13,{RED_WINS} 3"]
    games = read(tmp_path, lines, legacy_winners=True)
    assert games.winner.tolist() == [0, 1, 1]
    assert reasons(games) == {"winner is not the board's": 1, "winner is not b or r": 1}


@pytest.mark.parametrize(
    ("n_bad", "n_good", "share", "is_bad"),
    [
        (1, 0, 0.1, 0), (2, 0, 0.1, 1), (2, 10, 0.1, 0), (3, 10, 0.1, 1), (7, 18, 0.28, 0), (8, 17, 0.28, 1),
        (1, 99, 0.0, 1), (9, 0, 1.0, 0), (2, 98, 0.005, 1),
    ],
)  # fmt: skip
def test_limit_of_refused_lines(tmp_path, n_bad, n_good, share, is_bad):
    """It is a share of the game lines, rounded up: half a line at the end is none; above it the unit is bad."""
    lines = [*["# header", ""] * 20, *[f"#13,{BLUE_WINS} b"] * n_good, *["#13,a1b2 b", "#13,a0 b"] * 5][
        : 40 + n_good + n_bad
    ]
    if not is_bad:
        assert len(read(tmp_path, lines, max_bad_lines=share).winner) == n_good
        return
    message = (
        rf"g.trmph:{41 + n_good}: nobody has won; {n_bad} of {n_bad + n_good} game lines of g.trmph:000000001 are "
        rf"refused, expected at most {100 * share:g}%; correct the file or raise .*hex.options.max_bad_lines"
    )
    with pytest.raises(BadUnit, match=message):
        read(tmp_path, lines, max_bad_lines=share)


def test_limit_is_that_of_each_unit(tmp_path):
    """The first unit above it is named, with its line in the file; repaired lines do not count."""
    good, bad, late = f"#13,{BLUE_WINS} b", f"#13,{BLUE_WINS} x", f"#13,{BLUE_WINS}b1 b"
    lines = [*[good] * 10, *[bad, late] * 3, *[good] * 4]
    options = {"games_per_unit": 10, "after_win": "truncate"}
    with pytest.raises(BadUnit, match=r"g.trmph:11: winner is not b or r; 3 of 10 game lines of g.trmph:000000011"):
        read(tmp_path, lines, max_bad_lines=0.2, **options)
    games = read(tmp_path, lines, max_bad_lines=0.3, **options)
    assert games.unit.tolist() == [0] * 10 + [1] * 7
    assert games.line.tolist() == [*range(1, 11), 2, 4, 6, 7, 8, 9, 10]


def test_unit_without_games(tmp_path):
    """A piece of comments has no games; neither is it bad."""
    games = read(tmp_path, ["# a", "# b", "", f"#13,{RED_WINS} r"], games_per_unit=2, max_bad_lines=0.0)
    assert (games.unit.tolist(), games.line.tolist(), games.offsets.tolist()) == ([1], [2], [0, 26])
    games = read(tmp_path, ["# a", "# b"])
    assert (games.winner.tolist(), games.offsets.tolist(), games.cells.tolist()) == ([], [0], [])


def test_killed_writer(tmp_path):
    """Cut a file anywhere: the games before stay, and at most one line is refused, without a bad unit."""
    content = "".join(f"#13,{moves}\n" for moves in (f"{BLUE_WINS} b", f"{RED_WINS} r")).encode()
    for stop in range(len(content) // 2, len(content)):
        (tmp_path / "g.trmph").write_bytes(content[:stop])
        games = read(tmp_path, max_bad_lines=0.1)
        assert len(games.winner) + len(games.findings) in (1, 2)
        assert len(games.findings) <= 1
        assert text(games, 0) == f"#13,{BLUE_WINS} b"


def test_file_that_changed_since_discover(tmp_path):
    """Other bytes than those that were found are an error."""
    units = find(write(tmp_path, [f"#13,{BLUE_WINS} b"]), {})
    write(tmp_path, [f"#13,{BLUE_WINS} r"])
    with pytest.raises(ExpectedError, match="changed since discover listed it"):
        read_games(tmp_path, units, {})


moves = st.lists(st.sampled_from(CELL_NAMES), min_size=1, max_size=12).map("".join)
plain = st.builds("#13,{} {}".format, moves, st.sampled_from("br")).map(str.encode)
snippet = st.sampled_from(
    [b"#13,", b"# ", b"13", b"\xef\xbb\xbf", b"\x00", b"\xff", b"", *(bytes([i]) for i in b" \t\r\n#amn0134brB,-/:`")]
)


@st.composite
def mutated(draw):
    """Return a plain line with some bytes replaced."""
    line = draw(plain)
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(line)))
        line = line[:start] + draw(snippet) + line[start + draw(st.integers(0, 3)) :]
    return line


def check_lines(pieces, legacy):
    """Check that all lines at once give what the grammar gives one by one."""
    found = read_lines(pieces, legacy)
    games, refused = [], []
    for unit, piece in enumerate(pieces):
        for number, line in enumerate(piece.split(b"\n"), 1):
            game = read_line(line, legacy)
            if game is not None and game.reason:
                refused.append((unit, number, game.reason))
            elif game is not None:
                games.append((unit, number, game.winner, list(game.cells)))
    cells = [part.tolist() for part in np.split(found.cells, found.offsets[1:-1])] if len(found.winner) else []
    assert list(zip(found.unit, found.line, found.winner, cells, strict=True)) == games
    assert found.refused == refused
    assert found.cells.dtype == np.uint8
    return len(games)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(st.lists(mutated(), max_size=4).map(b"\n".join), min_size=1, max_size=3), st.booleans())
def test_fast_way_is_the_grammars(pieces, legacy):
    """For plain lines and for others, in one piece or several."""
    check_lines(pieces, legacy)


def test_fast_way_reads_numbers_as_the_grammar_does():
    """All of up to four digits, between moves and at the end: 1..13 may have zeros before them, three digits in all."""
    numbers = ["".join(digits) for n in range(5) for digits in itertools.product("012349", repeat=n)]
    lines = [f"#13,{moves} b".encode() for number in numbers for moves in (f"m{number}", f"a{number}b2")]
    n_good = sum(len(number) <= 3 and number != "" and 1 <= int(number) <= 13 for number in numbers)
    assert check_lines([b"\n".join(lines)], legacy=False) == 2 * n_good


def played(cells):
    """Return how many moves come before a repeated cell, after how many the game is won (0 if never), and by whom."""
    owner = {}
    edges = [(lambda c: c // SIZE), (lambda c: c % SIZE)]
    for ply, cell in enumerate(cells):
        if cell in owner:
            return ply, 0, -1
        owner[cell] = player = ply % 2
        group = todo = {cell}
        while todo:
            todo = {n for c in todo for n in neighbours(c) if owner.get(n) == player} - group
            group = group | todo
        if {0, SIZE - 1} <= {edges[player](c) for c in group}:
            repeat = next((i for i in range(len(cells)) if cells[i] in cells[:i]), len(cells))
            return repeat, ply + 1, player
    return len(cells), 0, -1


def test_rules_are_those_of_a_game_played_move_by_move():
    """On 300 random games, some with a repeated cell, many won long before their end."""
    rng = np.random.default_rng(5)
    games = [rng.permutation(N_CELLS)[: rng.integers(1 + i // 2, N_CELLS + 1)].astype(np.uint8) for i in range(300)]
    for game in games[::3]:
        game[-1] = game[rng.integers(len(game))]
    given_winner = rng.integers(-1, 2, len(games)).astype(np.int8)
    sizes = [len(game) for game in games]
    number = np.arange(len(games), dtype=np.int32)
    records = Records(np.concatenate(games), np.cumsum([0, *sizes]), given_winner, number * 0, number, [])
    expected = [played(game.tolist()) for game in games]
    verdict = judge(records, Options(**TRUNCATE))
    for i, (n_plies, won_at, by) in enumerate(expected):
        assert verdict.n_plies[i] == (won_at or n_plies)
        assert verdict.winner[i] == (by if won_at else given_winner[i])
        flags = (n_plies < sizes[i], 0 < won_at < n_plies, not won_at, won_at and given_winner[i] not in (-1, by))
        assert verdict.faults[i] == sum(bool(flag) << bit for bit, flag in enumerate(flags))
    assert sum(0 < won_at < n for n, won_at, _ in expected) > 20
    kept = select(records, verdict)
    cut = [games[i][: verdict.n_plies[i]] for i in kept.line]
    np.testing.assert_array_equal(kept.cells, np.concatenate(cut))
    np.testing.assert_array_equal(np.diff(kept.offsets), [len(game) for game in cut])


SPECIAL = {  # kind: reason, or empty for a game
    "blank_line": None,
    "column_out_of_range": "move outside the board",
    "empty_game": "no moves",
    "extra_field": "text after the winner",
    "glued_lines": "lines glued into one",
    "inline_comment": "",
    "leading_zero_repeat": "cell played twice",
    "legacy_winner_digit": "winner is 1 or 2",
    "missing_number": "move without a number",
    "missing_winner": "",
    "moves_after_win": "moves after the win",
    "other_board_size": "other board size",
    "repeated_move": "cell played twice",
    "row_out_of_range": "move outside the board",
    "row_zero": "move outside the board",
    "spaces_around": "",
    "tab_separator": "",
    "unfinished_game": "nobody has won",
    "uppercase_winner": "winner is not b or r",
    "url_preamble": "",
    "wrong_winner": "winner is not the board's",
}


def special_lines(name):
    with (REFERENCE / name).open(encoding="utf-8", newline="") as file:
        return [(row["kind"], row["text"]) for row in csv.DictReader(file, delimiter="\t")]


@needs_reference
@pytest.mark.parametrize("name", ["special_lines.tsv", "raw-special-lines.tsv"])
def test_special_lines_of_the_reference(tmp_path, name):
    """Every kind that was met in the wild is read, or refused for its reason."""
    special = special_lines(name)
    games = read(tmp_path, [line for _, line in special])
    found = {found.line: found.reason for found in games.findings} | dict.fromkeys(games.line.tolist(), "")
    assert [(kind, found.get(i)) for i, (kind, _) in enumerate(special, 1)] == [
        (kind, SPECIAL[kind]) for kind, _ in special
    ]
    assert {kind for kind, _ in special} == set(SPECIAL)


@needs_reference
def test_reference_games():
    """All 5,016 game lines of ten files are read, but 13, each for its reason; with all repairs 5 of these are read."""
    games = read(REFERENCE / "raw", max_bad_lines=0.01)
    assert len(games.winner) == 5003
    assert reasons(games) == {
        "move outside the board": 3, "move without a number": 1, "no moves": 1, "cell played twice": 1,
        "winner is 1 or 2": 1, "winner is not b or r": 1, "text after the winner": 1, "lines glued into one": 1,
        "other board size": 1, "nobody has won": 1, "winner is not the board's": 1,
    }  # fmt: skip
    parity = np.diff(games.offsets) % 2
    np.testing.assert_array_equal(games.winner, 1 - parity)  # the last move is the winner's
    repaired = read(REFERENCE / "raw", legacy_winners=True, **TRUNCATE)
    assert len(repaired.winner) == 5003 + 4
    assert reasons(repaired)["cut before a cell played twice"] == 1
    assert reasons(repaired)["winner taken from the board"] == 1


@needs_reference
def test_reference_games_without_duplicates():
    """They are those the earlier reader kept, but for the lines that the one or the other of the two refuses.

    It compared the lines' text, so that the same game behind a tab or without its winner was another one; it kept lines
    that a later step refused or, worse, did not; and it passed over games with a web address before them.
    """
    games = read(REFERENCE / "trmph")
    ours = {text(games, i) for i in range(len(games.winner))}
    chunks = sorted((REFERENCE / "preprocessed_expected").glob("*.trmph"))
    theirs = {line for chunk in chunks for line in chunk.read_text(encoding="utf-8").splitlines()}
    special = {kind: line.strip() for kind, line in special_lines("special_lines.tsv")}
    refused = {special[kind] for kind, reason in SPECIAL.items() if reason} & theirs
    others = {special[kind] for kind in ("missing_winner", "tab_separator")}
    assert theirs - ours == refused | others
    url, tab = special["url_preamble"], special["tab_separator"]
    assert ours - theirs == {url[url.index("#") :], tab.replace("\t", " "), special["missing_winner"] + " b"}
    assert len(theirs) == 218
