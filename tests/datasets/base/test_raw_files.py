"""Which files of a raw folder are read, which are left out on purpose, and that all others are named."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stages.core.errors import ExpectedError
from stages.datasets.base.raw_files import FileNames, raw_files

LEFT_OUT = (
    "._NQ.csv",
    ".DS_Store",
    ".hidden.csv",
    ".ipynb_checkpoints/NQ-checkpoint.csv",
    "a/.ipynb_checkpoints/x.csv",
    "__MACOSX/._NQ.csv",
    "__MACOSX/NQ.csv",
    "Thumbs.db",
    "desktop.ini",
    "Icon\r",
    "$RECYCLE.BIN/x.csv",
    "@eaDir/NQ.csv",
    "NQ.csv.tmp",
    "~$NQ.csv",
    ".gitignore",
)


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return folder


def listed(folder, **options):
    return raw_files(folder, FileNames((".csv",), "NQ.csv", **options))


def test_upper_case_and_compressed_names_count_and_go_by_path(tmp_path):
    names = ["ES.CSV", "NQ.csv", "a/CL.csv.gz", "a/GC.Csv.ZST", "a/b/c/YM.CSV.GZ"]
    assert listed(write(tmp_path, *reversed(names))) == names


def test_what_systems_and_notebooks_leave_is_no_file_and_no_word_is_lost(tmp_path, caplog):
    assert listed(write(tmp_path, "NQ.csv", *LEFT_OUT)) == ["NQ.csv"]
    assert caplog.messages == []


def test_all_other_files_are_named_in_one_warning(tmp_path, caplog):
    others = ["GC.txt", "NQ.csv.bak", "a/README.md", "b.csv.bz2", "b.gz", "notes\x1b[2J", "z"]
    assert listed(write(tmp_path, "NQ.csv", *others)) == ["NQ.csv"]
    assert caplog.messages == [
        f"{tmp_path}: 7 files are not read: GC.txt, NQ.csv.bak, a/README.md, b.csv.bz2, b.gz, ...; expected names like "
        "NQ.csv (also NQ.csv.gz or NQ.csv.zst); rename them or move them away"
    ]
    caplog.clear()
    for name in others[:-2]:
        (tmp_path / name).unlink()
    (tmp_path / "z").unlink()
    listed(tmp_path)
    assert r"1 file is not read: notes\x1b[2J; expected names like NQ.csv" in caplog.text


def test_files_of_other_folders_and_packed_ones_that_cannot_be_read_are_named(tmp_path, caplog):
    write(tmp_path, "2_games/1.csv", "2_games/2.csv.gz", "2_games/part2/8.csv", "all.csv")
    found = listed(tmp_path, is_place=["2_games"].__contains__, may_be_packed=False)
    assert found == ["2_games/1.csv"]
    assert "3 files are not read: 2_games/2.csv.gz, 2_games/part2/8.csv, all.csv; expected" in caplog.text


def test_a_folder_with_the_name_of_a_file_is_listed_unless_files_in_it_are_read(tmp_path):
    (tmp_path / "empty.csv").mkdir()
    write(tmp_path, "full.csv/NQ.csv")
    assert listed(tmp_path) == ["empty.csv", "full.csv/NQ.csv"]


def test_a_linked_folder_is_an_error_unless_it_is_hidden(tmp_path):
    raw = write(tmp_path / "raw", "NQ.csv")
    (raw / ".hidden").symlink_to(tmp_path)
    assert listed(raw) == ["NQ.csv"]
    (raw / "more").symlink_to(tmp_path)
    with pytest.raises(ExpectedError, match="raw/more: a link to a folder, expected a folder; copy it there"):
        listed(raw)


def test_a_name_that_is_not_utf8_is_an_error_where_it_is_read_and_named_where_not(tmp_path, caplog):
    raw = os.fsencode(write(tmp_path, "NQ.csv"))
    with open(raw + b"/caf\xe9.txt", "w"):  # noqa: PTH123 - a path of bytes
        assert listed(tmp_path) == ["NQ.csv"]
    assert r"caf\udce9.txt" in caplog.text
    with (
        open(raw + b"/caf\xe9.csv", "w"),  # noqa: PTH123
        pytest.raises(ExpectedError, match=r"file name 'caf\\udce9.csv' is not UTF-8; rename the file"),
    ):
        listed(tmp_path)


ALONE = """
import os, sys
from pathlib import Path
from stages.datasets.base.raw_files import FileNames, raw_files
if os.geteuid() == 0:
    os.setuid(65534)  # whom a mode binds
try:
    print(raw_files(Path(sys.argv[1]), FileNames((".csv",), "NQ.csv")))
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def test_a_folder_that_cannot_be_listed_is_refused():
    """What is in it would be left out without a word."""
    with tempfile.TemporaryDirectory() as name:  # one whose parents anybody may pass
        folder, closed = Path(name), Path(name) / "a"
        write(folder, "NQ.csv", "a/ES.csv")
        folder.chmod(0o755)
        closed.chmod(0)
        done = subprocess.run([sys.executable, "-c", ALONE, folder], capture_output=True, text=True, check=True)
        closed.chmod(0o755)
    assert done.stdout.startswith(f"ExpectedError: {closed}: not readable (Permission denied), expected a folder that")
