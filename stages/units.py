"""Units of raw input, their digests, and how they are dealt into batches.

A unit is the smallest piece of raw input that is processed on its own. Its `key` is stable and unique within the
dataset (for example the file's path below the raw folder); its `digest` covers exactly the bytes that can change its
arrays.

Batches are the leaves of a hash-prefix trie (extendible hashing). Write the SHA-256 of each key in binary; start with
one bucket; split a bucket by its next bit while it holds more than `batch_size` units. A batch's id is `b` and the bit
prefix (`b`, `b0`, `b011`): a letter first, since YAML reads `0e0` as a number. It follows that

- no batch holds more than `batch_size` units;
- the partition is a function of the set of keys alone, not of history, order or machine;
- adding or removing one unit touches one batch, and an overflow replaces one batch by two: the bucket's
  `batch_size + 1` keys are split until both sides hold one, and then neither holds more than `batch_size`.

A manifest (`data/manifests/<dataset>/batches/<batch>.json`) lists the units of one batch, sorted by key, one a line.
The batch list (`data/manifests/<dataset>/batches.yaml`) is the dict that dvc.yaml's `foreach` reads.
"""

import contextlib
import hashlib
import itertools
import json
import re
import stat
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from stages import paths
from stages.desks import working_on
from stages.errors import BadUnit, ExpectedError
from stages.workers import ordered

HASH_BITS = 256
HASH_CHUNK = 256  # files hashed per task
BATCH_ID = re.compile(r"b[01]*")
CACHE_OBJECT = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")


@dataclass(frozen=True)
class Source:
    """A file of the raw folder, or the bytes `start` to `stop` of it.

    `path` is relative to the raw folder, with `/` between its parts; `stop` None means the file's end.
    """

    path: str
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True)
class Unit:
    """The smallest piece of raw input that is processed on its own.

    `digest` is `digest_of` its bytes and context, or empty when they could not be read. `context` holds what discover
    found elsewhere and the unit's arrays depend on: names and plain JSON values.
    """

    key: str
    sources: tuple[Source, ...]
    digest: str
    context: Mapping[str, Any] = field(default_factory=dict, hash=False)


def digest_of(content: bytes, context: Mapping[str, Any]) -> str:
    """Return the SHA-256 in hex of a unit's bytes, with its context, if it has one, before them."""
    head = json.dumps(dict(context), sort_keys=True).encode() + b"\n" if context else b""
    return hashlib.sha256(head + content if head else content).hexdigest()


