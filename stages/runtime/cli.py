"""What all commands share: arguments, the datasets they name, logging to stderr, exit codes.

Exit codes: 0 done, 1 an expected failure told in one line on stderr, 2 wrong usage, 130 interrupted, 143 and 129
stopped by SIGTERM and SIGHUP.
``LOG`` sets the level: debug, info (default), warning or error.
"""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TextIO

from stages.core.errors import ExpectedError
from stages.core.params import Params, load
from stages.runtime import signals
from stages.runtime.text import LineFormatter, printable, show_defect

logger = logging.getLogger("batchwise")

NOT_HERE = ("win32", "cygwin")  # without fork, signals and links that the runs rest on
LEVELS = ("debug", "info", "warning", "error")


def batches_are_kept() -> str:
    """Say what is not lost after Ctrl-C."""
    return "finished batches are kept"


def on_dataset(
    verb: str, description: str, action: Callable[[Params, str], None], kept: Callable[[], str] = batches_are_kept
) -> int:
    """Run a verb on the dataset that the command line names; return the exit code.

    Parameters
    ----------
    verb
        The module's name under ``stages``.
    description
        What the verb reads and writes; shown by ``--help``.
    action
        Takes params.yaml and the dataset's name; looks it up there, which refuses one that is not.
    kept
        Says, after Ctrl-C, what is not lost.
    """
    dataset = verb_parser(verb, description).parse_args().dataset
    return run(lambda: action(load(), dataset), kept)


def on_datasets(
    command: str,
    description: str,
    action: Callable[[Params, Sequence[str]], None],
    kept: Callable[[], str] = batches_are_kept,
) -> int:
    """Run a command on the datasets that the command line names, all of params.yaml if none; return the exit code.

    Parameters
    ----------
    command
        The module's dotted name under ``stages``.
    description
        What the command does; shown by ``--help``.
    action
        Takes params.yaml and the names, which are in it.
    kept
        Says, after Ctrl-C, what is not lost.
    """
    commands = parser(command, description)
    commands.add_argument("dataset", nargs="*", help="datasets of params.yaml; default: all of them")
    chosen = commands.parse_args().dataset

    def on_chosen() -> None:
        params = load()
        for dataset in chosen:
            params.dataset(dataset)
        action(params, chosen or sorted(params.datasets))

    return run(on_chosen, kept)


def each_dataset(command: str, description: str, action: Callable[[Params, str], object]) -> int:
    """Run a command, as `on_datasets` does, on one dataset after the other; return the exit code."""

    def on_each(params: Params, datasets: Sequence[str]) -> None:
        for dataset in datasets:
            action(params, dataset)

    return on_datasets(command, description, on_each)


def verb_parser(verb: str, description: str) -> argparse.ArgumentParser:
    """Return the argument parser of a verb: a dataset, and a word on the environment."""
    result = parser(verb, description)
    result.epilog = (
        "Environment: JOBS (workers), BACKEND (threading, loky or dask), MEMORY_GB (budget), "
        "LOG (debug, info, warning, error). None of them changes a byte of an output."
    )
    result.add_argument("dataset", help="a dataset of params.yaml, for example splendor")
    return result


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """Return an argument parser that calls a module under ``stages`` as a user does."""
    return _Parser(prog=f"python -m stages.{command}", description=description)


class _Parser(argparse.ArgumentParser):
    """A parser that tells of wrong usage in one printable line below the usage."""

    def error(self, message: str) -> NoReturn:
        """Tell it and end with exit code 2."""
        super().error(printable(message))


class _Stderr(logging.StreamHandler[TextIO]):
    """Write to what `sys.stderr` is at the time, so that lines of text and the live display do not mix."""

    @property
    def stream(self) -> TextIO:
        """The present stderr."""
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        pass


def run(action: Callable[[], None], kept: Callable[[], str] = batches_are_kept) -> int:
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
    if sys.platform in NOT_HERE:
        sys.stderr.write("error: Windows: expected Linux or macOS; type `wsl --install`, and run this within WSL\n")
        return 1
    level = os.environ.get("LOG") or "info"
    if level not in LEVELS:
        sys.stderr.write(f"LOG: {level!r}, expected one of {', '.join(LEVELS)}\n")
        return 2
    handler = _Stderr()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    sys.excepthook = show_defect
    signals.stop_cleanly_on_term()
    if "DVC_STAGE" in os.environ:
        signals.die_with_dvc()
    try:
        action()
    except (ExpectedError, OSError) as error:
        logger.debug("traceback", exc_info=True)
        _tell(error)
        return signals.leave(1)
    except KeyboardInterrupt:
        return _stopped("interrupted", kept, 130)
    except SystemExit as stop:  # of SIGTERM or SIGHUP
        return _stopped("stopped", kept, int(stop.code or 0))
    return 0


def _stopped(what: str, kept: Callable[[], str], code: int) -> int:
    """Say what is kept, if there is still a terminal to say it to; return the exit code."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{what}: {kept()}; run the same command to go on\n")
        sys.stderr.flush()
    return signals.leave(code)


def _tell(error: ExpectedError | OSError) -> None:
    """Write an error, in one line unless it was made of several."""
    first, *others = error.lines if isinstance(error, ExpectedError) else (str(error),)
    sys.stderr.writelines(f"{printable(line)}\n" for line in (f"error: {first}", *others))
