"""The 1,308 feature columns of a position, computed for many rows at once.

Everything is columns first, (..., N), so that each NumPy operation runs over N contiguous values. The columns, in
order, with their number:

1. raw (375): the CSV's position columns as they are, 0 for what is empty, without keys and player positions; face-up
   cards moved to the front where a level's row is short;
2. positions (24): slot of each face-up card (0..11) and reserved card (12..14), -1 where there is none;
3. strategic (886), all zero for seats that are not played, except the ranks. In these, **player is the absolute
   seat**, while the raw columns are relative to the player to move. Card 0..14 are the face-up cards, then at once the
   seat's reserved cards;
4. one-hot (23): current player, number of players, absolute seat of each relative player (all zero for an absent one).

All values are whole numbers in -7..90, so they are int8.
"""

from collections.abc import Sequence

import numpy as np

from stages.datasets.splendor import schema
from stages.datasets.splendor.encode.columns import (
    AFTER_BUY_NAMES,
    CARD_NAMES,
    COMPARISON_NAMES,
    KEPT,
    N_CARDS,
    NAMES,
    NOBLE_NAMES,
    PART_ENDS,
    RANK_NAMES,
    STRATEGIC_ENDS,
    TAKE_NAMES,
)
from stages.datasets.splendor.encode.position import BONUS, COST, LEVEL, VP, Position, present_first
from stages.datasets.splendor.schema import COLOURS, N_NOBLES, N_SEATS, N_SLOTS, RESERVED_LIMIT

N_COLOURS = len(COLOURS)
PILE_SIZE = np.array([0, 0, *schema.TOKENS_PER_COLOUR.values()], np.int8)  # of a colour, by number of players
FAR = np.int8(127)  # above every distance

# Where the parts of the raw columns end: bank, face-up cards, decks, nobles; the players follow.
RAW_ENDS = np.array([schema.CARDS_COLUMN, schema.DECKS_COLUMN, schema.NOBLES_COLUMN, schema.PLAYERS_COLUMN])
RAW_ENDS -= schema.BANK_COLUMN
# Where current player and number of players end in the one-hot columns; the seats of the players follow.
ONE_HOT_ENDS = np.cumsum([N_SEATS, len(schema.PLAYER_COUNTS)])
# Within the values of a player.
VP_IN_PLAYER = 1
COLOURS_IN_PLAYER = slice(schema.GEMS_IN_PLAYER, schema.GEMS_IN_PLAYER + N_COLOURS)
GOLD_IN_PLAYER = schema.GEMS_IN_PLAYER + N_COLOURS
REDUCTIONS_IN_PLAYER = slice(schema.REDUCTION_IN_PLAYER, schema.RESERVED_IN_PLAYER)
LEVELS_IN_PLAYER = slice(schema.RESERVED_IN_PLAYER + LEVEL, None, schema.CARD_WIDTH)
# Within the columns of a card, `CARD_NAMES`, and of a noble, `NOBLE_NAMES`.
CAN_BUILD, MUST_USE_GOLD, CARD_DISTANCE, CARD_TOTAL, VP_IF_BUY = 0, 1, slice(2, 7), 7, 8
NOBLE_DISTANCE, NOBLE_TOTAL, ACQUIRABLE = slice(0, 5), 5, 6


def encode(position: Position) -> np.ndarray:
    """Return the features of each row.

    Parameters
    ----------
    position
        N positions.

    Returns
    -------
    ndarray
        int8 (N, 1308), C order.
    """
    n_rows = len(position.current)
    columns = np.empty((len(NAMES), n_rows), np.int8)
    raw, positions, kept, one_hot = np.split(columns, PART_ENDS)
    _write_raw(position, raw)
    _write_positions(position, positions)
    strategic = np.zeros((len(KEPT), n_rows), np.int8)
    _write_strategic(position, strategic)
    np.compress(KEPT, strategic, axis=0, out=kept)
    _write_one_hot(position, one_hot)
    return np.ascontiguousarray(columns.T)


