"""Which episodes a store holds, which files each of them needs, and its digest.

One pass over the files, some MB at a time; of a needed row some 60 bytes stay, of another one 20. JSON is parsed of
player updates, of rows that name no game and of those that look cut off only, but each payload enters its row's hash:
an edit must not be missed. A frame that is cut off is no frame: it begins no game.

An episode is what `schema.order` says a game owns, if there is a frame of it. Its digest is that of the hashes of its
rows in canonical order, so it does not depend on which files hold them. Its context says what its rows do not:

- ``cash``: last cash of the session before the first frame, or null;
- ``player``: pseudonym of the own player before the first row, 16 hex digits, or null; ``key``: the fingerprint of the
  key, if there is one;
- ``n_rows``: number of rows; ``order``: time (ns since 1970 UTC) and seq of the first one;
- ``sessions``: for each session in order its id and, of the rows that name no game, first and last seq, or null.

A file that cannot be read is a unit of its own without a digest, whose context says why it is ``bad``, with its path
below the raw folder.
"""

import itertools
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from stages.core.errors import ExpectedError
from stages.core.units import Source, Unit, digest_of
from stages.datasets.rugs import schema
from stages.datasets.rugs.reading import order, payload
from stages.datasets.rugs.reading.reader import name_games
from stages.datasets.rugs.reading.store import FOREIGN, NOT_NEEDED, Reader, Rows, files, hashes
from stages.datasets.rugs.schema import GSU, OTHER, PLAYER, Options

logger = logging.getLogger("batchwise")

GAME_BYTES = 25
MOST_TOLD = 5  # rows that cannot be used are named one by one up to here


@dataclass(frozen=True)
class Counts:
    """What a store holds.

    Rows are those of ws_event and button_event; `n_twice` of them are duplicates, `n_broken` are cut off, `n_unplaced`
    have no session, seq or time, and `n_unowned` needed ones belong to no episode. `n_lost` are cut off or unplaced and
    no rows of an episode, which has a limit of its own.
    """

    n_files: int
    n_rows: int
    n_twice: int
    n_broken: int
    n_unplaced: int
    n_unowned: int
    n_lost: int


@dataclass(frozen=True)
class Scan:
    """The needed rows of a store, N of them in canonical order, each once.

    `columns` are `session`, `game` (as named), `seq`, `ts_ns`, `kind`, `is_frame` (a frame that can be read), `file`,
    `hash` (uint8 (N, 32)), `cash` (float64, NaN but for player updates), `player` (uint64, 0 where the row does not
    tell the own player) and `owner`. `bad` names the first rows that cannot be used, as `path:row: why`.
    """

    paths: list[str]
    reader: Reader
    columns: dict[str, np.ndarray]
    counts: Counts
    bad: list[str]


def find(raw_dir: Path, options: Mapping[str, Any]) -> list[Unit]:
    """Return one unit for each episode, keyed by its game id, in the order of their first rows.

    Parameters
    ----------
    raw_dir
        The store's folder, or the one above `events_parquet`.
    options
        See `schema.Options`.

    Raises
    ------
    ExpectedError
        When there is no file or no episode, or too large a share of all rows cannot be used.
    """
    checked = schema.parse_options(options)
    found = scan(raw_dir, checked)
    _tell(raw_dir, found)
    _refuse_too_many(raw_dir, found, checked)
    units = _episodes(found, order.player_key(checked))
    faults = sorted(found.reader.faults.items())
    bad = [Unit(path, (Source(path),), "", {"bad": why.removeprefix(f"{raw_dir}/")}) for path, why in faults]
    if not units and not bad:
        raise ExpectedError(
            f"{raw_dir}: no frame in {found.counts.n_rows:,} rows of {len(found.paths):,} Parquet files, expected "
            "gameStateUpdate events; set `raw` to the folder of a store"
        )
    return units + bad


