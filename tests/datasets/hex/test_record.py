"""Files of self-play: their lines, what is kept of them after a kill, and what is removed."""

import doctest
import os
from pathlib import Path

import pytest

from stages.datasets import base
from stages.datasets.hex.simulate import openings, record, temperature

HEADER = b"# Self-play games - 2025-01-01T00:00:00.000000\n# Format: trmph_string winner\n"
GAMES = [b"#13,a1b2a2 b\n", b"#13,g7m13 r\n", b"#13,a10a11a12 b\n"]


@pytest.fixture
def file(tmp_path):
    """Give a file with three games."""
    path = tmp_path / "worker_0" / "games.trmph"
    path.parent.mkdir()
    path.write_bytes(HEADER + b"".join(GAMES))
    return path


@pytest.mark.parametrize("module", [record, openings, temperature])
def test_the_worked_examples_are_what_the_functions_give(module):
    """The docstrings' examples run."""
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_every_cell_is_written_as_letter_and_number():
    """Column letter first, row number second, in the order of play; the winner after one space."""
    cells = [row * 13 + column for column in range(13) for row in range(13)]
    names = "".join(f"{letter}{number}" for letter in "abcdefghijklm" for number in range(1, 14))
    line = record.game_line(cells, 0)
    assert line == f"#13,{names} b\n".encode()
    assert record.n_moves(line) == 169
    assert record.game_line([0], 1).endswith(b" r\n")


def test_a_missing_file_is_begun_with_its_header(tmp_path):
    """Also its folder is made."""
    path = tmp_path / "worker_3" / "games.trmph"
    assert record.begin(path, HEADER, 5) == 0
    record.append(path, GAMES[0])
    assert path.read_bytes() == HEADER + GAMES[0]


def test_whatever_byte_a_writer_is_killed_at_whole_games_are_kept(file):
    """For each length of the file: the whole lines stay, the half one goes, the rest can be appended."""
    whole = file.read_bytes()
    for length in range(len(whole) + 1):
        file.write_bytes(whole[:length])
        kept = record.begin(file, HEADER, 3)
        assert kept == max(0, whole[:length].count(b"\n") - HEADER.count(b"\n"))
        for line in GAMES[kept:]:
            record.append(file, line)
        assert file.read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    [b"\n", b"\0\0\0\n", b"#13,a1 x\n", b"#13,a14 b\n", b"#13,a1 b\r\n", b"#13,a1 b b\n", b"# note\n", b"#13, b\n"],
)
def test_what_is_no_game_is_cut_off_with_all_that_follows(file, line):
    """A crash of the machine may leave zeros; nobody's edits survive."""
    file.write_bytes(HEADER + GAMES[0] + line + GAMES[1])
    assert record.begin(file, HEADER, 3) == 1
    assert file.read_bytes() == HEADER + GAMES[0]


def test_another_header_begins_the_file_anew_and_fewer_games_shorten_it(file):
    """A file is what the settings say, not what they said once."""
    assert record.begin(file, HEADER, 2) == 2
    assert file.read_bytes() == HEADER + GAMES[0] + GAMES[1]
    other = HEADER.replace(b"2025", b"2026")
    for before in (HEADER + GAMES[0], GAMES[0]):
        file.write_bytes(before)
        assert record.begin(file, other, 2) == 0
        assert file.read_bytes() == other


def test_a_file_that_need_not_change_is_not_written(file):
    """Its time and inode stay, so nobody hashes it again."""
    before = file.stat()
    assert record.begin(file, HEADER, 3) == 3
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_appending_leaves_the_object_of_a_cache_alone(file, tmp_path, link):
    """DVC may have linked the file to its cache, whose object is shared by every other checkout."""
    cached = tmp_path / "object"
    file.rename(cached)
    link(cached, file)
    before = cached.read_bytes()
    assert record.begin(file, HEADER, 4) == 3
    record.append(file, GAMES[0])
    assert cached.read_bytes() == before
    assert file.read_bytes() == before + GAMES[0]


def test_a_full_disk_is_an_error():
    """A game that was not written whole must not count as finished."""
    with pytest.raises(OSError, match="No space left"):
        record.append(Path("/dev/full"), GAMES[0])


def test_only_what_belongs_to_the_sample_stays(file, tmp_path):
    """Other files, half-written ones, links and the folders left empty go; what a link leads to stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    folder = file.parent.parent / "sample"
    (folder / "worker_0").mkdir(parents=True)
    kept = folder / "worker_0" / "games.trmph"
    file.rename(kept)
    (folder / "worker_9" / "deep").mkdir(parents=True)
    for name in ("worker_9/deep/old.trmph", "worker_0/.games.trmph.tmp", "worker_0/other.trmph", "README"):
        (folder / name).write_text("")
    (folder / "link").symlink_to(outside)
    base.remove_others(folder, {kept})
    assert [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))] == [
        "worker_0",
        "worker_0/games.trmph",
    ]
    assert (outside / "kept").exists()
