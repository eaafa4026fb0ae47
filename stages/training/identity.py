"""What decides the weights of a training: a checkpoint goes on only where all of it is the same.

Parameters with their defaults, the arrays (by stats.json, which has the checksum of every file beside it), the weights
to begin with, the code, and the versions of what computes. How many ranks share the work is not among them.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages.core import part_files
from stages.core.arrays import DamagedFile

STAGES = Path(__file__).parents[1]
CODE = ("train.py", "training", "loader", "splitting", "processed", "core", "datasets/base")
# Of a dataset's package; stages/training/dvc.yaml has the same folders.
ROOMS = ("training", "schema", "reading", "encode", "simulate")
PACKAGES = ("numpy", "torch")
DIGITS = 16


@dataclass(frozen=True)
class Identity:
    """See the module; `params` is the whole of the recipe, the others are digests and versions by name."""

    params: Mapping[str, Any]
    data: Mapping[str, str]
    code: Mapping[str, str]
    versions: Mapping[str, str]

    @cached_property
    def name(self) -> str:
        """16 hex digits, another for every other identity: the name of the folder of its checkpoints."""
        return hashlib.sha256(self.text().encode()).hexdigest()[:DIGITS]

    def text(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(asdict(self), sort_keys=True, indent=1) + "\n"

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Return what another identity, read from its text, differs in: "params.lr", "versions.torch" and so on."""
        found = []
        for kind, mine in asdict(self).items():
            theirs = other.get(kind, {})
            found += [f"{kind}.{key}" for key in sorted({*mine, *theirs}) if mine.get(key) != theirs.get(key)]
        return found


def code_digests(package: Path) -> dict[str, str]:
    """Return the SHA-256 of the trainer's code by file or folder, and of the rooms of a dataset's package."""
    rooms = {f"{package.name}/{room}": package / room for room in ROOMS if (package / room).is_dir()}
    places = {name: STAGES / name for name in CODE} | rooms
    return {name: digest_of_files(path.rglob("*.py") if path.is_dir() else [path]) for name, path in places.items()}


def digest_of_files(paths: Iterable[Path]) -> str:
    """Return the SHA-256 of some files, of their names and bytes."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def data_digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's stats.json, which stands for all of its files.

    Raises
    ------
    DamagedFile
        When there is none.
    """
    path = folder / part_files.STATS
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise DamagedFile(f"{path}: not found, expected processed arrays; run `make preprocess`") from None


def versions() -> dict[str, str]:
    """Return the versions that may change a bit of a result."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