def _write_raw(position: Position, out: np.ndarray) -> None:
    n_rows = out.shape[1]
    bank, cards, decks, nobles, players = np.split(out, RAW_ENDS)
    bank[:] = position.bank
    cards[:] = position.visible.reshape(-1, n_rows)
    decks[:] = position.decks
    nobles[:] = position.nobles.reshape(-1, n_rows)
    # All of a player but its position, the first value.
    players.reshape(N_SEATS, schema.PLAYER_WIDTH - 1, n_rows)[:] = position.players[:, 1:]


def _write_positions(position: Position, out: np.ndarray) -> None:
    slot = np.arange(N_SLOTS, dtype=np.int8)[:, None]
    out[:N_SLOTS] = np.where(position.visible[:, LEVEL] > 0, slot, np.int8(-1))
    place = np.arange(N_SLOTS, N_CARDS, dtype=np.int8)[:, None]
    is_reserved = position.reserved()[:, :, LEVEL] > 0
    out[N_SLOTS:] = np.where(is_reserved, place, np.int8(-1)).reshape(-1, out.shape[1])


def _write_one_hot(position: Position, out: np.ndarray) -> None:
    current, n_players, seats = np.split(out, ONE_HOT_ENDS)
    seat = np.arange(N_SEATS)[:, None]
    current[:] = position.current == seat
    n_players[:] = position.n_players == np.array(schema.PLAYER_COUNTS)[:, None]
    is_there = seat < position.n_players
    is_at = position.players[:, None, 0] == seat
    seats[:] = (is_at & is_there[:, None]).reshape(len(seats), -1)


def _by_seat(position: Position) -> tuple[np.ndarray, np.ndarray]:
    """Return the players by absolute seat, (4, 49, N), zero where a seat is not played, and which are, (4, N)."""
    seat = np.arange(N_SEATS)[:, None]
    is_there = seat < position.n_players
    relative = np.where(is_there, (seat - position.current) % position.n_players, 0)
    players = np.take_along_axis(position.players, relative[:, None], 0)
    players *= is_there[:, None]
    return players, is_there


def _write_strategic(position: Position, out: np.ndarray) -> None:
    """Fill (893, N), zeroed, in the order of `STRATEGIC_NAMES`."""
    n_rows = out.shape[1]
    players, is_there = _by_seat(position)
    reductions = players[:, REDUCTIONS_IN_PLAYER]
    tokens, cards, nobles, after_buy, comparison, progress = np.split(out, STRATEGIC_ENDS)
    cards = cards.reshape(N_SEATS, N_CARDS, len(CARD_NAMES), n_rows)
    nobles = nobles.reshape(N_SEATS, -1, n_rows)
    after_buy = after_buy.reshape(N_SEATS, N_CARDS, len(AFTER_BUY_NAMES), n_rows)
    nobles_after_buy, closest_after_buy = after_buy[:, :, 0], after_buy[:, :, 1]

    _write_tokens(position, tokens)
    totals = _write_nobles(position, is_there, reductions, nobles)
    hand = _hand_cards(position, players, is_there)
    count, closest = _nobles_after_bonus(position, reductions, totals)
    _pick_by_bonus(hand, count, nobles_after_buy)
    _pick_by_bonus(hand, closest, closest_after_buy)
    _write_cards(players, hand, nobles_after_buy, cards)
    _write_comparison(position, players, comparison)
    _write_progress(position, players, is_there, progress)


def _write_tokens(position: Position, out: np.ndarray) -> None:
    bank = position.bank[:N_COLOURS]
    can_take2 = bank >= schema.DOUBLE_TAKE_MINIMUM
    block = out[:-1].reshape(N_COLOURS, len(TAKE_NAMES), -1)
    block[:, 0] = can_take2
    block[:, 1] = bank - 2 * can_take2.view(np.int8)
    block[:, 2] = np.maximum(bank, 1) - 1
    block[:, 3] = PILE_SIZE[position.n_players]
    block[:, 4] = np.minimum(bank, 2)
    out[-1] = schema.GOLD_TOKENS


