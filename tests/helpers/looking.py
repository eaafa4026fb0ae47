"""What the tests that look at finished arrays share: a working directory that has them, and the arrays as NumPy has."""

import json
from pathlib import Path

import numpy as np


def link_arrays(made: Path, here: Path) -> None:
    """Give a working directory the arrays that lie in `made`, which is not to be changed, as links."""
    (here / "data").mkdir(exist_ok=True)
    for name in ("processed", "merged", "reports", "manifests", "sample"):
        if (made / "data" / name).exists():
            (here / "data" / name).symlink_to(made / "data" / name)
    for name in ("params.yaml", "raw"):
        if (made / name).exists():
            (here / name).symlink_to(made / name)


def part_arrays(folder: Path, part: str) -> dict[str, np.ndarray]:
    """Return every array of a part by the name of its field, as NumPy opens it; bits unpacked."""
    shapes = json.loads((folder / "packed.json").read_text()) if (folder / "packed.json").exists() else {}
    found = {}
    for path in sorted(folder.glob(f"*_{part}.npy")):
        if not path.name.startswith("starts_"):
            found[path.name.removesuffix(f"_{part}.npy")] = np.load(path)
    for name, shape in shapes.items():
        found[name] = np.unpackbits(found[name], axis=1, count=int(np.prod(shape))).reshape(-1, *shape)
    for role in ("label", "mask", "key"):
        with np.load(folder / f"{role}s_{part}.npz") as members:
            found |= {name if role == "key" else f"{role}_{name}": members[name] for name in members}
    return found


def names_of_features(folder: Path) -> dict[str, list[str]]:
    """Return the columns of each feature that has names for them."""
    names = json.loads((folder / "feature_names.json").read_text())
    if isinstance(names, dict):
        return {field: own for field, own in names.items() if own}
    [field] = (path.name.removesuffix("_train.npy") for path in folder.glob("[!s]*_train.npy"))
    return {field: names}
