"""A FIFO, a socket or a device below a raw folder is named before DVC starts, which would wait at it for ever."""

import os
import socket
import sys

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


def test_a_link_to_a_special_file_is_one_and_a_link_to_a_folder_is_none(here):
    (here / "raw").mkdir()
    (here / "raw/above").symlink_to(here)
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
