"""The pages of a Parquet file, told from their headers: how much memory reading can take is known before it is read.

A page is decompressed as a whole, and a page holds a value as a whole; a dictionary page stays in memory while the
rows of its row group are read, and a value in it counts once for each row when it is made a text. A footer is parsed as
a whole. Row groups are not read as a whole, so their size does not matter.

References
----------
https://github.com/apache/parquet-format: `parquet.thrift`, PageHeader; Thrift's compact protocol.
"""

import os
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.core.errors import BadUnit

MOST_FOOTER_BYTES: Final = 16 << 20  # of some 4,000 row groups; parsing takes several times as much
MOST_PAGE_BYTES: Final = 128 << 20  # pyarrow's have 1 MB, but 1,024 rows at least; DuckDB's up to 100 MB
FEW_BYTES: Final = 8 << 20  # of a column in a row group: so much may be in memory at once
BATCH_BYTES: Final = 2 << 20  # of one column
BATCH_ROWS: Final = 2048
HEADER_BYTES: Final = 64 << 10  # most that a page's header may have, with the statistics in it
DEEPEST: Final = 8  # structs within structs in a header; the format has three
UNCOMPRESSED, COMPRESSED, DATA, DICTIONARY, DATA_V2 = 2, 3, 5, 7, 8  # fields of a header
CODED: Final = (2, 8)  # encodings of pages whose values are places in a dictionary

Found = dict[int, Any]


@dataclass(frozen=True)
class Page:
    """A page of a column in one row group: its rows `first` to `stop`, from 0, and its size when decompressed.

    A dictionary page has no rows; its `n_entries` is the number of its values, 0 of other pages.
    """

    first: int
    stop: int
    n_bytes: int
    n_entries: int
    is_coded: bool


def refuse_footer(file: BinaryIO, where: str) -> None:
    """Refuse a file whose last bytes say that its footer is too large; other faults are pyarrow's to tell.

    Raises
    ------
    BadUnit
        With the size and what to do.
    """
    n_bytes = file.seek(0, os.SEEK_END)
    file.seek(max(0, n_bytes - 8))
    found = int.from_bytes(file.read(4), "little")
    if MOST_FOOTER_BYTES < found < n_bytes:
        raise BadUnit(
            f"{where}: a footer of {found:,} bytes, expected at most {MOST_FOOTER_BYTES:,}; write the file anew with "
            "fewer, larger row groups and without metadata of its own, or as several files"
        )


