"""Types of columns in the words of Hugging Face, for the front matter of a card and the metadata of a Parquet file.

A type is a name, ``float32``, or an object: ``{"list": type, "length": n}``,
``{"array3_d": {"shape": ..., "dtype": ...}}``
or ``{"class_label": {"names": {"0": "build", ...}}}``, as `datasets` writes them in ``dataset_info``.
"""

from collections.abc import Sequence
from typing import Any

MOST_AXES = 5  # of an array that it knows as one, from two on
NAMES = {"float": "float32", "double": "float64", "halffloat": "float16"}  # Arrow's


def array(dtype: str, shape: Sequence[int] = ()) -> Any:
    """Return the type of an array of a dtype, by NumPy's or Arrow's name, and a shape; of no shape, of a value.

    Examples
    --------
    >>> array("double"), array("bool", (4,)), array("uint8", (2, 13, 13))
    ('float64', {'list': 'bool', 'length': 4}, {'array3_d': {'shape': [2, 13, 13], 'dtype': 'uint8'}})
    """
    dtype = NAMES.get(dtype, dtype)
    if not shape:
        return dtype
    if 2 <= len(shape) <= MOST_AXES:
        return {f"array{len(shape)}_d": {"shape": list(shape), "dtype": dtype}}
    return {"list": array(dtype, shape[1:]), "length": shape[0]}


def class_label(classes: Sequence[str]) -> Any:
    """Return the type of a label with these classes."""
    return {"class_label": {"names": {str(number): name for number, name in enumerate(classes)}}}


def entry(name: str, kind: Any) -> dict[str, Any]:
    """Return an entry of ``dataset_info.features`` in the front matter of a card."""
    own = kind if isinstance(kind, dict) and "list" in kind else {"dtype": kind}
    return {"name": name, **own}


def in_schema(kind: Any) -> dict[str, Any]:
    """Return a type as `datasets` keeps it in the metadata of a Parquet file."""
    if isinstance(kind, str):
        return {"dtype": kind, "_type": "Value"}
    if "list" in kind:
        return {"feature": in_schema(kind["list"]), "length": kind["length"], "_type": "List"}
    [(name, said)] = kind.items()
    if name == "class_label":
        return {"names": list(said["names"].values()), "_type": "ClassLabel"}
    return {**said, "_type": f"Array{len(said['shape'])}D"}
