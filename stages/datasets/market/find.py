"""Which months of which instruments a raw folder of CSV files holds, and which bytes each of them needs.

One pass over each file in blocks of a few MB. Of a file in the order of time some numbers a month stay, whatever its
length (`reading.months`); a second pass is needed where the first rows have another step between bars than most. Of a
file out of order some 80 bytes a row stay (`reading.disorder`).

The sources of a unit are the header line, the rows before its month that its bars depend on, and its own rows (of a
file that is not sorted several ranges). Its context says what these bytes do not:

- ``own``: how many bytes come before the own rows;
- ``segment_start``: time (ns UTC) of the first bar of the segment that the first bar of these bytes belongs to, or
  null when it is that bar;
- ``bar_ns``: the commonest step between bars of the file;
- ``backward``, if any: how many own rows are earlier than the row before, and the line of the first one;
- ``too_bad``, if so: why the file as a whole is not to be used.

Rows before the month go back to the first bar of the calendar month before (an average over all past volume begins
there) and `LOOKBACK` bars at least, and no further than the segment of the first own bar. So bars that are appended
change the last month only, and an edit changes its month and the next one if that looks back so far.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import Source, Unit, digest_of
from stages.datasets.base.compressed import plain_name
from stages.datasets.base.disguises import HEAD_BYTES, refuse_disguise
from stages.datasets.base.raw import bad_unit, read_source, source_pieces
from stages.datasets.base.raw_files import FileNames, raw_files
from stages.datasets.market import schema
from stages.datasets.market.reading import disorder, segments
from stages.datasets.market.reading.header import instrument_of
from stages.datasets.market.reading.months import Flow, Month, OutOfOrder
from stages.datasets.market.reading.pieces import Faults, Pieces
from stages.datasets.market.schema import Options
from stages.runtime.notes import working_on

logger = logging.getLogger("batchwise")

NAMES = FileNames((".csv",), "NQ.csv")
LEAST_SHARE = 0.5  # of the steps that are the commonest one


@dataclass(frozen=True)
class File:
    """What is known of a file when all its rows were seen: months, step between bars in ns, and what is wrong."""

    path: str
    header_bytes: int
    months: list[Month]
    bar_ns: int
    faults: Faults


def find(raw_dir: Path, options: Mapping[str, Any]) -> list[Unit]:
    """Return one unit for each month of each instrument, keyed like ``NQ/2024-03``.

    A file that cannot be read or lacks a column is a unit of its own, keyed by its path, without a digest, whose
    context says why; discover counts it as bad.

    Parameters
    ----------
    raw_dir
        The raw folder; CSV files lie in it or in folders below, compressed or not.
    options
        See `schema.Options`.

    Raises
    ------
    ExpectedError
        When there is no bar, two files hold one instrument, or the order of day and month is not certain.
    """
    checked = schema.parse_options(options)
    files: dict[str, str] = {}
    for path in raw_files(raw_dir, NAMES):
        instrument = instrument_of(plain_name(path))
        if instrument in files:
            raise ExpectedError(
                f"{raw_dir}: {files[instrument]!r} and {path!r} both hold {instrument}, expected one file of an "
                "instrument; join or rename them"
            )
        files[instrument] = path
    found = [unit for instrument, path in files.items() for unit in _units(raw_dir, path, instrument, checked)]
    if not found:
        raise ExpectedError(f"{raw_dir}: no bars in {len(files)} CSV files, expected files like NQ.csv; add some")
    return found


def _units(raw_dir: Path, path: str, instrument: str, options: Options) -> list[Unit]:
    """Return the units of one file, or the file as a unit without a digest if it cannot be used."""
    working_on(str(raw_dir / path))
    try:
        head = read_source(raw_dir, Source(path, 0, HEAD_BYTES))
        refuse_disguise(head, f"{raw_dir / path}", "one bar a line")
        file = _scan(raw_dir, path, instrument, options)
    except BadUnit as error:
        return [bad_unit(raw_dir, Source(path), error)]
    if file is None:
        return []
    context = {"bar_ns": file.bar_ns, **_too_bad(file.faults, options)}
    return [
        _unit(raw_dir, file, f"{instrument}/{np.datetime64(month.number, 'M')}", month, context)
        for month in file.months
    ]


def _too_bad(faults: Faults, options: Options) -> dict[str, str]:
    """Return the entry of the context that says why a file is not to be used, if it is not."""
    if faults.n_bad <= options.max_bad_rows * faults.n_rows:
        return {}
    found = f"{faults.n_bad:,} of {faults.n_rows:,} rows are bad ({faults})"
    expected = f"expected at most {options.max_bad_rows:.0%}; correct the file or raise {schema.WHERE}.max_bad_rows"
    return {"too_bad": f"{found}, {expected}"}


def _unit(raw_dir: Path, file: File, key: str, month: Month, context: Mapping[str, Any]) -> Unit:
    """Return the unit of one month."""
    spans = ((0, file.header_bytes), *month.before, *month.own)
    sources = tuple(Source(file.path, start, stop) for start, stop in spans)
    full = {
        **context,
        **({"backward": list(month.backward)} if month.backward else {}),
        "own": file.header_bytes + sum(stop - start for start, stop in month.before),
        "segment_start": month.segment_start,
    }
    content = (piece for source in sources for piece in source_pieces(raw_dir, source))
    return Unit(key, sources, digest_of(content, full), full)


def _scan(raw_dir: Path, path: str, instrument: str, options: Options) -> File | None:
    """Read a file; None, with a warning, if it has no row."""
    try:
        file = _in_order(raw_dir, path, instrument, options)
    except OutOfOrder:
        return _out_of_order(raw_dir, path, instrument, options)
    if file is None:
        logger.warning("%s: no rows, expected one a bar; fill or remove the file", raw_dir / path)
    return file


def _in_order(raw_dir: Path, path: str, instrument: str, options: Options, bar_ns: int | None = None) -> File | None:
    """Read a file whose rows are in the order of time; `bar_ns` is the commonest step between bars, if it is known."""
    pieces, flow = Pieces(raw_dir, path, instrument, options), Flow(options, options.zone(instrument), bar_ns)
    for piece in pieces:
        flow.add(piece)
    flow.end(pieces.stop)
    if not pieces.n_rows:
        return None
    if not flow.has_time:
        raise BadUnit(f"{pieces.where}: {flow.faults}, expected times; correct the file")
    found, share = flow.steps.commonest()
    _refuse_irregular(found, share, options, pieces.where)
    if not flow.is_sure():
        return _in_order(raw_dir, path, instrument, options, found)
    return File(path, pieces.header_bytes, flow.months, found, flow.faults)


def _out_of_order(raw_dir: Path, path: str, instrument: str, options: Options) -> File:
    """Read a file whose rows are in any order; what helps if memory does not hold them is to sort it."""
    working_on(f"{raw_dir / path}, out of order: sorted by time it would need little,")
    pieces, faults = Pieces(raw_dir, path, instrument, options), Faults()
    rows = disorder.gather(pieces, options.zone(instrument))
    faults.add(rows.fault, rows.line)
    months, time = disorder.months_of(rows, options)
    bar_ns, share = segments.bar_length(time)
    _refuse_irregular(bar_ns, share, options, pieces.where)
    return File(path, pieces.header_bytes, months, bar_ns, faults)


def _refuse_irregular(bar_ns: int, share: float, options: Options, where: str) -> None:
    if share < LEAST_SHARE and options.max_gap_minutes is None:
        raise BadUnit(
            f"{where}: the commonest step between bars, {bar_ns / segments.MINUTE:g} min, is {share:.0%} of all, "
            f"expected {LEAST_SHARE:.0%} or more; set datasets.market.options.max_gap_minutes or correct the file"
        )
