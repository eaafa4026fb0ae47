"""The arrays of a raw file, made by the functions that make those of data/processed.

discover, process and merge run on a raw folder that holds the file alone. What split does differs in three things: all
rows are in one part, features are standardised with the normaliser that data/processed has, and a window begins
wherever there is one, since the bars that a model is asked about are those that nobody has seen yet: no rows are kept
ahead of it. Segments, series and rows that are not valid cut windows as they do there.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stages.core import manifests, part_files, paths
from stages.core.errors import ExpectedError
from stages.core.fields import NamedField
from stages.core.merge_report import read_report
from stages.core.params import DatasetParams, SplitParams, Window
from stages.core.part_files import PARTS
from stages.core.standardise import Standard
from stages.core.units import Unit
from stages.discover import discover
from stages.merge import merge
from stages.predict.raw_file import RawFile, alone
from stages.process import process
from stages.processed import Processed
from stages.splitting.part_writers import write_feature, write_heads, write_keys, write_names
from stages.splitting.parts import Merged, open_merged
from stages.splitting.window_starts import write_starts
from stages.splitting.written_folder import WrittenFolder

logger = logging.getLogger("batchwise")

PART = PARTS[-1]
ONE_BATCH = 1 << 40  # units
SCRATCH = Path("data")  # on the disk that the pipeline's arrays are on


@dataclass(frozen=True)
class FileArrays:
    """What was made of a raw file.

    Attributes
    ----------
    data
        The arrays, all in part `PART`.
    units
        The units of the file, by key.
    raw_dir
        A raw folder that holds the file alone.
    file
        Where it really lies.
    times
        The key with the time of each row, int64 ns since 1970 UTC; None where rows have none.
    """

    data: Processed
    units: dict[str, Unit]
    raw_dir: Path
    file: RawFile
    times: str | None


@contextlib.contextmanager
def arrays_of(
    dataset: str, params: DatasetParams, file: RawFile, trained: Processed, window: str | None
) -> Iterator[FileArrays]:
    """Give the arrays of a raw file; their folder is removed afterwards.

    Parameters
    ----------
    dataset, params
        The dataset, and its entry in params.yaml, of which the options count.
    file
        What to read.
    trained
        The processed arrays that the model was trained on.
    window
        The feature whose windows the model looks at, None where it looks at rows.

    Raises
    ------
    ExpectedError
        When the pipeline would refuse the file, with the line that it says then; or when the arrays are not of the form
        of those that the model was trained on.
    """
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".predict-", suffix=".tmp", dir=SCRATCH) as scratch:
        place = Path(scratch).absolute()
        with alone(file, place / "raw") as raw_dir:
            alone_params = replace(params, raw=str(raw_dir), batch_size=ONE_BATCH, limit=None, max_bad_units=0)
            trained = Processed(trained.folder.absolute())
            with contextlib.chdir(place):  # where all verbs look for what they read and write
                units = _run_verbs(dataset, alone_params)
            merged = _in_one_part(place / paths.merged_dir(dataset))
            data = _write(merged, trained, window, place / paths.processed_dir(dataset))
            times = [field.name for field in merged.of_role("time")]
            yield FileArrays(data, units, raw_dir, file, times[0] if times else None)


def _run_verbs(dataset: str, params: DatasetParams) -> dict[str, Unit]:
    """Make data/merged/<dataset> below the working directory; return the units by key."""
    discover(dataset, params)
    batches = manifests.read_batch_list(dataset)
    for batch in batches:
        process(dataset, batch, params)
    merge(dataset, params.max_bad_units)
    n_twice = read_report(dataset)["duplicates"]["groups"]
    if n_twice:
        logger.warning(
            "%s: %s groups of rows stand there twice, they are answered once", params.raw_dir, f"{n_twice:,}"
        )
    return {unit.key: unit for batch in batches for unit in manifests.read_manifest(dataset, batch)}


def _in_one_part(folder: Path) -> Merged:
    """Return the merged rows, all in `PART`."""
    merged = open_merged(folder, SplitParams())
    return replace(merged, part=np.full(len(merged.group_id), PARTS.index(PART), np.uint8))


def _write(merged: Merged, trained: Processed, window: str | None, folder: Path) -> Processed:
    """Write what split would write of these rows."""
    folder.mkdir(parents=True)
    written = WrittenFolder(folder)
    for field in merged.of_role("feature"):
        write_feature(written, merged, field, _standard(trained, field))
    for role in ("label", "mask"):
        write_heads(written, merged, role, lambda _: None)
    write_keys(written, merged)
    write_names(written, merged)
    windows = {} if window is None else {window: Window(trained.window_rows(window), step=1)}
    written.json(part_files.STATS, {"windows": write_starts(written, merged, windows, tells=False)})
    return Processed(folder)


def _standard(trained: Processed, field: NamedField) -> Standard | None:
    """Return what standardises a feature, as split found it on the rows that the model was trained on.

    Raises
    ------
    ExpectedError
        When the columns are no longer those.
    """
    shape = trained.feature_header(field.name, PART).shape[1:]
    if shape != field.shape or (field.names and trained.column_names(field.name, PART) != list(field.names)):
        raise ExpectedError(
            f"{trained.folder}: {field.name} has other columns than are made now, {shape}, expected {field.shape} with "
            "the same names; run `make train`"
        )
    fit = trained.fit(field.name, PART) if field.normalise else None
    return None if fit is None else Standard.of(*(values.reshape(field.shape) for values in fit))