def _hand_cards(position: Position, players: np.ndarray, is_there: np.ndarray) -> np.ndarray:
    """Return what each seat may buy, (4, 15, 12, N): the face-up cards, then its reserved ones; zero if not played."""
    n_rows = players.shape[-1]
    hand = np.empty((N_SEATS, N_CARDS, schema.CARD_WIDTH, n_rows), np.int8)
    np.multiply(position.visible, is_there[:, None, None], out=hand[:, :N_SLOTS])
    reserved = players[:, schema.RESERVED_IN_PLAYER :]
    hand[:, N_SLOTS:] = reserved.reshape(N_SEATS, RESERVED_LIMIT, schema.CARD_WIDTH, n_rows)
    is_short = position.visible[N_SLOTS - 1, LEVEL] == 0
    if is_short.any():
        for seat in range(N_SEATS):
            hand[seat][:, :, is_short] = present_first(hand[seat][:, :, is_short])
    return hand


def _write_cards(players: np.ndarray, hand: np.ndarray, nobles_after: np.ndarray, out: np.ndarray) -> None:
    """Fill (4, 15, 9, N): what each card would cost each seat, and its points with a noble's."""
    is_card = hand[:, :, LEVEL] > 0
    # Tokens that are missing of each colour, and in all.
    owned = players[:, None, COLOURS_IN_PLAYER] + players[:, None, REDUCTIONS_IN_PLAYER]
    distance, total = out[:, :, CARD_DISTANCE], out[:, :, CARD_TOTAL]
    np.subtract(hand[:, :, COST], owned, out=distance)
    np.maximum(distance, 0, out=distance)
    np.add.reduce(distance, axis=2, out=total)
    # Gold stands in for what is missing.
    can_build = out[:, :, CAN_BUILD].view(bool)
    np.less_equal(total, players[:, None, GOLD_IN_PLAYER], out=can_build)
    can_build &= is_card
    np.logical_and(can_build, total, out=out[:, :, MUST_USE_GOLD].view(bool))
    # Points of the seat, of the card, and of a noble that comes with it.
    vp = out[:, :, VP_IF_BUY]
    np.add(hand[:, :, VP], players[:, None, VP_IN_PLAYER], out=vp)
    vp += (nobles_after > 0).view(np.int8) * np.int8(schema.NOBLE_VP)
    vp *= is_card.view(np.int8)


