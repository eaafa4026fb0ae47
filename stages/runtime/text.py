"""What reaches the terminal: text in which every character can be seen.

File names, params and the bytes of raw files are other people's. A name may hold escape sequences that clear the
screen, marks that turn the direction of the text round, or a line break that makes one line of a log look like two.
All that is written for a user goes through `printable`: errors and log lines by `run` of stages/runtime/cli.py, the
live display, and the lines that commands print.
"""

import logging
import sys
import traceback
from types import TracebackType
from typing import Any


def printable(line: str) -> str:
    r"""Return a line with the characters that cannot be seen written as Python writes them in quotes.

    These are control characters, line breaks included, marks of direction, spaces other than the plain one, halves of
    surrogate pairs (bytes of a file name that are no UTF-8) and what Unicode has not assigned.

    Examples
    --------
    >>> printable("café\x1b[2J\n.csv")
    'café\\x1b[2J\\n.csv'
    """
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)


def counted(number: int, one: str, several: str) -> str:
    """Return a number with its noun: "1 batch", "2,000 batches"."""
    return f"{number:,} {one if number == 1 else several}"


def printable_lines(text: str) -> str:
    """Return a text of several lines, such as a traceback, each of them printable."""
    return "\n".join(map(printable, text.split("\n")))


class LineFormatter(logging.Formatter):
    """A message is one line; a traceback below it has as many as it needs."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # the name is logging's
        """Return the message."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """Return the traceback."""
        return printable_lines(super().formatException(ei))


def show_defect(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Write the traceback of an exception that nobody expected; to be `sys.excepthook`."""
    sys.stderr.write(printable_lines("".join(traceback.format_exception(kind, error, where))))
