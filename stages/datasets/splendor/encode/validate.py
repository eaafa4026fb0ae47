"""Check the parsed rows of some games against the rules of the log; the first violation is a `BadUnit`.

Checked for every row: the range of each column and which may be empty; a card is one of the 90 and lies in a slot of
its level; a noble is one of the ten; cards, nobles and reserved cards leave no gap; seats, positions and rounds follow
the turn order; a hand holds at most ten tokens; the move's columns are those of its action type, and the card or noble
it names is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.errors import BadUnit
from stages.datasets.splendor import schema
from stages.datasets.splendor.encode.parse import MISSING, Table
from stages.datasets.splendor.encode.ranges import HIGH, LOW, MAY_BE_EMPTY, MOST_RETURNED

BUILD, RESERVE, TAKE2, TAKE3 = range(4)
PLAYERS_END = schema.ACTION_COLUMN
N_COLOURS = len(schema.COLOURS)
N_CARD_KEYS = 8**5


@dataclass(frozen=True)
class Rows:
    """A parsed table and the file of each of its games."""

    table: Table
    files: Sequence[str]

    def require(
        self, good: np.ndarray, columns: Sequence[int] | np.ndarray, expected: str, found: np.ndarray | None = None
    ) -> None:
        """Raise for the first row in which `good` is false.

        Parameters
        ----------
        good
            bool (C, N), or (N,) for a single column.
        columns
            The CSV column of each row of `good`.
        expected
            What the message says is expected.
        found
            What the message says was found, shaped like `good`; default the column's value.
        """
        if good.all():
            return
        good = np.atleast_2d(good)
        row = int(np.argmin(good.all(0)))
        index = int(np.argmin(good[:, row]))
        column = columns[index]
        value = (self.table.values[column] if found is None else np.atleast_2d(found)[index])[row]
        if column == schema.ACTION_COLUMN:
            text = repr(schema.ACTION_TYPES[value])
        else:
            text = "empty" if value == MISSING else str(value)
        raise BadUnit(
            f"{self._line(row)}: {schema.RAW_COLUMNS[column]} is {text}, expected {expected}; "
            "correct the file or raise splendor.max_bad_units"
        )

    def _line(self, row: int) -> str:
        game = int(np.searchsorted(self.table.offsets, row, side="right")) - 1
        return f"{self.files[game]}:{row - self.table.offsets[game] + 2}"


def _card_tables() -> tuple[np.ndarray, np.ndarray]:
    """Return the card of each cost key, -1 for none, and per column of a card its 90 values and a last 0."""
    cards = np.zeros((schema.CARD_WIDTH, len(schema.CARDS) + 1), np.int8)
    for index, card in enumerate(schema.CARDS):
        bonus = [int(colour == card.bonus) for colour in range(5)]
        cards[:, index] = [card.vp, card.level, *card.cost, *bonus]
    by_key = np.full(N_CARD_KEYS, -1, np.int8)
    by_key[_key(cards[2:7, :-1])] = np.arange(len(schema.CARDS))
    return by_key, cards


def _noble_keys() -> np.ndarray:
    known = np.zeros(N_CARD_KEYS, bool)
    known[_key(np.array(schema.NOBLES, np.int8).T)] = True
    return known


def _key(costs: np.ndarray) -> np.ndarray:
    """Return one number for five values of 0..7, the first axis: they are its digits in base 8."""
    key = costs[0].astype(np.int16)
    for cost in costs[1:]:
        key = key * np.int16(8) + cost
    return key


CARD_BY_KEY, CARD_VALUES = _card_tables()
IS_NOBLE = _noble_keys()


def validate(table: Table, files: Sequence[str]) -> np.ndarray:
    """Check every row and return the position columns with 0 for what is empty.

    Parameters
    ----------
    table
        Parsed rows.
    files
        Per game the file, for messages.

    Returns
    -------
    ndarray
        int8 (383, N): the columns before the move.

    Raises
    ------
    BadUnit
        With file, line, column, found and expected.
    """
    rows = Rows(table, files)
    _check_ranges(rows)
    state = np.maximum(table.values[:PLAYERS_END], 0)
    _check_turns(rows)
    _check_players(rows, state)
    n_visible = _check_visible(rows, state)
    n_nobles = _check_nobles(rows, state)
    n_reserved = _check_reserved(rows, state)
    _check_move(rows, n_visible, n_reserved, n_nobles)
    return state


def _check_ranges(rows: Rows) -> None:
    values = rows.table.values
    is_empty = values == MISSING
    good = ((values >= LOW) & (values <= HIGH)) | is_empty
    if not good.all():
        column = int(np.argmin(good.all(1)))
        rows.require(good[column], [column], f"{LOW[column, 0]}..{HIGH[column, 0]}")
    rows.require(~is_empty | MAY_BE_EMPTY, range(schema.N_COLUMNS), "a number")


def _check_turns(rows: Rows) -> None:
    """Check that game, players and the order of seats and rounds are those of one game."""
    table = rows.table
    sizes = np.diff(table.offsets)
    first = np.repeat(table.offsets[:-1], sizes)
    row = np.arange(len(first)) - first
    n_players, seat = table.values[schema.N_PLAYERS_COLUMN], table.values[schema.SEAT_COLUMN]
    is_game = table.game_id == table.game_id[first]
    rows.require(is_game, [schema.GAME_COLUMN], "the game id of the first row", table.game_id)
    is_number = n_players == n_players[first]
    rows.require(is_number, [schema.N_PLAYERS_COLUMN], "the number of players of the first row")
    rows.require(seat == row % n_players, [schema.SEAT_COLUMN], "the next seat in turn order, from 0")
    is_round = table.turn_number == row // n_players + 1
    rows.require(is_round, [schema.TURN_COLUMN], "the round, from 1, one for each seat", table.turn_number)
    last = table.offsets[1:] - 1
    is_complete = np.ones(len(row), bool)
    is_complete[last] = seat[last] == n_players[last] - 1
    expected = "the last seat in a game's last row (a game ends with a full round; truncated?)"
    rows.require(is_complete, [schema.SEAT_COLUMN], expected)


def _check_players(rows: Rows, state: np.ndarray) -> None:
    """Check that a seat is there or wholly empty, sits in turn order and holds at most ten tokens."""
    values = rows.table.values
    n_players, current = values[schema.N_PLAYERS_COLUMN], values[schema.SEAT_COLUMN]
    for seat in range(schema.N_SEATS):
        start = schema.PLAYERS_COLUMN + seat * schema.PLAYER_WIDTH
        player = values[start : start + schema.PLAYER_WIDTH]
        is_there = seat < n_players
        columns = range(start, start + schema.PLAYER_WIDTH)
        rows.require(is_there | (player == MISSING), columns, "nothing for a seat that is not played")
        needed = player[: schema.RESERVED_IN_PLAYER]
        rows.require(~is_there | (needed != MISSING), columns[: schema.RESERVED_IN_PLAYER], "a number")
        position = (current + seat) % n_players
        rows.require(~is_there | (player[0] == position), [start], "seats in turn order from the player to move")
        gems_start = start + schema.GEMS_IN_PLAYER
        hand = state[gems_start : gems_start + 6].sum(0, dtype=np.int8)
        limit = f"at most {schema.HAND_LIMIT} tokens in a hand (sum over gems)"
        rows.require(hand <= schema.HAND_LIMIT, [gems_start], limit, hand)


def _check_cards(rows: Rows, cards: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Check that each card is one of the 90 or empty; return which are there.

    Parameters
    ----------
    rows
        The rows.
    cards
        int8 (C, 12, N), 0 for what is empty.
    columns
        (C,): the first CSV column of each card.
    """
    is_present = np.any(cards, axis=1)
    index = CARD_BY_KEY[_key(np.moveaxis(cards[:, 2:7], 1, 0))]
    rows.require(~is_present | (index >= 0), columns + 2, "a cost of one of the 90 cards (all five together)")
    for value in range(schema.CARD_WIDTH):
        known = CARD_VALUES[value][np.where(is_present, index, -1)]
        rows.require(cards[:, value] == known, columns + value, "the value of the card with this cost")
    return is_present