def key_hash(key: str) -> int:
    """Return the SHA-256 of a key as a 256-bit number."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest(), "big")


def deal(keys: Iterable[str], batch_size: int) -> dict[str, list[str]]:
    """Deal keys into batches.

    Parameters
    ----------
    keys
        Unique keys, in any order.
    batch_size
        Most keys in one batch, at least 1.

    Returns
    -------
    dict
        Batch id to its sorted keys, sorted by id; no batch is empty.

    Raises
    ------
    ExpectedError
        When a key occurs twice.

    Examples
    --------
    >>> deal(["a", "b", "c"], 2)
    {'b0': ['b', 'c'], 'b1': ['a']}
    """
    hashed = sorted((key_hash(key), key) for key in keys)
    for (first, key), (second, _) in itertools.pairwise(hashed):
        if first == second:
            raise ExpectedError(f"unit {key!r} was found twice, expected unique keys; remove one of them")
    hashes = [value for value, _ in hashed]
    batches: dict[str, list[str]] = {}
    buckets = [("", 0, len(hashed))]
    while buckets:
        prefix, low, high = buckets.pop()
        if high - low > batch_size:
            border = int(f"{prefix}1", 2) << (HASH_BITS - len(prefix) - 1)
            middle = bisect_left(hashes, border, low, high)
            buckets += [(f"{prefix}0", low, middle), (f"{prefix}1", middle, high)]
        elif high > low:
            batches[f"b{prefix}"] = sorted(key for _, key in hashed[low:high])
    return dict(sorted(batches.items()))


def lowest_hashes(units: Sequence[Unit], limit: int | None) -> list[Unit]:
    """Return the `limit` units with the lowest key hashes, all of them for None.

    It is a fair sample, and a larger limit only adds units.
    """
    if limit is None:
        return list(units)
    return sorted(units, key=lambda unit: key_hash(unit.key))[:limit]


def file_units(raw_dir: Path, files: Iterable[str]) -> list[Unit]:
    """Make one unit of each file, keyed by its path, with its digest; hashing runs on threads.

    Parameters
    ----------
    raw_dir
        The dataset's raw folder.
    files
        Paths relative to it.

    Returns
    -------
    list of Unit
        Sorted by key. A file that cannot be read has an empty digest.
    """
    names = sorted(files)
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ExpectedError(f"{raw_dir}: file name {name!r} is not UTF-8; rename the file") from None
    tasks = [(raw_dir, names[i : i + HASH_CHUNK]) for i in range(0, len(names), HASH_CHUNK)]
    digests = [digest for chunk in ordered(_digest_files, tasks, "threading") for digest in chunk]
    return [Unit(name, (Source(name),), digest) for name, digest in zip(names, digests, strict=True)]


def _digest_files(task: tuple[Path, list[str]]) -> list[str]:
    raw_dir, names = task
    return [_digest_or_empty(raw_dir, Source(name)) for name in names]


def _digest_or_empty(raw_dir: Path, source: Source) -> str:
    try:
        return hashlib.sha256(read_source(raw_dir, source)).hexdigest()
    except BadUnit:
        return ""


def read_source(raw_dir: Path, source: Source) -> bytes:
    """Return the bytes of one source.

    Raises
    ------
    BadUnit
        When it is no regular file or cannot be read.
    """
    path = raw_dir / source.path
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadUnit(f"{path}: not a regular file, expected one; remove it from the raw folder")
        if not is_inside(raw_dir, path):
            raise BadUnit(f"{path}: a link to {path.resolve()}, expected a file of the raw folder; copy it there")
        with path.open("rb") as file:
            file.seek(source.start)
            return file.read(-1 if source.stop is None else source.stop - source.start)
    except OSError as error:
        raise BadUnit(
            f"{path}: not readable ({error.strerror}), expected a readable file; correct or remove it"
        ) from None


def is_inside(raw_dir: Path, path: Path) -> bool:
    """Say whether a file, links followed, lies in the raw folder, or is an object that DVC linked from its cache."""
    if not path.is_symlink():
        return _real(path.parent).is_relative_to(_real(raw_dir))
    target = path.resolve()
    return target.is_relative_to(_real(raw_dir)) or CACHE_OBJECT.search(target.as_posix()) is not None


@cache
def _real(folder: Path) -> Path:
    return folder.resolve()


def read_unit(raw_dir: Path, unit: Unit) -> bytes:
    """Return the bytes of a unit, checked against the digest that discover recorded.

    Raises
    ------
    BadUnit
        When a source cannot be read.
    ExpectedError
        When the bytes are not those that discover saw.
    """
    where = raw_dir / unit.sources[0].path
    working_on(unit.key)
    try:
        content = b"".join(read_source(raw_dir, source) for source in unit.sources)
    except BadUnit as error:
        if not unit.digest:
            raise
        raise ExpectedError(f"{error}; discover could read it: run `dvc repro` again") from None
    if digest_of(content, unit.context) != unit.digest:
        raise ExpectedError(f"{where}: changed since discover listed it; run `dvc repro` again")
    return content


def raw_mb(raw_dir: Path, unit: Unit) -> float:
    """Return the size in MB of the bytes of a unit's sources; those that cannot be read count nothing."""
    total = 0
    for source in unit.sources:
        stop = source.stop
        if stop is None:
            with contextlib.suppress(OSError):
                stop = (raw_dir / source.path).stat().st_size
        total += max(0, (stop or 0) - source.start)
    return total / 2**20


def locate(raw_dir: Path, unit: Unit, line: int) -> tuple[Path, int]:
    """Return the file, and the line in it, of line `line`, from 1, of a unit's own bytes.

    A unit's own bytes are those after the first ``context["own"]`` ones, which came before only to be looked back on.
    """
    skip = int(unit.context.get("own", 0))
    for source in unit.sources:
        content = read_source(raw_dir, source)
        own, skip = content[skip:], max(0, skip - len(content))
        n_lines = own.count(b"\n") + (own[-1:] not in (b"\n", b""))
        if line <= n_lines:
            start = source.start + len(content) - len(own)
            before = read_source(raw_dir, Source(source.path, 0, start)).count(b"\n")
            return raw_dir / source.path, before + line
        line -= n_lines
    return raw_dir / unit.sources[-1].path, line


