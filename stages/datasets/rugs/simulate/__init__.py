"""Simulated recordings of the game as a Parquet event store, so that a fresh clone has real raw data.

Settings in, files out: ``events_parquet/doc_type=*/date=*/*.parquet``, see `store`, and beside them ``truth.json`` with
what is true of them. The files are a function of the settings and the version of PyArrow. Settings::

    games: 12
    seed: 42
    sessions: 3                       # the last of several is a converted capture without a human
    defects: true                     # whether to plant what goes wrong in captures, see `defects` and `store`
    start: "2025-12-27T23:56:00"      # of the first session, UTC

Simplifications: leaderboards have 3 rows, gameStatePlayerUpdate only the rugpool, the human neither leverage nor
shorts, and the trades of others add up to nothing.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated, Any, NamedTuple

from stages.core.params import AtLeast, Fault, Must, build
from stages.datasets.base import remove_others
from stages.datasets.rugs.schema import FOLDER
from stages.datasets.rugs.simulate import store
from stages.datasets.rugs.simulate.game import SECOND, moment
from stages.datasets.rugs.simulate.rows import Row
from stages.datasets.rugs.simulate.session import Session, SessionTask, simulate
from stages.runtime.workers import ordered

TRUTH = "truth.json"
_EPOCH = datetime(1970, 1, 1)
_HOUR = 3_600 * SECOND
_SERVICE_GAP, _CAPTURE_GAP = 20 * _HOUR, -6 * 24 * _HOUR  # when the next session starts; the captures are older
_MAX_CAPTURED = 2
_START = 'a time in UTC without its offset such as "2025-12-27T23:45:00"'


def _is_start(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


@dataclass(frozen=True)
class Settings:
    """The settings as they stand in params.yaml."""

    games: int
    seed: Annotated[int, AtLeast(0)]
    sessions: Annotated[int, AtLeast(1)] = 3
    defects: bool = True
    start: Annotated[str, Must(_is_start, _START)] = "2025-12-27T23:45:00"

    def faults(self) -> Iterator[Fault]:
        """Yield what is wrong with the number of games."""
        if self.games < self.sessions:
            yield Fault("games", f"{self.games}, expected at least one a session, {self.sessions}")


class _Written(NamedTuple):
    paths: list[Path]
    truth: dict[str, Any]


def write(folder: Path, options: Mapping[str, Any]) -> dict[str, float]:
    """Write the store and remove every file in it that does not belong.

    Parameters
    ----------
    folder
        Made if absent.
    options
        See the module.

    Returns
    -------
    dict
        Figures for the log: `n_games`, `n_rows`, `n_files`, `n_presses`.

    Raises
    ------
    ExpectedError
        If a setting is missing, unknown, of a wrong type or out of range.
    """
    tasks = _tasks(parse_settings(options))
    store_dir = folder / FOLDER
    store_dir.mkdir(parents=True, exist_ok=True)
    written = list(ordered(partial(_write_session, store_dir), tasks))
    # truth.json goes too: it may be a link to DVC's copy, so it is made anew
    remove_others(folder, {store_dir / path for part in written for path in part.paths})
    truth = _joined([part.truth for part in written])
    n_files = truth["files"] = sum(len(part.paths) for part in written)
    (folder / TRUTH).write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    n_presses = truth["documents"]["button_event"]
    return {"n_games": len(truth["games"]), "n_rows": truth["rows"], "n_files": n_files, "n_presses": n_presses}


def parse_settings(entry: Mapping[str, Any]) -> Settings:
    """Return the settings, checked.

    Raises
    ------
    ParamsError
        As `write`.
    """
    return build(Settings, dict(entry), "simulate.rugs")


def _tasks(settings: Settings) -> list[SessionTask]:
    """Deal the games to sessions: up to two to a converted capture, of the others each session 3/5 of what is left."""
    n_services = max(1, settings.sessions - 1)
    n_spare = min(max(1, settings.games // 4), settings.games - n_services)
    n_captured = min(_MAX_CAPTURED, n_spare) if settings.sessions > 1 else 0
    return list(_dealt(settings, n_services, n_captured))


def _dealt(settings: Settings, n_services: int, n_captured: int) -> Iterator[SessionTask]:
    start = int((datetime.fromisoformat(settings.start) - _EPOCH).total_seconds()) * SECOND
    left = settings.games - n_captured
    for i in range(n_services):
        n_others = n_services - i - 1
        n_games = min(left - n_others, -(-left * 3 // 5)) if n_others else left
        left -= n_games
        session_id = _session_id(settings.seed, i)
        yield SessionTask(
            i, session_id, True, start + i * _SERVICE_GAP, n_games, n_services, settings.seed, settings.defects
        )
    if n_captured:
        begin = start + _CAPTURE_GAP
        session_id = f"cdp-capture-{moment(begin + 300 * SECOND):%Y%m%d_%H%M%S}"
        yield SessionTask(n_services, session_id, False, begin, n_captured, n_services, settings.seed, settings.defects)


def _session_id(seed: int, index: int) -> str:
    digits = f"{Random(f'rugs {seed} session id {index}').getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _write_session(folder: Path, task: SessionTask) -> _Written:
    """Simulate a session and write its files."""
    session, rng = simulate(task), Random(f"rugs {task.seed} store {task.index}")
    records = store.numbered(session.rows, task.is_service)
    if task.has_defects:
        records, counts = store.spoiled_records(records, rng)
        session.defects.update(counts)
    flushes = list(store.flushes(records))
    if task.has_defects:
        flushes, counts = store.spoiled_flushes(flushes, rng)
        session.defects.update(counts)
    paths = [path for flush in flushes for path in store.write(folder, flush, task.session_id, rng)]
    return _Written(paths, _truth(task, session, [record for flush in flushes for record in flush.records]))


def _truth(task: SessionTask, session: Session, records: list[store.Record]) -> dict[str, Any]:
    """Return what is true of the files of a session."""
    unique = {(record.seq, record.row.doc_type): record for record in records}
    steps: dict[str, set[int]] = {game["game_id"]: set() for game in session.games}
    is_rug: set[str] = set()
    for record in unique.values():
        if _is_step(record.row) and _is_whole(record):
            steps[record.row.payload["gameId"]].add(int(record.row.tick or 0))
        elif record.row.kind == "rug":
            is_rug.add(record.row.payload["gameId"])
    return {
        "games": [_seen(game, steps[game["game_id"]], game["game_id"] in is_rug) for game in session.games],
        "defects": session.defects,
        "documents": Counter(record.row.doc_type for record in unique.values()),
        "events": Counter(record.row.event for record in unique.values() if record.row.doc_type == "ws_event"),
        "duplicate_rows": len(records) - len(unique),
        "broken_rows": sum(not _is_whole(record) for record in unique.values()),
        "rows": len(records),
        "sessions": {task.session_id: task.n_games},
    }


def _seen(game: dict[str, Any], steps: set[int], is_terminal: bool) -> dict[str, Any]:
    """Return what is true of a game with what the files show of it: the steps with the rug, if that is there."""
    return {**game, "is_terminal": is_terminal, "first_tick": min(steps), "steps": len(steps) + is_terminal}


def _is_step(row: Row) -> bool:
    return row.event == "gameStateUpdate" and row.kind in ("start", "standard")


def _is_whole(record: store.Record) -> bool:
    return record.raw.endswith("}")


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the truth of several sessions as one."""
    result = parts[0]
    for part in parts[1:]:
        for name in ("games", "duplicate_rows", "broken_rows", "rows", "defects", "documents", "events"):
            result[name] = result[name] + part[name]
        result["sessions"].update(part["sessions"])
    return result
