"""The lists that discover writes: the units of each batch, and the batches.

A manifest (`data/manifests/<dataset>/batches/<batch>.json`) lists the units of one batch, sorted by key, one a line.
The batch list (`data/manifests/<dataset>/batches.yaml`) is the dict that dvc.yaml's `foreach` reads.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from stages.core import paths, plain_yaml
from stages.core.errors import ExpectedError
from stages.core.units import Source, Unit

BATCH_ID = re.compile(r"b[01]*")


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
        entries: Mapping[str, Mapping[str, str]] = plain_yaml.parse(path.read_bytes())["batches"]
        batches = sorted(entry["batch"] for entry in entries.values())
        strange = [batch for batch in batches if not BATCH_ID.fullmatch(batch)]
    except (ValueError, AttributeError, KeyError, TypeError) as error:  # the first is that of a file that is no YAML
        raise ExpectedError(f"{path}: not a batch list ({error}); remove it and run discover for {dataset}") from None
    if strange:
        raise ExpectedError(f"{path}: {strange[0]!r} is no batch id; remove the file and run discover for {dataset}")
    return batches
