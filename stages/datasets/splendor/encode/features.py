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

from dataclasses import dataclass

import numpy as np

from stages.datasets.splendor import schema
from stages.datasets.splendor.schema import COLOURS, N_NOBLES, N_SEATS, N_SLOTS, RESERVED_LIMIT

N_CARDS = N_SLOTS + RESERVED_LIMIT
VP, LEVEL, COST, BONUS = 0, 1, slice(2, 7), slice(7, 12)  # within a card's 12 values
PILE_SIZE = np.array([0, 0, *schema.TOKENS_PER_COLOUR.values()], np.int8)
TAKE_NAMES = (
    "can_take2", "tokens_left_if_take2", "tokens_left_if_take1", "max_tokens_pile", "maximum_takeable_this_turn",
)  # fmt: skip
CARD_NAMES = (
    "can_build", "must_use_gold", *(f"distance_{colour}" for colour in COLOURS), "distance_total", "vp_if_buy",
)  # fmt: skip
NOBLE_NAMES = (*(f"distance_{colour}" for colour in COLOURS), "distance_total", "acquirable")
COMPARISON_NAMES = (
    "vp", "total_gems_reduction", "buying_capacity", "total_gems_possessed", "total_gem_colors_possessed",
    "num_reserved_cards", "num_nobles_acquired", "num_cards_bought",
)  # fmt: skip
RANK_NAMES = ("distance_to_max_vp", "leaderboard_position", "vp_gap_to_leader", "gems_reduction_leaderboard_position")
NOT_NORMALISED = ("position", "can_build", "must_use_gold", "acquirable", "can_take2_", "_bonus_")


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


def position(state: np.ndarray, nobles_acquired: np.ndarray) -> Position:
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
        n_players=state[1],
        current=state[3],
        bank=state[schema.BANK_COLUMN : schema.CARDS_COLUMN],
        visible=_present_first(visible),
        decks=state[schema.DECKS_COLUMN : schema.NOBLES_COLUMN],
        nobles=state[schema.NOBLES_COLUMN : schema.PLAYERS_COLUMN].reshape(N_NOBLES, schema.NOBLE_WIDTH, -1),
        players=state[schema.PLAYERS_COLUMN :].reshape(N_SEATS, schema.PLAYER_WIDTH, -1),
        nobles_acquired=nobles_acquired,
    )


def _present_first(cards: np.ndarray) -> np.ndarray:
    """Move the cards that exist to the front, keeping their order; `cards` is (C, 12, N)."""
    is_absent = cards[:, LEVEL] == 0
    out_of_order = (is_absent[:-1] & ~is_absent[1:]).any(0)
    if not out_of_order.any():
        return cards
    result = cards.copy()
    order = np.argsort(is_absent[:, out_of_order], axis=0, kind="stable")
    result[:, :, out_of_order] = np.take_along_axis(cards[:, :, out_of_order], order[:, None], 0)
    return result


def normalise(name: str) -> bool:
    """Say whether split standardises the column: not so one-hots, positions and other yes/no columns."""
    return name not in _one_hot_names() and not any(part in name for part in NOT_NORMALISED)


def _raw_names() -> list[str]:
    columns = schema.RAW_COLUMNS[schema.BANK_COLUMN : schema.ACTION_COLUMN]
    return [name for name in columns if not (name.startswith("player") and name.endswith("_position"))]


def _position_names() -> list[str]:
    reserved = [f"player{p}_reserved{r}_position" for p in range(N_SEATS) for r in range(RESERVED_LIMIT)]
    return [f"card{slot}_position" for slot in range(N_SLOTS)] + reserved


def _strategic_names() -> list[str]:
    seats = [f"player{p}" for p in range(N_SEATS)]
    result = [f"{name}_{colour}" for colour in COLOURS for name in TAKE_NAMES] + ["max_tokens_pile_gold"]
    result += [f"{p}_card{j}_{name}" for p in seats for j in range(N_CARDS) for name in CARD_NAMES]
    for p in seats:
        result += [f"{p}_noble{k}_{name}" for k in range(N_NOBLES) for name in NOBLE_NAMES]
        result += [f"{p}_closest_noble_distance", f"{p}_nobles_acquirable_count"]
    after_buy = ("nobles_after_buy", "closest_noble_distance_after_buy")
    result += [f"{p}_card{j}_{name}" for p in seats for j in range(N_CARDS) for name in after_buy]
    result += [f"{p}_{name}" for p in seats for name in COMPARISON_NAMES]
    result += ["max_vp_among_players", "max_gems_reduction_among_players"]
    result += [f"{p}_{name}" for p in seats for name in RANK_NAMES]
    result += ["distance_to_end_game", *(f"deck_level{level}_remaining" for level in (1, 2, 3)), "total_cards_bought"]
    return result + [f"{p}_vp_to_win" for p in seats]


def _one_hot_names() -> list[str]:
    result = [f"current_player_{seat}" for seat in range(N_SEATS)]
    result += [f"num_players_{count}" for count in schema.PLAYER_COUNTS]
    return result + [f"player{p}_position_{seat}" for p in range(N_SEATS) for seat in range(N_SEATS)]


