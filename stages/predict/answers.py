"""What a model says of each row of a raw file, a table column by column."""

# mypy: disable-error-code="import-not-found, misc"

import logging
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from stages.commands.trace import line_in_unit
from stages.core.errors import ExpectedError
from stages.core.params import DatasetParams
from stages.core.part_files import UNIT_TABLE
from stages.datasets import base
from stages.loader import batches
from stages.predict.arrays import PART, FileArrays, arrays_of
from stages.predict.raw_file import raw_file
from stages.processed import Processed
from stages.training import Predictor

logger = logging.getLogger("batchwise")

BATCH = 1024  # samples that the model is asked about at once

Columns = dict[str, list[str | int | float]]


def answers(dataset: str, params: DatasetParams, path: Path, model: Predictor, top: int = 1) -> Iterator[Columns]:
    """Yield what a model says of the rows of a raw file, some rows at a time, in the order of the pipeline.

    Parameters
    ----------
    dataset, params
        The dataset, and its entry in params.yaml.
    path
        A raw file, or a folder of them.
    model
        What is asked.
    top
        How many classes of each head are named, the most likely ones first, from 1.

    Yields
    ------
    dict
        Columns of equal length: ``unit`` and ``row``, from 0, in it; ``group``, its id in hex; ``time``, UTC, where
        rows have one; ``file`` and ``line``, from 1; of each head with classes the class and ``<head>_p``, its
        probability, then ``<head>_2`` and so on, empty where no class is legal; of any other output its value.

    Raises
    ------
    ExpectedError
        When the pipeline would refuse the file, or no row has a sample.
    """
    # Nobody has seen the rows ahead of a window yet, of which a trainer makes labels.
    settings = {name: value for name, value in model.settings.items() if name != "ahead"}
    window = settings.get("window")
    with arrays_of(dataset, params, raw_file(path, params.raw_dir), model.data, window) as made:
        keys = made.data.keys(PART)
        rows, n_rows = _answered(made.data, model, window), len(keys["unit"])
        if not len(rows):
            n_needed = made.data.window_rows(str(window))
            raise ExpectedError(f"{path}: {n_rows:,} rows, expected a window of {n_needed} without a gap; add rows")
        if len(rows) < n_rows:
            logger.warning(
                "%s: %s of %s rows are not answered, they lack a window", path, f"{n_rows - len(rows):,}", f"{n_rows:,}"
            )
        places = _places(dataset, made, keys, rows)
        with batches(made.data.folder, PART, batch_size=BATCH, **settings) as stream:
            said = (_named(model(batch), model.data, top) for batch in stream)
            start = 0
            for columns in said:
                stop = start + len(next(iter(columns.values())))
                yield {**{name: values[start:stop] for name, values in places.items()}, **columns}
                start = stop


def _answered(data: Processed, model: Predictor, window: str | None) -> np.ndarray:
    """Return the row that the answer to each sample speaks of, int64 (k,)."""
    if window is None:
        return np.arange(len(data.keys(PART, ["unit"])["unit"]))
    starts = np.load(data.window_starts_path(window, PART))
    return starts + range(data.window_rows(window))[model.task.ANSWERED_ROW]


def _places(dataset: str, made: FileArrays, keys: Mapping[str, np.ndarray], rows: np.ndarray) -> Columns:
    """Return where some rows come from."""
    names = [str(key) for key in keys[UNIT_TABLE].tolist()]
    unit_of = keys["unit"][rows]
    columns: Columns = {
        "unit": [names[number] for number in unit_of.tolist()],
        "row": keys["row_in_unit"][rows].tolist(),
        "group": [f"{group:016x}" for group in keys["group_id"][rows].tolist()],
    }
    if made.times is not None:
        columns["time"] = np.datetime_as_string(keys[made.times][rows].astype("datetime64[ns]"), "s").tolist()
    columns["file"], columns["line"] = [], []
    # Rows of a unit lie together, so its file is read once.
    borders = np.flatnonzero(np.diff(unit_of)) + 1
    for start, stop in pairwise([0, *borders.tolist(), len(rows)]):
        lines = [line_in_unit(dataset, keys, row) for row in rows[start:stop].tolist()]
        found = base.locate(dataset, made.raw_dir, made.units[names[unit_of[start]]], lines)
        columns["file"] += [str(made.file.root / path.relative_to(made.raw_dir)) for path, _ in found]
        columns["line"] += [line for _, line in found]
    return columns


def _named(answers: Mapping[str, np.ndarray], data: Processed, top: int) -> Columns:
    """Return answers with the names of classes in the place of their numbers."""
    columns: Columns = {}
    for head, values in answers.items():
        if values.ndim == 1:
            columns[head] = values.tolist()
            continue
        names = np.array([*data.label_classes(head), ""])
        best = np.argsort(-values, axis=1, kind="stable")[:, :top]
        probability = np.take_along_axis(values, best, axis=1)
        best[probability == 0] = len(names) - 1
        for place in range(best.shape[1]):
            name = head if place == 0 else f"{head}_{place + 1}"
            columns[name] = names[best[:, place]].tolist()
            columns[f"{name}_p"] = probability[:, place].tolist()
    return columns
