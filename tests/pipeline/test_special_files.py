"""A FIFO, a socket or a device below a raw folder is named before DVC starts, which would wait at it for ever."""

import os
import socket
import sys
from pathlib import Path

import pytest

from stages.core.errors import ExpectedError
from stages.pipeline import special_files
from tests.helpers.scripts import Workspace


def make_special(kind, path):
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["a FIFO", "a socket", "a device"])
def test_a_special_file_is_refused_by_name_wherever_it_is(here, kind):
    (here / "raw/a/b").mkdir(parents=True)
    (here / "raw/a/1.csv").write_text("")
    special_files.refuse(here / "raw")
    make_special(kind, here / "raw/a/b/x")
    with pytest.raises(ExpectedError, match=rf"raw/a/b/x: {kind}, expected files and folders"):
        special_files.refuse(here / "raw")


@pytest.mark.parametrize("target", ["nowhere", "link"])
def test_a_link_to_nowhere_or_to_itself_is_refused(here, target):
    (here / "raw").mkdir()
    (here / "raw/link").symlink_to(target)
    with pytest.raises(ExpectedError, match=r"raw/link: a link to nowhere, expected files and folders"):
        special_files.refuse(here / "raw")


def test_a_link_to_a_folder_is_refused_since_dvc_passes_it_over(here):
    (here / "raw/a").mkdir(parents=True)
    (here / "raw/.hidden").symlink_to(here)
    special_files.refuse(here / "raw")
    (here / "raw/a/linked").symlink_to(here / "raw")
    with pytest.raises(ExpectedError, match=r"raw/a/linked: a link to a folder, expected a folder; copy it there$"):
        special_files.refuse(here / "raw")


def test_a_name_that_is_no_text_is_refused(here):
    (here / "raw/a").mkdir(parents=True)
    (here / "raw/a/ü.csv").write_text("")
    special_files.refuse(here / "raw")
    (here / os.fsdecode(b"raw/a/9\xff1.csv")).write_text("")
    with pytest.raises(ExpectedError, match=r"raw/a/9.*1\.csv: a file name that is not UTF-8, .*; rename the file$"):
        special_files.refuse(here / "raw")


def test_a_file_that_cannot_be_read_is_refused(here, monkeypatch):
    (here / "raw").mkdir()
    (here / "raw/1.csv").write_text("")
    (here / "raw/1.csv").chmod(0)
    monkeypatch.setattr(os, "access", lambda path, mode: bool(Path(path).stat().st_mode & 0o400))  # root may
    with pytest.raises(ExpectedError, match=r"raw/1\.csv: not readable, expected a file that can be read; "):
        special_files.refuse(here / "raw")


def test_a_link_to_a_special_file_is_one(here):
    (here / "raw").mkdir()
    special_files.refuse(here / "raw")
    special_files.refuse(here / "missing")
    os.mkfifo(here / "pipe")
    (here / "raw/link").symlink_to(here / "pipe")
    with pytest.raises(ExpectedError, match=r"raw/link: a FIFO"):
        special_files.refuse(here / "raw")


@pytest.mark.parametrize("command", ["preprocess", "plan", "status", "work"])
def test_commands_refuse_it_before_dvc_starts(tmp_path, command):
    """There is no DVC repository: a command that got as far as DVC would say so."""
    here = Workspace(tmp_path, {"u1": "rows 3"})
    (tmp_path / "raw/deep").mkdir()
    os.mkfifo(tmp_path / "raw/deep/pipe.csv")
    done = here.run(sys.executable, "-m", f"stages.commands.{command}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: raw/deep/pipe.csv: a FIFO, expected files and folders")
    assert len(done.stderr.splitlines()) == 1
