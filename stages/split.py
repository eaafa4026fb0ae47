"""Assign whole groups to train, val and test, standardise the features, and write what a trainer reads.

In: data/merged/<dataset>/ and `split` of params.yaml. Out, in data/processed/<dataset>/, per part (train, val, test):

- X_<part>.npy: float32 (N, columns), one file per feature field; (x - mean) / scale where the field declares columns
  to standardise, else the field as it is. With ``store: stored`` in params.yaml every field is as merged, in its own
  dtype, and ``stored`` of stats.json names those that a reader standardises: stages/processed, and so the loader;
- labels_<part>.npz: int16 (N,) per head; masks_<part>.npz: uint8 0/1 (N, classes) per head;
- keys_<part>.npz: ``group_id`` uint64 (N,), ``unit`` int32 (N,) an index into ``units`` (text), ``row_in_unit`` int64
  (N,), and the dataset's own keys;
- starts_<field>_<part>.npy: int64, the rows with which sliding windows of a feature begin (see
  stages/splitting/window_starts.py);

and for all parts feature_names.json, label_mappings.json (class name to index per head), normalizer.npz (``names``,
``mean``, ``scale``, ``is_normalised``; mean 0 and scale 1 where a column is not standardised), stats.json and, where
rows of a field are stored as bits (see stages/core/bits.py), packed.json: field name to shape of an unpacked row.
``files`` of stats.json is the CRC-32 of each other file; `make verify` and, if asked, the loader compare them. Beside
them the metrics and plots that stages/splitting/stats.py describes.

Mean and population standard deviation are taken over train rows only, in one pass and in merged order. The rows of a
part stay in merged order, or come in the order of a hash with ``shuffle: true``: see stages/splitting/shuffle.py.
Arrays are read and written a chunk at a time.
"""

import logging
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import part_files, paths
from stages.core.errors import ExpectedError
from stages.core.fields import NamedField
from stages.core.files import atomic_dir
from stages.core.merge_report import read_report
from stages.core.params import SplitParams
from stages.core.part_files import PARTS
from stages.runtime import cli
from stages.runtime.display import Display, StepProgress
from stages.runtime.memory_log import MemoryLog
from stages.splitting import normaliser, stats
from stages.splitting.part_writers import write_feature, write_heads, write_keys, write_names
from stages.splitting.parts import Merged, open_merged
from stages.splitting.shuffle import shuffled, working_bytes
from stages.splitting.window_starts import write_starts
from stages.splitting.written_folder import WrittenFolder

logger = logging.getLogger("batchwise")


def split(dataset: str, params: SplitParams) -> None:
    """Write the parts of a dataset.

    Raises
    ------
    ExpectedError
        When train would be empty. Of an empty val or test a warning tells, and its arrays have no rows.
    DamagedFile
        When a merged file is missing, not complete or not what merge wrote.
    """
    with MemoryLog("split", dataset) as log:
        log.record("start")
        merged = open_merged(paths.merged_dir(dataset), params)
        _tell_of_empty_parts(dataset, merged, params)
        title = f"Splitting {dataset} ({int(merged.offsets[-1]):,} rows)"
        with Display(StepProgress(title, "fields", len(merged.fields)), log.watch) as steps:
            log.doing = lambda: steps.doing(paths.processed_dir(dataset))
            summary, report = _write(dataset, merged, params, log, steps)
        stats.write(dataset, summary, report)
        log.record("end", **{f"n_{part}": n for part, n in zip(PARTS, merged.n_rows(), strict=True)})


def _write(
    dataset: str, merged: Merged, params: SplitParams, log: MemoryLog, steps: StepProgress
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write data/processed/<dataset>/; return the content of stats.json and merge's report."""
    n_rows = int(merged.offsets[-1])
    fits = {field.name: normaliser.fit(merged, field) for field in merged.of_role("feature") if field.normalise}
    log.record("normaliser", n_rows=merged.n_rows()[0])
    report = read_report(dataset)
    standards = {name: fit.standard for name, fit in fits.items()} if params.store == "float32" else {}

    def begin(field: NamedField) -> None:
        steps.begin(field.name, n_rows)

    with ExitStack() as stack:
        folder = WrittenFolder(stack.enter_context(atomic_dir(paths.processed_dir(dataset))))
        if params.shuffle:
            steps.begin("order of the rows", n_rows)
        rows = stack.enter_context(_in_final_order(merged, params, folder.path, log))
        for field in rows.of_role("feature"):
            begin(field)
            write_feature(folder, rows, field, standards.get(field.name))
        log.record("features", n_rows=n_rows)
        counts = stats.sizes(rows)
        counts |= _windows(folder, rows, params)
        counts["labels"] = write_heads(folder, rows, "label", begin)
        counts["legal_actions"] = write_heads(folder, rows, "mask", begin)
        write_keys(folder, rows)
        normaliser.write_normalizer(folder, fits)
        write_names(folder, rows)
        counts |= {} if standards else _stored(fits)
        summary = stats.summary(counts, report, folder.crcs)
        folder.json(part_files.STATS, summary)
    return summary, report


def _stored(fits: Mapping[str, normaliser.Normaliser]) -> dict[str, Any]:
    """Return what stats.json says of features that stay as merged; nothing where none is standardised at all."""
    return {"stored": normaliser.stored(fits)} if fits else {}


def _windows(folder: WrittenFolder, rows: Merged, params: SplitParams) -> dict[str, Any]:
    """Write where windows begin, if any are asked for; return what stats.json says of them."""
    windows = write_starts(folder, rows, params.windows)
    return {"windows": windows} if windows else {}


def _in_final_order(
    merged: Merged, params: SplitParams, folder: Path, log: MemoryLog
) -> AbstractContextManager[Merged]:
    """Give the rows as they will lie in the files."""
    if not params.shuffle:
        return nullcontext(merged)
    return shuffled(merged, params.seed, folder, working_bytes(log.watch.budget_mb))


def _tell_of_empty_parts(dataset: str, merged: Merged, params: SplitParams) -> None:
    """Warn of val or test without a row, whose arrays have none then; refuse if train has none.

    Raises
    ------
    ExpectedError
        When train has no row: nothing can be learnt, and nothing standardised.
    """
    n_groups = np.bincount(merged.part, minlength=len(PARTS))[: len(PARTS)]
    empty = [part for part, n_rows in zip(PARTS, merged.n_rows(), strict=True) if not n_rows]
    if not empty:
        return
    found = ", ".join(f"{part} {count}" for part, count in zip(PARTS, n_groups, strict=True))
    shares = ", ".join(f"{name} {share}" for name, share in params.described().items())
    hint = "; rows whose features look back over a boundary are in no part" if params.by == "time" else ""
    line = (
        f"{dataset}: {len(merged.part)} groups give {found}, expected some in each part; add data, or change "
        f"split ({shares}) in params.yaml, for this dataset alone under datasets.{dataset}.split{hint}"
    )
    if "train" in empty:
        raise ExpectedError(line)
    logger.warning("%s; until then the arrays of %s have no rows", line, " and ".join(empty))


def main() -> int:
    """Run the verb from the command line."""
    return cli.on_dataset(
        "split",
        "Assign groups to train, val and test, and write data/processed/<dataset>/.",
        lambda params, dataset: split(dataset, params.split_of(dataset)),
    )


if __name__ == "__main__":
    sys.exit(main())
