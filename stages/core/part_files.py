"""The parts of a split, why a row may be in none of them, and the names of the files below data/processed/<dataset>/.

Who writes a file (stages/split.py) and who reads it (stages/processed) take its name from here.
"""

from typing import Literal

PARTS = ("train", "val", "test")
LEFT_OUT = ("purged", "embargoed", "looked_ahead")  # why a row is in no part

STATS = "stats.json"
FEATURE_NAMES = "feature_names.json"
LABEL_MAPPINGS = "label_mappings.json"
NORMALIZER = "normalizer.npz"
PACKED = "packed.json"

MemberRole = Literal["label", "mask", "key"]
MEMBER_ROLES: tuple[MemberRole, ...] = ("label", "mask", "key")  # roles whose fields lie together in one NPZ a part
UNIT_TABLE = "units"  # of the keys: the names that `unit` points to, not one for each row

REFUSED = "refused"  # a key, where a dataset has it: 1 in rows whose label a mask of theirs forbids

_STARTS = "starts_"


def feature(field: str, part: str) -> str:
    """Return the name of a feature's file: ``X_train.npy``."""
    return f"{field}_{part}.npy"


def window_starts(field: str, part: str) -> str:
    """Return the name of the file with the first rows of a feature's windows: ``starts_X_train.npy``."""
    return f"{_STARTS}{field}_{part}.npy"


def members(role: MemberRole, part: str) -> str:
    """Return the name of the file with all labels, masks or keys: ``labels_train.npz``."""
    return f"{role}s_{part}.npz"


def valid(field: str) -> str:
    """Return the field that says which rows of a feature are valid, where there is one: ``valid_X``."""
    return f"valid_{field}"


def feature_of(file_name: str, part: str) -> str | None:
    """Return whose feature file this is; None for the first rows of windows and for files of another kind or part."""
    ending = feature("", part)
    if file_name.startswith(_STARTS) or not file_name.endswith(ending):
        return None
    return file_name.removesuffix(ending)


def field_of(head: str, role: MemberRole) -> str:
    """Return the field that a member of a file is of: ``noble`` of the labels is ``label_noble``; a key is itself."""
    return head if role == "key" else f"{role}_{head}"
