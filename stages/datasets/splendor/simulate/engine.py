"""The rules of Splendor as the logged games were played: position, legal moves, playing a move, winner.

Cards and nobles travel as indices into `schema.CARDS` and `schema.NOBLES`, colours as indices into
`schema.GEMS`. A position is a `State` of plain lists that `play` changes in place, because copying it for
every move would cost more than the move.

The logged games differ from the printed rules in three ways, and this engine follows the logs: nobles come
with a build only, tokens cannot be taken with a full hand while a card can be built, and a card can be
reserved only when nothing can be built or taken.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from stages.datasets.splendor.schema import (
    ACTION_TYPES,
    CARDS,
    DECK_SIZES,
    DOUBLE_TAKE_MINIMUM,
    GOLD_TOKENS,
    HAND_LIMIT,
    N_SLOTS,
    NOBLE_VP,
    NOBLES,
    REMOVED_CLASSES,
    RESERVED_LIMIT,
    SLOTS_PER_LEVEL,
    TAKE3_CLASSES,
    TOKENS_PER_COLOUR,
    WINNING_VP,
)

BUILD, RESERVE, TAKE2, TAKE3 = range(len(ACTION_TYPES))
GOLD = 5
NOTHING = (0,) * 6
NO_NOBLE = -1

COSTS = tuple(card.cost for card in CARDS)
TAKE3_INDEX = {colours: index for index, colours in enumerate(TAKE3_CLASSES)}
_RETURNS_BY_SIZE = tuple(tuple(tokens for tokens in REMOVED_CLASSES if sum(tokens) == n) for n in range(4))
_UNITS = tuple(tuple(int(gem == held) for gem in range(6)) for held in range(6))


class Move(NamedTuple):
    """A move.

    Attributes
    ----------
    kind : int
        `BUILD`, `RESERVE`, `TAKE2` or `TAKE3`: the index into `schema.ACTION_TYPES`.
    target : int
        Build: face-up card 0..11 (counted over the cards that exist, level 1 first) or own reserved card
        12..14. Reserve: face-up card 0..11 or the top of the deck of level 1..3 as 12..14. `TAKE2`: the
        colour. `TAKE3`: the index of the colours in `schema.TAKE3_CLASSES`.
    returned : tuple of int
        Tokens given back, `schema.GEMS` order.
    noble : int
        Index into the nobles on the table, or `NO_NOBLE`.
    """

    kind: int
    target: int
    returned: tuple[int, ...] = NOTHING
    noble: int = NO_NOBLE


@dataclass(slots=True)
class Seat:
    """What one player holds: tokens (6), bonuses (5), points, and card and noble indices."""

    tokens: list[int] = field(default_factory=lambda: [0] * 6)
    bonuses: list[int] = field(default_factory=lambda: [0] * 5)
    vp: int = 0
    reserved: list[int] = field(default_factory=list)
    built: list[int] = field(default_factory=list)
    nobles: list[int] = field(default_factory=list)


@dataclass(slots=True)
class State:
    """A position: bank (6), face-up rows and decks per level (top card last), nobles on the table, seats."""

    bank: list[int]
    rows: list[list[int]]
    decks: list[list[int]]
    nobles: list[int]
    seats: list[Seat]
    mover: int = 0
    round: int = 1
    is_last_round: bool = False
    is_finished: bool = False


def new_game(n_players: int, rng: random.Random) -> State:
    """Shuffle the decks of level 1, 2 and 3, then the nobles, and deal a game for `n_players` (2..4)."""
    decks, first = [], 0
    for size in DECK_SIZES:
        deck = list(range(first, first + size))
        rng.shuffle(deck)
        decks.append(deck)
        first += size
    nobles = list(range(len(NOBLES)))
    rng.shuffle(nobles)
    rows = [[deck.pop() for _ in range(SLOTS_PER_LEVEL)] for deck in decks]
    bank = [TOKENS_PER_COLOUR[n_players]] * 5 + [GOLD_TOKENS]
    return State(bank, rows, decks, nobles[: n_players + 1], [Seat() for _ in range(n_players)])


def candidates(state: State) -> list[tuple[int, int]]:
    """List (build target, card) of the face-up cards and of the mover's reserved cards."""
    level1, level2, level3 = state.rows
    cards = list(enumerate(level1 + level2 + level3))
    return cards + list(enumerate(state.seats[state.mover].reserved, N_SLOTS))


def missing_tokens(seat: Seat, cost: Sequence[int]) -> list[int]:
    """Count the coloured tokens per colour that a seat lacks to pay a cost without gold."""
    return [
        cost_ - bonus - token if cost_ > bonus + token else 0
        for cost_, bonus, token in zip(cost, seat.bonuses, seat.tokens, strict=False)
    ]


def attainable_nobles(state: State, bonus: int) -> list[int]:
    """List the nobles on the table, by position, whom one more bonus of a colour brings to the mover."""
    bonuses = state.seats[state.mover].bonuses.copy()
    bonuses[bonus] += 1
    return [
        position
        for position, noble in enumerate(state.nobles)
        if not any(need > owned for need, owned in zip(NOBLES[noble], bonuses, strict=True))
    ]


def taken_colours(kind: int, target: int) -> tuple[int, ...]:
    """Give the colour of every token that a take hands out, a doubled colour twice."""
    return (target, target) if kind == TAKE2 else TAKE3_CLASSES[target]


