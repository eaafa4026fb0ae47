"""The legal-action masks of the seven heads, in closed form.

The rules are those of the players that wrote the logs: a take is dropped when the hand is full and something can be
built; a reservation is only legal when nothing else is. A head's mask is what some legal move has there, so a take and
a return may be legal on their own and not together, and returning nothing is always in the mask of gems_removed.
"""

import numpy as np

from stages.datasets.splendor import schema
from stages.datasets.splendor.encode.position import BONUS, COST, LEVEL, Position
from stages.datasets.splendor.schema import COLOURS, HAND_LIMIT, RESERVED_LIMIT

TAKE3 = np.array([[int(c in chosen) for c in range(6)] for chosen in schema.TAKE3_CLASSES], np.int8)
TAKE2 = 2 * np.eye(len(COLOURS), 6, dtype=np.int8)
REMOVED = np.array(schema.REMOVED_CLASSES, np.int8)


def _bits(is_set: np.ndarray) -> np.ndarray:
    """Pack bool (84,) into two numbers, uint64 (2,), so that sets of classes are intersected by `&`."""
    padded = np.zeros(128, np.uint8)
    padded[: len(is_set)] = is_set
    return np.packbits(padded, bitorder="little").view("<u8")


# Classes of gems_removed that return at most a tokens of a gem [gem, a], and those that return s in all [s].
AT_MOST = np.array([[_bits(REMOVED[:, gem] <= most) for most in range(4)] for gem in range(6)])
IN_ALL = np.array([_bits(REMOVED.sum(1) == total) for total in range(4)])


def encode(position: Position) -> dict[str, np.ndarray]:
    """Return the mask of each head.

    Parameters
    ----------
    position
        N positions.

    Returns
    -------
    dict
        Head to uint8 (N, classes) of 0 and 1.
    """
    gems = position.players[0, schema.GEMS_IN_PLAYER : schema.GEMS_IN_PLAYER + 6]
    has_full_hand = gems.sum(0, dtype=np.int8) >= HAND_LIMIT
    buildable, bonuses = _buildable(position, gems)
    can_build = buildable.any(0)
    # Takes that the bank allows, unless the hand is full and something can be built.
    takes3, takes2 = _takes(position.bank)
    can_take = (takes3.any(0) | takes2.any(0)) & ~(has_full_hand & can_build)
    takes3, takes2 = takes3 & can_take, takes2 & can_take
    # A reservation, if there is neither build nor take, but room and a card.
    is_visible, has_deck = position.visible[:, LEVEL] > 0, position.decks > 0
    has_room = position.reserved()[0, RESERVED_LIMIT - 1, LEVEL] == 0
    has_card = is_visible.any(0) | has_deck.any(0)
    can_reserve = ~can_take & ~can_build & has_room & has_card
    masks = {
        "action_type": np.stack([can_build, can_reserve, takes2.any(0), takes3.any(0)]),
        "card_selection": buildable,
        "card_reservation": np.concatenate([is_visible, has_deck]) & can_reserve,
        "gem_take3": takes3,
        "gem_take2": takes2,
        "noble": _nobles(position, bonuses),
        "gems_removed": _removed(position.bank, gems, np.concatenate([takes3, takes2]), can_reserve),
    }
    return {head: np.ascontiguousarray(mask.T).view(np.uint8) for head, mask in masks.items()}


def _buildable(position: Position, gems: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the 15 cards can be built, (15, N), and which bonus colours they give, (5, N)."""
    reductions = position.players[0, schema.REDUCTION_IN_PLAYER : schema.RESERVED_IN_PLAYER]
    cards = np.concatenate([position.visible, position.reserved()[0]])
    lacking = np.maximum(cards[:, COST] - (reductions + gems[:5]), 0).sum(1, dtype=np.int8)
    buildable = (lacking <= gems[5]) & (cards[:, LEVEL] > 0)
    return buildable, (cards[:, BONUS].view(bool) & buildable[:, None]).any(0)


def _takes(bank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the legal takes of different colours, (26, N), and of two of a colour, (5, N), by the bank alone."""
    available = bank[:5] > 0
    size = np.minimum(available.sum(0), 3)
    takes3 = np.zeros((len(TAKE3), bank.shape[1]), bool)
    for index, colours in enumerate(schema.TAKE3_CLASSES[1:], 1):
        takes3[index] = available[list(colours)].all(0) & (size == len(colours))
    return takes3, bank[:5] >= schema.DOUBLE_TAKE_MINIMUM


def _nobles(position: Position, bonuses: np.ndarray) -> np.ndarray:
    """Return the nobles that some buildable card would attract, (5, N)."""
    reductions = position.players[0, schema.REDUCTION_IN_PLAYER : schema.RESERVED_IN_PLAYER]
    lacking = np.maximum(position.nobles[:, 1:] - reductions, 0)
    total = lacking.sum(1, dtype=np.int8)
    is_met = (total == 0) & bonuses.any(0)
    is_met |= ((total == 1)[:, None] & (lacking == 1) & bonuses).any(1)
    return is_met & (position.nobles[:, 0] > 0)


def _removed(bank: np.ndarray, gems: np.ndarray, takes: np.ndarray, can_reserve: np.ndarray) -> np.ndarray:
    """Return the legal returns, (84, N): exactly what exceeds ten tokens, out of hand and take together."""
    result = np.zeros((len(REMOVED), gems.shape[1]), bool)
    in_hand = gems.sum(0, dtype=np.int8)
    rows = np.flatnonzero((in_hand > HAND_LIMIT - 3) & takes.any(0))
    result[:, rows] = _returns_after_takes(gems[:, rows], takes[:, rows])
    rows = np.flatnonzero(can_reserve & (in_hand == HAND_LIMIT) & (bank[5] > 0))
    one = np.flatnonzero(REMOVED.sum(1) == 1)
    result[np.ix_(one, rows)] |= gems[:, rows][REMOVED[one].argmax(1)] > 0
    result[0] = True
    return result


def _returns_after_takes(gems: np.ndarray, takes: np.ndarray) -> np.ndarray:
    """Return the union over the legal `takes` (31, M) of what may be returned after each, (84, M)."""
    union = np.zeros((gems.shape[1], 2), np.uint64)
    vectors = np.concatenate([TAKE3, TAKE2])
    in_hand = gems.sum(0, dtype=np.int8)
    for vector, is_legal in zip(vectors, takes, strict=True):
        rows = np.flatnonzero(is_legal & (in_hand + vector.sum() > HAND_LIMIT))
        if len(rows):
            held = np.minimum(gems[:, rows] + vector[:, None], 3)
            allowed = IN_ALL[in_hand[rows] + vector.sum() - HAND_LIMIT]
            for gem in range(6):
                allowed &= AT_MOST[gem, held[gem]]
            union[rows] |= allowed
    bits = np.unpackbits(union.view(np.uint8), axis=1, count=len(REMOVED), bitorder="little")
    return bits.T.astype(bool)