def scan(raw_dir: Path, options: Options) -> Scan:
    """Read all files of a store."""
    paths, reader, key = files(raw_dir), Reader(raw_dir), order.player_key(options)
    needed, others, n_broken, n_unplaced, bad = [_slim(reader, key, None)], [_place(None)], 0, 0, list[str]()
    n_lost = 0
    for rows in reader.pieces(paths):
        rows = rows.take(rows.kind != FOREIGN)
        broken, unplaced = _broken(rows), np.flatnonzero(rows.session < 0)
        n_broken += len(broken)
        n_unplaced += len(unplaced)
        n_lost += len(unplaced) + int((rows.kind[broken] == NOT_NEEDED).sum())
        for chosen, why in ((broken, "the payload is not JSON"), (unplaced, "no session, seq or time")):
            places = zip(rows.file[chosen].tolist(), rows.row[chosen].tolist(), strict=True)
            bad += [f"{raw_dir / paths[file]}:{row}: {why}" for file, row in itertools.islice(places, MOST_TOLD)]
        is_needed = (rows.session >= 0) & (rows.kind != NOT_NEEDED)
        slim = _slim(reader, key, name_games(reader, rows.take(is_needed)))
        is_whole = np.isin(np.flatnonzero(is_needed), broken, invert=True)
        needed.append({**slim, "is_frame": (slim["kind"] == GSU) & is_whole})
        others.append(_place(rows.take((rows.session >= 0) & (rows.kind == NOT_NEEDED))))
    columns, rest = ({name: np.concatenate([p[name] for p in ps]) for name in ps[0]} for ps in (needed, others))
    is_read = ~np.isin(columns["file"], [paths.index(path) for path in reader.faults])  # some faults lie behind rows
    columns = {name: column[is_read] for name, column in columns.items()}
    n_rows = len(columns["seq"]) + len(rest["seq"]) + n_unplaced
    rank = order.ranks(_first_times(len(reader.sessions), columns, rest), list(reader.sessions))
    kept, n_twice = order.ordered(rank[columns["session"]], columns["seq"], columns["doc"], columns["game"])
    n_twice += order.ordered(rest["session"], rest["seq"])[1]
    columns = {name: column[kept] for name, column in columns.items()}
    owner = order.owners(columns["session"], columns["game"], columns["is_frame"])
    has_frame = np.bincount(owner[columns["is_frame"] & (owner >= 0)], minlength=len(reader.games) + 1) > 0
    columns["owner"] = np.where(has_frame[owner], owner, -1)
    n_unowned = int((columns["owner"] < 0).sum())
    return Scan(
        paths, reader, columns, Counts(len(paths), n_rows, n_twice, n_broken, n_unplaced, n_unowned, n_lost), bad
    )


def _broken(rows: Rows) -> np.ndarray:
    """Return the rows whose payloads are cut off: those whose braces do not match at the end are looked at."""
    cut = np.flatnonzero(_is_cut(rows).to_numpy(zero_copy_only=False))
    return cut[[not payload.is_json(raw) for raw in rows.raw.take(cut).to_pylist()]] if len(cut) else cut


def _is_cut(rows: Rows) -> Any:
    n_open, n_close = (pc.count_substring(rows.raw, pattern=brace) for brace in "{}")
    return pc.or_(pc.invert(pc.ends_with(rows.raw, pattern="}")), pc.not_equal(n_open, n_close))


def _place(rows: Rows | None) -> dict[str, np.ndarray]:
    """Return what stays of rows that are not needed."""
    if rows is None:
        return {"session": np.empty(0, np.int32), "seq": np.empty(0, np.int64), "ts_ns": np.empty(0, np.int64)}
    return {"session": rows.session, "seq": rows.seq, "ts_ns": rows.ts_ns}


def _slim(reader: Reader, key: bytes, rows: Rows | None) -> dict[str, np.ndarray]:
    """Return what stays of needed rows; without rows, no row of each column."""
    if rows is None:
        kinds = {"doc": "i1", "kind": "i1", "game": "i4", "file": "i4", "cash": "f8", "player": "u8", "is_frame": "?"}
        return {
            **_place(None),
            **{name: np.empty(0, kind) for name, kind in kinds.items()},
            "hash": np.empty((0, 32), np.uint8),
        }
    cash, player = np.full(len(rows.seq), np.nan), np.zeros(len(rows.seq), np.uint64)
    for kind in (PLAYER, OTHER):
        chosen = np.flatnonzero(rows.kind == kind)
        payloads = payload.decode(kind, rows.raw.take(chosen).to_pylist())
        for i, found in zip(chosen.tolist(), payloads, strict=True):
            if isinstance(found, payload.Player):
                player[i] = order.pseudonym(found.player, key)
                cash[i] = payload.number(found.cash) if kind == PLAYER else np.nan
    names = ("doc", "kind", "game", "file")
    own = {name: getattr(rows, name) for name in names}
    return {**_place(rows), **own, "cash": cash, "player": player, "hash": hashes(rows)}


