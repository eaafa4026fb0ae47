"""Small git repositories without a pipeline, in which DVC tracks a folder, and a bare one through which they meet."""

import functools
import re
import subprocess
import sys
from pathlib import Path

from tests.helpers.clones import Clone
from tests.helpers.places import REPOSITORY

VENV = Path(sys.executable).parents[1]


def introduce(clone):
    """Do what a user does once after `git clone`: a name for commits, and the merge driver as `make setup` has it."""
    for name, value in (("user.name", "t"), ("user.email", "t@localhost"), ("core.editor", "true")):
        clone.run("git", "config", name, value)
    clone.run("sh", "-c", setting_of_the_merge_driver())
    return clone


@functools.cache
def setting_of_the_merge_driver():
    """Return the line of `make setup` that does it."""
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", f"VENV={VENV}", "setup"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return next(line for line in shown.splitlines() if "merge.folder.driver" in line)


def git_clone(source, folder):
    """Clone a repository as a colleague does."""
    source.run("git", "clone", "-q", str(source.folder), str(folder))
    return introduce(Clone(folder))


def start(folder, files):
    """Make a repository in which DVC tracks the folder `games`; nothing is pushed."""
    folder.mkdir()
    clone = introduce_after_init(Clone(folder))
    (folder / ".gitattributes").write_text((REPOSITORY / ".gitattributes").read_text())
    (folder / "params.yaml").write_text("datasets: {}\nsimulate: {}\nsplit: {by: group, seed: 1}\n")
    change(clone, **files)
    return clone


def introduce_after_init(clone):
    clone.run("git", "init", "-q")
    clone.run("dvc", "init", "-q")
    clone.run("dvc", "config", "core.analytics", "false")
    return introduce(clone)


def change(clone, **files):
    """Write files into the folder, remove those that are None, tell DVC and commit."""
    folder = clone.folder / "games"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).unlink(missing_ok=True)
        if text is not None:
            (folder / name).write_text(text)
    clone.run("dvc", "add", "-q", "games")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "games")


def games(clone):
    """Return the texts of the folder's files by name."""
    return {path.name: path.read_text() for path in (clone.folder / "games").iterdir()}


def folder_md5(clone):
    """Return the MD5 of DVC's list of the folder."""
    return re.search(r"md5: (\w+\.dir)", (clone.folder / "games.dvc").read_text())[1]


def ours(clone, *command, check=True, **variables):
    """Run Python in a repository with the modules of this one."""
    return clone.run(sys.executable, *command, check=check, PYTHONPATH=str(REPOSITORY), **variables)
