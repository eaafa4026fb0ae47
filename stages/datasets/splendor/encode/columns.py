"""The names of the 1,308 feature columns, in their order, and which of them split standardises.

There are four parts, and the strategic one has six blocks; `features` writes each of them into as many columns as it
has names here.
"""

import numpy as np

from stages.datasets.splendor import schema
from stages.datasets.splendor.schema import COLOURS, N_NOBLES, N_SEATS, N_SLOTS, RESERVED_LIMIT

SEATS = tuple(f"player{seat}" for seat in range(N_SEATS))
N_CARDS = N_SLOTS + RESERVED_LIMIT  # that a seat may build: the face-up ones, then its reserved ones
TAKE_NAMES = (
    "can_take2", "tokens_left_if_take2", "tokens_left_if_take1", "max_tokens_pile", "maximum_takeable_this_turn",
)  # fmt: skip
CARD_NAMES = (
    "can_build", "must_use_gold", *(f"distance_{colour}" for colour in COLOURS), "distance_total", "vp_if_buy",
)  # fmt: skip
NOBLE_NAMES = (*(f"distance_{colour}" for colour in COLOURS), "distance_total", "acquirable")
AFTER_BUY_NAMES = ("nobles_after_buy", "closest_noble_distance_after_buy")
COMPARISON_NAMES = (
    "vp", "total_gems_reduction", "buying_capacity", "total_gems_possessed", "total_gem_colors_possessed",
    "num_reserved_cards", "num_nobles_acquired", "num_cards_bought",
)  # fmt: skip
RANK_NAMES = ("distance_to_max_vp", "leaderboard_position", "vp_gap_to_leader", "gems_reduction_leaderboard_position")
NOT_NORMALISED = ("position", "can_build", "must_use_gold", "acquirable", "can_take2_", "_bonus_")


def _raw() -> list[str]:
    columns = schema.RAW_COLUMNS[schema.BANK_COLUMN : schema.ACTION_COLUMN]
    return [name for name in columns if not (name.startswith("player") and name.endswith("_position"))]


def _positions() -> list[str]:
    reserved = [f"{seat}_reserved{place}_position" for seat in SEATS for place in range(RESERVED_LIMIT)]
    return [f"card{slot}_position" for slot in range(N_SLOTS)] + reserved


def _nobles_of(seat: str) -> list[str]:
    names = [f"{seat}_noble{noble}_{name}" for noble in range(N_NOBLES) for name in NOBLE_NAMES]
    return [*names, f"{seat}_closest_noble_distance", f"{seat}_nobles_acquirable_count"]


def _of_cards(names: tuple[str, ...]) -> list[str]:
    return [f"{seat}_card{card}_{name}" for seat in SEATS for card in range(N_CARDS) for name in names]


def _of_seats(names: tuple[str, ...]) -> list[str]:
    return [f"{seat}_{name}" for seat in SEATS for name in names]


def _strategic_blocks() -> dict[str, list[str]]:
    """Return the names of each block of strategic columns."""
    takes = [f"{name}_{colour}" for colour in COLOURS for name in TAKE_NAMES]
    greatest = ["max_vp_among_players", "max_gems_reduction_among_players"]
    decks = [f"deck_level{level}_remaining" for level in (1, 2, 3)]
    return {
        "tokens": [*takes, "max_tokens_pile_gold"],
        "cards": _of_cards(CARD_NAMES),
        "nobles": [name for seat in SEATS for name in _nobles_of(seat)],
        "after_buy": _of_cards(AFTER_BUY_NAMES),
        "comparison": [*_of_seats(COMPARISON_NAMES), *greatest, *_of_seats(RANK_NAMES)],
        "progress": ["distance_to_end_game", *decks, "total_cards_bought", *_of_seats(("vp_to_win",))],
    }


def _one_hot() -> list[str]:
    result = [f"current_player_{seat}" for seat in range(N_SEATS)]
    result += [f"num_players_{count}" for count in schema.PLAYER_COUNTS]
    return result + [f"{player}_position_{seat}" for player in SEATS for seat in range(N_SEATS)]


def _ends(*parts: list[str]) -> np.ndarray:
    """Return where each of some parts ends, but for the last one, as `numpy.split` wants it."""
    return np.cumsum([len(names) for names in parts[:-1]])


STRATEGIC_BLOCKS = _strategic_blocks()
STRATEGIC_NAMES = [name for names in STRATEGIC_BLOCKS.values() for name in names]
STRATEGIC_ENDS = _ends(*STRATEGIC_BLOCKS.values())
# Seven strategic columns have the name of a raw one (player0_vp .. player3_vp, deck_level1_remaining ..); the raw stay.
KEPT = ~np.isin(STRATEGIC_NAMES, _raw())
KEPT_NAMES = np.array(STRATEGIC_NAMES)[KEPT].tolist()
NAMES = (*_raw(), *_positions(), *KEPT_NAMES, *_one_hot())
PART_ENDS = _ends(_raw(), _positions(), KEPT_NAMES, _one_hot())


def normalise(name: str) -> bool:
    """Say whether split standardises the column: not so one-hots, positions and other yes/no columns."""
    return name not in _one_hot() and not any(part in name for part in NOT_NORMALISED)