def available_takes(bank: Sequence[int]) -> list[tuple[int, int]]:
    """List (kind, target) of the takes the bank allows: as many different colours as possible, or a pair."""
    colours = [colour for colour in range(5) if bank[colour]]
    takes: list[tuple[int, int]] = []
    if colours:
        takes += [(TAKE3, TAKE3_INDEX[chosen]) for chosen in combinations(colours, min(3, len(colours)))]
    return takes + [(TAKE2, colour) for colour in colours if bank[colour] >= DOUBLE_TAKE_MINIMUM]


@lru_cache(maxsize=1 << 14)
def returns(hand: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """List every way to bring a hand (6 token counts) back to the limit; one empty return if it is within."""
    surplus = max(0, sum(hand) - HAND_LIMIT)
    return tuple(
        tokens
        for tokens in _RETURNS_BY_SIZE[surplus]
        if all(token <= held for token, held in zip(tokens, hand, strict=True))
    )


def legal_moves(state: State) -> list[Move]:
    """List the legal moves: builds, then takes, or reservations if there is neither.

    Parameters
    ----------
    state : State
        The position; not changed.

    Returns
    -------
    list of Move
        Builds of face-up then reserved cards, one per attainable noble; takes, one per possible return.
        Empty when the game is over or the mover is stuck.
    """
    if state.is_finished:
        return []
    builds = _build_moves(state)
    hand_is_full = sum(state.seats[state.mover].tokens) >= HAND_LIMIT
    takes = [] if builds and hand_is_full else _take_moves(state)
    return builds + takes or _reserve_moves(state)


def _build_moves(state: State) -> list[Move]:
    seat = state.seats[state.mover]
    moves = []
    for target, card in candidates(state):
        if sum(missing_tokens(seat, COSTS[card])) <= seat.tokens[GOLD]:
            nobles = attainable_nobles(state, CARDS[card].bonus) or [NO_NOBLE]
            moves += [Move(BUILD, target, NOTHING, noble) for noble in nobles]
    return moves


def _take_moves(state: State) -> list[Move]:
    moves = []
    for kind, target in available_takes(state.bank):
        hand = state.seats[state.mover].tokens.copy()
        for colour in taken_colours(kind, target):
            hand[colour] += 1
        moves += [Move(kind, target, returned) for returned in returns(tuple(hand))]
    return moves


def _reserve_moves(state: State) -> list[Move]:
    seat = state.seats[state.mover]
    if len(seat.reserved) >= RESERVED_LIMIT:
        return []
    targets, first = [], 0
    for level, (row, deck) in enumerate(zip(state.rows, state.decks, strict=True)):
        targets += list(range(first, first + len(row)))
        targets += [N_SLOTS + level] if deck else []
        first += len(row)
    returned: list[tuple[int, ...]] = [NOTHING]
    if sum(seat.tokens) == HAND_LIMIT and state.bank[GOLD]:
        returned = [unit for unit, held in zip(_UNITS, seat.tokens, strict=True) if held]
    return [Move(RESERVE, target, tokens) for target in targets for tokens in returned]


def play(state: State, move: Move) -> None:
    """Play a legal move: the action, the returned tokens, the noble, then the next player's turn."""
    seat = state.seats[state.mover]
    if move.kind == BUILD:
        _build(state, seat, move.target)
    elif move.kind == RESERVE:
        _reserve(state, seat, move.target)
    else:
        for colour in taken_colours(move.kind, move.target):
            state.bank[colour] -= 1
            seat.tokens[colour] += 1
    if move.returned != NOTHING:
        for gem, count in enumerate(move.returned):
            state.bank[gem] += count
            seat.tokens[gem] -= count
    if move.noble != NO_NOBLE:
        seat.nobles.append(state.nobles.pop(move.noble))
        seat.vp += NOBLE_VP
    _end_move(state, seat)


def _build(state: State, seat: Seat, target: int) -> None:
    card = seat.reserved.pop(target - N_SLOTS) if target >= N_SLOTS else _draw(state, target)
    for colour, missing in enumerate(missing_tokens(seat, COSTS[card])):
        paid = max(0, COSTS[card][colour] - seat.bonuses[colour] - missing)
        seat.tokens[colour] -= paid
        state.bank[colour] += paid
        seat.tokens[GOLD] -= missing
        state.bank[GOLD] += missing
    seat.built.append(card)
    seat.bonuses[CARDS[card].bonus] += 1
    seat.vp += CARDS[card].vp


def _reserve(state: State, seat: Seat, target: int) -> None:
    card = state.decks[target - N_SLOTS].pop() if target >= N_SLOTS else _draw(state, target)
    seat.reserved.append(card)
    if state.bank[GOLD]:
        state.bank[GOLD] -= 1
        seat.tokens[GOLD] += 1


def _draw(state: State, position: int) -> int:
    """Take face-up card `position`; the row closes up and the next card of the deck joins it on the right."""
    level = 0
    while position >= len(state.rows[level]):
        position -= len(state.rows[level])
        level += 1
    card = state.rows[level].pop(position)
    if state.decks[level]:
        state.rows[level].append(state.decks[level].pop())
    return card


def _end_move(state: State, seat: Seat) -> None:
    state.is_last_round |= seat.vp >= WINNING_VP
    state.mover = (state.mover + 1) % len(state.seats)
    if state.mover == 0:
        state.is_finished = state.is_last_round
        state.round += not state.is_finished


def is_over(state: State) -> bool:
    """Tell whether the round in which somebody reached 15 points is complete."""
    return state.is_finished


def winner(state: State) -> int:
    """Name the seat with most points; ties go to fewer built cards, then to the lower seat."""
    ranks = [(-seat.vp, len(seat.built), position) for position, seat in enumerate(state.seats)]
    return min(ranks)[2]
