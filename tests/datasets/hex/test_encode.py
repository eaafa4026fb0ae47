"""Random games of random lengths: boards equal a plain replay, and a game's rows do not depend on other games."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core import bits
from stages.datasets.hex import encode
from stages.datasets.hex.encode import positions
from stages.datasets.hex.encode.games import Games
from stages.datasets.hex.encode.identity import group_ids
from stages.datasets.hex.schema import N_CELLS

SELECTORS = ("all", "final", "penultimate")
PER_ROW = (*encode.FIELDS, "group_id")
LISTS = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(1, N_CELLS)), min_size=1, max_size=6)


def table(games):
    """Return games, each a list of cells, as a table; the winner is whoever moved last."""
    sizes = [len(cells) for cells in games]
    return Games(
        cells=np.concatenate([np.empty(0, np.uint8), *games]).astype(np.uint8),
        offsets=np.cumsum([0, *sizes]),
        winner=np.array([(size + 1) % 2 for size in sizes], np.uint8),
        unit=np.zeros(len(games), np.int32),
        line=np.arange(1, len(games) + 1, dtype=np.int32),
        findings=(),
    )


def drawn(seed, n_plies):
    return np.random.default_rng(seed).permutation(N_CELLS)[:n_plies]


def replayed(cells):
    """Return the boards of one game, one stone at a time."""
    board = np.zeros((2, 13, 13), np.uint8)
    result = [board.copy()]
    for ply, cell in enumerate(cells.tolist()):
        board[ply % 2, cell // 13, cell % 13] = 1
        result.append(board.copy())
    return np.array(result)


def wanted(rows, selector):
    return {"all": rows, "final": rows[-1:], "penultimate": rows[-2:-1]}[selector]


@settings(max_examples=60)
@given(LISTS, st.sampled_from(SELECTORS))
def test_boards_and_labels_equal_a_plain_replay(draws, selector):
    """From one stone to a full board."""
    games = [drawn(*draw) for draw in draws]
    found = encode.encode(table(games), {"positions": selector})
    expected = np.concatenate([wanted(replayed(cells), selector) for cells in games])
    np.testing.assert_array_equal(bits.unpack(found["board"], (2, 13, 13)), expected)
    np.testing.assert_array_equal(found["board"], bits.pack(expected))
    policy = np.concatenate([wanted(np.append(cells, -1), selector) for cells in games])
    np.testing.assert_array_equal(found["label_policy"], policy)
    to_move = expected[:, 0].sum(axis=(1, 2)) - expected[:, 1].sum(axis=(1, 2), dtype=np.int64)
    np.testing.assert_array_equal(found["player_to_move"], to_move)


@settings(max_examples=40)
@given(LISTS, st.sampled_from(SELECTORS), st.integers(-(2**70), 2**70))
def test_rows_of_a_game_do_not_depend_on_the_others(draws, selector, seed):
    """Tiers and ids included: adding games changes nothing in those that are there."""
    games = [drawn(*draw) for draw in draws]
    options = {"positions": selector, "tier_seed": seed}
    together = encode.encode(table(games), options)
    alone = [encode.encode(table([cells]), options) for cells in games]
    for name in set(PER_ROW) - {"line"}:
        np.testing.assert_array_equal(together[name], np.concatenate([one[name] for one in alone]), name)
    assert np.diff(together["group_offsets"]).tolist() == [len(one["board"]) for one in alone]


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("games", [[], [drawn(7, 30), drawn(8, 1)]])
def test_arrays_are_those_declared(selector, games):
    """No games, as from a file of headers, included."""
    found = encode.encode(table(games), {"positions": selector})
    for name, field in encode.FIELDS.items():
        assert (found[name].dtype, found[name].shape[1:]) == (np.dtype(field.dtype), field.shape), name
    assert [found[name].dtype for name in ("group_id", "group_offsets", "source")] == [np.uint64, np.int64, np.int32]
    assert len(found["group_offsets"]) == len(games) + 1
    assert {len(found[name]) for name in encode.FIELDS} == {found["group_offsets"][-1]}
    assert found["board"].flags.c_contiguous


def test_tiers_hold_5_5_10_and_the_rest():
    """Of games with 1 to 170 positions but for the one without a move, which does not exist."""
    found = encode.encode(table([drawn(n, n) for n in range(1, N_CELLS + 1)]), {})
    for start, stop in zip(found["group_offsets"][:-1], found["group_offsets"][1:], strict=True):
        sizes = np.bincount(found["tier"][start:stop], minlength=4)
        n = stop - start
        assert sizes.tolist() == [min(n, 5), min(max(n - 5, 0), 5), min(max(n - 10, 0), 10), max(n - 20, 0)]


def test_tiers_are_drawn_evenly_and_by_the_seed():
    """Over 3,000 games each of 61 plies is in each tier as often as the others: within 5 standard deviations."""
    ids = np.random.default_rng(1).integers(0, 2**64, 3000, np.uint64)
    rows = positions.rows(np.full(3000, 60), "all")
    tier = positions.tiers(ids, rows, 42).reshape(3000, 61)
    for which, size in enumerate((5, 5, 10, 41)):
        share = size / 61
        deviation = (tier == which).sum(axis=0) - 3000 * share
        assert np.abs(deviation).max() < 5 * np.sqrt(3000 * share * (1 - share)), which
    other = positions.tiers(ids, rows, 43).reshape(3000, 61)
    both = ((tier == 0) & (other == 0)).sum()
    assert both == pytest.approx(3000 * 61 * (5 / 61) ** 2, rel=0.15)


def test_symmetric_ids_unite_a_game_and_its_rotation_only():
    """Mirrored games, and the same moves with another winner, stay apart."""
    cells = drawn(3, 40)
    row, column = np.divmod(cells, 13)
    games = table([cells, N_CELLS - 1 - cells, column * 13 + row, cells])
    winner = np.array([0, 0, 0, 1], np.uint8)
    exact, symmetric = (group_ids(games.cells, games.offsets, winner, which) for which in ("exact", "symmetric"))
    assert len(set(exact.tolist())) == 4
    assert symmetric[0] == symmetric[1]
    assert len(set(symmetric.tolist())) == 3
