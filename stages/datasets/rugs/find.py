"""Which episodes a store holds, which files each of them needs, and its digest.

One pass over the files, some MB at a time; of a needed row 79 bytes go to a file without a name, of another one 20
(`reading.records`), which gives them back in canonical order. In memory stay some numbers for each episode, session and
file. JSON is parsed of player updates, of rows that name no game and of those that look cut off only, but each payload
enters its row's hash: an edit must not be missed. A frame that is cut off is no frame: it begins no game.

An episode is what `reading.order` says a game owns, if there is a frame of it. Its digest is that of the hashes of its
rows in canonical order, so it does not depend on which files hold them. Its context says what its rows do not:

- ``cash``: last cash of the session before the first frame, or null;
- ``player``: pseudonym of the own player before the first row, 16 hex digits, or null; ``key``: the fingerprint of the
  key, if there is one;
- ``n_rows``: number of rows; ``order``: time (ns since 1970 UTC) and seq of the first one;
- ``sessions``: for each session in order its id and, of the rows that name no game, first and last seq, or null;
- ``shared``, if there are some: how many rows that name the game have session, seq and doc type of a row that names
  another game or none, and the place of the first one among the unit's rows, from 1. Both rows are kept.

A file that cannot be read is a unit of its own without a digest, whose context says why it is ``bad``, with its path
below the raw folder.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from stages.core.errors import ExpectedError
from stages.core.units import Source, Unit, digest_of
from stages.datasets.rugs import schema
from stages.datasets.rugs.reading import order, payload
from stages.datasets.rugs.reading.episodes import Episodes, first_games
from stages.datasets.rugs.reading.games import name_games
from stages.datasets.rugs.reading.records import Records, Sorter
from stages.datasets.rugs.reading.store import FOREIGN, NOT_NEEDED, Reader, Rows, files, hashes, why_unplaced
from stages.datasets.rugs.schema import GAME_BYTES, GSU, OTHER, PLAYER, Options
from stages.runtime.notes import working_on

logger = logging.getLogger("batchwise")

MOST_TOLD = 5  # rows that cannot be used are named one by one up to here
# What stays of rows that are not needed, and of needed ones.
OTHERS: Final = np.dtype([("session", "i4"), ("seq", "i8"), ("ts_ns", "i8")])
NEEDED: Final = np.dtype([
    *(("session", "i4"), ("seq", "i8"), ("ts_ns", "i8"), ("doc", "i1"), ("kind", "i1"), ("game", "i4"), ("file", "i4")),
    *(("is_frame", "?"), ("cash", "f8"), ("player", "u8"), ("hash", "u1", 32)),
])  # fmt: skip
ORDER: Final = ("doc", "game")  # keys of needed rows behind session and seq


@dataclass(frozen=True)
class StoreCounts:
    """What a store holds.

    Rows are those of ws_event and button_event; `n_twice` of them are duplicates, `n_unplaced` have no session, seq or
    time, `n_broken` of the others are cut off, and `n_unowned` needed ones belong to no episode. `n_lost` are cut off
    or unplaced and no rows of an episode, which has a limit of its own.
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
    """What a store holds: its files, episodes and counts; `bad` names the first rows that cannot be used.

    `rows` are the needed rows in canonical order, each once, records of `NEEDED`: `game` is the one that is named,
    `cash` is NaN but for player updates, `player` 0 where the row does not tell the own player. `shared` has for a game
    the rows of it whose session, seq and doc type a row of another game has too, in the order of `rows`.
    """

    paths: list[str]
    reader: Reader
    rows: Records
    episodes: Episodes
    counts: StoreCounts
    bad: "_Bad"
    shared: Mapping[int, list[int]]


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
    units = _units(found, order.player_key(checked))
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
    needed, others = Sorter(NEEDED, ORDER), Sorter(OTHERS)
    gathered = _gather(reader, paths, order.player_key(options), needed, others)

    # Some files prove to be unreadable behind rows that were read: those count no more.
    faulty = [paths.index(path) for path in reader.faults]
    n_needed, first_ns = _first_times(needed, others, faulty, len(reader.sessions))

    # Canonical order, each row once.
    sessions = np.argsort(order.ranks(first_ns, list(reader.sessions))).tolist()
    rows, first_game = Records(NEEDED), np.full(len(sessions), -1, np.int32)
    shared: dict[int, list[int]] = defaultdict(list)
    for block in needed.merged(sessions, faulty):
        first_games(block, first_game)
        _add_shared(block, len(rows), shared)
        rows.add(block)
    n_others_twice = len(others) - sum(len(block) for block in others.merged(sessions))

    # Which episode each row belongs to.
    episodes = Episodes(first_game)
    for block in rows.blocks():
        episodes.add(block)
    counts = StoreCounts(
        n_files=len(paths),
        n_rows=n_needed + len(others) + gathered.n_unplaced,
        n_twice=n_needed - len(rows) + n_others_twice,
        n_broken=gathered.n_broken,
        n_unplaced=gathered.n_unplaced,
        n_unowned=len(rows) - episodes.n_owned(),
        n_lost=gathered.n_lost,
    )
    return Scan(paths, reader, rows, episodes, counts, gathered.bad, shared)