def _write_nobles(position: Position, is_there: np.ndarray, reductions: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Fill (4, 37, N): bonuses each seat lacks for each noble; return the totals, (4, 5, N)."""
    exists = (position.nobles[:, 0] > 0) & is_there[:, None]
    block = out[:, :-2].reshape(N_SEATS, N_NOBLES, len(NOBLE_NAMES), -1)
    distance, totals, acquirable = block[:, :, NOBLE_DISTANCE], block[:, :, NOBLE_TOTAL], block[:, :, ACQUIRABLE]
    np.subtract(position.nobles[:, 1:], reductions[:, None], out=distance)
    np.maximum(distance, 0, out=distance)
    distance *= is_there[:, None, None]
    np.add.reduce(distance, axis=2, out=totals)
    acquirable[:] = exists & (totals == 0)
    # Behind the nobles: the least total, and how many can be had.
    out[:, -2] = _least(totals, exists)
    np.add.reduce(acquirable, axis=1, out=out[:, -1])
    return totals


def _least(totals: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Return the least total over the nobles (second axis) that exist, 0 without any."""
    least = np.where(exists, totals, FAR).min(1)
    return np.where(least == FAR, np.int8(0), least)


def _nobles_after_bonus(
    position: Position, reductions: np.ndarray, totals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return for one more bonus of each colour the nobles satisfied and the least distance, each (4, 5, N).

    One bonus shortens a noble's distance by one exactly where that colour is still lacking.
    """
    count = np.empty((N_SEATS, N_COLOURS, totals.shape[-1]), np.int8)
    closest = np.empty_like(count)
    exists = np.broadcast_to(position.nobles[:, 0] > 0, totals.shape)
    for colour in range(N_COLOURS):
        lacking = position.nobles[:, 1 + colour] > reductions[:, None, colour]
        after = totals - lacking.view(np.int8)
        count[:, colour] = ((after == 0) & exists).sum(1, dtype=np.int8)
        closest[:, colour] = _least(after, exists)
    return count, closest


def _pick_by_bonus(hand: np.ndarray, values: np.ndarray, out: np.ndarray) -> None:
    """Write to (4, 15, N) the value, from (4, 5, N), of each card's bonus colour; 0 where there is no card."""
    bonus = hand[:, :, BONUS]
    np.multiply(bonus[:, :, 0], values[:, None, 0], out=out)
    for colour in range(1, N_COLOURS):
        out += bonus[:, :, colour] * values[:, None, colour]


def _write_comparison(position: Position, players: np.ndarray, out: np.ndarray) -> None:
    vp = players[:, VP_IN_PLAYER]
    tokens, gold = players[:, COLOURS_IN_PLAYER], players[:, GOLD_IN_PLAYER]
    n_tokens = tokens.sum(1, dtype=np.int8)
    bonuses = players[:, REDUCTIONS_IN_PLAYER].sum(1, dtype=np.int8)
    values = {
        "vp": vp,
        "total_gems_reduction": bonuses,
        "buying_capacity": n_tokens + bonuses,
        "total_gems_possessed": n_tokens + gold,
        "total_gem_colors_possessed": (tokens > 0).sum(1),
        "num_reserved_cards": (players[:, LEVELS_IN_PLAYER] > 0).sum(1),
        "num_nobles_acquired": position.nobles_acquired,
        "num_cards_bought": bonuses,
    }
    most_vp, most_bonuses = vp.max(0), bonuses.max(0)
    gap = most_vp - vp
    ranks = {
        "distance_to_max_vp": gap,
        "leaderboard_position": _ranks(vp),
        "vp_gap_to_leader": gap,
        "gems_reduction_leaderboard_position": _ranks(bonuses),
    }
    n_values = N_SEATS * len(COMPARISON_NAMES)
    of_seats, greatest, of_ranks = np.split(out, [n_values, n_values + 2])
    _write_by_name(of_seats, COMPARISON_NAMES, values)
    greatest[0], greatest[1] = most_vp, most_bonuses
    _write_by_name(of_ranks, RANK_NAMES, ranks)


def _write_by_name(out: np.ndarray, names: Sequence[str], values: dict[str, np.ndarray]) -> None:
    """Fill columns that are there for each seat, in the order of `names`, with values (4, N)."""
    block = out.reshape(N_SEATS, len(names), -1)
    for place, name in enumerate(names):
        block[:, place] = values[name]


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank (4, N) values from 0, the highest first, a tie going to the lower seat."""
    ranks = np.zeros(values.shape, np.int8)
    for seat in range(N_SEATS):
        for other in range(N_SEATS):
            ahead = values[other] >= values[seat] if other < seat else values[other] > values[seat]
            ranks[seat] += ahead
    return ranks


def _write_progress(position: Position, players: np.ndarray, is_there: np.ndarray, out: np.ndarray) -> None:
    vp = players[:, VP_IN_PLAYER]
    out[0] = schema.WINNING_VP - vp.max(0)
    out[1:4] = position.decks
    out[4] = players[:, REDUCTIONS_IN_PLAYER].sum((0, 1), dtype=np.int8)
    out[5:] = (schema.WINNING_VP - vp) * is_there
