"""The facts of Splendor and of its CSV logs: columns, cards, nobles, limits and class tables.

Colours are always in the order white, blue, green, red, black (`COLOURS`), with gold after them in `GEMS`.
In the compact tables below a colour is one letter of ``WBGRK`` (K is black).

CSV columns (403, `RAW_COLUMNS`), 0-based:

====================  =======================================================================================
0-3                   game_id, num_players, turn_number (round, from 1), current_player (seat to move)
4-9                   gems_board_*: the bank, `GEMS` order
10-153                card0..card11, 12 values each: face-up cards, slots 0-3 level 1, 4-7 level 2, 8-11 level 3
154-156               deck_level{1,2,3}_remaining
157-186               noble0..noble4, 6 values each: vp and requirements
187-382               player0..player3, 49 values each, rotated so that player0 is the player to move
383-402               the move: action_type, card_selection, card_reservation, gem_take3 (5), gem_take2 (5),
                      noble_selection, gems_removed (6)
====================  =======================================================================================

A card is (vp, level, cost x 5, bonus one-hot x 5); a missing card, noble, player or choice is empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, NamedTuple

from stages.core.params import build

COLOURS = ("white", "blue", "green", "red", "black")
GEMS = (*COLOURS, "gold")
PLAYER_COUNTS = (2, 3, 4)
FOLDERS = ("2_games", "3_games", "4_games")
HAND_LIMIT = 10
RESERVED_LIMIT = 3
WINNING_VP = 15
DOUBLE_TAKE_MINIMUM = 4
NOBLE_VP = 3
GOLD_TOKENS = 5
TOKENS_PER_COLOUR = {2: 4, 3: 5, 4: 7}
N_SLOTS = 12
SLOTS_PER_LEVEL = 4
N_NOBLES = 5
N_SEATS = 4
DECK_SIZES = (40, 30, 20)

# (first column, columns per item) of the parts of a row; see the table above.
GAME_COLUMN, N_PLAYERS_COLUMN, TURN_COLUMN, SEAT_COLUMN, BANK_COLUMN = range(5)
CARDS_COLUMN, CARD_WIDTH = 10, 12
DECKS_COLUMN = 154
NOBLES_COLUMN, NOBLE_WIDTH = 157, 6
PLAYERS_COLUMN, PLAYER_WIDTH = 187, 49
# Within a player: position, vp, gems x 6, reductions x 5, then 3 reserved cards.
GEMS_IN_PLAYER, REDUCTION_IN_PLAYER, RESERVED_IN_PLAYER = 2, 8, 13
ACTION_COLUMN = 383
CARD_SELECTION_COLUMN = 384
CARD_RESERVATION_COLUMN = 385
TAKE3_COLUMN = 386
TAKE2_COLUMN = 391
NOBLE_SELECTION_COLUMN = 396
REMOVED_COLUMN = 397
N_COLUMNS = 403


class Card(NamedTuple):
    """A development card: level 1..3, bonus as an index into `COLOURS`, victory points, cost per colour."""

    level: int
    bonus: int
    vp: int
    cost: tuple[int, ...]


# Per level: bonus letter, victory points, cost W B G R K. The table of the logs: the level 2 blue card
# "102232" also costs two black, which the printed card does not.
_CARD_TABLE = {
    1: """W002002 B000202 G002020 R020020 K020200 W031001 B001310 G013100 R010013 K000131 W001211 B010121
          G011012 R021101 K012110 W000021 B010002 G021000 R002100 K000210 W002201 B010220 G001022 R020102
          K022010 W001111 B010111 G011011 R011101 K011110 W003000 B000003 G000030 R030000 K000300 W100400
          B100040 G100004 R140000 K104000""",
    2: """W100322 B102232 G123002 R120023 K132200 W123030 B102303 G130230 R103023 K130302 W200142 B220014
          G242001 R214200 K201420 W200053 B253000 G205300 R230005 K200530 W200050 B205000 G200500 R200005
          K250000 W360000 B306000 G300600 R300060 K300006""",
    3: """W303353 B330335 G353033 R335303 K333530 W430036 B463003 G436300 R403630 K400363 W400007 B470000
          G407000 R400700 K400070 W530007 B573000 G507300 R500730 K500073""",
}
# Each noble is worth `NOBLE_VP`; requirements are bonuses W B G R K.
_NOBLE_TABLE = "44000 40004 00044 04400 00440 03330 33300 00333 30033 33003"


def _cards() -> tuple[Card, ...]:
    return tuple(
        Card(level, "WBGRK".index(code[0]), int(code[1]), tuple(int(digit) for digit in code[2:]))
        for level, codes in _CARD_TABLE.items()
        for code in codes.split()
    )


CARDS = _cards()
NOBLES = tuple(tuple(int(digit) for digit in code) for code in _NOBLE_TABLE.split())


def _card_columns(prefix: str) -> list[str]:
    costs = [f"{prefix}_cost_{colour}" for colour in COLOURS]
    bonuses = [f"{prefix}_bonus_{colour}" for colour in COLOURS]
    return [f"{prefix}_vp", f"{prefix}_level", *costs, *bonuses]


def _player_columns(prefix: str) -> list[str]:
    columns = [f"{prefix}_position", f"{prefix}_vp"]
    columns += [f"{prefix}_gems_{gem}" for gem in GEMS]
    columns += [f"{prefix}_reduction_{colour}" for colour in COLOURS]
    for slot in range(RESERVED_LIMIT):
        columns += _card_columns(f"{prefix}_reserved{slot}")
    return columns


def _raw_columns() -> tuple[str, ...]:
    columns = ["game_id", "num_players", "turn_number", "current_player"]
    columns += [f"gems_board_{gem}" for gem in GEMS]
    for slot in range(N_SLOTS):
        columns += _card_columns(f"card{slot}")
    columns += [f"deck_level{level}_remaining" for level in (1, 2, 3)]
    for noble in range(N_NOBLES):
        columns += [f"noble{noble}_vp", *(f"noble{noble}_req_{colour}" for colour in COLOURS)]
    for player in range(N_SEATS):
        columns += _player_columns(f"player{player}")
    columns += ["action_type", "card_selection", "card_reservation"]
    columns += [f"gem_take3_{colour}" for colour in COLOURS]
    columns += [f"gem_take2_{colour}" for colour in COLOURS]
    columns += ["noble_selection", *(f"gems_removed_{gem}" for gem in GEMS)]
    return tuple(columns)


RAW_COLUMNS = _raw_columns()

ACTION_TYPES = ("build", "reserve", "take 2 tokens", "take 3 tokens")
# Sets of none to three colours, smaller sets first, each size in `COLOURS` order: 26 classes.
TAKE3_CLASSES = tuple(chosen for size in range(4) for chosen in combinations(range(5), size))
# Returned tokens in `GEMS` order, at most three in all, lexicographic, gold fastest: 84 classes.
REMOVED_CLASSES = tuple(tokens for tokens in product(range(4), repeat=6) if sum(tokens) <= 3)

# Label heads and their number of classes. Card indices: 0..11 the face-up cards that exist, counted from
# level 1; 12..14 an own reserved card (card_selection) or the deck of level 1..3 (card_reservation).
HEADS = {
    "action_type": len(ACTION_TYPES),
    "card_selection": 15,
    "card_reservation": 15,
    "gem_take3": len(TAKE3_CLASSES),
    "gem_take2": len(COLOURS),
    "noble": N_NOBLES,
    "gems_removed": len(REMOVED_CLASSES),
}


@dataclass(frozen=True)
class Options:
    """The options of the dataset in params.yaml: none."""


def parse_options(entry: Mapping[str, Any]) -> Options:
    """Return the options, checked.

    Raises
    ------
    ParamsError
        With every key, since none is known.
    """
    return build(Options, dict(entry), "params.yaml: datasets.splendor.options")
