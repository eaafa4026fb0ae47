"""Parquet files larger than memory: read in pieces of known size, and what cannot be is refused by name."""

import itertools
import random
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from stages.core.errors import BadUnit, ExpectedError
from stages.datasets.rugs.find import find
from stages.datasets.rugs.reading import pages, store
from tests.helpers.peaks import peak_of_find_mb
from tests.helpers.rugs_rows import COLUMNS, SCHEMA, make_row, session_rows
from tests.helpers.scripts import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests/bench"))
import measure

GAME = "20251228-0000000000000000"


def table_of(rows):
    return pa.table({name: [row.get(name) for row in rows] for name in COLUMNS}, schema=SCHEMA)


def frames(n_rows, n_bytes=0):
    """Return an episode of frames whose payloads have some bytes more each."""
    number = pa.array(np.arange(n_rows)).cast(pa.string())
    payload = make_row(1, "gameStateUpdate", {"gameId": GAME, "tickCount": 0, "active": True, "pad": "x" * n_bytes})
    before, after = payload["raw_json"].split('"tickCount": 0')
    table = table_of([make_row(1, "gameStateUpdate", {}, GAME)]).take(pa.array(np.zeros(n_rows, np.int64)))
    raw = pc.binary_join_element_wise(f'{before}"tickCount": ', number, after, "")
    for name, column in (("seq", pa.array(np.arange(n_rows))), ("raw_json", raw)):
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def write(folder, table, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "export.parquet", **settings)
    return folder


def pages_of(path, name):
    metadata = pq.read_metadata(path)
    column = metadata.schema.names.index(name)
    with path.open("rb") as file:
        return [pages._pages(file, metadata.row_group(i).column(column), "") for i in range(metadata.num_row_groups)]


def rows_at_a_time(path, names=("raw_json",)):
    with path.open("rb") as file:
        return pages.batch_rows(file, pq.read_metadata(path), list(names), "here")


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("is_coded", [True, False])
def test_pages_are_told_from_their_headers(tmp_path, version, codec, is_coded):
    """Their rows add up, whatever way they were written."""
    settings = {"data_page_version": version, "compression": codec, "use_dictionary": is_coded}
    write(tmp_path, frames(5000, 100), **settings, data_page_size=20_000, row_group_size=3000)
    for name in store.TYPES:
        groups = pages_of(tmp_path / "export.parquet", name)
        assert [found[-1].stop for found in groups] == [3000, 2000]
        for found in groups:
            assert all(one.stop == other.first for one, other in itertools.pairwise(found))
            assert any(page.n_entries for page in found) == is_coded


def test_long_payloads_are_read_few_at_a_time(tmp_path):
    """Some 2 MB at once, whether they stand side by side or many times in the dictionary."""
    assert rows_at_a_time(write(tmp_path / "a", frames(5000, 100)) / "export.parquet") == pages.BATCH_ROWS
    plain = write(tmp_path / "b", frames(500, 50_000), use_dictionary=False)
    assert 20 < rows_at_a_time(plain / "export.parquet") < 45
    same = frames(1, 1 << 16).take(pa.array(np.zeros(1500, np.int64)))
    assert rows_at_a_time(write(tmp_path / "c", same) / "export.parquet") == 127


def test_a_text_longer_than_any_of_an_event_is_refused(tmp_path):
    """With file, row and size."""
    rows = session_rows(1)
    rows[4]["raw_json"] = "x" * (store.MOST_VALUE_BYTES + 1)
    (unit,) = find(write(tmp_path, table_of(rows)), {})
    expected = "export.parquet:5: a raw_json of 8,388,609 bytes, expected at most 8,388,608; correct or remove the row"
    assert unit.context["bad"] == expected