def _first_times(n_sessions: int, *parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the smallest time of each session, ns since 1970 UTC."""
    result = np.full(n_sessions, np.iinfo(np.int64).max)
    for part in parts:
        np.minimum.at(result, part["session"], part["ts_ns"])
    return result


def _episodes(found: Scan, key: bytes) -> list[Unit]:
    """Return the units of the episodes, in the order of their first rows."""
    columns, session = found.columns, found.columns["session"]
    by_owner = np.argsort(columns["owner"], kind="stable")
    by_owner = by_owner[columns["owner"][by_owner] >= 0]
    starts = np.flatnonzero(np.diff(columns["owner"][by_owner], prepend=-1))
    groups = sorted(np.split(by_owner, starts[1:]), key=lambda own: int(own[0])) if len(by_owner) else []
    last_cash = order.last_seen(~np.isnan(columns["cash"]), session)
    last_player = order.last_seen(columns["player"] > 0, session)
    games, sessions = list(found.reader.games), list(found.reader.sessions)
    units = []
    for own in groups:
        first_frame = own[columns["is_frame"][own].argmax()]
        cash, before = last_cash[first_frame], own[0] - 1
        known = last_player[before] if before >= 0 and session[before] == session[own[0]] else -1
        context = {
            "cash": float(columns["cash"][cash]) if cash >= 0 else None,
            "player": f"{int(columns['player'][known]):016x}" if known >= 0 else None,
            **({"key": order.fingerprint(key)} if key else {}),
            "n_rows": len(own),
            "order": [int(columns["ts_ns"][own[0]]), int(columns["seq"][own[0]])],
            "sessions": _spans(columns, own, sessions),
        }
        units.append(_unit(found, own, games[columns["owner"][own[0]]], context))
    return units


def _spans(columns: Mapping[str, np.ndarray], own: np.ndarray, sessions: list[str]) -> list[list[Any]]:
    """Return the sessions of an episode, with the first and the last seq of their rows that name no game."""
    session = columns["session"][own]
    codes = session[np.sort(np.unique(session, return_index=True)[1])].tolist()
    result: list[list[Any]] = []
    for code in codes:
        loose = columns["seq"][own[(session == code) & (columns["game"][own] < 0)]]
        result.append([sessions[code], *([int(loose[0]), int(loose[-1])] if len(loose) else [None, None])])
    return result


def _unit(found: Scan, own: np.ndarray, game: str, context: Mapping[str, Any]) -> Unit:
    sources = tuple(Source(found.paths[i]) for i in np.unique(found.columns["file"][own]).tolist())
    if not (game.isascii() and game.isprintable() and len(game) <= GAME_BYTES):
        bad = (
            f"{sources[0].path}: game id {game!r}, expected at most {GAME_BYTES} printable ASCII characters; correct it"
        )
        return Unit(game, sources, "", {"bad": bad})
    return Unit(game, sources, digest_of(found.columns["hash"][own].tobytes(), context), context)


def _tell(raw_dir: Path, found: Scan) -> None:
    """Say what the store holds and what of it is strange."""
    counts, reader = found.counts, found.reader
    logger.info(
        "%s: %s rows of events in %s files: %s twice, %s not JSON, %s without session, seq or time, %s of no episode",
        *(raw_dir, f"{counts.n_rows:,}", f"{counts.n_files:,}", f"{counts.n_twice:,}", f"{counts.n_broken:,}"),
        *(f"{counts.n_unplaced:,}", f"{counts.n_unowned:,}"),
    )
    if reader.unused:
        events = ", ".join(f"{name} {count:,}" for name, count in sorted(reader.unused.items()))
        logger.info("%s: events that have no use here: %s", raw_dir, events)
    for what, names in (("columns", reader.new_columns), ("doc types", reader.new_docs)):
        if names:
            logger.warning("%s: %s that are not known: %s; they are ignored", raw_dir, what, ", ".join(sorted(names)))
    for line in found.bad[:MOST_TOLD]:
        logger.warning("%s", line)
    n_more = counts.n_broken + counts.n_unplaced - min(len(found.bad), MOST_TOLD)
    if n_more:
        logger.warning("%s: %s more rows that cannot be used", raw_dir, f"{n_more:,}")


def _refuse_too_many(raw_dir: Path, found: Scan, options: Options) -> None:
    n_lost, n_rows = found.counts.n_lost, found.counts.n_rows
    most = math.ceil(options.max_bad_rows * n_rows)
    if n_lost > most:
        raise ExpectedError(
            f"{raw_dir}: {n_lost:,} of {n_rows:,} rows cannot be used and are of no episode, expected at most "
            f"{most:,}; {found.bad[0]}; correct them or raise {schema.WHERE}.max_bad_rows"
        )
