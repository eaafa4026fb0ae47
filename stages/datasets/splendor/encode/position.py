"""The columns of a position under their names, with the face-up cards moved together: what features and masks read."""

from dataclasses import dataclass

import numpy as np

from stages.datasets.splendor import schema
from stages.datasets.splendor.schema import N_NOBLES, N_SEATS, N_SLOTS, RESERVED_LIMIT

VP, LEVEL, COST, BONUS = 0, 1, slice(2, 7), slice(7, 12)  # within a card's 12 values


@dataclass(frozen=True)
class Position:
    """The state before each move, columns first; every array is int8 and 0 where something is absent.

    Attributes
    ----------
    n_players, current
        (N,): number of players, absolute seat of the player to move.
    bank
        (6, N): tokens in the bank.
    visible
        (12, 12, N): face-up cards, those that exist first; [card, value of the card, row].
    decks
        (3, N): face-down cards per level.
    nobles
        (5, 6, N): nobles on the table.
    players
        (4, 49, N): players relative to the one to move.
    nobles_acquired
        (4, N): nobles each absolute seat took in earlier rows of the game.
    """

    n_players: np.ndarray
    current: np.ndarray
    bank: np.ndarray
    visible: np.ndarray
    decks: np.ndarray
    nobles: np.ndarray
    players: np.ndarray
    nobles_acquired: np.ndarray

    def reserved(self) -> np.ndarray:
        """Return the reserved cards, (4, 3, 12, N), relative players."""
        cards = self.players[:, schema.RESERVED_IN_PLAYER :]
        return cards.reshape(N_SEATS, RESERVED_LIMIT, schema.CARD_WIDTH, -1)


def position_of(state: np.ndarray, nobles_acquired: np.ndarray) -> Position:
    """Give names to the validated position columns.

    Parameters
    ----------
    state
        int8 (383, N): what `validate` returned.
    nobles_acquired
        int8 (4, N).
    """
    visible = state[schema.CARDS_COLUMN : schema.DECKS_COLUMN].reshape(N_SLOTS, schema.CARD_WIDTH, -1)
    return Position(
        n_players=state[schema.N_PLAYERS_COLUMN],
        current=state[schema.SEAT_COLUMN],
        bank=state[schema.BANK_COLUMN : schema.CARDS_COLUMN],
        visible=present_first(visible),
        decks=state[schema.DECKS_COLUMN : schema.NOBLES_COLUMN],
        nobles=state[schema.NOBLES_COLUMN : schema.PLAYERS_COLUMN].reshape(N_NOBLES, schema.NOBLE_WIDTH, -1),
        players=state[schema.PLAYERS_COLUMN :].reshape(N_SEATS, schema.PLAYER_WIDTH, -1),
        nobles_acquired=nobles_acquired,
    )


def present_first(cards: np.ndarray) -> np.ndarray:
    """Move the cards that exist to the front, keeping their order; `cards` is (C, 12, N)."""
    is_absent = cards[:, LEVEL] == 0
    out_of_order = (is_absent[:-1] & ~is_absent[1:]).any(0)
    if not out_of_order.any():
        return cards
    result = cards.copy()
    order = np.argsort(is_absent[:, out_of_order], axis=0, kind="stable")
    result[:, :, out_of_order] = np.take_along_axis(cards[:, :, out_of_order], order[:, None], 0)
    return result