def test_a_page_too_large_is_refused_by_its_header(tmp_path, monkeypatch):
    """With file, the first of its rows, and size; nothing of it is read."""
    monkeypatch.setattr(pages, "MOST_PAGE_BYTES", 9 << 20)
    folder = write(tmp_path, frames(3000, 5000), use_dictionary=False, data_page_size=10 << 20)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("read it"))
    (unit,) = find(folder, {})
    assert "export.parquet:1: a page of 10," in unit.context["bad"]
    assert "bytes of 'raw_json' (rows 1 to 2,0" in unit.context["bad"]
    assert "expected at most 9,437,184; correct or remove the rows, or write the file anew" in unit.context["bad"]


def test_a_footer_too_large_is_refused(tmp_path):
    """Metadata of a program's own may be of any size."""
    table = table_of(session_rows(1)).replace_schema_metadata({"notes": "x" * (pages.MOST_FOOTER_BYTES // 2)})
    (unit,) = find(write(tmp_path, table), {})
    assert "export.parquet: a footer of 1" in unit.context["bad"]
    assert "write the file anew with fewer, larger row groups" in unit.context["bad"]


@pytest.mark.parametrize("seed", range(20))
def test_bytes_that_flip_in_a_header_end_in_a_bad_unit_or_none(tmp_path, monkeypatch, seed):
    """Never in another error."""
    monkeypatch.setattr(pages, "_is_small", lambda chunk: False)
    write(tmp_path, table_of(session_rows(20)), compression="none")
    path, rng = tmp_path / "export.parquet", random.Random(seed)
    content, metadata = bytearray(path.read_bytes()), pq.read_metadata(path)
    for name in store.TYPES:
        chunk = metadata.row_group(0).column(metadata.schema.names.index(name))
        content[chunk.dictionary_page_offset + rng.randrange(12)] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    try:
        units = find(tmp_path, {})
    except ExpectedError:
        return
    assert all(unit.digest or "export.parquet" in unit.context["bad"] for unit in units)


def test_a_header_nested_without_end_is_none():
    """Structs within structs, a text longer than the file, a type that no header has."""
    for content in (b"\x1c" * 100, b"\x18" + b"\xff" * 9 + b"\x01", b"\x1b", b""):
        with pytest.raises((ValueError, IndexError)):
            pages._Header(content).struct()


@pytest.mark.slow
def test_a_value_of_300_mb_is_refused_in_little_memory(tmp_path):
    """Its page is not decompressed."""
    rows = session_rows(1)
    rows[4]["raw_json"] = "x" * (300 << 20)
    write(tmp_path, table_of(rows))
    with pytest.raises(BadUnit, match=r"export\.parquet:1: a page of 314,\d+,\d+ bytes of 'raw_json'"):
        raise BadUnit(find(tmp_path, {})[0].context["bad"])
    assert peak_of_find_mb("rugs", tmp_path) <= 150


@pytest.mark.slow
def test_a_row_group_larger_than_the_budget_is_read_in_pieces(tmp_path):
    """One of 600 MB that compresses to 30, and one of 300 MB that does not compress."""
    write(tmp_path / "a", frames(120_000, 5000))
    write(tmp_path / "b", frames(60_000, 5000), compression="none")
    for name in "ab":
        assert pq.read_metadata(tmp_path / name / "export.parquet").num_row_groups == 1
        assert peak_of_find_mb("rugs", tmp_path / name) <= 200


@pytest.mark.slow
def test_an_episode_of_400_000_events_is_processed_in_512_mb(tmp_path):
    """Payloads of 1 KB, a file of 380 MB: payloads are made into columns as they are read, and columns go in place."""
    write(tmp_path / "raw", frames(400_000, 900), compression="none")
    (tmp_path / "params.yaml").write_text("datasets: {rugs: {raw: raw, batch_size: 8}}\n")
    knobs = {"MEMORY_GB": "0.5", "JOBS": "1", "LOG": "warning", "PYTHONPATH": str(REPOSITORY)}
    peaks = {
        verb: measure.run([sys.executable, "-m", f"stages.{verb}", "rugs"], tmp_path, knobs).peak_mb
        for verb in ("discover", "process")
    }
    print(peaks)
    assert peaks["discover"] <= 200
    assert peaks["process"] <= 512
