"""The Parquet files of the store and their rows.

    [events_parquet/]doc_type=<doc_type>/date=<YYYY-MM-DD>/<UTC time of the flush>_<8 hex>.parquet

The recorder flushes every 100 rows or 5 seconds, under a hidden name that it then renames: dot-files and `*.tmp` are no
files of the store. `doc_type` is a column and a folder; each file is opened by itself, since a read of the whole folder
refuses a column that is both. Columns may be of any Arrow type that casts to theirs, and others are ignored.

Needed are ws_event rows of the events of `KINDS`, and button_event rows; of the others only the number counts.
"""

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import Source
from stages.datasets.base.disguises import HEAD_BYTES, disguise
from stages.datasets.base.raw import open_source
from stages.datasets.base.raw_files import FileNames, raw_files
from stages.datasets.rugs.reading import pages
from stages.datasets.rugs.schema import FOLDER, GSU, OTHER, PLAYER, PRESS, TRADE

KINDS: Final = {"gameStateUpdate": GSU, "playerUpdate": PLAYER, "standard/newTrade": TRADE, "usernameStatus": OTHER}
NOT_NEEDED: Final = -1  # a ws_event that no encoder needs
FOREIGN: Final = -2  # a row of another doc type
DOCS: Final = {"button_event": 0, "ws_event": 1}
DOC_TYPES: Final = (
    *DOCS, "player_action", "server_state", "game_tick", "system_event", "complete_game", "bbc_round",
    "candleflip_round", "short_position",
)  # fmt: skip
TYPES: Final = {
    "ts": pa.string(),
    "session_id": pa.string(),
    "seq": pa.int64(),
    "doc_type": pa.string(),
    "event_name": pa.string(),
    "game_id": pa.string(),
    "raw_json": pa.string(),
}
SCHEMA: Final = pa.schema(list(TYPES.items()))
KNOWN: Final = {
    *TYPES, "date", "source", "direction", "player_id", "username", "price", "tick", "action_type", "cash",
    "position_qty", "button_id", "button_category", "sequence_id", "sequence_position",
}  # fmt: skip
HEAD: Final = ("session_id", "seq", "doc_type", "event_name", "game_id", "ts")
NULL, SEPARATOR = "\0", "\x1f"  # in a head
NO_GAME: Final = (None, "", "unknown")
ZONE: Final = "(Z|[+-][0-9]{2}:?[0-9]{2})$"
PIECE_BYTES: Final = 2 << 20  # some 16 files: with 16 MB no faster, and at most 327 MB of memory instead of 190
SMALL_BYTES: Final = 1 << 20  # read at once, a fifth faster; the recorder's have some 100 KB
BUFFER_BYTES: Final = 1 << 18  # of each column of a larger one
MOST_VALUE_BYTES: Final = 8 << 20  # a frame has some 5 KB; reading one that is not JSON takes 20 times as much
HASH_BYTES: Final = 32
TRUTH: Final = "truth.json"  # what the simulator knows of its store, for tests
MARK: Final = b"PAR1"  # at the beginning of each Parquet file
# Numbers are s, ms, us or ns since 1970, told by their size: in each unit all times of 1974 to 5138 lie between these.
EPOCHS: Final = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))
WHOLE: Final = "^([0-9]{9,18}|[1-8][0-9]{18})$"  # below 2**63
NUMBER: Final = r"^([0-9]{9,}(\.[0-9]*)?|[0-9]+(\.[0-9]*)?[eE]\+?[0-9]+)$"
LEAST_EPOCH: Final = 10**8
MOST_NS: Final = 8_640_000_000 * 10**9  # 100,000 days: int64 holds 106,751
NO_TIME: Final = np.iinfo(np.int64).min
SHORT_FLOATS: Final = (pa.float16(), pa.float32())  # float32 holds times of today to 128 s

# Arrow's own allocator keeps what is free, up to 100 MB of 200; the C library's gives it back, at the same CPU.
pa.set_memory_pool(pa.system_memory_pool())

Piece = tuple[int, int, pa.RecordBatch]  # index of the file, place of the first row in it, rows


@dataclass(frozen=True)
class Rows:
    """N rows of the store.

    Attributes
    ----------
    session, game
        int32 (N,): codes of the session, and of the game that the row names, -1 for none.
    seq, ts_ns
        int64 (N,): number within the session; when it was recorded, ns since 1970 UTC.
    doc, kind
        int8 (N,): index in `DOCS`, and a kind of `events`, `NOT_NEEDED` or `FOREIGN`.
    file, row
        int32 (N,): index of the file in the paths that are read, and row in it, from 1.
    head
        N texts: the columns of `HEAD`, as they stand in the file, joined.
    raw
        N payloads as bytes.
    """

    session: np.ndarray
    game: np.ndarray
    seq: np.ndarray
    ts_ns: np.ndarray
    doc: np.ndarray
    kind: np.ndarray
    file: np.ndarray
    row: np.ndarray
    head: pa.Array
    raw: pa.Array

    def take(self, chosen: np.ndarray) -> "Rows":
        """Return some rows, by index or as a mask; all of them without a copy."""
        if chosen.dtype == bool and chosen.all():
            return self
        index = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return Rows(*(column.take(index) for column in vars(self).values()))


