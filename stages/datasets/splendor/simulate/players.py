"""Seeded players: each maps a position and a random generator to a legal move, or None when it is stuck.

`choose_random` draws from all legal moves. `choose_greedy` builds the most valuable card it can pay, else
takes the tokens it misses most for the cards that look best, and gives back what its best card does not
need. It finds its move directly: with a full hand there can be hundreds of legal returns.
"""

import random
from collections.abc import Callable

from stages.datasets.splendor.schema import CARDS, DOUBLE_TAKE_MINIMUM, HAND_LIMIT, NOBLE_VP, NOBLES
from stages.datasets.splendor.simulate.engine import (
    BUILD,
    COSTS,
    GOLD,
    NO_NOBLE,
    NOTHING,
    TAKE2,
    TAKE3,
    TAKE3_INDEX,
    Move,
    Seat,
    State,
    attainable_nobles,
    candidates,
    legal_moves,
    missing_tokens,
    taken_colours,
)

Player = Callable[[State, random.Random], Move | None]

# A card that cannot be paid yet: its weight (points over distance), its index, the tokens missing per colour.
Wish = tuple[float, int, list[int]]

GREEDY_SHARE = 0.9
# What one more bonus is worth in points, alone and per noble on the table that still asks for its colour.
_BONUS_WORTH, _NOBLE_STEP_WORTH = 1.0, 0.4
# With 8 cards built and at most 8 tokens in hand, a card worth less than this is left for better ones: this
# brings the share of builds from 61 % to 49 % (real games: 52 %) and leaves the length of a game as it is.
_LATE, _ROOM_TO_SAVE, _LATE_WORTH = 8, 8, 2.5
# Smaller than any difference between two real scores: only breaks ties.
_TIE = 1e-9


def seat_players(n_players: int, rng: random.Random) -> list[Player]:
    """Draw a player for every seat, greedy with probability `GREEDY_SHARE`, at least one of them greedy."""
    players: list[Player] = [choose_greedy if rng.random() < GREEDY_SHARE else choose_random for _ in range(n_players)]
    if choose_greedy not in players:
        players[rng.randrange(n_players)] = choose_greedy
    return players


def choose_random(state: State, rng: random.Random) -> Move | None:
    """Choose uniformly among the legal moves."""
    moves = legal_moves(state)
    return rng.choice(moves) if moves else None


def choose_greedy(state: State, rng: random.Random) -> Move | None:
    """Choose the best build, else the most useful tokens, else any reservation; ties are drawn."""
    seat = state.seats[state.mover]
    builds, wishes = _rank(state, seat)
    can_take = any(state.bank[:GOLD])
    if builds:
        score, _, target, card = max([(score, rng.random(), target, card) for score, target, card in builds])
        saves = score < _LATE_WORTH and len(seat.built) >= _LATE and sum(seat.tokens) <= _ROOM_TO_SAVE
        if not (saves and can_take):
            nobles = attainable_nobles(state, CARDS[card].bonus)
            return Move(BUILD, target, NOTHING, rng.choice(nobles) if nobles else NO_NOBLE)
    return _take(state, wishes, rng) if can_take else choose_random(state, rng)


def _rank(state: State, seat: Seat) -> tuple[list[tuple[float, int, int]], list[Wish]]:
    """Score the cards in points: (score, target, card) of those that can be paid, wishes for the others."""
    worth = _worth_of_bonuses(state, seat)
    builds, wishes = [], []
    for target, card in candidates(state):
        missing = missing_tokens(seat, COSTS[card])
        distance = sum(missing) - seat.tokens[GOLD]
        score = CARDS[card].vp + worth[CARDS[card].bonus]
        if distance > 0:
            wishes.append((score / (1 + distance) ** 2, card, missing))
        else:
            noble = NOBLE_VP if attainable_nobles(state, CARDS[card].bonus) else 0
            builds.append((score + noble, target, card))
    return builds, wishes


def _worth_of_bonuses(state: State, seat: Seat) -> list[float]:
    """Value one more bonus of each colour in points."""
    worth = [_BONUS_WORTH] * 5
    for noble in state.nobles:
        for colour, need in enumerate(NOBLES[noble]):
            if need > seat.bonuses[colour]:
                worth[colour] += _NOBLE_STEP_WORTH
    return worth


def _take(state: State, wishes: list[Wish], rng: random.Random) -> Move:
    """Take the three colours, or the pair, that the wishes miss most."""
    single = [rng.random() * _TIE for _ in range(5)]
    double = [0.0] * 5
    for weight, _, missing in wishes:
        for colour, count in enumerate(missing):
            if count:
                single[colour] += weight
                double[colour] += weight if count > 1 else 0
    ranked = sorted([colour for colour in range(5) if state.bank[colour]], key=lambda colour: -single[colour])
    kind, target = TAKE3, TAKE3_INDEX[tuple(sorted(ranked[:3]))]
    best = sum([single[colour] for colour in ranked[:3]])
    for colour in ranked:
        if state.bank[colour] >= DOUBLE_TAKE_MINIMUM and single[colour] + double[colour] > best:
            kind, target, best = TAKE2, colour, single[colour] + double[colour]
    return Move(kind, target, _give_back(state, taken_colours(kind, target), wishes, rng))


def _give_back(state: State, taken: tuple[int, ...], wishes: list[Wish], rng: random.Random) -> tuple[int, ...]:
    """Give back tokens above the limit, those first that the best card needs least; gold last."""
    seat = state.seats[state.mover]
    over = sum(seat.tokens) + len(taken) - HAND_LIMIT
    if over <= 0:
        return NOTHING
    hand = seat.tokens.copy()
    for colour in taken:
        hand[colour] += 1
    cost = COSTS[max(wishes)[1]] if wishes else (0,) * 5
    spare = [hand[c] - max(0, cost[c] - seat.bonuses[c]) + rng.random() for c in range(5)]
    returned = [0] * 6
    for _ in range(over):
        held = [colour for colour in range(5) if hand[colour]]
        gem = max(held, key=lambda colour: spare[colour]) if held else GOLD
        hand[gem] -= 1
        returned[gem] += 1
        if gem != GOLD:
            spare[gem] -= 1
    return tuple(returned)
