"""Compressed files are read as what is in them: ranges, digests and lines, in bounded memory."""

import gzip
import hashlib
import threading
import tracemalloc
import zlib

import pyarrow as pa
import pytest

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import Source, Unit
from stages.datasets.base import compressed, raw
from stages.datasets.base.raw import content_bytes, file_units, locate, raw_mb, read_source, read_unit, source_pieces

CONTENT = b"".join(b"%d,%d\n" % (i, i * i % 977) for i in range(40_000))  # 0.4 MB


def zstd(content):
    return pa.compress(content, "zstd", asbytes=True)


PACKED = {
    "f.csv.gz": gzip.compress(CONTENT),
    "f.csv.GZ": gzip.compress(CONTENT, 1),
    "two.csv.gz": gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:]),
    "f.csv.zst": zstd(CONTENT),
    "two.csv.zst": zstd(CONTENT[:1000]) + zstd(CONTENT[1000:]),
    "skipped.csv.zst": b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc" + zstd(CONTENT),
}
each_packed = pytest.mark.parametrize("name", PACKED)


@pytest.fixture
def folder(tmp_path):
    for name, content in PACKED.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@each_packed
def test_ranges_count_in_what_is_in_the_file(folder, name):
    """In any order, and beyond the end."""
    for start, stop in (
        (0, None),
        (10, 20),
        (5, 5),
        (300_000, 310_000),
        (10, 2000),
        (len(CONTENT), None),
        (10**7, None),
    ):
        assert read_source(folder, Source(name, start, stop)) == CONTENT[start:stop]
    assert b"".join(source_pieces(folder, Source(name, 7, 399_999))) == CONTENT[7:399_999]


@each_packed
def test_the_digest_is_that_of_what_is_in_the_file(folder, name):
    """So another level, or another format, changes no digest; another content does."""
    (unit,) = file_units(folder, [name])
    assert unit == Unit(name, (Source(name),), hashlib.sha256(CONTENT).hexdigest())
    assert read_unit(folder, unit) == CONTENT
    pack = gzip.compress if name.lower().endswith("gz") else zstd
    (folder / name).write_bytes(pack(CONTENT) + pack(b""))
    assert read_unit(folder, unit) == CONTENT
    (folder / name).write_bytes(pack(CONTENT + b"1\n"))
    with pytest.raises(ExpectedError, match="changed since discover"):
        read_unit(folder, unit)


@each_packed
def test_a_line_is_found_again(folder, name):
    unit = Unit("u", (Source(name, 0, 10), Source(name, CONTENT.index(b"\n30000,") + 1)), "", {"own": 10})
    assert locate(folder, unit, [3]) == [(folder / name, 30_003)]


@pytest.mark.parametrize("name", ["f.csv.gz", "f.csv.zst"])
@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:-1], lambda b: b + b"rest of a download"])
def test_a_file_that_is_cut_off_or_damaged_is_one_clear_error(folder, name, damage):
    (folder / name).write_bytes(damage(PACKED[name]))
    (unit,) = file_units(folder, [name])
    kind = "gzip" if name.endswith("gz") else "zstd"
    assert unit.digest == ""
    assert unit.context["bad"].startswith(f"{name}: damaged or cut off")
    assert unit.context["bad"].endswith(f"expected a whole file compressed with {kind}; fetch it again or remove it")
    with pytest.raises(BadUnit, match=rf"{name}: damaged or cut off"):
        read_unit(folder, unit)


