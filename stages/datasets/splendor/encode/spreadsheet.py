"""Logs that went through a spreadsheet or another program -> the same logs as an exporter wrote them.

A byte order mark, quotes around cells, other words for nothing and empty rows behind the last move say nothing else, so
they are taken off. Where the header has them too, so are blanks around cells and empty cells behind the last column,
and semicolons or tabs between cells become commas. The cells of a log hold neither commas, semicolons nor quotes, so
that a quote is of a cell's edge or is a fault, and stays to be told as one. A row keeps its line in the file.
"""

import re
from typing import Final

from stages.datasets.splendor.schema import N_COLUMNS

MARK: Final = b"\xef\xbb\xbf"
# A cell begins behind a comma, a line feed or nothing, and ends before a comma or a line's end.
# From the first of some blanks only: from each of them, a long row of blanks would take the square of its length.
BLANKS: Final = re.compile(rb"(?<![^,\n])[ \t]+|(?<![ \t])[ \t]+(?=[,\r\n]|\Z)")
QUOTED: Final = re.compile(rb'(?<![^,\n])"([^",\r\n]*)"(?=[,\r\n]|\Z)')
NOTHING: Final = re.compile(
    rb"(?<![^,\n])(?: +|[nN][aA][nN]|-nan|NA|<NA>|#?N/A|n/a|NULL|null|None)(?=[,\r\n]|\Z)"
)  # of pandas, R, SQL and Excel


BEHIND: Final = re.compile(rb"^((?:[^,\n]*,){%d}[^,\r\n]*),+(?=\r?$)" % (N_COLUMNS - 1), re.MULTILINE)
EMPTY: Final = b', \t\r\n"'  # what an empty row may have


def with_commas(header: bytes, rows: bytes) -> tuple[bytes, bytes]:
    r"""Return a log in which commas stand between cells, where its header has semicolons or tabs and no comma.

    Such a program may write a comma for a decimal point.

    Examples
    --------
    >>> with_commas(b"game_id;num_players", b"17;2,0\n")
    (b'game_id,num_players', b'17,2.0\n')
    """
    for separator in (b";", b"\t"):
        if separator in header and b"," not in header:
            return header.replace(separator, b","), rows.replace(b",", b".").replace(separator, b",")
    return header, rows


def restored(content: bytes) -> bytes:
    r"""Return a log, or some lines of it, without what other programs added.

    Examples
    --------
    >>> restored(b'"1",NaN,"take 3 tokens"\n')
    b'1,nan,take 3 tokens\n'
    """
    text = content.removeprefix(MARK)
    last_end = text.find(b"\n", len(text.rstrip(EMPTY)))
    rows = text[: last_end + 1] if last_end >= 0 else text
    return NOTHING.sub(b"nan", QUOTED.sub(rb"\1", rows))


def without_blanks(content: bytes) -> bytes:
    """Return lines without blanks around their cells."""
    return BLANKS.sub(b"", content)


def without_cells_behind(content: bytes) -> bytes:
    """Return restored lines without the empty cells behind their last columns.

    It is for logs whose header has some as well: in a row alone, one may come of a comma too many before it.
    """
    return BEHIND.sub(rb"\1", content)
