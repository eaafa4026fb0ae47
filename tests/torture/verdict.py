"""Try attacks one by one, say how each ended while they go on, and at the end count them.

An attack is a generator of attempts: a name, and a function that does it for real, returns a word on what it saw, and
fails with AssertionError when something is lost. Where it cannot be tried on a machine it calls `pytest.skip`.
"""

import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

LOST = (AssertionError, OSError, subprocess.SubprocessError, ValueError)


@dataclass(frozen=True)
class Tally:
    """How often an attack was tried and how often nothing was lost; why it was not tried at all, or not to its end."""

    attack: str
    tried: int
    held: int
    seconds: float
    reason: str = ""


def endure(attack, attempts, n_attempts, write=sys.stdout.write):
    """Do all attempts of an attack, tell of each on a line, and count them.

    Parameters
    ----------
    attack
        Its name.
    attempts
        Generator of pairs of a name and a function.
    n_attempts
        How many are to come; with fewer, and no reason to skip, the attack itself does not work.
    write
        Where the lines go.
    """
    began, tried, held = time.monotonic(), 0, 0

    def tally(reason=""):
        return Tally(attack, tried, held, time.monotonic() - began, reason)

    try:
        for name, attempt in attempts:
            is_held, told = _outcome(attempt)
            tried += 1
            held += is_held
            ended = "held" if is_held else "LOST"
            write(f"{attack}  {tried} of {n_attempts}  {name}: {ended}{f'; {told}' if told else ''}\n")
            sys.stdout.flush()
    except pytest.skip.Exception as skipped:
        write(f"{attack}: skipped, {skipped}\n")
        return tally(str(skipped))
    assert tried == n_attempts, f"{attack}: {tried} attempts, expected {n_attempts}"
    return tally()


def _outcome(attempt):
    try:
        return True, attempt()
    except LOST as error:
        return False, f"{type(error).__name__}: {error}"


def table(tallies):
    """Return the lines that say of each attack how often it was tried and held."""
    rows = [("attack", "tried", "held", "seconds", "")]
    rows += [
        (t.attack, str(t.tried), str(t.held), f"{t.seconds:.0f}", t.reason and f"skipped: {t.reason}") for t in tallies
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for attack, *figures, reason in rows:
        cells = [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=False)]
        lines.append("  ".join([attack.ljust(widths[0]), *cells, reason]).rstrip())
    return lines


def exit_code(tallies):
    """Return 1 when anything was lost, or nothing was tried at all; a skipped attack is neither."""
    is_sound = all(tally.held == tally.tried for tally in tallies) and any(tally.tried for tally in tallies)
    return 0 if is_sound else 1