def hashes(rows: Rows) -> np.ndarray:
    """Return the SHA-256 of each row, all that arrays can depend on: uint8 (N, 32)."""
    heads, raws = rows.head.to_pylist(), rows.raw.to_pylist()
    parts = [hashlib.sha256(b"%b\n%b" % pair).digest() for pair in zip(heads, raws, strict=True)]
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, HASH_BYTES)


def files(raw_dir: Path) -> list[str]:
    """Return the files of the store, relative to the raw folder, sorted.

    Parameters
    ----------
    raw_dir
        The store's folder, or the one above `events_parquet`.
    """
    root = FOLDER if (raw_dir / FOLDER).is_dir() else os.curdir
    names = FileNames(
        (".parquet", ".pq"),
        f"{FOLDER}/doc_type=ws_event/date=2025-12-21/1.parquet",
        lambda folder: root in (os.curdir, folder.split("/")[0]),
        may_be_packed=False,
        of_others=(TRUTH,),
    )
    found = raw_files(raw_dir, names)
    for name in found:
        if not name.isprintable():
            raise ExpectedError(f"{raw_dir}: file name {name!r} is not printable UTF-8; rename the file")
    # Spark and Dask write folders of that name; what lies in them is read.
    return [name for name in found if not (raw_dir / name).is_dir()]


def why_unplaced(head: bytes) -> str:
    """Return why a row has no place in the order, by the `head` of it; empty if it has one."""
    texts = dict(zip(HEAD, head.decode(errors="replace").split(SEPARATOR), strict=False))
    missing = [name for name in ("session_id", "seq", "ts") if texts.get(name, NULL) == NULL]
    if missing:
        return f"no {' and no '.join(missing)}, expected each"
    if _nanoseconds(pa.array([texts["ts"]]))[0] == NO_TIME:
        expected = "a time such as 2025-12-21T23:56:04.610289, or s, ms, us or ns since 1970 as a number"
        return f"ts is {texts['ts'][:40]!r}, expected {expected}"
    return ""


