"""Where a stream is, in small JSON files, so that a killed run goes on at the sample it would have come to.

A checkpoint is checkpoint_<number>.json: ``epoch``, ``next`` (the position in the epoch's order of the first sample
that was not finished), ``data`` (the digests of the arrays), ``settings`` (what else decides the order) and ``check``,
the SHA-256 of all this. Positions count samples: batches may have another size after the resumption. Files are written
to a temporary name and renamed, the newest five stay, and a damaged one is skipped with a warning.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.errors import ExpectedError
from stages.core.files import write_text

KEPT = 5
KEYS = {"epoch", "next", "data", "settings", "check"}

logger = logging.getLogger("batchwise")

State = Mapping[str, Any]


def save(folder: Path, state: State) -> None:
    """Write a checkpoint, as `sealed` gives it, and remove all but the newest."""
    paths = _paths(folder)
    number = _number(paths[-1]) + 1 if paths else 1
    text = json.dumps(state, sort_keys=True, indent=1)
    write_text(folder / f"checkpoint_{number:08d}.json", text + "\n")
    for path in paths[: max(0, len(paths) + 1 - KEPT)]:
        path.unlink(missing_ok=True)


def newest(folder: Path) -> State | None:
    """Return the newest checkpoint of a folder that is whole; None if the folder has none at all.

    Raises
    ------
    ExpectedError
        When there are checkpoints and none is whole.
    """
    paths = _paths(folder)
    for path in reversed(paths):
        state = _read(path)
        if state is not None:
            return state
        logger.warning("%s: not a whole checkpoint, taking the one before", path)
    if paths:
        raise ExpectedError(f"{folder}: none of {len(paths)} checkpoints is whole; remove the folder to start anew")
    return None


def require_same(where: object, state: State, data: Mapping[str, Mapping[str, str]], settings: State) -> None:
    """Refuse a checkpoint of other arrays or another order.

    Raises
    ------
    ExpectedError
        When a setting that decides the order, or the content of a file, differs.
    """
    advice = "use another checkpoint_dir, or remove this one to start anew"
    for name, expected in settings.items():
        if state["settings"].get(name) != expected:
            found = state["settings"].get(name)
            raise ExpectedError(f"{where}: checkpoint is of {name} {found!r}, expected {expected!r}; {advice}")
    for name in sorted({*data, *state["data"]}):
        found, expected = (side.get(name, {}).get("sha256", "no file")[:12] for side in (state["data"], data))
        if found != expected:
            raise ExpectedError(f"{where}: checkpoint is of {name} {found!r}, expected {expected!r}; {advice}")


def sealed(state: State) -> State:
    """Return a state with its ``check``."""
    return {**state, "check": _check(state)}


def opened(state: State) -> State:
    """Return a state without its ``check``, which must agree.

    Raises
    ------
    ExpectedError
        When something of it is missing or altered.
    """
    if not isinstance(state, Mapping) or set(state) != KEYS:
        raise ExpectedError(f"loader: state is {state!r}, expected what Stream.state gave; correct resume_from")
    content = {name: value for name, value in state.items() if name != "check"}
    if state["check"] != _check(content):
        raise ExpectedError("loader: state does not agree with its check, expected it unaltered; correct resume_from")
    return content


def _paths(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, damaged ones too, the oldest first."""
    return sorted((path for path in folder.glob("checkpoint_*.json") if _number(path)), key=_number)


def _number(path: Path) -> int:
    text = path.stem.removeprefix("checkpoint_")
    return int(text) if text.isdecimal() else 0


def _read(path: Path) -> State | None:
    try:
        return opened(json.loads(path.read_bytes()))
    except (ValueError, RecursionError):  # not JSON, or JSON that is no state
        return None


def _check(state: State) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
