"""What all verbs share on the command line: arguments, logging to stderr, exit codes.

Exit codes: 0 done, 1 an expected failure told in one line on stderr, 2 wrong usage, 130 interrupted.
``LOG`` sets the level: debug, info (default), warning or error.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from typing import TextIO

from stages.core.errors import ExpectedError
from stages.runtime import signals

logger = logging.getLogger("batchwise")

LEVELS = ("debug", "info", "warning", "error")


def parser(verb: str, description: str, takes_batch: bool = False) -> argparse.ArgumentParser:
    """Return the argument parser of one verb: a dataset and, where it fits, a batch.

    Parameters
    ----------
    verb
        The module's name under ``stages``.
    description
        What the verb reads and writes; shown by ``--help``.
    takes_batch
        Whether the verb works on one batch and so takes its id.
    """
    result = argparse.ArgumentParser(
        prog=f"python -m stages.{verb}",
        description=description,
        epilog="Environment: JOBS (workers), BACKEND (threading, loky or dask), MEMORY_GB (budget), "
        "LOG (debug, info, warning, error). None of them changes a byte of an output.",
    )
    result.add_argument("dataset", help="a dataset of params.yaml, for example splendor")
    if takes_batch:
        result.add_argument("batch", nargs="?", help="a batch id such as b01; default: every listed batch")
    return result


class _Stderr(logging.StreamHandler[TextIO]):
    """Write to what `sys.stderr` is at the time, so that lines of text and the live display do not mix."""

    @property
    def stream(self) -> TextIO:
        """The present stderr."""
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        pass


def run(action: Callable[[], None], kept: Callable[[], str] = lambda: "finished batches are kept") -> int:
    """Call `action` with logging set up and return the process's exit code.

    An `ExpectedError` or `OSError` becomes one line on stderr and exit code 1; the traceback is shown with
    ``LOG=debug``. Any other exception is a defect and keeps its traceback.

    Parameters
    ----------
    action
        What the command does.
    kept
        Says, after Ctrl-C, what is not lost.
    """
    level = os.environ.get("LOG") or "info"
    if level not in LEVELS:
        sys.stderr.write(f"LOG: {level!r}, expected one of {', '.join(LEVELS)}\n")
        return 2
    logging.basicConfig(level=level.upper(), format="%(message)s", handlers=[_Stderr()])
    signals.stop_cleanly_on_term()
    if "DVC_STAGE" in os.environ:
        signals.die_with_dvc()
    try:
        action()
    except (ExpectedError, OSError) as error:
        logger.debug("traceback", exc_info=True)
        sys.stderr.write(f"error: {error}\n")
        return signals.leave(1)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted: {kept()}; run the same command to go on\n")
        return signals.leave(130)
    except SystemExit as stop:  # of SIGTERM
        return signals.leave(int(stop.code or 0))
    return 0