# Seven strategic columns have the name of a raw one (player0_vp .. player3_vp, deck_level1_remaining ..); the raw stay.
KEPT = ~np.isin(_strategic_names(), _raw_names())
NAMES = (*_raw_names(), *_position_names(), *np.array(_strategic_names())[KEPT].tolist(), *_one_hot_names())
PART_ENDS = np.cumsum([len(_raw_names()), len(_position_names()), KEPT.sum()])


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
    out[:6] = position.bank
    out[6:150] = position.visible.reshape(-1, n_rows)
    out[150:153] = position.decks
    out[153:183] = position.nobles.reshape(-1, n_rows)
    out[183:].reshape(N_SEATS, schema.PLAYER_WIDTH - 1, n_rows)[...] = position.players[:, 1:]


def _write_positions(position: Position, out: np.ndarray) -> None:
    slot = np.arange(N_SLOTS, dtype=np.int8)[:, None]
    out[:N_SLOTS] = np.where(position.visible[:, LEVEL] > 0, slot, np.int8(-1))
    place = np.arange(N_SLOTS, N_CARDS, dtype=np.int8)[:, None]
    is_reserved = position.reserved()[:, :, LEVEL] > 0
    out[N_SLOTS:] = np.where(is_reserved, place, np.int8(-1)).reshape(-1, out.shape[1])


def _write_one_hot(position: Position, out: np.ndarray) -> None:
    out[:4] = position.current == np.arange(N_SEATS)[:, None]
    out[4:7] = position.n_players == np.array(schema.PLAYER_COUNTS)[:, None]
    is_there = np.arange(N_SEATS)[:, None] < position.n_players
    seats = position.players[:, 0]
    out[7:] = ((seats[:, None] == np.arange(N_SEATS)[:, None]) & is_there[:, None]).reshape(16, -1)


def _by_seat(position: Position) -> tuple[np.ndarray, np.ndarray]:
    """Return the players by absolute seat, (4, 49, N), zero where a seat is not played, and which are, (4, N)."""
    seat = np.arange(N_SEATS)[:, None]
    is_there = seat < position.n_players
    relative = np.where(is_there, (seat - position.current) % position.n_players, 0)
    players = np.take_along_axis(position.players, relative[:, None], 0)
    players *= is_there[:, None]
    return players, is_there


def _write_strategic(position: Position, out: np.ndarray) -> None:
    """Fill (893, N), zeroed, in the order of `_strategic_names`."""
    n_rows = out.shape[1]
    players, is_there = _by_seat(position)
    tokens, cards, nobles, after_buy, comparison, progress = np.split(out, np.cumsum([26, 540, 148, 120, 50]))
    _write_tokens(position, tokens)
    reductions = players[:, schema.REDUCTION_IN_PLAYER : schema.RESERVED_IN_PLAYER]
    totals = _write_nobles(position, is_there, reductions, nobles.reshape(N_SEATS, 37, n_rows))
    hand = _hand_cards(position, players, is_there)
    count, closest = _nobles_after_bonus(position, reductions, totals)
    after_buy = after_buy.reshape(N_SEATS, N_CARDS, 2, n_rows)
    _pick_by_bonus(hand, count, after_buy[:, :, 0])
    _pick_by_bonus(hand, closest, after_buy[:, :, 1])
    _write_cards(players, hand, after_buy[:, :, 0], cards.reshape(N_SEATS, N_CARDS, len(CARD_NAMES), n_rows))
    _write_comparison(position, players, comparison)
    _write_progress(position, players, is_there, progress)


def _write_tokens(position: Position, out: np.ndarray) -> None:
    bank = position.bank[:5]
    can_take2 = bank >= schema.DOUBLE_TAKE_MINIMUM
    block = out[:25].reshape(5, 5, -1)
    block[:, 0] = can_take2
    block[:, 1] = bank - 2 * can_take2.view(np.int8)
    block[:, 2] = np.maximum(bank, 1) - 1
    block[:, 3] = PILE_SIZE[position.n_players]
    block[:, 4] = np.minimum(bank, 2)
    out[25] = schema.GOLD_TOKENS


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
            hand[seat][:, :, is_short] = _present_first(hand[seat][:, :, is_short])
    return hand


def _write_cards(players: np.ndarray, hand: np.ndarray, nobles_after: np.ndarray, out: np.ndarray) -> None:
    """Fill (4, 15, 9, N): what each card would cost each seat, and its points with a noble's."""
    gems = players[:, None, schema.GEMS_IN_PLAYER : schema.GEMS_IN_PLAYER + 5]
    gold = players[:, None, schema.GEMS_IN_PLAYER + 5]
    reductions = players[:, None, schema.REDUCTION_IN_PLAYER : schema.RESERVED_IN_PLAYER]
    distance = out[:, :, 2:7]
    np.subtract(hand[:, :, COST], gems + reductions, out=distance)
    np.maximum(distance, 0, out=distance)
    total = out[:, :, 7]
    np.add.reduce(distance, axis=2, out=total)
    can_build = out[:, :, 0].view(bool)
    np.less_equal(total, gold, out=can_build)
    can_build &= hand[:, :, LEVEL] > 0
    np.logical_and(can_build, total, out=out[:, :, 1].view(bool))
    vp = out[:, :, 8]
    np.add(hand[:, :, VP], players[:, None, 1], out=vp)
    vp += (nobles_after > 0).view(np.int8) * np.int8(schema.NOBLE_VP)
    vp *= (hand[:, :, LEVEL] > 0).view(np.int8)


