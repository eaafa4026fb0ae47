"""Name the raw file and line that a row of the processed arrays came from, with its keys and labels.

In: data/processed/<dataset>/keys_<part>.npz and labels_<part>.npz.
"""

import sys
from collections.abc import Mapping

import numpy as np

from stages.core import manifests, paths
from stages.core.errors import ExpectedError
from stages.core.params import DatasetParams, load
from stages.core.part_files import PARTS, UNIT_TABLE
from stages.datasets import base
from stages.processed import Processed
from stages.runtime import cli
from stages.runtime.text import printable


def trace(dataset: str, params: DatasetParams, part: str, row: int) -> str:
    """Return what is known of one row, as lines of text.

    Raises
    ------
    ExpectedError
        When the part has no row or not this one, or the arrays are not there.
    """
    data = Processed(paths.processed_dir(dataset))
    keys = data.keys(part)
    n_rows = len(keys["unit"])
    if not n_rows:
        raise ExpectedError(f"{dataset} {part}: no rows, expected some; add data or change split in params.yaml")
    if not 0 <= row < n_rows:
        raise ExpectedError(f"{dataset} {part}: row {row}, expected 0..{n_rows - 1}")
    key = str(keys[UNIT_TABLE][keys["unit"][row]])
    unit, line = manifests.find_unit(dataset, key), line_in_unit(dataset, keys, row)
    [(path, line)] = base.locate(dataset, params.raw_dir, unit, [line])
    own = [name for name in keys if name not in ("group_id", "row_in_unit", "unit", "line", UNIT_TABLE)]
    lines = {
        "row": f"{row:,} of {n_rows:,} in {dataset} {part}",
        "raw": f"{path}, line {line}",
        "group": f"{keys['group_id'][row]:016x}",
        "keys": ", ".join(f"{name} {key_text(name, keys[name][row])}" for name in own),
        "labels": ", ".join(_labels(data, part, row)) or "none",
    }
    return "".join(f"{name:7} {printable(text)}\n" for name, text in lines.items())


def line_in_unit(dataset: str, keys: Mapping[str, np.ndarray], row: int) -> int:
    """Return the line, from 1, of the unit's own bytes that a row of a part with these keys came from."""
    return int(keys["line"][row]) if "line" in keys else base.encoder(dataset).line(int(keys["row_in_unit"][row]))


def key_text(name: str, value: np.generic) -> str:
    """Return a key as text: bytes as UTF-8, and the nanoseconds of `time` as a moment in UTC."""
    if name == "time" and isinstance(value, np.int64):
        moment = np.datetime_as_string(np.datetime64(int(value), "ns"))
        return f"{moment.rstrip('0').rstrip('.')}Z"
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _labels(data: Processed, part: str, row: int) -> list[str]:
    """Return the labels that apply to a row, each with its class name and index."""
    classes = data.label_mappings()
    result = []
    for head, values in data.labels(part).items():
        if (label := int(values[row])) >= 0:
            names = list(classes[head])
            result.append(f"{head} {names[label]!r} ({label})")
    return result


def main() -> int:
    """Run the command."""
    parser = cli.parser("commands.trace", "Name the raw file and line of a row.")
    parser.add_argument("dataset", help="a dataset of params.yaml")
    parser.add_argument("part", choices=PARTS, help="the part of the split")
    parser.add_argument("row", type=int, help="row of the part's arrays, from 0")
    arguments = parser.parse_args()

    def action() -> None:
        params = load().dataset(arguments.dataset)
        sys.stdout.write(trace(arguments.dataset, params, arguments.part, arguments.row))

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