def _add_shared(rows: np.ndarray, first: int, shared: dict[int, list[int]]) -> None:
    """Note the rows that name a game and have session, seq and doc type of a neighbour, which then names another.

    Those with the same keys are all in one block, side by side; `first` is the place of its first row.
    """
    same = np.logical_and.reduce([rows[name][1:] == rows[name][:-1] for name in ("session", "seq", "doc")])
    is_shared = np.zeros(len(rows), bool)
    is_shared[1:] |= same
    is_shared[:-1] |= same
    for row in np.flatnonzero(is_shared & (rows["game"] >= 0)).tolist():
        shared[int(rows["game"][row])].append(first + row)


def _first_times(needed: Sorter, others: Sorter, faulty: list[int], n_sessions: int) -> tuple[int, np.ndarray]:
    """Return the number of needed rows without those of faulty files, and the smallest time of each session, in ns."""
    n_needed, first_ns = 0, order.first_times(n_sessions, [])
    for block in needed.blocks():
        kept = block[~np.isin(block["file"], faulty)]
        n_needed += len(kept)
        np.minimum.at(first_ns, kept["session"], kept["ts_ns"])
    for block in others.blocks():
        np.minimum.at(first_ns, block["session"], block["ts_ns"])
    return n_needed, first_ns


@dataclass
class _Bad:
    """The first rows that cannot be used: those that are cut off, and those without a place."""

    broken: list[str] = field(default_factory=list)
    unplaced: list[str] = field(default_factory=list)


@dataclass
class _Gathered:
    """What a pass over the files counts; see `StoreCounts` and `Scan`."""

    n_broken: int = 0
    n_unplaced: int = 0
    n_lost: int = 0
    bad: _Bad = field(default_factory=_Bad)


def _gather(reader: Reader, paths: list[str], key: bytes, needed: Sorter, others: Sorter) -> _Gathered:
    """Read all files, some MB at a time; what stays of their rows goes to `needed` and `others`."""
    result = _Gathered()
    for piece in reader.pieces(paths):
        working_on(str(reader.raw_dir / paths[int(piece.file[-1])]))
        rows = piece.take(piece.kind != FOREIGN)
        is_needed = rows.kind != NOT_NEEDED
        is_placed = rows.session >= 0
        is_broken = payload.broken(rows.raw) & is_placed  # one without a place is lost anyhow

        # Rows that cannot be used. A broken row that is needed may be one of an episode.
        result.n_broken += int(is_broken.sum())
        result.n_unplaced += int((~is_placed).sum())
        result.n_lost += int((~is_placed | (is_broken & ~is_needed)).sum())
        for is_bad, told in ((is_broken, result.bad.broken), (~is_placed, result.bad.unplaced)):
            first = rows.take(np.flatnonzero(is_bad)[: MOST_TOLD - len(told)])
            places = zip(first.file.tolist(), first.row.tolist(), first.head.to_pylist(), strict=True)
            told += [
                f"{reader.raw_dir / paths[file]}:{row}: {why_unplaced(head) or 'the payload is not JSON'}"
                for file, row, head in places
            ]

        # What stays of the others. A frame that is cut off is no frame.
        chosen = is_placed & is_needed
        slim = _slim(name_games(reader, rows.take(chosen)), key)
        slim["is_frame"] = (slim["kind"] == GSU) & ~is_broken[chosen]
        needed.add(slim)
        others.add(_records(rows.take(is_placed & ~is_needed), OTHERS))
    return result


def _records(rows: Rows, dtype: np.dtype) -> np.ndarray:
    """Return records with the columns that rows have of them."""
    result = np.zeros(len(rows.seq), dtype)
    for name in set(dtype.names or ()) & set(vars(rows)):
        result[name] = getattr(rows, name)
    return result


def _slim(rows: Rows, key: bytes) -> np.ndarray:
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
    result = _records(rows, NEEDED)
    result["cash"], result["player"], result["hash"] = cash, player, hashes(rows)
    return result