def _check_visible(rows: Rows, state: np.ndarray) -> np.ndarray:
    """Check that each face-up card is of its slot's level, without a gap; return how many there are, (N,)."""
    cards = state[schema.CARDS_COLUMN : schema.DECKS_COLUMN].reshape(schema.N_SLOTS, schema.CARD_WIDTH, -1)
    columns = schema.CARDS_COLUMN + schema.CARD_WIDTH * np.arange(schema.N_SLOTS)
    is_present = _check_cards(rows, cards, columns)
    level = np.arange(schema.N_SLOTS)[:, None] // schema.SLOTS_PER_LEVEL + 1
    rows.require(~is_present | (cards[:, 1] == level), columns + 1, "the level of its slot (four slots a level)")
    is_behind_gap = is_present[1:] & ~is_present[:-1] & (level[1:] == level[:-1])
    rows.require(~is_behind_gap, columns[1:], "no card after an empty slot of its level")
    return is_present.sum(0)


def _check_nobles(rows: Rows, state: np.ndarray) -> np.ndarray:
    """Check that each noble is one of the ten or empty, without a gap; return how many there are, (N,)."""
    nobles = state[schema.NOBLES_COLUMN : schema.PLAYERS_COLUMN].reshape(schema.N_NOBLES, schema.NOBLE_WIDTH, -1)
    columns = schema.NOBLES_COLUMN + schema.NOBLE_WIDTH * np.arange(schema.N_NOBLES)
    is_present = np.any(nobles, axis=1)
    known = IS_NOBLE[_key(np.moveaxis(nobles[:, 1:], 1, 0))]
    rows.require(~is_present | known, columns + 1, "the requirements of one of the ten nobles (all five together)")
    rows.require(~is_present | (nobles[:, 0] == schema.NOBLE_VP), columns, f"{schema.NOBLE_VP}")
    rows.require(~is_present[1:] | is_present[:-1], columns[1:], "no noble after an empty one")
    return is_present.sum(0)