def _write_nobles(position: Position, is_there: np.ndarray, reductions: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Fill (4, 37, N): bonuses each seat lacks for each noble; return the totals, (4, 5, N)."""
    exists = (position.nobles[:, 0] > 0) & is_there[:, None]
    block = out[:, :35].reshape(N_SEATS, N_NOBLES, 7, -1)
    distance = block[:, :, :5]
    np.subtract(position.nobles[:, 1:], reductions[:, None], out=distance)
    np.maximum(distance, 0, out=distance)
    distance *= is_there[:, None, None]
    totals = block[:, :, 5]
    np.add.reduce(distance, axis=2, out=totals)
    block[:, :, 6] = exists & (totals == 0)
    out[:, 35] = _least(totals, exists)
    np.add.reduce(block[:, :, 6], axis=1, out=out[:, 36])
    return totals


def _least(totals: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Return the least total over the nobles (second axis) that exist, 0 without any."""
    far = np.int8(127)
    least = np.where(exists, totals, far).min(1)
    return np.where(least == far, np.int8(0), least)


def _nobles_after_bonus(
    position: Position, reductions: np.ndarray, totals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return for one more bonus of each colour the nobles satisfied and the least distance, each (4, 5, N).

    One bonus shortens a noble's distance by one exactly where that colour is still lacking.
    """
    count = np.empty((N_SEATS, 5, totals.shape[-1]), np.int8)
    closest = np.empty_like(count)
    exists = np.broadcast_to(position.nobles[:, 0] > 0, totals.shape)
    for colour in range(5):
        lacking = position.nobles[:, 1 + colour] > reductions[:, None, colour]
        after = totals - lacking.view(np.int8)
        count[:, colour] = ((after == 0) & exists).sum(1, dtype=np.int8)
        closest[:, colour] = _least(after, exists)
    return count, closest


def _pick_by_bonus(hand: np.ndarray, values: np.ndarray, out: np.ndarray) -> None:
    """Write to (4, 15, N) the value, from (4, 5, N), of each card's bonus colour; 0 where there is no card."""
    np.multiply(hand[:, :, 7], values[:, None, 0], out=out)
    for colour in range(1, 5):
        out += hand[:, :, 7 + colour] * values[:, None, colour]


def _write_comparison(position: Position, players: np.ndarray, out: np.ndarray) -> None:
    vp = players[:, 1]
    gems = players[:, schema.GEMS_IN_PLAYER : schema.GEMS_IN_PLAYER + 6]
    bonuses = players[:, schema.REDUCTION_IN_PLAYER : schema.RESERVED_IN_PLAYER].sum(1, dtype=np.int8)
    levels = players[:, schema.RESERVED_IN_PLAYER + LEVEL :: schema.CARD_WIDTH]
    block = out[:32].reshape(N_SEATS, len(COMPARISON_NAMES), -1)
    block[:, 0], block[:, 1] = vp, bonuses
    block[:, 2] = gems[:, :5].sum(1, dtype=np.int8) + bonuses
    block[:, 3] = gems.sum(1, dtype=np.int8)
    block[:, 4] = (gems[:, :5] > 0).sum(1)
    block[:, 5] = (levels > 0).sum(1)
    block[:, 6], block[:, 7] = position.nobles_acquired, bonuses
    out[32], out[33] = vp.max(0), bonuses.max(0)
    ranks = out[34:].reshape(N_SEATS, len(RANK_NAMES), -1)
    ranks[:, 0] = ranks[:, 2] = out[32] - vp
    ranks[:, 1], ranks[:, 3] = _ranks(vp), _ranks(bonuses)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank (4, N) values from 0, the highest first, a tie going to the lower seat."""
    ranks = np.zeros(values.shape, np.int8)
    for seat in range(N_SEATS):
        for other in range(N_SEATS):
            ahead = values[other] >= values[seat] if other < seat else values[other] > values[seat]
            ranks[seat] += ahead
    return ranks


def _write_progress(position: Position, players: np.ndarray, is_there: np.ndarray, out: np.ndarray) -> None:
    out[0] = schema.WINNING_VP - players[:, 1].max(0)
    out[1:4] = position.decks
    out[4] = players[:, schema.REDUCTION_IN_PLAYER : schema.RESERVED_IN_PLAYER].sum((0, 1), dtype=np.int8)
    out[5:] = (schema.WINNING_VP - players[:, 1]) * is_there
