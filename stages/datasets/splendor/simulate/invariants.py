"""What every reachable position satisfies, checked after every simulated move.

Together the checks catch any fault that creates, loses or duplicates a token, a card, a noble or a point.
"""

from stages.datasets.splendor.schema import (
    CARDS,
    GOLD_TOKENS,
    HAND_LIMIT,
    NOBLE_VP,
    RESERVED_LIMIT,
    SLOTS_PER_LEVEL,
    TOKENS_PER_COLOUR,
)
from stages.datasets.splendor.simulate.engine import State


class InvalidState(ValueError):
    """A position that no sequence of legal moves can reach."""


def check_invariants(state: State) -> None:
    """Check what every reachable position satisfies.

    Raises
    ------
    InvalidState
        If tokens or cards appeared or vanished, a limit is exceeded, a row is short while its deck is not
        empty, a count is negative, or points do not equal cards plus nobles.
    """
    for position, seat in enumerate(state.seats):
        where = f"round {state.round}, seat {position}"
        points = sum([CARDS[card].vp for card in seat.built]) + NOBLE_VP * len(seat.nobles)
        _expect(min(seat.tokens) >= 0, where, seat.tokens, "no negative token count")
        _expect(sum(seat.tokens) <= HAND_LIMIT, where, seat.tokens, "at most 10 tokens")
        _expect(len(seat.reserved) <= RESERVED_LIMIT, where, seat.reserved, "at most 3 reserved cards")
        _expect(sum(seat.bonuses) == len(seat.built), where, seat.bonuses, "one bonus per built card")
        _expect(seat.vp == points, where, seat.vp, f"{points} points of cards and nobles")
    _check_table(state, f"round {state.round}, table")


def _check_table(state: State, where: str) -> None:
    hands = [seat.tokens for seat in state.seats]
    tokens = [sum(counts) for counts in zip(state.bank, *hands, strict=True)]
    piles = [TOKENS_PER_COLOUR[len(state.seats)]] * 5 + [GOLD_TOKENS]
    _expect(min(state.bank) >= 0, where, state.bank, "no negative pile")
    _expect(tokens == piles, where, tokens, f"{piles} tokens in bank and hands")

    for row, deck in zip(state.rows, state.decks, strict=True):
        is_full = len(row) == SLOTS_PER_LEVEL
        is_rest = len(row) < SLOTS_PER_LEVEL and not deck
        _expect(is_full or is_rest, where, row, "4 cards")

    cards = [card for pile in (*state.rows, *state.decks) for card in pile]
    for seat in state.seats:
        cards += seat.built + seat.reserved
    _expect(len(cards) == len(set(cards)) == len(CARDS), where, len(cards), "every card exactly once")

    nobles = state.nobles + [noble for seat in state.seats for noble in seat.nobles]
    n_nobles = len(state.seats) + 1
    _expect(len(set(nobles)) == len(nobles) == n_nobles, where, nobles, "n + 1 nobles in all")


def _expect(holds: bool, where: str, found: object, expected: str) -> None:
    if not holds:
        raise InvalidState(f"{where}: found {found!r}, expected {expected}; report it as an engine fault")