@dataclass
class Reader:
    """Reads files of the store and gives codes to the texts that it meets.

    `sessions` and `games` are code by text; `faults` tells for each file that could not be read why; `new_columns` and
    `new_docs` are those that nobody knows, `unused` the rows of each event that has no use here.
    """

    raw_dir: Path
    sessions: dict[str, int] = field(default_factory=dict)
    games: dict[str, int] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    new_columns: set[str] = field(default_factory=set)
    new_docs: set[str] = field(default_factory=set)
    unused: Counter[str] = field(default_factory=Counter)

    def pieces(self, paths: Sequence[str]) -> Iterator[Rows]:
        """Yield the rows of files in their order, some MB at a time."""
        waiting, n_bytes = list[Piece](), 0
        for number, path in enumerate(paths):
            for start, batch in self._batches(path):
                waiting.append((number, start, batch))
                n_bytes += batch.nbytes
                if n_bytes > PIECE_BYTES:
                    rows, waiting, n_bytes = self._rows(waiting), [], 0  # whoever has the rows needs no batches
                    yield rows
        if waiting:
            yield self._rows(waiting)

    def _batches(self, path: str) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the rows of one file in columns of `TYPES`, with the place of the first; note why it cannot be read."""
        start, where = 0, self.raw_dir / path
        try:
            with open_source(self.raw_dir, Source(path)) as file:
                for batch in self._untyped(file, path):
                    typed = batch if batch.schema.equals(SCHEMA) else _typed(batch, path, f"{where}")
                    _refuse_long(typed, f"{where}", start)
                    typed.select(HEAD).validate(full=True)  # refuses text that is not UTF-8
                    yield start, typed
                    start += batch.num_rows
        except BadUnit as error:
            self.faults[path] = str(error)
        except (pa.ArrowException, OSError) as error:
            self.faults[path] = self._why(path, error)

    def _why(self, path: str, error: Exception) -> str:
        """Say why a file cannot be read: what it is instead, or what Arrow says of it."""
        found = None
        with contextlib.suppress(BadUnit), open_source(self.raw_dir, Source(path)) as file:
            head = file.read(HEAD_BYTES)
            found = None if head.startswith(MARK) else disguise(head)
        what, cure = " ".join(str(error).split())[:200], "correct or remove it"
        if found:
            what, cure = found.found, found.cure
            cure = "unpack it" if found.is_packed else "write its rows as Parquet" if found.is_table else cure
        return f"{self.raw_dir / path}: {what}, expected a Parquet file of events; {cure}"

    def _untyped(self, file: BinaryIO, path: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one file as they stand in it, few where they are long; see `reading.pages`."""
        where = f"{self.raw_dir / path}"
        pages.refuse_footer(file, where)
        is_small = file.seek(0, os.SEEK_END) <= SMALL_BYTES
        file.seek(0)
        source = pa.BufferReader(file.read()) if is_small else file
        with pq.ParquetFile(source, buffer_size=0 if is_small else BUFFER_BYTES, pre_buffer=False) as content:
            found = content.schema_arrow.names
            self.new_columns.update(set(found) - KNOWN)
            names = self._columns(path, found)
            n_rows = pages.batch_rows(file, content.metadata, names, where)
            yield from content.iter_batches(n_rows, columns=names, use_threads=False)

    def _columns(self, path: str, names: Sequence[str]) -> list[str]:
        for name in TYPES:
            n_found = names.count(name)
            is_in_path = name == "doc_type" and bool(_doc_of(path))
            if n_found == 1 or (n_found == 0 and is_in_path):
                continue
            where, found = self.raw_dir / path, "more than one column" if n_found else "no column"
            raise BadUnit(f"{where}: {found} {name!r} in {', '.join(names)}, expected once; correct or remove it")
        return [name for name in TYPES if name in names]

    def _rows(self, pieces: Sequence[Piece]) -> Rows:
        """Return the rows of some pieces as one, their texts as codes."""
        columns = {name: pa.concat_arrays([batch.column(name) for *_, batch in pieces]) for name in TYPES}
        doc, kind = self._kinds(columns["doc_type"], columns["event_name"])

        # A row without session, seq or time has no place in the order: it counts as one without a session.
        seq, ts_ns = columns["seq"], _nanoseconds(columns["ts"])
        session = lookup(columns["session_id"], self._code_of_session, np.int32)
        is_placed = (ts_ns != NO_TIME) & seq.is_valid().to_numpy(zero_copy_only=False)

        # Where each row stands.
        n_rows = [batch.num_rows for *_, batch in pieces]
        numbers = np.array([number for number, *_ in pieces], np.int32)
        places = [np.arange(batch.num_rows, dtype=np.int32) + start + 1 for _, start, batch in pieces]

        # What the hash of a row covers beside its payload.
        head = [columns[name].cast(pa.string()).fill_null(NULL) for name in HEAD]

        return Rows(
            session=np.where(is_placed, session, -1),
            game=lookup(columns["game_id"], self.code_of_game, np.int32),
            seq=seq.fill_null(0).to_numpy(),
            ts_ns=ts_ns,
            doc=doc,
            kind=kind,
            file=np.repeat(numbers, n_rows),
            row=np.concatenate(places),
            head=pc.binary_join_element_wise(*head, SEPARATOR).cast(pa.large_binary()),
            raw=columns["raw_json"].cast(pa.large_binary()).fill_null(b""),
        )

    def _kinds(self, doc_types: pa.Array, names: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Return `doc` and `kind` of rows, and count the events that have no use."""
        doc = lookup(doc_types, self._doc, np.int8)
        is_press, is_feed = doc == DOCS["button_event"], doc == DOCS["ws_event"]
        event = lookup(names, lambda text: KINDS.get(text or "", NOT_NEEDED), np.int8)
        unused = names.filter(pa.array(is_feed & (event == NOT_NEEDED)))
        for entry in pc.value_counts(unused).to_pylist():
            self.unused[str(entry["values"])] += entry["counts"]
        return doc, np.select([is_press, is_feed], [np.int8(PRESS), event], FOREIGN)

    def _doc(self, text: str | None) -> int:
        if text not in DOC_TYPES:
            self.new_docs.add(str(text))
        return DOCS.get(text or "", -1)

    def code_of_game(self, text: str | None) -> int:
        """Return the code of a game, -1 for none."""
        return -1 if text is None or text in NO_GAME else self.games.setdefault(text, len(self.games))

    def _code_of_session(self, text: str | None) -> int:
        return -1 if text is None else self.sessions.setdefault(text, len(self.sessions))


def _refuse_long(batch: pa.RecordBatch, where: str, start: int) -> None:
    """Refuse a text that is longer than any of an event; `start` is the place of the first row in its file."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.nbytes <= MOST_VALUE_BYTES:
            continue
        lengths = pc.binary_length(column).fill_null(0).to_numpy()
        if lengths.max() > MOST_VALUE_BYTES:
            row = int(lengths.argmax())
            raise BadUnit(
                f"{where}:{start + row + 1}: a {name} of {lengths[row]:,} bytes, expected at most "
                f"{MOST_VALUE_BYTES:,}; correct or remove the row"
            )


def _typed(batch: pa.RecordBatch, path: str, where: str) -> pa.RecordBatch:
    """Return rows in the types of `TYPES`, with the doc type that the folder names if the file does not."""
    doc = pa.repeat(pa.scalar(_doc_of(path), pa.string()), batch.num_rows)
    given = {name: batch.column(name) if name in batch.schema.names else doc for name in TYPES}
    return pa.RecordBatch.from_arrays([_cast(name, column, where) for name, column in given.items()], schema=SCHEMA)


def _cast(name: str, column: pa.Array, where: str) -> pa.Array:
    """Return a column in its type of `TYPES`; a seq that is NaN is none."""
    kind = column.type
    if name == "ts" and (kind in SHORT_FLOATS or pa.types.is_date(kind)):
        raise BadUnit(
            f"{where}: ts is of type {kind}, which holds no time to the second, expected text, a timestamp, an integer "
            "or a double; write the file anew"
        )
    if name == "seq" and pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), None, column)
    try:
        return column.cast(TYPES[name])
    except pa.ArrowException as error:
        why = " ".join(str(error).split())[:120]
        raise BadUnit(
            f"{where}: {name} is of type {kind}, expected {TYPES[name]} ({why}); correct or remove the file"
        ) from None