def manifest_text(dataset: str, batch: str, units: Sequence[Unit]) -> str:
    """Return a manifest as JSON, one unit a line, so that a diff shows which units changed."""
    lines = ",\n".join(f"  {json.dumps(_unit_entry(unit), ensure_ascii=False)}" for unit in units)
    head = f'"batch": {json.dumps(batch)},\n"dataset": {json.dumps(dataset)}'
    return f'{{\n{head},\n"units": [\n{lines}\n]\n}}\n'


def _unit_entry(unit: Unit) -> dict[str, object]:
    sources = [
        [source.path] if (source.start, source.stop) == (0, None) else [source.path, source.start, source.stop]
        for source in unit.sources
    ]
    context = {"context": dict(unit.context)} if unit.context else {}
    return {"key": unit.key, "digest": unit.digest, "sources": sources, **context}


def read_manifest(dataset: str, batch: str) -> list[Unit]:
    """Return the units of one batch, sorted by key.

    Raises
    ------
    ExpectedError
        When the manifest is missing, not what discover writes, or names a path outside the raw folder.
    """
    path = paths.manifest(dataset, batch)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [_unit(entry) for entry in content["units"]]
    except FileNotFoundError:
        raise ExpectedError(f"{path}: not found, expected a batch's manifest; run discover for {dataset}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExpectedError(f"{path}: not a manifest ({error}); run discover for {dataset}") from None


def noun(units: Sequence[Unit], count: int = 2) -> str:
    """Return what to call `count` of such units: files where each of them is a whole file, else units."""
    word = "file" if all(unit.sources == (Source(unit.key),) for unit in units) else "unit"
    return word if count == 1 else f"{word}s"


def find_unit(dataset: str, key: str) -> Unit:
    """Return a unit of the dataset's manifests by its key.

    Raises
    ------
    ExpectedError
        When no manifest has it.
    """
    for batch in read_batch_list(dataset):
        for unit in read_manifest(dataset, batch):
            if unit.key == key:
                return unit
    raise ExpectedError(f"{paths.manifest_dir(dataset)}: no unit {key!r}, expected it there; run `dvc repro`")


def _unit(entry: Mapping[str, Any]) -> Unit:
    """Return the unit of a manifest's entry; paths that lead out of the raw folder are refused."""
    key, sources, digest, context = entry["key"], entry["sources"], entry["digest"], entry.get("context", {})
    is_text = isinstance(key, str) and isinstance(digest, str)
    if not (is_text and isinstance(sources, list) and isinstance(context, dict)):
        raise TypeError(f"unit {key!r} has no text as key or digest, no list of sources, or no dict as context")
    for source in sources:
        path, *span = source
        if not (isinstance(path, str) and all(number is None or type(number) is int for number in span)):
            raise TypeError(f"source {source!r} is not a path with a start and a stop")
        path.encode()
        path = PurePosixPath(path)
        if path.is_absolute() or ".." in path.parts or "\0" in source[0]:
            raise ExpectedError(f"source {source[0]!r} lies outside the raw folder")
    return Unit(key, tuple(Source(*source) for source in sources), digest, context)


def batch_list_text(dataset: str, batches: Iterable[str]) -> str:
    """Return the batch list as YAML, in the form that dvc.yaml's `foreach` reads."""
    lines = [f"  {dataset}-{batch}: {{dataset: {dataset}, batch: {batch}}}\n" for batch in sorted(batches)]
    head = f"# The batches of {dataset}, written by discover; dvc.yaml reads it. Commit it.\n"
    return head + ("batches:\n" + "".join(lines) if lines else "batches: {}\n")


def read_batch_list(dataset: str) -> list[str]:
    """Return the ids of the dataset's batches, sorted; empty before the first discover.

    Raises
    ------
    ExpectedError
        When the list is not what discover writes.
    """
    path = paths.batch_list(dataset)
    if not path.is_file():
        return []
    try:
        entries: Mapping[str, Mapping[str, str]] = yaml.safe_load(path.read_text(encoding="utf-8"))["batches"]
        batches = sorted(entry["batch"] for entry in entries.values())
        strange = [batch for batch in batches if not BATCH_ID.fullmatch(batch)]
    except (yaml.YAMLError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise ExpectedError(f"{path}: not a batch list ({why}); remove it and run discover for {dataset}") from None
    if strange:
        raise ExpectedError(f"{path}: {strange[0]!r} is no batch id; remove the file and run discover for {dataset}")
    return batches
