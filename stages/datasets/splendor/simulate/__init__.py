"""Simulated Splendor games as CSV logs, so that a fresh clone has real raw data.

Settings in, files out: ``{2,3,4}_games/{id}.csv`` below a folder, with the columns of the dataset's `schema`.
Game ids run from 1 and are unique over the three folders. A game is a function of its id, its player count
and the seed, and the player count is a function of the id: so more games leave the earlier ones as they are,
and any number of workers writes the same bytes.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from stages.core.errors import ExpectedError
from stages.core.params import AtLeast, build
from stages.datasets.base import remove_others
from stages.datasets.splendor.schema import PLAYER_COUNTS
from stages.datasets.splendor.simulate import csv_log, engine, invariants, players
from stages.runtime.workers import ordered

# Games with 2, 3 and 4 players in the published data.
_REAL_GAMES = (3500, 2054, 1705)
# The golden ratio as a fraction of 2**64: its multiples spread evenly over the unit interval.
_GOLDEN, _UNIT = 0x9E3779B97F4A7C15, 1 << 64
# Real games last 26 to 29 rounds; one that does not end is played again from another shuffle.
_MAX_ROUNDS = 200
_MAX_ATTEMPTS = 100
_GAMES_PER_TASK = 32


@dataclass(frozen=True)
class Settings:
    """The settings as they stand in params.yaml: the number of games of all player counts, and the seed."""

    games: Annotated[int, AtLeast(1)]
    seed: int


class _Task(NamedTuple):
    folder: Path
    seed: int
    game_ids: range


def player_count(game_id: int) -> int:
    """Give the number of players of a game: 2, 3 or 4 in the proportion of the published data.

    Multiples of the golden ratio are spread evenly, so any run of consecutive ids is near it.

    Examples
    --------
    >>> [player_count(game_id) for game_id in range(1, 9)]
    [3, 2, 4, 2, 2, 3, 2, 4]
    """
    share = game_id * _GOLDEN % _UNIT * sum(_REAL_GAMES) // _UNIT
    total = 0
    for n_players, n_games in zip(PLAYER_COUNTS[:-1], _REAL_GAMES, strict=False):
        total += n_games
        if share < total:
            return n_players
    return PLAYER_COUNTS[-1]


def game_csv(game_id: int, n_players: int, seed: int) -> bytes:
    """Play one game and give its log file; the bytes depend on the arguments alone.

    Parameters
    ----------
    game_id : int
        Number of the game, written into every row.
    n_players : int
        2, 3 or 4.
    seed : int
        Seed of the whole run.

    Returns
    -------
    bytes
        Header and one row per move, CRLF after each.

    Raises
    ------
    ExpectedError
        If no attempt reached an end, which has not been seen to happen.
    """
    for attempt in range(_MAX_ATTEMPTS):
        rng = random.Random(f"splendor/{seed}/{game_id}/{n_players}/{attempt}")
        rows = _play_game(game_id, n_players, rng)
        if rows is not None:
            return csv_log.LINE_END.join([csv_log.header(), *rows, ""]).encode("ascii")
    raise ExpectedError(
        f"game {game_id}, seed {seed}: {_MAX_ATTEMPTS} games without an end, expected one; use another seed"
    )


def _play_game(game_id: int, n_players: int, rng: random.Random) -> list[str] | None:
    """Play a game to its end; None if somebody cannot move or it lasts too long."""
    seated = players.seat_players(n_players, rng)
    state = engine.new_game(n_players, rng)
    rows = []
    while not engine.is_over(state):
        move = seated[state.mover](state, rng)
        if move is None or state.round > _MAX_ROUNDS:
            return None
        rows.append(csv_log.row(game_id, state, move))
        engine.play(state, move)
        invariants.check_invariants(state)
    return rows


def write(folder: Path, options: Mapping[str, Any]) -> dict[str, int]:
    """Write the games `{2,3,4}_games/{id}.csv` and remove every other file in it.

    Parameters
    ----------
    folder : Path
        Folder for the three folders of games; made if absent.
    options : Mapping
        See `Settings`.

    Returns
    -------
    dict of str to int
        The number of games, for the log.

    Raises
    ------
    ExpectedError
        If a setting is missing, unknown, of a wrong type or out of range.
    """
    settings = parse_settings(options)
    games = settings.games
    remove_others(folder, {_path(folder, game_id) for game_id in range(1, games + 1)})
    for n_players in PLAYER_COUNTS:
        (folder / f"{n_players}_games").mkdir(parents=True, exist_ok=True)
    starts = range(1, games + 1, _GAMES_PER_TASK)
    tasks = [_Task(folder, settings.seed, range(i, min(i + _GAMES_PER_TASK, games + 1))) for i in starts]
    return {"n_games": sum(ordered(_write_games, tasks))}


def n_files(options: Mapping[str, Any]) -> int:
    """Return how many games: each game has a file."""
    return parse_settings(options).games


def parse_settings(entry: Mapping[str, Any]) -> Settings:
    """Return the settings, checked.

    Raises
    ------
    ParamsError
        As `write`.
    """
    return build(Settings, dict(entry), "simulate.splendor")


def _path(folder: Path, game_id: int) -> Path:
    return folder / f"{player_count(game_id)}_games" / f"{game_id}.csv"


def _write_games(task: _Task) -> int:
    """Write the games of one task and count them; a file appears under its name only when it is complete."""
    for game_id in task.game_ids:
        path = _path(task.folder, game_id)
        partial = path.with_name(f".{game_id}.tmp")
        partial.write_bytes(game_csv(game_id, player_count(game_id), task.seed))
        partial.replace(path)
    return len(task.game_ids)