def _doc_of(path: str) -> str | None:
    """Return the doc type that a folder of the path names, if one does."""
    for part in PurePosixPath(path).parts:
        if part.startswith("doc_type="):
            return part.removeprefix("doc_type=")
    return None


def lookup(column: pa.Array, function: Callable[[str | None], int], dtype: Any) -> np.ndarray:
    """Return a function of each text, called once for each different one."""
    coded = column.dictionary_encode()
    texts = coded.dictionary.to_pylist()
    index = coded.indices.fill_null(len(texts)).to_numpy()  # null is the text behind the last one
    if coded.null_count:
        texts.append(None)
    values = np.array([function(text) for text in texts], dtype)
    return values[index] if len(values) else np.empty(0, dtype)


def _nanoseconds(column: pa.Array) -> np.ndarray:
    """Return times as int64 ns since 1970 UTC, floored to us; `NO_TIME` for none.

    Read are ISO times, UTC where they name no zone, and numbers of s, ms, us or ns since 1970.
    """
    has_zone = pc.match_substring_regex(column, ZONE)
    try:
        zoned = pc.if_else(has_zone, column, pc.binary_join_element_wise(column, "Z", ""))
        found = zoned.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).fill_null(NO_TIME).to_numpy()
    except pa.ArrowInvalid:  # the other ways to read them must not give other times
        column = pc.utf8_trim_whitespace(column)
        is_number = pc.match_substring_regex(column, NUMBER).fill_null(False)
        found = _epochs(column, is_number)
        texts = np.flatnonzero(~is_number.to_numpy(zero_copy_only=False))
        found[texts] = [_nanosecond(text) for text in column.take(pa.array(texts)).to_pylist()]
    return np.where((found >= -MOST_NS) & (found <= MOST_NS), found // 1000 * 1000, NO_TIME)


def _epochs(column: pa.Array, is_number: pa.Array) -> np.ndarray:
    """Return numbers of s, ms, us or ns since 1970 as int64 ns, `NO_TIME` where there is none.

    A number with a fraction, which a double holds to some 0.2 us, is rounded to us.
    """
    is_whole = pc.match_substring_regex(column, WHOLE)
    whole = pc.if_else(is_whole, column, None).cast(pa.int64()).fill_null(0).to_numpy()
    other = pc.if_else(pc.and_not(is_number, is_whole), column, None).cast(pa.float64()).fill_null(0).to_numpy()
    factor = np.select([whole < limit for limit, _ in EPOCHS], [factor for _, factor in EPOCHS], 1)
    is_time = (whole >= LEAST_EPOCH) & (whole <= MOST_NS // factor)
    result = np.where(is_time, whole * np.where(is_time, factor, 0), NO_TIME)
    limits, factors = [limit for limit, _ in EPOCHS], [factor // 1000 for _, factor in EPOCHS]
    microseconds = other * np.select([other < limit for limit in limits], factors, 1e-3)
    is_time = (other >= LEAST_EPOCH) & (microseconds <= MOST_NS // 1000)
    return np.where(is_time, np.rint(np.where(is_time, microseconds, 0)).astype(np.int64) * 1000, result)


def _nanosecond(text: str | None) -> int:
    clean = (text or "").upper().removesuffix(" UTC")  # so DuckDB and BigQuery write it; and z is Z
    try:
        moment = datetime.fromisoformat(clean)
    except ValueError:
        return NO_TIME
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    found = since // timedelta(microseconds=1) * 1000
    return found if abs(found) <= MOST_NS else NO_TIME
