"""What each of the 403 columns of a log may hold: its least value, its greatest, and whether it may be empty."""

from typing import NamedTuple

import numpy as np

from stages.datasets.splendor import schema

N_COLOURS = len(schema.COLOURS)
N_LEVELS = len(schema.DECK_SIZES)
MOST_TOKENS = max(schema.TOKENS_PER_COLOUR.values())
MOST_VP = 22  # 14 before the last move, then a card of 5 and a noble of 3
MOST_CARD_VP, MOST_COST, MOST_REQUIRED = 5, 7, 4
MOST_RETURNED = 3
BONUSES_PER_COLOUR = 18


class _Range(NamedTuple):
    """What a column may hold, both ends included."""

    low: int
    high: int
    may_be_empty: bool


def _given(high: int, low: int = 0) -> _Range:
    return _Range(low, high, may_be_empty=False)


def _optional(high: int) -> _Range:
    return _Range(0, high, may_be_empty=True)


def _keys() -> list[_Range]:
    """Return the ranges of game, number of players, round and seat; the first and the third have their own arrays."""
    n_players = _given(max(schema.PLAYER_COUNTS), low=min(schema.PLAYER_COUNTS))
    return [_given(0), n_players, _given(0), _given(schema.N_SEATS - 1)]


def _table_and_players() -> list[_Range]:
    tokens = [*[MOST_TOKENS] * N_COLOURS, schema.GOLD_TOKENS]
    card = [
        _optional(MOST_CARD_VP),
        _optional(N_LEVELS),
        *[_optional(MOST_COST)] * N_COLOURS,
        *[_optional(1)] * N_COLOURS,  # bonus
    ]
    noble = [_optional(schema.NOBLE_VP), *[_optional(MOST_REQUIRED)] * N_COLOURS]
    player = [
        _optional(schema.N_SEATS - 1),
        _optional(MOST_VP),
        *[_optional(most) for most in tokens],
        *[_optional(BONUSES_PER_COLOUR)] * N_COLOURS,
        *card * schema.RESERVED_LIMIT,
    ]
    return [
        *[_given(most) for most in tokens],  # the bank
        *card * schema.N_SLOTS,
        *[_given(size - schema.SLOTS_PER_LEVEL) for size in schema.DECK_SIZES],
        *noble * schema.N_NOBLES,
        *player * schema.N_SEATS,
    ]


def _move() -> list[_Range]:
    return [
        _given(len(schema.ACTION_TYPES) - 1),
        _optional(schema.HEADS["card_selection"] - 1),
        _optional(schema.HEADS["card_reservation"] - 1),
        *[_optional(1)] * N_COLOURS,  # gem_take3
        *[_optional(2)] * N_COLOURS,  # gem_take2
        _given(schema.N_NOBLES - 1, low=-1),
        *[_given(MOST_RETURNED)] * len(schema.GEMS),
    ]


def _column_ranges() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return per column the least value, the greatest, and whether it may be empty, each (403, 1)."""
    ranges = [*_keys(), *_table_and_players(), *_move()]
    low, high, may_be_empty = np.array(ranges, np.int8).T[:, :, None]
    return low, high, may_be_empty.astype(bool)


LOW, HIGH, MAY_BE_EMPTY = _column_ranges()
