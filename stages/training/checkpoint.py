"""Where a training is, in files that are there whole or not at all, so that a killed one goes on bit for bit.

In ``${DVC_ROOT:-.}/data/checkpoints/<dataset>/<identity>/``: DVC sets DVC_ROOT to the repository also where it runs an
experiment in a temporary folder, which it removes when that fails. ``identity.json`` says what the checkpoints are of,
and ``step_<8 digits>.ckpt`` are the newest two: eight hex digits, the CRC-32 of the rest (torch does not compare the
checksums in its files), and what `torch.save` writes. They are read as tensors and plain values only (`weights_only`),
so that a file can run no code. A damaged one is skipped with a warning.
"""

# mypy: disable-error-code="import-not-found, misc"

import io
import json
import logging
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import torch

from stages.core import checksum, paths
from stages.core.files import atomic, write_text
from stages.training.identity import Identity

KEPT = 2
DIGITS = 8
TOLD = 4  # most of the checkpoints of other trainings, and of their differences, that are named
IDENTITY_FILE = "identity.json"

State = dict[str, Any]

logger = logging.getLogger("batchwise")


def folder_of(dataset: str, identity: Identity) -> Path:
    """Return where the checkpoints of a training lie."""
    return _all_of(dataset) / identity.name


def save(folder: Path, identity: Identity, step: int, state: State) -> None:
    """Write the checkpoint of a step and remove all but the newest; the disk holds it when this returns."""
    write_text(folder / IDENTITY_FILE, identity.text())
    content = io.BytesIO()
    torch.save(state, content)
    data = content.getbuffer()
    with atomic(folder / f"step_{step:08d}.ckpt", is_synced=True) as temporary, temporary.open("wb") as file:
        file.write(checksum.text(zlib.crc32(data)).encode())
        file.write(data)
    for path in _paths(folder)[:-KEPT]:
        path.unlink(missing_ok=True)


def newest(folder: Path) -> State | None:
    """Return the newest whole checkpoint of a folder, None where there is none."""
    for path in reversed(_paths(folder)):
        state = _read(path)
        if state is not None:
            return state
        logger.warning("%s: not a whole checkpoint, taking the one before", path)
    return None


def tell_others(dataset: str, identity: Identity) -> None:
    """Say which checkpoints of other trainings lie beside those of this one, and what those differ in."""
    others = [path for path in _all_of(dataset).glob(f"*/{IDENTITY_FILE}") if path.parent.name != identity.name]
    others = sorted((path for path in others if _paths(path.parent)), key=lambda path: path.stat().st_mtime)
    for path in others[-TOLD:]:
        found = identity.differences(_content(path))
        differs = ", ".join([*found[:TOLD], *(["..."] if len(found) > TOLD else [])])
        logger.info("train %s: %s is not used, it differs in %s", dataset, path.parent, differs)
    if len(others) > TOLD:
        logger.info("train %s: %d older ones are not used either", dataset, len(others) - TOLD)


def _all_of(dataset: str) -> Path:
    return Path(os.environ.get("DVC_ROOT", "."), paths.checkpoints_dir(dataset))


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _paths(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, damaged ones too, the oldest first."""
    return sorted(folder.glob(f"step_{'[0-9]' * DIGITS}.ckpt"))


def _read(path: Path) -> State | None:
    content = memoryview(path.read_bytes())
    crc, data = bytes(content[:DIGITS]), content[DIGITS:]
    if crc != checksum.text(zlib.crc32(data)).encode():
        return None
    try:
        state = torch.load(io.BytesIO(data), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError):
        return None
    return state if isinstance(state, dict) else None
