"""The first lines of a file of bars as cells: all that a layout is told by."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from stages.core.errors import BadUnit
from stages.datasets.base.compressed import plain_name
from stages.datasets.base.disguises import HEAD_BYTES, refuse_disguise
from stages.datasets.market.reading.rows import cells_of

FIRST_ROWS = 50
BOM = b"\xef\xbb\xbf"
SEPARATORS = ("\t", ";", ",")
NUMBER_OR_TIME = re.compile(r"[+-]?\d.*")
TITLE_WORDS = "日线|周线|月线|分钟线"  # TDX says the length of bars above the header
DROPPED = re.compile(
    rf"(?i)[^,;\t]*cryptodatadownload[^,;\t]*|disclaimer[^,;\t]*|sep=.|[^,;\t]*(?:{TITLE_WORDS})[^,;\t]*"
)
OTHER_ENCODINGS = {"gb18030": ("日期", "开盘"), "cp932": ("日付", "始値")}  # words of a header that tell them
SERVER_ERROR = b"Exceeded the daily hits limit"  # of Stooq


@dataclass(frozen=True)
class FirstLines:
    """The first lines of a file.

    Attributes
    ----------
    path
        The file's path below the raw folder.
    separator
        What stands between cells: a tab if the first line has one, else a semicolon, else a comma.
    raw, lower
        The cells of each line that is not blank, as they stand, and without blanks in lower case.
    second_line
        The second of these lines, in lower case.
    start
        First byte of each of these lines; at the end, that behind the last one.
    text
        The first line.
    title
        The last of the lines above these that name no columns, empty for none.
    """

    path: str
    separator: str
    raw: list[list[str]]
    lower: list[list[str]]
    second_line: str
    start: list[int]
    text: str
    title: str = ""

    @property
    def name(self) -> str:
        """The file's name in lower case, without folders and ending."""
        return PurePosixPath(plain_name(self.path)).stem.lower()

    @property
    def folders(self) -> list[str]:
        """The folders that the file lies in, in lower case, the innermost last."""
        return self.path.lower().split("/")[:-1]

    @property
    def is_headered(self) -> bool:
        """Whether the first line names columns: its first cell is no number and no time."""
        return not NUMBER_OR_TIME.fullmatch(self.lower[0][0])


def first_lines(content: bytes, path: str, where: str, separator: str = "") -> FirstLines | None:
    """Cut the first lines of a file into cells; None where all of them are blank.

    Parameters
    ----------
    content
        The first bytes of a file, whole lines.
    path
        The file's path below the raw folder.
    where
        The file, for errors.
    separator
        What stands between cells, if that is known.

    Raises
    ------
    BadUnit
        When the file is no text of lines, with what it is.
    """
    refuse_other_kinds(content, where)
    encoding, title = _encoding(content), ""
    lines: list[tuple[int, str]] = []
    offset = len(BOM) if content.startswith(BOM) else 0
    for line in content[offset:].split(b"\n"):
        text = line.decode(encoding, "replace").strip("\r\n \t")
        if not lines and DROPPED.fullmatch(text.strip('"')):
            title = text
        elif text:
            lines.append((offset, line.decode(encoding, "surrogateescape").strip("\r")))
        offset += len(line) + 1
        if len(lines) > FIRST_ROWS:
            break
    if not lines:
        return None
    stop = offset if len(lines) > FIRST_ROWS else len(content)
    texts = [text for _, text in lines]
    unquoted = re.sub(r'"[^"]*"', "", texts[0])
    separator = separator or next((mark for mark in SEPARATORS if mark in unquoted), ",")
    raw = [[cell.strip() for cell in cells_of(text.encode("utf-8", "surrogateescape"), separator)] for text in texts]
    lower = [[cell.strip(' "').lower() for cell in row] or [""] for row in raw]
    second = texts[1].lower() if len(texts) > 1 else ""
    starts = [*(start for start, _ in lines), stop]
    return FirstLines(path, separator, raw, lower, second, starts, texts[0][:200], title)


def _encoding(content: bytes) -> str:
    """Return how the letters of a file are written: UTF-8, or one of `OTHER_ENCODINGS` if that shows its words."""
    try:
        content.decode()
    except UnicodeDecodeError:
        for encoding, words in OTHER_ENCODINGS.items():
            text = content[:HEAD_BYTES].decode(encoding, "replace")
            if all(word in text for word in words):
                return encoding
    return "utf-8"


def refuse_other_kinds(content: bytes, where: str) -> None:
    """Refuse what is no text of lines.

    Raises
    ------
    BadUnit
        With what it is, and what to do.
    """
    refuse_disguise(content[:HEAD_BYTES], where, "lines of bars")
    if content.startswith(SERVER_ERROR):
        raise BadUnit(f"{where}: the error of a server, expected lines of bars; fetch it again or remove it")
