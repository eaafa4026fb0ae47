"""Which pieces a folder of .trmph files is cut into, and what changes them."""

import logging
import tracemalloc

import pytest

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import digest_of
from stages.datasets.base.raw import read_unit
from stages.datasets.hex.encode.games import read_games
from stages.datasets.hex.find import find

GAME = "#13,a1m1a2m2a3m3a4m4a5m5a6m6a7m7a8m8a9m9a10m10a11m11a12m12a13 b"


def lines(n, first=0):
    """Return the lines of a file: a header, then games whose text differs."""
    return ["# Self-play games", *(f"w{i}{GAME}" for i in range(first + 1, first + n))][:n]


def write(folder, content, name="games.trmph"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else "".join(f"{line}\n" for line in content).encode())
    return folder


def cut(folder, n=10):
    return find(folder, {"games_per_unit": n})


def test_pieces_are_so_many_lines_each(tmp_path):
    """Keys name the file and the first line; the pieces' bytes are the file's; digests are those of their bytes."""
    content = lines(25)
    write(tmp_path, content, "worker_0/games.trmph")
    units = cut(tmp_path)
    assert [unit.key for unit in units] == [f"worker_0/games.trmph:{first:09d}" for first in (1, 11, 21)]
    assert [read_unit(tmp_path, unit).decode().splitlines() for unit in units] == [
        content[:10],
        content[10:20],
        content[20:],
    ]
    assert all(unit.digest == digest_of(read_unit(tmp_path, unit), {}) for unit in units)
    assert [unit.sources[0].start for unit in units[1:]] == [unit.sources[0].stop for unit in units[:-1]]


@pytest.mark.parametrize("n_lines", [0, 1, 9, 10, 11, 20])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("tail", [b"", b"#13,a1b2c"])
def test_size_of_blocks_does_not_matter(tmp_path, monkeypatch, n_lines, end, tail):
    """Nor does where the last line ends."""
    content = b"".join(line.encode() + end for line in lines(n_lines)) + tail
    if not content:
        return
    write(tmp_path, content)
    expected = [content.splitlines(keepends=True)[i : i + 10] for i in range(0, n_lines + bool(tail), 10)]
    for size in (1, 7, 64, 1000, 1 << 22):
        monkeypatch.setattr("stages.datasets.hex.find.BLOCK_BYTES", size)
        units = cut(tmp_path)
        assert [read_unit(tmp_path, unit) for unit in units] == [b"".join(piece) for piece in expected]


@pytest.mark.parametrize("n_lines", [1, 19, 20, 21])
def test_appended_games_change_the_last_piece_only(tmp_path, n_lines):
    """Also when the last line was half written before; a full last piece stays."""
    write(tmp_path, lines(n_lines))
    before = {unit.key: unit.digest for unit in cut(tmp_path)}
    write(tmp_path, lines(n_lines + 15))
    after = {unit.key: unit.digest for unit in cut(tmp_path)}
    assert len(after) > len(before)
    last = max(before)
    changed = {key for key in before if after[key] != before[key]}
    assert changed == (set() if n_lines % 10 == 0 else {last})


def test_files_lie_in_folders_below_and_hidden_ones_do_not_count(tmp_path):
    """Other endings do not count either; units go by path, then line."""
    for name in ("b.trmph", "a/z.trmph", "a/b/c.trmph", ".a.trmph", ".git/x.trmph", "a/x.trmph.tmp", "a/y.txt"):
        write(tmp_path, lines(11), name)
    keys = [unit.key for unit in cut(tmp_path)]
    assert keys == [f"{name}:{i:09d}" for name in ("a/b/c.trmph", "a/z.trmph", "b.trmph") for i in (1, 11)]
    hidden = write(tmp_path / ".raw", lines(3))
    assert len(cut(hidden)) == 1


def test_empty_files(tmp_path, caplog):
    """One is a warning, a folder with nothing else an error."""
    write(tmp_path, b"", "a.trmph")
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ExpectedError, match="no games in 1 files, expected files like"),
    ):
        find(tmp_path, {})
    assert [record.getMessage().split("/")[-1] for record in caplog.records] == [
        "a.trmph: empty, expected one game a line; fill or remove the file"
    ]
    assert len(find(write(tmp_path, lines(3)), {})) == 1


def test_long_line(tmp_path, monkeypatch):
    """A line of more than 64 KB, across blocks or at the end, makes the file a bad unit, with file and line."""
    for content, line in ((b"a\nb\n" + b"x" * 70_000, 3), (b"a\n" + b"\t" * 70_000 + b"\n" + b"b\n" * 10, 2)):
        write(tmp_path, content)
        for size in (1000, 1 << 22):
            monkeypatch.setattr("stages.datasets.hex.find.BLOCK_BYTES", size)
            (unit,) = cut(tmp_path)
            assert unit.digest == ""
            assert unit.context["bad"].startswith(f"games.trmph:{line}: a line of more than 65,536 bytes, expected")
    write(tmp_path, b"a\n" + b" " * 65_535 + b"\n")
    assert len(cut(tmp_path)) == 1


def test_file_that_cannot_be_read(tmp_path):
    """It is one bad unit, which max_bad_units may leave out, beside those of the other files."""
    (tmp_path / "x.trmph").mkdir()
    found = cut(write(tmp_path, lines(3)))
    assert [(unit.key, bool(unit.digest)) for unit in found] == [("games.trmph:000000001", True), ("x.trmph", False)]
    with pytest.raises(BadUnit, match=r"x\.trmph: not a regular file"):
        read_games(tmp_path, found, {})


def test_linked_folder(tmp_path):
    """Its games would be passed over in silence, so it is an error; a hidden one and a link to a file are none."""
    write(tmp_path, lines(3), "other/x.trmph")
    raw = write(tmp_path / "raw", lines(3))
    (raw / ".hidden").symlink_to(tmp_path / "other")
    (raw / "x.trmph").symlink_to("games.trmph")
    assert len(cut(raw)) == 2
    (raw / "worker_0").symlink_to(tmp_path / "other")
    with pytest.raises(ExpectedError, match="raw/worker_0: a link to a folder, expected a folder; copy it there"):
        cut(raw)


def test_large_file_is_cut_and_read_in_little_memory(tmp_path):
    """Of a file of 25 MB, blocks of 4 MB and one piece are held at a time."""
    game = (GAME.replace(" b", "m13 b") + "\n").encode()  # a move after the win: refused
    write(tmp_path, (GAME.encode() + b"\n") * 380_000 + game)
    tracemalloc.start()
    try:
        units = find(tmp_path, {})
        peak_find = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        games = read_games(tmp_path, units[-2:], {})
        peak_read = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(units) == 761
    assert len(games.winner) == 500
    assert [(found.where, found.reason) for found in games.findings] == [("games.trmph:380001", "moves after the win")]
    assert peak_find < 16 * 2**20
    assert peak_read < 8 * 2**20