def _units(found: Scan, key: bytes) -> list[Unit]:
    """Return the units of the episodes, in the order of their first rows."""
    games, sessions = list(found.reader.games), list(found.reader.sessions)
    files, stretches = dict(found.episodes.files()), dict(found.episodes.stretches())
    units = []
    for one in found.episodes.in_order():
        context = {
            "cash": None if math.isnan(one.cash) else one.cash,
            "player": f"{one.player:016x}" if one.player else None,
            **({"key": order.fingerprint(key)} if key else {}),
            "n_rows": one.n_rows,
            "order": list(one.order),
            "sessions": [[sessions[code], *span] for code, span in one.spans.items()],
            **_shared_of(found.shared.get(one.game, []), stretches[one.game]),
        }
        sources = tuple(Source(found.paths[i]) for i in files[one.game].tolist())
        units.append(_unit(found.rows, sources, stretches[one.game], games[one.game], context))
    return units


def _shared_of(shared: list[int], stretches: np.ndarray) -> dict[str, list[int]]:
    """Return the entry ``shared`` of the context of a game whose rows lie in some stretches, int64 (K, 2), if any."""
    if not shared:
        return {}
    before = np.minimum(stretches, shared[0])
    return {"shared": [len(shared), int((before[:, 1] - before[:, 0]).sum()) + 1]}


def _unit(
    rows: Records, sources: tuple[Source, ...], stretches: np.ndarray, game: str, context: Mapping[str, Any]
) -> Unit:
    """Return the unit of a game whose rows lie in some stretches, int64 (K, 2)."""
    if not (game.isascii() and game.isprintable() and len(game) <= GAME_BYTES):
        expected = f"expected at most {GAME_BYTES} printable ASCII characters"
        return Unit(game, sources, "", {"bad": f"{sources[0].path}: game id {game!r}, {expected}; correct it"})
    return Unit(game, sources, digest_of(_hashes(rows, stretches), context), context)


def _hashes(rows: Records, stretches: np.ndarray) -> Iterator[bytes]:
    """Yield the hashes of the rows in some stretches, some at a time."""
    for start, stop in stretches.tolist():
        yield from (block["hash"].tobytes() for block in rows.blocks(start, stop))


def _tell(raw_dir: Path, found: Scan) -> None:
    """Say what the store holds and what of it is strange."""
    counts, reader = found.counts, found.reader
    logger.info(
        "%s: %s rows of events in %s files: %s twice, %s not JSON, %s without session, seq or time, %s of no episode",
        *(raw_dir, f"{counts.n_rows:,}", f"{counts.n_files:,}", f"{counts.n_twice:,}", f"{counts.n_broken:,}"),
        *(f"{counts.n_unplaced:,}", f"{counts.n_unowned:,}"),
    )
    if found.shared:
        n_shared, n_games = sum(map(len, found.shared.values())), len(found.shared)
        logger.warning(
            "%s: %s rows of %d games have session, seq and doc type of a row of another game; all are kept and counted",
            *(raw_dir, f"{n_shared:,}", n_games),
        )
    if reader.unused:
        events = ", ".join(f"{name} {count:,}" for name, count in sorted(reader.unused.items()))
        logger.info("%s: events that have no use here: %s", raw_dir, events)
    for what, names in (("columns", reader.new_columns), ("doc types", reader.new_docs)):
        if names:
            logger.warning("%s: %s that are not known: %s; they are ignored", raw_dir, what, ", ".join(sorted(names)))
    told = [*found.bad.broken, *found.bad.unplaced][:MOST_TOLD]
    for line in told:
        logger.warning("%s", line)
    n_more = counts.n_broken + counts.n_unplaced - len(told)
    if n_more:
        logger.warning("%s: %s more rows that cannot be used", raw_dir, f"{n_more:,}")


def _refuse_too_many(raw_dir: Path, found: Scan, options: Options) -> None:
    n_lost, n_rows = found.counts.n_lost, found.counts.n_rows
    most = math.ceil(options.max_bad_rows * n_rows)
    if n_lost > most:
        counts, bad = found.counts, found.bad
        n_unplaced, n_broken = counts.n_unplaced, n_lost - counts.n_unplaced
        why = f"{n_unplaced:,} without session, seq or time, {n_broken:,} not JSON"
        example = bad.unplaced[0] if n_unplaced >= n_broken else bad.broken[0]
        raise ExpectedError(
            f"{raw_dir}: {n_lost:,} of {n_rows:,} rows cannot be used and are of no episode, expected at most "
            f"{most:,}; {why}; {example}; correct them or raise {schema.WHERE}.max_bad_rows"
        )