def batch_rows(file: BinaryIO, metadata: pq.FileMetaData, names: list[str], where: str) -> int:
    """Return how many rows of some columns may be read at a time.

    Raises
    ------
    BadUnit
        When a page is too large, with the rows of it, or the header of a page is none.
    """
    n_rows, first = BATCH_ROWS, 1
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in range(group.num_columns):
            chunk = group.column(column)
            name = chunk.path_in_schema.split(".")[0]
            if name not in names or _is_small(chunk):
                continue
            found = _pages(file, chunk, where)
            _refuse_large(found, name, first, where)
            n_rows = min(n_rows, _rows_of_plain(found))
            if _expanded(found) > FEW_BYTES:
                n_rows = min(n_rows, FEW_BYTES // max(1, _longest(file, metadata, number, chunk)))
        first += group.num_rows
    return max(1, n_rows)


def _is_small(chunk: pq.ColumnChunkMetaData) -> bool:
    """Say whether the rows of a batch take little, however they lie in the pages."""
    n_bytes = chunk.total_uncompressed_size
    n_times = min(chunk.num_values, BATCH_ROWS) if chunk.has_dictionary_page else 1
    return bool(n_bytes <= FEW_BYTES and n_bytes * n_times <= 8 * FEW_BYTES)


def _refuse_large(pages: list[Page], name: str, first: int, where: str) -> None:
    for page in pages:
        if page.n_bytes <= MOST_PAGE_BYTES:
            continue
        # A dictionary's values are those of any row of the row group.
        low, high = first + page.first, first + max(page.stop, page.first + 1) - 1
        place = "a dictionary" if page.n_entries else f"rows {low:,} to {high:,}"
        raise BadUnit(
            f"{where}:{low}: a page of {page.n_bytes:,} bytes of {name!r} ({place}), expected at most "
            f"{MOST_PAGE_BYTES:,}; correct or remove the rows, or write the file anew with smaller pages"
        )


def _rows_of_plain(pages: list[Page]) -> int:
    """Return how many rows have `BATCH_BYTES` of pages, where they have the most."""
    dense = max((page.n_bytes / (page.stop - page.first) for page in pages if page.stop > page.first), default=0)
    return int(BATCH_BYTES / max(dense, 1))


def _longest(file: BinaryIO, metadata: pq.FileMetaData, group: int, chunk: pq.ColumnChunkMetaData) -> int:
    """Return the size of the longest value in the dictionary of a column, which comes with its first row."""
    if chunk.physical_type != "BYTE_ARRAY":
        return 0
    name = chunk.path_in_schema
    options = {"read_dictionary": [name], "buffer_size": HEADER_BYTES, "pre_buffer": False}
    with pq.ParquetFile(file, metadata=metadata, **options) as content:
        batch = next(content.iter_batches(1, row_groups=[group], columns=[name], use_threads=False))
    values = batch.column(0)
    if not pa.types.is_dictionary(values.type):
        return chunk.total_uncompressed_size
    return pc.max(pc.binary_length(values.dictionary)).as_py() or 0


def _expanded(pages: list[Page]) -> int:
    """Return a bound of the size of a batch's texts out of the dictionary: each is there once, and the rest repeats."""
    n_bytes = sum(page.n_bytes for page in pages if page.n_entries)
    n_repeated = sum(page.stop - page.first for page in pages if page.is_coded) - sum(page.n_entries for page in pages)
    return n_bytes * (1 + max(0, min(n_repeated, BATCH_ROWS)))


def _pages(file: BinaryIO, chunk: pq.ColumnChunkMetaData, where: str) -> list[Page]:
    """Return the pages of a column in a row group."""
    at = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    stop, row, pages = at + chunk.total_compressed_size, 0, list[Page]()
    while at < stop and row < chunk.num_values:
        file.seek(at)
        header = _Header(file.read(HEADER_BYTES))
        try:
            found = header.struct()
            page = _page(found, row)
            at += header.at + max(0, int(found[COMPRESSED]))
        except (IndexError, KeyError, TypeError, ValueError):
            raise BadUnit(f"{where}: no header of a page at byte {at:,}, expected one; correct or remove it") from None
        row = page.stop
        pages.append(page)
    return pages


def _page(header: Found, row: int) -> Page:
    """Return the page that a header tells of, from a row on; raise a KeyError if it tells of none."""
    n_bytes = int(header[UNCOMPRESSED])
    if DICTIONARY in header:
        return Page(row, row, n_bytes, int(header[DICTIONARY][1]), is_coded=False)
    is_old = DATA in header
    data = header[DATA if is_old else DATA_V2]
    encoding = data[2 if is_old else 4]
    return Page(row, row + max(0, int(data[1])), n_bytes, 0, is_coded=encoding in CODED)


class _Header:
    """Reads the structs of Thrift's compact protocol; `at` is the place of the next byte.

    An IndexError says that the bytes end too early, a ValueError that they are no header.
    """

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def struct(self, depth: int = 0) -> Found:
        """Return the values of a struct by the numbers of their fields; texts are skipped."""
        if depth > DEEPEST:
            raise ValueError
        found, number = Found(), 0
        while byte := self._byte():
            step, kind = byte >> 4, byte & 15
            number = number + step if step else self._integer()
            found[number] = self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 8:  # a text, such as the least value of the page
            n_bytes = self._varint()
            self.at += n_bytes
            return None
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError

    def _byte(self) -> int:
        self.at += 1
        return self.content[self.at - 1]

    def _varint(self) -> int:
        result = shift = 0
        while (byte := self._byte()) & 128:
            result, shift = result | (byte & 127) << shift, shift + 7
        return result | byte << shift

    def _integer(self) -> int:
        coded = self._varint()
        return coded >> 1 ^ -(coded & 1)
