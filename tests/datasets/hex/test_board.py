"""The board's facts, who has won it, and the options of the dataset."""

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.datasets.hex.schema import CELL_NAMES, N_CELLS, SIZE, Options, parse_options
from stages.datasets.hex.schema.connection import connected, winner, winner_of_words, words
from tests.helpers.hex_boards import is_joined, neighbours


def random_boards(n, seed=3):
    """Return boards on which each has the same number of stones, from none to all, uint8 (n, 2, 13, 13)."""
    rng = np.random.default_rng(seed)
    boards = np.zeros((n, 2, N_CELLS), np.uint8)
    for board in boards:
        cells = rng.permutation(N_CELLS)[: rng.integers(N_CELLS + 1)]
        board[0, cells[::2]] = board[1, cells[1::2]] = 1
    return boards.reshape(n, 2, SIZE, SIZE)


def test_cells_and_their_neighbours():
    """Cells go along the rows; two cells are neighbours of each other; corners are sharp or blunt."""
    assert [CELL_NAMES[i] for i in (0, 1, 12, 13, 168)] == ["a1", "b1", "m1", "a2", "m13"]
    names = {CELL_NAMES[i]: {CELL_NAMES[n] for n in neighbours(i)} for i in range(N_CELLS)}
    assert names["g7"] == {"g6", "h6", "f7", "h7", "f8", "g8"}
    assert names["a1"] == {"b1", "a2"}
    assert names["m1"] == {"l1", "l2", "m2"}
    assert all(a in names[b] for a, around in names.items() for b in around)


def test_winner_is_that_of_a_walk_from_cell_to_cell():
    """On 300 boards with any number of stones, for both colours."""
    boards = random_boards(300)
    expected = []
    for blue, red in boards:
        joins = [is_joined(set(np.flatnonzero(stones).tolist()), i) for i, stones in enumerate((blue, red))]
        expected.append(joins.index(True) if any(joins) else -1)
    np.testing.assert_array_equal(winner(boards), expected)
    np.testing.assert_array_equal(winner_of_words(words(boards)), expected)
    assert set(expected) == {-1, 0, 1}


def test_full_board_has_one_winner():
    """No board can be filled without a winner, and never do both win."""
    rng = np.random.default_rng(1)
    blue = rng.permuted(np.tile(np.arange(N_CELLS) % 2, (500, 1)), axis=1).reshape(-1, SIZE, SIZE)
    joined = connected(words(np.stack([blue, 1 - blue], axis=1)).reshape(-1, SIZE)).reshape(-1, 2)
    assert (joined.sum(axis=1) == 1).all()


def test_winding_way_is_followed_to_its_end():
    """From the top along every second row, down at alternate ends; also in red; one bend less and it is none."""
    way = np.zeros((SIZE, SIZE), np.uint8)
    way[::2] = way[1::4, -1] = way[3::4, 0] = 1
    boards = np.zeros((3, 2, SIZE, SIZE), np.uint8)
    boards[0, 0], boards[1, 1], boards[2, 0] = way, way.T, way
    boards[2, 0, 7, 0] = 0
    assert winner(boards).tolist() == [0, 1, -1]


def test_no_boards():
    """No board has no winner."""
    assert winner(np.zeros((0, 2, SIZE, SIZE), np.uint8)).shape == (0,)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"position": "all"}, "options: unknown key 'position'.*did you mean 'positions'"),
        ({"positions": "last"}, "options.positions: 'last', expected all or final or penultimate"),
        ({"duplicates": True}, "options.duplicates: True, expected str"),
        ({"repeated": "cut"}, "options.repeated: 'cut', expected refuse or truncate"),
        ({"after_win": "keep"}, "options.after_win: 'keep', expected refuse or truncate"),
        ({"unfinished": "truncate"}, "options.unfinished: 'truncate', expected refuse or keep"),
        ({"contradiction": "keep"}, "options.contradiction: 'keep', expected refuse or recompute"),
        ({"games_per_unit": 0}, "options.games_per_unit: 0, expected a whole number from 1"),
        ({"legacy_winners": 1}, "options.legacy_winners: 1, expected bool"),
        ({"max_bad_lines": 10}, "options.max_bad_lines: 10, expected a share from 0 to 1"),
        ({"tier_seed": "x"}, "options.tier_seed: 'x', expected int"),
    ],
)
def test_options_are_checked(entry, message):
    """A wrong option is an error that names its key."""
    with pytest.raises(ExpectedError, match=message):
        parse_options(entry)


def test_options_have_defaults():
    """Each may be left out."""
    assert parse_options({}) == Options()
    assert parse_options({"max_bad_lines": 0, "legacy_winners": True}) == Options(
        max_bad_lines=0.0, legacy_winners=True
    )