def _check_reserved(rows: Rows, state: np.ndarray) -> np.ndarray:
    """Check all reserved cards; return how many the player to move has, (N,)."""
    counts = []
    for seat in range(schema.N_SEATS):
        start = schema.PLAYERS_COLUMN + seat * schema.PLAYER_WIDTH + schema.RESERVED_IN_PLAYER
        columns = start + schema.CARD_WIDTH * np.arange(schema.RESERVED_LIMIT)
        cards = state[start : start + schema.CARD_WIDTH * schema.RESERVED_LIMIT]
        is_present = _check_cards(rows, cards.reshape(schema.RESERVED_LIMIT, schema.CARD_WIDTH, -1), columns)
        rows.require(~is_present[1:] | is_present[:-1], columns[1:], "no reserved card after an empty place")
        counts.append(is_present.sum(0))
    return counts[0]


def _check_move(rows: Rows, n_visible: np.ndarray, n_reserved: np.ndarray, n_nobles: np.ndarray) -> None:
    """Check that the move's columns are those of its action type and name what is there."""
    _check_given(rows)
    _check_chosen_card(rows, n_visible, n_reserved)
    _check_taken(rows)
    _check_visit(rows, n_nobles)
    removed = rows.table.values[schema.REMOVED_COLUMN : schema.REMOVED_COLUMN + len(schema.GEMS)].sum(0)
    is_few = removed <= MOST_RETURNED
    rows.require(is_few, [schema.REMOVED_COLUMN], f"at most {MOST_RETURNED} tokens in all (sum over gems)", removed)


def _check_given(rows: Rows) -> None:
    """Check that the columns of the action type are filled, and those of the others are not."""
    values = rows.table.values
    action = values[schema.ACTION_COLUMN]
    for kind, first, count in (
        (BUILD, schema.CARD_SELECTION_COLUMN, 1),
        (RESERVE, schema.CARD_RESERVATION_COLUMN, 1),
        (TAKE3, schema.TAKE3_COLUMN, N_COLOURS),
        (TAKE2, schema.TAKE2_COLUMN, N_COLOURS),
    ):
        columns = range(first, first + count)
        is_given = values[first : first + count] != MISSING
        name = schema.ACTION_TYPES[kind]
        rows.require(is_given | (action != kind), columns, f"a number for action_type {name!r}")
        rows.require(~is_given | (action == kind), columns, f"nothing unless action_type is {name!r}")


def _check_chosen_card(rows: Rows, n_visible: np.ndarray, n_reserved: np.ndarray) -> None:
    """Check that the card that is built or reserved is there; `MISSING` is below all classes."""
    column = schema.CARD_SELECTION_COLUMN
    card = rows.table.values[column]
    exists = np.where(card < schema.N_SLOTS, card < n_visible, card < schema.N_SLOTS + n_reserved)
    rows.require(exists, [column], "a face-up card that exists, or 12.. for an own reserved one")
    column = schema.CARD_RESERVATION_COLUMN
    card = rows.table.values[column]
    is_from_deck = card >= schema.N_SLOTS - 1
    rows.require((card < n_visible) | is_from_deck, [column], "a face-up card that exists, or 11.. for a deck")


def _check_taken(rows: Rows) -> None:
    """Check that one to three colours, or two tokens of one colour, are taken."""
    values = rows.table.values
    action = values[schema.ACTION_COLUMN]
    taken = (values[schema.TAKE3_COLUMN : schema.TAKE3_COLUMN + N_COLOURS] == 1).sum(0)
    is_right = (action != TAKE3) | ((taken >= 1) & (taken <= 3))
    rows.require(is_right, [schema.TAKE3_COLUMN], "1 to 3 colours in all", taken)
    counts = values[schema.TAKE2_COLUMN : schema.TAKE2_COLUMN + N_COLOURS]
    is_pair = ((counts == 2).sum(0) == 1) & ~(counts == 1).any(0)
    rows.require((action != TAKE2) | is_pair, [schema.TAKE2_COLUMN], "2 in one colour, 0 in the others")


def _check_visit(rows: Rows, n_nobles: np.ndarray) -> None:
    """Check that a noble that visits is on the table, and that something was built."""
    column = schema.NOBLE_SELECTION_COLUMN
    noble = rows.table.values[column]
    is_build = rows.table.values[schema.ACTION_COLUMN] == BUILD
    rows.require(noble < n_nobles, [column], "-1 or a noble on the table")
    rows.require((noble < 0) | is_build, [column], "-1 unless action_type is 'build'")
