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
"""

import hashlib
import itertools
import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.core.errors import ExpectedError

HASH_BITS = 256


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


def digest_of(content: bytes | Iterable[bytes], context: Mapping[str, Any]) -> str:
    """Return the SHA-256 in hex of a unit's bytes, whole or in pieces, with its context, if it has one, before them."""
    digest = hashlib.sha256(json.dumps(dict(context), sort_keys=True).encode() + b"\n" if context else b"")
    for piece in [content] if isinstance(content, bytes) else content:
        digest.update(piece)
    return digest.hexdigest()


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


def noun(units: Sequence[Unit], count: int = 2) -> str:
    """Return what to call `count` of such units: files where each of them is a whole file, else units."""
    word = "file" if all(unit.sources == (Source(unit.key),) for unit in units) else "unit"
    return word if count == 1 else f"{word}s"