def test_a_flipped_bit_is_found(folder):
    content = bytearray(PACKED["f.csv.gz"])
    content[len(content) // 2] ^= 16
    (folder / "f.csv.gz").write_bytes(content)
    with pytest.raises(BadUnit, match=r"f.csv.gz: damaged or cut off \(CRC check failed"):
        read_source(folder, Source("f.csv.gz"))


@pytest.mark.parametrize(("name", "kind"), [("f.csv.gz", "gzip"), ("f.csv.zst", "zstd")])
def test_a_name_that_promises_what_is_not_there_is_named(folder, name, kind):
    """Such as of a download that a browser unpacked; an empty one too."""
    (folder / name).write_bytes(b"time,open\n1,2\n")
    with pytest.raises(
        BadUnit, match=rf"{name}: b'time' at its beginning, expected a file compressed with {kind}; take"
    ):
        read_source(folder, Source(name))
    (folder / name).write_bytes(b"")
    with pytest.raises(BadUnit, match=f"{name}: empty, expected a file compressed with {kind}; fetch it again"):
        read_source(folder, Source(name))


def test_what_is_in_it_may_be_no_text(folder):
    (folder / "f.csv.gz").write_bytes(gzip.compress(gzip.compress(CONTENT)))
    (unit,) = file_units(folder, ["f.csv.gz"], content="one bar a line")
    assert unit.context["bad"].startswith("f.csv.gz: compressed twice, expected one bar a line; unpack it once")


def bomb(n_mb, kind):
    """Return 1 MB of zeros so many times, compressed: a thousandth of it, or less."""
    if kind == "zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            for _ in range(n_mb):
                stream.write(bytes(1 << 20))
        return sink.getvalue().to_pybytes()
    packer = zlib.compressobj(wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(n_mb)) + packer.flush()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_bomb_is_a_bad_unit_in_little_memory(tmp_path, kind):
    """It stops at the size that a file may have, or where it swells beyond all measure."""
    (tmp_path / f"f.csv.{kind}").write_bytes(bomb(500, kind))
    tracemalloc.start()
    try:
        (large,) = file_units(tmp_path, [f"f.csv.{kind}"], most_bytes=8 << 20)
        (swollen,) = file_units(tmp_path, [f"f.csv.{kind}"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "9,437,184 bytes, expected at most 8,388,608" in large.context["bad"]
    assert "more than 250 times its" in swollen.context["bad"]
    assert peak < 16 << 20


def test_units_in_the_order_of_the_file_cost_one_pass(tmp_path, monkeypatch):
    """A stream is kept where it stopped; other places before it begin anew, and few files stay open."""
    (tmp_path / "f.gz").write_bytes(PACKED["f.csv.gz"])
    begun = []
    monkeypatch.setattr(compressed, "Unpacked", lambda *of, real=compressed.Unpacked: begun.append(of) or real(*of))
    for start in range(0, 400_000, 10_000):
        assert read_source(tmp_path, Source("f.gz", start, start + 10_000)) == CONTENT[start : start + 10_000]
    assert len(begun) == 1
    read_source(tmp_path, Source("f.gz", 5, 10))
    read_source(tmp_path, Source("f.gz", 10, 20))
    assert len(begun) == 2
    for number in range(40):
        (tmp_path / f"{number}.gz").write_bytes(gzip.compress(b"x"))
        read_source(tmp_path, Source(f"{number}.gz"))
    assert len(compressed._paused._streams) == compressed.MOST_PAUSED


def test_months_that_look_back_cost_no_more_than_their_bytes(tmp_path, monkeypatch):
    """A header, the piece before and the own one, as market's units have them."""
    (tmp_path / "f.gz").write_bytes(PACKED["f.csv.gz"])
    n_read = []
    read = compressed.Unpacked._piece
    monkeypatch.setattr(compressed.Unpacked, "_piece", lambda *of: n_read.append(piece := read(*of)) or piece)
    edges = range(50, 400_050, 50_000)
    sources = [(0, 50), (edges[0], edges[1])]
    for before, start, stop in zip(edges, edges[1:], edges[2:], strict=False):
        sources += [(0, 50), (before, start), (start, stop)]
    for start, stop in sources:
        assert read_source(tmp_path, Source("f.gz", start, stop)) == CONTENT[start:stop]
    assert sum(map(len, n_read)) == sum(min(stop, len(CONTENT)) - start for start, stop in sources)


def test_threads_read_one_file_at_once(tmp_path):
    (tmp_path / "f.zst").write_bytes(PACKED["f.csv.zst"])
    wrong = []

    def read(first):
        for start in range(first, 390_000, 7_000):
            if read_source(tmp_path, Source("f.zst", start, start + 5_000)) != CONTENT[start : start + 5_000]:
                wrong.append(start)

    threads = [threading.Thread(target=read, args=(1000 * i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_bytes_of_a_file_are_those_in_it(folder):
    (folder / "f.csv").write_bytes(CONTENT)
    names = ["f.csv", *PACKED]
    assert [content_bytes(folder, name) for name in names] == [len(CONTENT)] * len(names)


def test_the_size_of_a_whole_compressed_file_is_guessed(folder):
    n_bytes = len(PACKED["f.csv.gz"])
    assert raw_mb(folder, Unit("u", (Source("f.csv.gz"),), "")) == raw.USUAL_TIMES * n_bytes / 2**20
    assert raw_mb(folder, Unit("u", (Source("f.csv.gz", 0, 2**20),), "")) == 1


def test_what_is_told_of_an_empty_and_of_a_small_damaged_file_is_true(tmp_path):
    """No bytes are told that were read before a fault, where what was read with it is lost."""
    for name, content, found in (
        ("a.csv.gz", b"", "empty, expected a file compressed with gzip; fetch"),
        ("b.csv.gz", gzip.compress(b"1,2\n") + b"x", "damaged or cut off (Not a gzipped file"),
    ):
        (tmp_path / name).write_bytes(content)
        (unit,) = file_units(tmp_path, [name])
        assert unit.context["bad"].startswith(f"{name}: {found}")
