"""Three games on a real file whose arrays were worked out by hand.

golden/games.trmph has a header, then in line 2 a game in which blue goes down column a (a1 a2 .. a13) and red
down column b (b1 .. b12), until blue has joined; line 3 is blank; in line 4 blue goes along row 2 (a2 .. m2) and red
along row 1 (a1 .. m1), until red has joined; line 5 holds a move that is not on the board; line 6 is line 2 turned by
180 degrees: blue goes up column m, red up column l.

After the 3 moves a1 b1 a2 of line 2 blue has the cells 0 and 13, red the cell 1: bits 0, 13 and 169 + 1 of the row, the
highest bits of byte 0, byte 1 without 5 bits, byte 21 without 2: 128, 4 and 32.
"""

from pathlib import Path

import numpy as np
import pytest

from stages.core import bits
from stages.datasets.hex import encode
from stages.datasets.hex.find import find

GOLDEN = Path(__file__).parent / "golden"


def arrays(**options):
    units = find(GOLDEN, options)
    return encode.encode(encode.read(GOLDEN, units, options), options)


@pytest.fixture(scope="module")
def golden():
    return arrays()


def boards(found):
    return bits.unpack(found["board"], encode.FIELDS["board"].bits)


def test_positions_of_a_game(golden):
    """25 and 26 moves: the boards before the first move, after three, and at the end."""
    assert golden["group_offsets"].tolist() == [0, 26, 53, 79]
    assert golden["ply"].tolist() == [*range(26), *range(27), *range(26)]
    assert dict(enumerate(golden["board"][3])).items() >= {0: 128, 1: 4, 21: 32}.items()
    board = boards(golden)
    assert not board[[0, 26, 53]].any()
    assert np.argwhere(board[3]).tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 1]]
    down = np.zeros((2, 13, 13))
    down[0, :, 0] = down[1, :12, 1] = 1
    along = np.zeros((2, 13, 13))
    along[0, 1] = along[1, 0] = 1
    np.testing.assert_array_equal(board[[25, 52, 78]], [down, along, down[:, ::-1, ::-1]])


def test_labels_and_keys_of_a_game(golden):
    names = encode.FIELDS["label_policy"].names
    assert [names[cell] for cell in golden["label_policy"][:4]] == ["a1", "b1", "a2", "b2"]
    assert [names[cell] for cell in golden["label_policy"][26:30]] == ["a2", "a1", "b2", "b1"]
    assert [names[cell] for cell in golden["label_policy"][[24, 51, 77]]] == ["a13", "m1", "m1"]
    assert golden["label_policy"][[25, 52, 78]].tolist() == [-1, -1, -1]
    assert golden["label_value"].tolist() == [0] * 26 + [1] * 27 + [0] * 26
    assert golden["player_to_move"][:3].tolist() == [0, 1, 0]
    assert golden["n_plies"].tolist() == [25] * 26 + [26] * 27 + [25] * 26
    assert golden["line"].tolist() == [2] * 26 + [4] * 27 + [6] * 26


@pytest.mark.parametrize(("positions", "ply"), [("final", [25, 26, 25]), ("penultimate", [24, 25, 24])])
def test_one_position_of_each_game_is_that_of_all(golden, positions, ply):
    """One row a game, with tier 0; everything else as among all positions."""
    found, row = arrays(positions=positions), golden["group_offsets"][:-1] + ply
    for name in set(encode.FIELDS) - {"tier"}:
        np.testing.assert_array_equal(found[name], golden[name][row], name)
    assert found["ply"].tolist() == ply
    assert found["tier"].tolist() == [0, 0, 0]
    assert found["group_offsets"].tolist() == [0, 1, 2, 3]


def test_a_turned_game_is_the_same_if_wanted(golden):
    """Line 6 is line 2 turned by 180 degrees."""
    assert len(set(golden["group_id"])) == 3
    first, other, turned = arrays(duplicates="symmetric")["group_id"]
    assert first == turned != other


def test_units_may_be_of_any_size(golden):
    """Pieces of two lines: other lines and sources, else the same."""
    found = arrays(games_per_unit=2)
    for name in {*encode.FIELDS, "group_id", "group_offsets"} - {"line"}:
        np.testing.assert_array_equal(found[name], golden[name], name)
    assert found["line"][found["group_offsets"][:-1]].tolist() == [2, 2, 2]
    assert found["source"].tolist() == [0, 1, 2]


def test_what_is_left_out_is_found():
    [unit] = find(GOLDEN, {})
    [finding] = encode.findings(encode.read(GOLDEN, [unit], {}))
    assert (finding.line, finding.reason, finding.where) == (5, "move outside the board", "games.trmph:5")
