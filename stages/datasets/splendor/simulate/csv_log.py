"""Write positions and moves as rows of the game log: 403 values in the order of `schema.RAW_COLUMNS`.

Dialect of the original exporter: comma, CRLF line ends, no quoting, integers without a point, `nan` for a
missing value. A blind reservation of the deck of level 1, 2, 3 is written as 11, 12, 13, as in the real logs,
although 11 is also a face-up card; the text of a card, noble or choice never changes and is made once.
"""

from stages.datasets.splendor.schema import (
    ACTION_TYPES,
    CARD_WIDTH,
    CARDS,
    N_NOBLES,
    N_SEATS,
    N_SLOTS,
    NOBLE_VP,
    NOBLE_WIDTH,
    NOBLES,
    PLAYER_WIDTH,
    RAW_COLUMNS,
    RESERVED_LIMIT,
    SLOTS_PER_LEVEL,
    TAKE3_CLASSES,
)
from stages.datasets.splendor.simulate.engine import BUILD, RESERVE, TAKE2, TAKE3, Move, Seat, State

LINE_END = "\r\n"


def _text(*values: int) -> str:
    return ",".join(map(str, values))


def _missing(n_values: int) -> str:
    return ",".join(["nan"] * n_values)


_CARD_TEXT = tuple(
    _text(card.vp, card.level, *card.cost, *(int(colour == card.bonus) for colour in range(5))) for card in CARDS
)
_NOBLE_TEXT = tuple(_text(NOBLE_VP, *noble) for noble in NOBLES)
_NO_CARD, _NO_NOBLE, _NO_PLAYER = _missing(CARD_WIDTH), _missing(NOBLE_WIDTH), _missing(PLAYER_WIDTH)
_NO_CHOICE, _NO_COLOURS = _missing(1), _missing(5)
# By level or hand: the cards of a row followed by as many missing ones as there are free slots.
_NO_CARDS = tuple([_NO_CARD] * n for n in range(SLOTS_PER_LEVEL + 1))
_NO_NOBLES = tuple([_NO_NOBLE] * n for n in range(N_NOBLES + 1))
_NO_PLAYERS = tuple([_NO_PLAYER] * n for n in range(N_SEATS + 1))
_TAKE3_TEXT = tuple(_text(*(int(colour in colours) for colour in range(5))) for colours in TAKE3_CLASSES)
_TAKE2_TEXT = tuple(_text(*(2 * (colour == taken) for colour in range(5))) for taken in range(5))


def header() -> str:
    """Give the first line of a log, without line end."""
    return ",".join(RAW_COLUMNS)


def row(game_id: int, state: State, move: Move) -> str:
    """Write the position before a move and the move.

    Parameters
    ----------
    game_id : int
        Number of the game, unique over all player counts.
    state : State
        Position before the move.
    move : Move
        The move of the player to move.

    Returns
    -------
    str
        403 comma-separated values, without line end.
    """
    return f"{position_text(game_id, state)},{move_text(move)}"


def position_text(game_id: int, state: State) -> str:
    """Write the first 383 values: key, bank, cards, decks, nobles, and the players from the mover on."""
    n_players = len(state.seats)
    parts = [_text(game_id, n_players, state.round, state.mover, *state.bank)]
    for cards in state.rows:
        parts += [_CARD_TEXT[card] for card in cards]
        parts += _NO_CARDS[SLOTS_PER_LEVEL - len(cards)]
    parts.append(_text(*map(len, state.decks)))
    parts += [_NOBLE_TEXT[noble] for noble in state.nobles]
    parts += _NO_NOBLES[N_NOBLES - len(state.nobles)]
    for position in (*range(state.mover, n_players), *range(state.mover)):
        parts += _player_parts(position, state.seats[position])
    parts += _NO_PLAYERS[N_SEATS - n_players]
    return ",".join(parts)


def _player_parts(position: int, seat: Seat) -> list[str]:
    parts = [_text(position, seat.vp, *seat.tokens, *seat.bonuses)]
    parts += [_CARD_TEXT[card] for card in seat.reserved]
    return parts + _NO_CARDS[RESERVED_LIMIT - len(seat.reserved)]


def move_text(move: Move) -> str:
    """Write the last 20 values: the move."""
    kind, target, returned, noble = move
    built = str(target) if kind == BUILD else _NO_CHOICE
    reserved = _NO_CHOICE
    if kind == RESERVE:
        reserved = str(target if target < N_SLOTS else target - 1)
    take3 = _TAKE3_TEXT[target] if kind == TAKE3 else _NO_COLOURS
    take2 = _TAKE2_TEXT[target] if kind == TAKE2 else _NO_COLOURS
    return f"{ACTION_TYPES[kind]},{built},{reserved},{take3},{take2},{noble},{_text(*returned)}"
