"""Which episodes a store holds, which files each of them needs, and its digest.

One pass over the files, some MB at a time; of a needed row some 60 bytes stay, of another one 20. JSON is parsed of
player updates, of rows that name no game and of those that look cut off only, but each payload enters its row's hash:
an edit must not be missed. A frame that is cut off is no frame: it begins no game.

An episode is what `reading.order` says a game owns, if there is a frame of it. Its digest is that of the hashes of its
rows in canonical order, so it does not depend on which files hold them. Its context says what its rows do not:

- ``cash``: last cash of the session before the first frame, or null;
- ``player``: pseudonym of the own player before the first row, 16 hex digits, or null; ``key``: the fingerprint of the
  key, if there is one;
- ``n_rows``: number of rows; ``order``: time (ns since 1970 UTC) and seq of the first one;
- ``sessions``: for each session in order its id and, of the rows that name no game, first and last seq, or null.

A file that cannot be read is a unit of its own without a digest, whose context says why it is ``bad``, with its path
below the raw folder.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from stages.core.errors import ExpectedError
from stages.core.units import Source, Unit, digest_of
from stages.datasets.rugs import schema
from stages.datasets.rugs.reading import order, payload
from stages.datasets.rugs.reading.games import name_games
from stages.datasets.rugs.reading.store import FOREIGN, NOT_NEEDED, Reader, Rows, files, hashes
from stages.datasets.rugs.schema import GAME_BYTES, GSU, OTHER, PLAYER, Options

logger = logging.getLogger("batchwise")

MOST_TOLD = 5  # rows that cannot be used are named one by one up to here
# What stays of rows that are not needed, and of needed ones.
OTHERS: Final = {"session": "i4", "seq": "i8", "ts_ns": "i8"}
NEEDED: Final = {
    **OTHERS, "doc": "i1", "kind": "i1", "game": "i4", "file": "i4", "is_frame": "?", "cash": "f8", "player": "u8",
    "hash": "(32,)u1",
}  # fmt: skip

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class StoreCounts:
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
    columns: Columns
    counts: StoreCounts
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
    paths, reader = files(raw_dir), Reader(raw_dir)
    gathered = _gather(reader, paths, order.player_key(options))
    needed, others = _joined(gathered.needed, NEEDED), _joined(gathered.others, OTHERS)

    # Some files prove to be unreadable behind rows that were read: those count no more.
    faulty = [paths.index(path) for path in reader.faults]
    needed = _chosen(needed, ~np.isin(needed["file"], faulty))
    n_rows = len(needed["seq"]) + len(others["seq"]) + gathered.n_unplaced

    # Canonical order, each row once.
    places = [(part["session"], part["ts_ns"]) for part in (needed, others)]
    first_ns = order.first_times(len(reader.sessions), places)
    rank = order.ranks(first_ns, list(reader.sessions))
    kept, n_needed_twice = order.ordered(rank[needed["session"]], needed["seq"], needed["doc"], needed["game"])
    _, n_others_twice = order.ordered(others["session"], others["seq"])
    needed = _chosen(needed, kept)

    # Which episode each row belongs to.
    needed["owner"] = _owners(needed, len(reader.games))
    counts = StoreCounts(
        n_files=len(paths),
        n_rows=n_rows,
        n_twice=n_needed_twice + n_others_twice,
        n_broken=gathered.n_broken,
        n_unplaced=gathered.n_unplaced,
        n_unowned=int((needed["owner"] < 0).sum()),
        n_lost=gathered.n_lost,
    )
    return Scan(paths, reader, needed, counts, gathered.bad)


@dataclass
class _Gathered:
    """What a pass over the files leaves: columns of needed rows and of others, in pieces; see `StoreCounts`, `Scan`."""

    needed: list[Columns] = field(default_factory=list)
    others: list[Columns] = field(default_factory=list)
    n_broken: int = 0
    n_unplaced: int = 0
    n_lost: int = 0
    bad: list[str] = field(default_factory=list)


def _gather(reader: Reader, paths: list[str], key: bytes) -> _Gathered:
    """Read all files, some MB at a time."""
    result = _Gathered()
    for piece in reader.pieces(paths):
        rows = piece.take(piece.kind != FOREIGN)
        is_needed = rows.kind != NOT_NEEDED
        is_placed = rows.session >= 0
        is_broken = payload.broken(rows.raw)

        # Rows that cannot be used. A broken row that is needed may be one of an episode.
        result.n_broken += int(is_broken.sum())
        result.n_unplaced += int((~is_placed).sum())
        result.n_lost += int((~is_placed).sum() + (is_broken & ~is_needed).sum())
        for is_bad, why in ((is_broken, "the payload is not JSON"), (~is_placed, "no session, seq or time")):
            first = rows.take(np.flatnonzero(is_bad)[:MOST_TOLD])
            places = zip(first.file.tolist(), first.row.tolist(), strict=True)
            result.bad += [f"{reader.raw_dir / paths[file]}:{row}: {why}" for file, row in places]

        # What stays of the others. A frame that is cut off is no frame.
        chosen = is_placed & is_needed
        slim = _slim(name_games(reader, rows.take(chosen)), key)
        slim["is_frame"] = (slim["kind"] == GSU) & ~is_broken[chosen]
        result.needed.append(slim)
        rest = rows.take(is_placed & ~is_needed)
        result.others.append({name: getattr(rest, name) for name in OTHERS})
    return result


def _slim(rows: Rows, key: bytes) -> Columns:
    """Return what stays of needed rows, but `is_frame`."""
    cash, player = np.full(len(rows.seq), np.nan), np.zeros(len(rows.seq), np.uint64)
    for kind in (PLAYER, OTHER):
        chosen = np.flatnonzero(rows.kind == kind)
        payloads = payload.decode(kind, rows.raw.take(chosen).to_pylist())
        for i, found in zip(chosen.tolist(), payloads, strict=True):
            if not isinstance(found, payload.Player):
                continue
            player[i] = order.pseudonym(found.player, key)
            if kind == PLAYER:
                cash[i] = payload.number(found.cash)
    columns = {name: getattr(rows, name) for name in ("session", "seq", "ts_ns", "doc", "kind", "game", "file")}
    return {**columns, "cash": cash, "player": player, "hash": hashes(rows)}


def _joined(parts: list[Columns], dtypes: Mapping[str, str]) -> Columns:
    """Return the rows of all parts, also of none."""
    return {
        name: np.concatenate([np.empty(0, dtype), *(part[name] for part in parts)]) for name, dtype in dtypes.items()
    }


def _chosen(columns: Columns, rows: np.ndarray) -> Columns:
    return {name: column[rows] for name, column in columns.items()}


def _owners(needed: Columns, n_games: int) -> np.ndarray:
    """Return the game that owns each row, int32 (N,): -1 for none, also where no frame of the game can be read."""
    owner = order.owners(needed["session"], needed["game"], needed["is_frame"])
    of_frames = owner[needed["is_frame"] & (owner >= 0)]
    has_frame = np.bincount(of_frames, minlength=n_games + 1) > 0  # the last one stands for -1
    return np.where(has_frame[owner], owner, -1)


def _episodes(found: Scan, key: bytes) -> list[Unit]:
    """Return the units of the episodes, in the order of their first rows."""
    columns, session = found.columns, found.columns["session"]
    last_cash = order.last_seen(~np.isnan(columns["cash"]), session)
    last_player = order.last_seen(columns["player"] > 0, session)
    games, sessions = list(found.reader.games), list(found.reader.sessions)
    units = []
    for own in order.by_owner(columns["owner"]):
        first = int(own[0])
        first_frame = own[columns["is_frame"][own].argmax()]
        cash = last_cash[first_frame]
        is_same_session = first > 0 and session[first - 1] == session[first]
        player = last_player[first - 1] if is_same_session else -1
        context = {
            "cash": float(columns["cash"][cash]) if cash >= 0 else None,
            "player": f"{int(columns['player'][player]):016x}" if player >= 0 else None,
            **({"key": order.fingerprint(key)} if key else {}),
            "n_rows": len(own),
            "order": [int(columns["ts_ns"][first]), int(columns["seq"][first])],
            "sessions": _spans(columns, own, sessions),
        }
        units.append(_unit(found, own, games[columns["owner"][first]], context))
    return units


def _spans(columns: Mapping[str, np.ndarray], own: np.ndarray, sessions: list[str]) -> list[list[Any]]:
    """Return the sessions of an episode, with the first and the last seq of their rows that name no game."""
    session = columns["session"][own]
    is_loose = columns["game"][own] < 0
    first = np.sort(np.unique(session, return_index=True)[1])
    result: list[list[Any]] = []
    for code in session[first].tolist():
        seq = columns["seq"][own[is_loose & (session == code)]]
        span = [int(seq[0]), int(seq[-1])] if len(seq) else [None, None]
        result.append([sessions[code], *span])
    return result


def _unit(found: Scan, own: np.ndarray, game: str, context: Mapping[str, Any]) -> Unit:
    sources = tuple(Source(found.paths[i]) for i in np.unique(found.columns["file"][own]).tolist())
    if not (game.isascii() and game.isprintable() and len(game) <= GAME_BYTES):
        expected = f"expected at most {GAME_BYTES} printable ASCII characters"
        return Unit(game, sources, "", {"bad": f"{sources[0].path}: game id {game!r}, {expected}; correct it"})
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
