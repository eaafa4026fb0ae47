"""The seven label heads: the move of each row as class indices, -1 where a head does not apply."""

import numpy as np

from stages.datasets.splendor import schema
from stages.datasets.splendor.encode.parse import MISSING, Table
from stages.datasets.splendor.encode.validate import RESERVE

FIRST_DECK_CLASS = 12
OLD_FIRST_DECK_CLASS = 11


def _take3_table() -> np.ndarray:
    """Return the class of each set of colours written as bits, -1 for none and for more than three."""
    table = np.full(32, -1, np.int16)
    for index, colours in enumerate(schema.TAKE3_CLASSES):
        table[sum(1 << colour for colour in colours)] = index
    table[0] = -1
    return table


def _removed_table() -> np.ndarray:
    """Return the class of each six returned tokens written in base 4."""
    table = np.full(4**6, -1, np.int16)
    for index, tokens in enumerate(schema.REMOVED_CLASSES):
        table[sum(count * 4**place for place, count in enumerate(tokens))] = index
    return table


TAKE3_CLASS = _take3_table()
REMOVED_CLASS = _removed_table()


def encode(table: Table) -> dict[str, np.ndarray]:
    """Return the class of each head, int16 (N,), of a validated table."""
    values = table.values
    take3 = values[schema.TAKE3_COLUMN : schema.TAKE3_COLUMN + 5] == 1
    take2 = values[schema.TAKE2_COLUMN : schema.TAKE2_COLUMN + 5] == 2
    removed = values[schema.REMOVED_COLUMN : schema.REMOVED_COLUMN + 6].astype(np.intp)
    card = values[schema.CARD_SELECTION_COLUMN]
    return {
        "action_type": values[schema.ACTION_COLUMN].astype(np.int16),
        "card_selection": np.where(card == MISSING, -1, card).astype(np.int16),
        "card_reservation": _reservation(table),
        "gem_take3": TAKE3_CLASS[(take3 * (1 << np.arange(5))[:, None]).sum(0)],
        "gem_take2": np.where(take2.any(0), take2.argmax(0), -1).astype(np.int16),
        "noble": values[schema.NOBLE_SELECTION_COLUMN].astype(np.int16),
        "gems_removed": REMOVED_CLASS[(removed * (4 ** np.arange(6))[:, None]).sum(0)],
    }


def _reservation(table: Table) -> np.ndarray:
    """Return the class of card_reservation, a draw from the deck of level L being 11 + L.

    The old exporter wrote such a draw as 10 + L, so its 11 means two things and its 12 and 13 are one too low. What
    was reserved shows in the next row, where the mover is the last player: a card of another level than the face-up
    card 11, or fewer than 12 face-up cards, tells a draw, and the card's level tells its deck. A game's last row has
    no next one; there the old exporter's numbers are taken as such, and 14 as the deck of level 3.
    """
    values = table.values
    written = values[schema.CARD_RESERVATION_COLUMN]
    result = np.where(written == MISSING, -1, written).astype(np.int16)
    rows = np.flatnonzero((values[schema.ACTION_COLUMN] == RESERVE) & (written >= OLD_FIRST_DECK_CLASS))
    if not len(rows):
        return result
    levels = values[schema.CARDS_COLUMN + 1 : schema.DECKS_COLUMN : schema.CARD_WIDTH, rows]
    n_visible = (levels > 0).sum(0)
    level = _reserved_level(table, rows)
    old_class = np.minimum(written[rows] + 1, FIRST_DECK_CLASS + 2)
    known_class = OLD_FIRST_DECK_CLASS + level
    deck_class = np.where(level > 0, known_class, old_class)
    # Face-up card 11 is the last of twelve, so it is of level 3, and a level 3 deck is never written as 11.
    is_visible = (written[rows] == OLD_FIRST_DECK_CLASS) & (n_visible == schema.N_SLOTS) & (level != 1)
    result[rows] = np.where(is_visible, OLD_FIRST_DECK_CLASS, deck_class)
    return result


def _reserved_level(table: Table, rows: np.ndarray) -> np.ndarray:
    """Return the level of the card reserved in each of `rows`, 0 in a game's last row."""
    values = table.values
    is_last = np.isin(rows + 1, table.offsets)
    following = np.where(is_last, rows, rows + 1)
    mover = values[schema.N_PLAYERS_COLUMN, rows].astype(np.intp) - 1
    first = schema.PLAYERS_COLUMN + mover * schema.PLAYER_WIDTH + schema.RESERVED_IN_PLAYER + 1
    slots = first + schema.CARD_WIDTH * np.arange(schema.RESERVED_LIMIT)[:, None]
    levels = np.maximum(values[slots, following], 0)
    newest = np.maximum((levels > 0).sum(0) - 1, 0)
    return np.where(is_last, 0, np.take_along_axis(levels, newest[None], 0)[0]).astype(np.int16)
