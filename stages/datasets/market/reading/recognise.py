"""The first lines of a file of bars, its name and the options -> how it is read.

What the options say comes first; else exactly one of the formats of the user, or else of the layouts of the table, must
fit; a file with a header line that fits none is read by the names of its columns. Nothing beyond the first lines is
looked at, so it costs the same for any length of file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from stages.core.errors import BadUnit
from stages.core.units import Source
from stages.datasets.base.raw import read_source
from stages.datasets.market import schema
from stages.datasets.market.reading import bar_faults, first_times, layouts, names, rows, segments
from stages.datasets.market.reading.columns import BarColumns, no_volume, place_of, plain_columns, volume_of
from stages.datasets.market.reading.dialect import NO_COLUMN, FileDialect
from stages.datasets.market.reading.first_lines import FirstLines, first_lines
from stages.datasets.market.reading.layouts import HEADERED, BarLayout
from stages.datasets.market.reading.rows import Rows, is_note, line_of
from stages.datasets.market.schema import VALUES, Format, Instrument, Options

LINE_BYTES = 1 << 16  # a bar has about 60
ALIASES = {"llow": "low"}
PLAIN = "csv"  # what a file is called that is read by the names of its columns
OWN = "its own settings"
LEAST_GOOD = 0.9  # of the first bars whose low and high must be what they say
LEAST_NAMES = 2  # of the columns of a bar: with fewer a header is none of bars
NEAREST = 3
LARGE_PRICE = 10_000
ADJUSTED = "前复权"  # of TDX, in the line above the header
T = TypeVar("T")


@dataclass(frozen=True)
class Recognised:
    """How a file is read, the time (ns, UTC) of its first rows, and what is to be told of it, if anything."""

    dialect: FileDialect
    first_ns: int
    note: str


def recognise(raw_dir: Path, path: str, instrument: str, options: Options) -> Recognised | None:
    """Find out how a file is to be read; None if it has no line.

    Raises
    ------
    BadUnit
        When it is no file of bars, fits no format or two, or lacks a column: with the evidence, and what to write.
    """
    where, settings = f"{raw_dir / path}", options.of(instrument)
    content = read_source(raw_dir, Source(path, 0, LINE_BYTES + 1))
    whole = content if len(content) <= LINE_BYTES else content[: content.rfind(b"\n") + 1]
    if content and not whole:
        raise BadUnit(
            f"{where}:1: a line of more than {LINE_BYTES:,} bytes, expected one bar a line; correct or remove the file"
        )
    wanted = _wanted(settings, options)
    lines = first_lines(whole, path, where, _character(wanted.separator))
    if lines is None:
        return None
    key = f"{schema.WHERE}.instruments.{instrument}"
    return _Case(lines, whole, where, key, settings, options).solve(wanted)


def _wanted(settings: Instrument, options: Options) -> Format:
    """Return what the settings of an instrument and the format that they name say, the former first."""
    base = options.formats.get(settings.format or "", Format())
    own = {name: getattr(settings, name) for name in vars(Format())}
    return replace(base, **{name: value for name, value in own.items() if value != getattr(Format(), name)})


def _character(separator: str | None) -> str:
    return "\t" if separator == "tab" else separator or ""


@dataclass(frozen=True)
class _Case:
    """A file whose dialect is looked for: its first lines, their bytes, and what the user says of it."""

    lines: FirstLines
    content: bytes
    where: str
    key: str
    settings: Instrument
    options: Options

    def solve(self, wanted: Format) -> Recognised:
        """Return how the file is read."""
        if wanted.columns or wanted.names or wanted.header is not None or self.settings.format in self.options.formats:
            return self._by_format(self.settings.format or OWN, wanted)
        if self.settings.format:
            return self._by_layout(layouts.BY_ID[self.settings.format], wanted)
        fitting = [name for name, one in self.options.formats.items() if self._fits(one)]
        if len(fitting) == 1:
            name = fitting[0]
            return self._cut(self.options.formats[name])._by_format(
                name, _wanted(replace(self.settings, format=name), self.options)
            )
        known = [] if fitting else [layout for layout in layouts.TABLE if layouts.fits(layout, self.lines)]
        found = fitting or [layout.id for layout in known]
        if len(found) > 1:
            raise BadUnit(
                f"{self.where}: {self.lines.text!r} fits {len(found)} formats, {', '.join(map(_described, found))}, "
                f"expected one; set {self.key}.format"
            )
        if known:
            return self._by_layout(known[0], wanted)
        return self._plain(wanted)

    def _cut(self, one: Format) -> "_Case":
        """Return the case with the first lines cut as a format of the user says."""
        lines = first_lines(self.content, self.lines.path, self.where, _character(one.separator)) or self.lines
        return replace(self, lines=lines)

    def _fits(self, one: Format) -> bool:
        """Say whether a format of the user can be that of the file: all columns that it names are there."""
        lines, n_header = self._cut(one).lines, 1 if one.header is None else one.header
        if one.names:
            is_same_kind = (n_header == 0) != lines.is_headered
            return is_same_kind and all(len(row) == len(one.names) for row in lines.lower[n_header : n_header + 3])
        if n_header == 0 or len(lines.lower) < n_header or not one.columns:
            return False
        return {name.lower() for name in one.columns.values()} <= set(lines.lower[n_header - 1])

    def _by_format(self, name: str, wanted: Format) -> Recognised:
        """Read a file as the user says."""
        n_header = wanted.header if wanted.header is not None else int(not wanted.names or self.lines.is_headered)
        header = [cell.lower() for cell in wanted.names]
        if not header:
            if n_header == 0:
                raise BadUnit(
                    f"{self.where}: no names of columns, expected some without a header; set {self.key}.names"
                )
            header = self.lines.lower[min(n_header, len(self.lines.lower)) - 1]
        renamed = {theirs.lower(): ours for ours, theirs in wanted.columns.items()}
        missing = [cell for cell in renamed if cell not in header]
        if missing:
            raise BadUnit(
                f"{self.where}:1: no column {missing[0]!r} in {self.lines.text!r}, expected one as {name} says; "
                f"correct {self.key}.columns"
            )
        taken = set(renamed.values())
        header = [renamed.get(cell, "" if cell in taken else cell) for cell in header]
        return self._read(name, n_header, wanted, plain_columns(header, self._refuse, wanted), None)

    def _plain(self, wanted: Format) -> Recognised:
        """Read a file by the names in its header line."""
        header = [ALIASES.get(cell, cell) for cell in self.lines.lower[0]]
        if not self.lines.is_headered or len(set(header) & set(VALUES)) < LEAST_NAMES:
            raise BadUnit(self._no_fit())
        return self._read(PLAIN, 1, wanted, plain_columns(header, self._refuse, wanted), None)

    def _by_layout(self, layout: BarLayout, wanted: Format) -> Recognised:
        """Read a file as a layout of the table says."""
        lines = self.lines
        header = lines.lower[layout.names_line] if layout.kind == HEADERED else []
        n_header = layout.header_lines if layout.kind == HEADERED else 0
        time = [place_of(header, column) for column in layout.time]
        if layout.id == "cryptodatadownload":
            time = time[:1] if "unix" in header else time[1:]
        prices = [place_of(header, column) for column in layout.prices]
        volume = volume_of(layout, lines, header, n_header, wanted)
        missing = [str(name) for name, at in zip(layout.prices, prices, strict=True) if at is None]
        if missing or all(at is None for at in time):
            self._refuse(f"column {(missing or [str(layout.time[0])])[0]!r} is missing in {lines.text!r}, expected it")
        if volume is None:
            self._refuse(no_volume(lines.text))
        self._one_ticker(layout, header, n_header)
        found, added = volume or (NO_COLUMN, NO_COLUMN)
        values = (*(at for at in prices if at is not None), found)
        has_ticks = wanted.volume == "tick" and "<tickvol>" in header
        columns = BarColumns(header, tuple(at for at in time if at is not None), values, added, has_ticks)
        return self._read(layout.id, n_header, wanted, columns, layout)

    def _one_ticker(self, layout: BarLayout, header: list[str], n_header: int) -> None:
        """Refuse a file that shows several tickers in its first lines."""
        if layout.ticker is None:
            return
        if isinstance(layout.ticker, int):
            found = set(self.lines.lower[layout.ticker][1:])
        else:
            at = place_of(header, layout.ticker)
            found = {row[at] for row in self.lines.lower[n_header:] if at is not None and at < len(row)}
        if len(found - {""}) > 1:
            some = ", ".join(sorted(found)[:3])
            self._refuse(f"{len(found)} tickers ({some}), expected one a file")

    def _read(
        self, name: str, n_header: int, wanted: Format, columns: BarColumns, layout: BarLayout | None
    ) -> Recognised:
        """Read the first bars, and conclude from them what the columns do not say."""
        layout = layout or BarLayout(name, "", HEADERED, (), ())
        lines = self.lines
        first = lines.start[min(n_header, len(lines.start) - 1)]
        body = [row for row in lines.raw[n_header:] if row not in lines.raw[:n_header] and not is_note(",".join(row))]
        dialect = replace(self._dialect(layout, wanted, columns, body, first), layout=name)
        table = rows.parse(self.content[first : lines.start[-1]], dialect)[0]
        self._bar_check(layout, table)
        self._price_check(layout, wanted, table)
        time = first_times.some_times(table, dialect, self.content[first : lines.start[-1]])
        steps = np.abs(np.diff(time))
        is_days = bool(len(time)) and not dialect.day and first_times.are_days(time, steps, body, columns.time)
        end = segments.bar_length_of(steps) if layout.stamp == "end" and not is_days else 0
        shift = round(wanted.shift_minutes * segments.MINUTE) - end
        dialect = replace(dialect, is_days=is_days, shift_ns=shift)
        note = "" if name == PLAIN else _note(dialect, layout, end, lines.title)
        return Recognised(dialect, int(time.min(initial=np.iinfo(np.int64).max)), note)

    def _dialect(
        self, layout: BarLayout, wanted: Format, columns: BarColumns, body: list[list[str]], first: int
    ) -> FileDialect:
        """Return how the file is read, as far as its columns and settings say; `first` is where its rows begin."""
        lines, settings, header = self.lines, self.settings, columns.header
        return FileDialect(
            layout=layout.id,
            separator=lines.separator,
            n_columns=len(body[0])
            if body and not layout.separator and not header
            else len(header or (body or [[]])[0]),
            time=columns.time,
            values=columns.values,
            header_bytes=first,
            adjusted=self._adjusted(header, layout, wanted),
            added=columns.added,
            decimal=wanted.decimal or self._decimal(body, columns.values[:4]),
            words=layout.words,
            scale=wanted.price_scale or _below(layout.scales, lines) or layout.scale,
            lot=wanted.lot or layout.lot,
            day=self._day() if layout.is_of_day and not wanted.time_format else "",
            time_format=wanted.time_format or "",
            zone=self._zone(layout, body, columns),
            has_negative=self.options.negative_prices,
            is_month_first=(settings.date_order or layout.date_order) == schema.MONTH_FIRST,
            is_order_known=bool(settings.date_order or layout.date_order),
            header=tuple(filter(None, map(line_of, self.content[:first].split(b"\n")))),
            has_ticks=columns.has_ticks,
        )

    def _zone(self, layout: BarLayout, body: list[list[str]], columns: BarColumns) -> str:
        """Return the zone of times that name none: what they say first, then the settings, then the layout."""
        named = first_times.named_zone(body, columns.time)
        known = layout.zone or _below(layout.zones, self.lines)
        return named or self.settings.time_zone or known or self.options.time_zone

    def _day(self) -> str:
        """Return the day of a file with milliseconds since midnight."""
        day = names.day_of(self.lines.path)
        if not day:
            self._refuse(
                f"times such as {self.lines.raw[0][0]!r} are milliseconds since midnight, and neither the name of the "
                "file nor a folder says of which day, expected one like 20240304; rename it"
            )
        return day

    def _adjusted(self, header: list[str], layout: BarLayout, wanted: Format) -> int:
        """Return the column of the adjusted close, if prices are to be scaled by it."""
        if not wanted.adjusted:
            return NO_COLUMN
        for name in (layout.adjusted, "adj close", "adjusted_close", "adjusted close", "adjclose"):
            if name and name in header:
                return header.index(name)
        self._refuse(f"no column of adjusted closes in {self.lines.text!r}, expected one such as 'adj close'")
        return NO_COLUMN

    def _decimal(self, body: Sequence[Sequence[str]], columns: Sequence[int]) -> str:
        """Return the mark before decimals, by the prices of the first bars."""
        cells = [row[at].strip(' "') for row in body for at in columns if at < len(row)]
        with_comma = [cell for cell in cells if "," in cell]
        if not with_comma:
            dots = [cell for cell in cells if "." in cell]
            is_thousands = bool(dots) and self.lines.separator != "," and all(cell.count(".") > 1 for cell in dots)
            return "," if is_thousands else "."
        last = {"," if cell.rfind(",") > cell.rfind(".") else "." for cell in with_comma if "." in cell}
        if len(last) == 1:
            return last.pop()
        if any("." in cell for cell in cells):  # 1,234 beside 999.5
            return "."
        if any(len(cell) - 1 - cell.rfind(",") != 3 for cell in with_comma):
            return ","
        if any(cell.count(",") > 1 for cell in with_comma) or self.lines.separator == ",":
            return "."  # 1,234,567, or 1,234 in quotes between commas
        self._refuse(
            f"{with_comma[0]!r} may be a number with decimals or one with thousands, expected a hint; set "
            f"{self.key}.decimal to '.' or ','"
        )
        return "."

    def _bar_check(self, layout: BarLayout, table: Rows) -> None:
        """Refuse columns that are no bars: the low above or the high below open or close in many of the first."""
        is_range = (table.fault & (bar_faults.NOT_NUMBER | bar_faults.CELLS)) == 0
        n_good = int((is_range & (table.fault & bar_faults.RANGE == 0)).sum())
        if layout.prices and n_good < LEAST_GOOD * is_range.sum():
            self._refuse(
                f"read as {layout.id}, open or close lie outside low to high in {is_range.sum() - n_good} of the first "
                f"{is_range.sum()} bars, expected bars"
            )

    def _price_check(self, layout: BarLayout, wanted: Format, table: Rows) -> None:
        """Refuse large prices of a layout that has whole numbers of 1e-4 in some folders, and lies in none of them."""
        if not layout.scales or wanted.price_scale or _below(layout.scales, self.lines):
            return
        prices = table.close[np.isfinite(table.close)]
        if len(prices) and np.median(prices) > LARGE_PRICE:
            folders = " or ".join(f"{folder}/" for folder, _ in layout.scales)
            self._refuse(
                f"prices such as {np.median(prices):,.0f} may be whole numbers of 0.0001 and lie not below {folders}, "
                f"expected to know; set {self.key}.price_scale to 0.0001 or 1"
            )

    def _refuse(self, what: str) -> None:
        hint = "" if self.key in what or "; " in what else f"; correct it, or set {self.key}.columns or .format"
        raise BadUnit(f"{self.where}:1: {what}{hint}")

    def _no_fit(self) -> str:
        """Return why no layout fits: what the first line was read as, and the layouts that miss least."""
        lines = self.lines
        missed = []
        for layout in layouts.TABLE:
            lacking = [what for what, is_so in layouts.conditions(layout, lines) if not is_so]
            shared = set(lines.lower[0]) & {*layout.has, *map(str, layout.prices)}
            missed.append((len(lacking) - len(shared), layout.id, lacking[0]))
        nearest = "; ".join(f"{name} wants {what}" for _, name, what in sorted(missed)[:NEAREST])
        n_cells, kind = len(lines.lower[0]), "a header line" if lines.is_headered else "no header line"
        return (
            f"{self.where}:1: {lines.text!r} fits no known format (read as {n_cells} cells separated by "
            f"{lines.separator!r}, {kind}; {nearest}), expected bars; set {self.key}.columns or .names, see "
            "stages/datasets/market/README.md, or remove the file"
        )


def _below(pairs: layouts.Pairs[T], lines: FirstLines) -> T | None:
    """Return what counts below one of the folders that a file lies in, the innermost first."""
    known = dict(pairs)
    return next((known[folder] for folder in reversed(lines.folders) if folder in known), None)


def _described(name: str) -> str:
    layout = layouts.BY_ID.get(name)
    if layout is None:
        return name
    zone = f", {layout.zone}" if layout.zone else ""
    return f"{name} ({layout.source}: stamps at the bar's {layout.stamp}{zone})"


def _note(dialect: FileDialect, layout: BarLayout, end_ns: int, title: str) -> str:
    """Return what is told of a file that is not a plain CSV."""
    said = [f"read as {dialect.layout}"]
    if not dialect.is_days and dialect.zone != "UTC":
        said.append(f"times that name no zone in {dialect.zone}")
    if end_ns:
        said.append(f"stamps of the end of {end_ns / segments.MINUTE:g} min are moved to its beginning")
    if dialect.values[4] == NO_COLUMN:
        said.append("no volume is taken: 0")
    if dialect.scale != 1:
        said.append(f"prices times {dialect.scale:g}")
    if dialect.lot != 1:
        said.append(f"volume in lots of {dialect.lot:g}")
    if ADJUSTED in title:
        said.append("prices are adjusted backwards: old ones may be 0 or less, which negative_prices allows")
    return ", ".join([*said, *([layout.note] if layout.note else [])])
