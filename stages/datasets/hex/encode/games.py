"""The games of a chunk of units, and what was wrong with their lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.units import Unit
from stages.datasets.base import BadUnit, Finding
from stages.datasets.base.raw import read_unit
from stages.datasets.hex.encode.lines import Records, read_lines
from stages.datasets.hex.encode.rules import Verdict, judge, select
from stages.datasets.hex.reading.keys import first_line
from stages.datasets.hex.schema import WHERE, parse_options


@dataclass(frozen=True)
class Games:
    """The G games of a chunk of units, M stones in all, in the order of units and lines.

    Attributes
    ----------
    cells
        uint8 (M,): row * 13 + column of every stone, in the order of play, each cell once in a game.
    offsets
        int64 (G+1,): first stone of each game, and M.
    winner
        uint8 (G,): 0 blue, 1 red; the board's, or, of unfinished games that are kept, the file's.
    unit
        int32 (G,): index of the unit in the chunk.
    line
        int32 (G,): line, from 1, in the unit's own bytes.
    findings
        One for each line that was refused, cut or given another winner, in the order of units and lines.
    """

    cells: np.ndarray
    offsets: np.ndarray
    winner: np.ndarray
    unit: np.ndarray
    line: np.ndarray
    findings: tuple[Finding, ...]


def read_games(raw_dir: Path, units: Sequence[Unit], entry: Mapping[str, Any]) -> Games:
    """Read the games of a chunk of units.

    Parameters
    ----------
    raw_dir
        The raw folder.
    units
        What `find` returned; at least one.
    entry
        The options of the dataset.

    Raises
    ------
    BadUnit
        When too many lines of a unit are refused.
    ExpectedError
        When the bytes are not those that discover saw.
    """
    checked = parse_options(entry)
    records = read_lines([read_unit(raw_dir, unit) for unit in units], checked.legacy_winners)
    verdict = judge(records, checked)
    refused = _refused(records, verdict)
    _refuse_bad_units(raw_dir, units, (records, refused), checked.max_bad_lines)
    kept = select(records, verdict)
    found = sorted([*refused, *_repaired(records, verdict)])
    return Games(
        cells=kept.cells,
        offsets=kept.offsets,
        winner=kept.winner.astype(np.uint8),
        unit=kept.unit,
        line=kept.line,
        findings=tuple(Finding(i, reason, 1, line, _where(units[i], line)) for i, line, reason in found),
    )


def _where(unit: Unit, line: int) -> str:
    return f"{unit.sources[0].path}:{first_line(unit) + line - 1}"


def _refused(records: Records, verdict: Verdict) -> list[tuple[int, int, str]]:
    """Return unit, line and reason of each line that is refused, sorted."""
    return sorted([*records.refused, *_reasons(records, verdict, verdict.refused > 0)])


def _repaired(records: Records, verdict: Verdict) -> list[tuple[int, int, str]]:
    """Return unit, line and reason of each line that is read otherwise than it stands."""
    found = _reasons(records, verdict, (verdict.refused == 0) & (verdict.faults > 0))
    return [(unit, line, reason) for unit, line, reason in found if reason]


def _reasons(records: Records, verdict: Verdict, chosen: np.ndarray) -> list[tuple[int, int, str]]:
    games = np.flatnonzero(chosen).tolist()
    return [(int(records.unit[game]), int(records.line[game]), verdict.reason(game)) for game in games]


def _refuse_bad_units(
    raw_dir: Path, units: Sequence[Unit], lines: tuple[Records, list[tuple[int, int, str]]], share: float
) -> None:
    """Raise for the first unit with too many refused lines; `lines` are those that hold a game, and those refused.

    The limit is rounded up, so that half a line at the end of a short piece, which a killed writer leaves, is none. It
    is compared as a quotient: the product 0.28 * 25 is above 7, and would let 8 lines pass.
    """
    records, refused = lines
    n_refused = np.bincount([unit for unit, _, _ in refused], minlength=len(units))
    early = np.bincount([unit for unit, _, _ in records.refused], minlength=len(units))
    n_lines = np.bincount(records.unit, minlength=len(units)) + early
    for index in np.flatnonzero((n_refused > 0) & ((n_refused - 1) / np.maximum(n_lines, 1) >= share)).tolist():
        _, line, reason = next(found for found in refused if found[0] == index)
        raise BadUnit(
            f"{raw_dir / _where(units[index], line)}: {reason}; {n_refused[index]:,} of {n_lines[index]:,} game lines "
            f"of {units[index].key} are refused, expected at most {100 * share:g}%; correct the file or raise "
            f"{WHERE}.max_bad_lines"
        )
