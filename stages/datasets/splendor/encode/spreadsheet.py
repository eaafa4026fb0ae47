"""Logs that went through a spreadsheet or another program -> the same logs as an exporter wrote them.

A byte order mark, quotes around cells and other words for nothing say nothing else, so they are taken off. The cells of
a log hold neither commas nor quotes, so that a quote is of a cell's edge or is a fault, and stays to be told as one.
"""

import re
from typing import Final

MARK: Final = b"\xef\xbb\xbf"
# A cell begins behind a comma, a line feed or nothing, and ends before a comma or a line's end.
QUOTED: Final = re.compile(rb'(?<![^,\n])"([^",\r\n]*)"(?=[,\r\n]|\Z)')
NOTHING: Final = re.compile(
    rb"(?<![^,\n])(?:[nN][aA][nN]|-nan|NA|<NA>|#?N/A|n/a|NULL|null|None)(?=[,\r\n]|\Z)"
)  # of pandas, R, SQL and Excel


def restored(content: bytes) -> bytes:
    r"""Return a log, or some lines of it, without what other programs added.

    Examples
    --------
    >>> restored(b'"1",NaN,"take 3 tokens"\n')
    b'1,nan,take 3 tokens\n'
    """
    return NOTHING.sub(b"nan", QUOTED.sub(rb"\1", content.removeprefix(MARK)))
