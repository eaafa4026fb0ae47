"""Git clones of this repository, with commands run in them as a user would."""

import atexit
import functools
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.helpers.nursery import DVC, FOR_CLONES, Nursery
from tests.helpers.places import REPOSITORY
from tests.helpers.shared import made_once


@functools.cache
def nursery_of_clones():
    """Return the one that this process has for commands in clones; it ends with this process."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(Nursery(FOR_CLONES))


def as_module(command):
    """Return a command as a module and its arguments where it is DVC or a module of the repository, else None."""
    words = [str(word) for word in command]
    if words[0] == "dvc":
        return [DVC, *words[1:]]
    is_ours = words[0] in ("python", sys.executable) and words[1] == "-m" and words[2].startswith("stages.")
    return words[2:] if is_ours else None


class Clone:
    """A git clone of the repository as it stands in the working tree, and commands run in it."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, *command, check=True, **variables):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_", "MAKE"))}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        environment |= variables
        if module := as_module(command):
            done = nursery_of_clones().run(module, self.folder, environment)
        else:
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
            )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def repro(self, *arguments):
        """Run one `dvc repro`; return the names of the stages whose commands ran, in order."""
        return self.ran(self.run("dvc", "repro", *arguments))

    def ran(self, done):
        return re.findall(r"^Running stage '(.+)':$", done.stdout, re.MULTILINE)

    def batches(self):
        return re.findall(r"batch: (b[01]*)", (self.folder / "data/manifests/splendor/batches.yaml").read_text())

    def expected_run(self, *batches, sample=False):
        names = ["simulate@splendor"] if sample else []
        names += ["discover@splendor", "expand@splendor", *(f"process@splendor-{batch}" for batch in batches)]
        return [*names, "merge@splendor", "split@splendor"]

    def arrays(self):
        """Return the bytes of everything in data/merged and data/processed."""
        files = [path for name in ("merged", "processed") for path in (self.folder / "data" / name).rglob("*.np?")]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def copy_of(clone, folder):
    """Copy a clone in which nothing ran to `folder`/clone."""
    shutil.copytree(clone.folder, folder / "clone", symlinks=True)
    return Clone(folder / "clone")


def linked_copy_of(clone, folder):
    """Copy a clone to `folder`/clone; hard links between its workspace and its cache stay."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", clone.folder, folder / "clone"], check=True)
    return Clone(folder / "clone")


def with_few_games(clone, n_games):
    """Make the sample of a clone that small, in batches of 16."""
    path = clone.folder / "params.yaml"
    text = path.read_text().replace("games: 240", f"games: {n_games}").replace("batch_size: 64", "batch_size: 16")
    path.write_text(text)
    return clone


def keep_only(folder, dataset):
    """Take every other dataset out of the pipeline in a folder, so that a test of one takes the time of one."""
    for name, block in (
        ("params.yaml", r"^  {}:\n(?:    .*\n)+"),
        ("dvc.lock", r"^  \w+@{}(?:-b[01]*)?:\n(?:    .*\n)+"),
    ):
        text = (folder / name).read_text()
        for path in (folder / "data/manifests").iterdir():
            if path.name != dataset:
                text = re.sub(block.format(path.name), "", text, flags=re.MULTILINE)
                (path / "batches.yaml").write_text("batches: {}\n")
        (folder / name).write_text(text)


def train_nothing(folder):
    """Take training out of the pipelines in a folder: DVC misses models that were never made at each pull."""
    path = folder / "params.yaml"
    text = path.read_text()
    path.write_text(text[: text.index("\ntrain:\n")] + "\ntrain: {}\n")
    (folder / "stages/training/dvc.lock").unlink(missing_ok=True)


def make_clone(folder, dataset="splendor", trains=False):
    """Make a clone with one dataset, or with all of them for None, and models to train if it is to have some."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    if dataset:
        keep_only(folder, dataset)
    if not trains:
        train_nothing(folder)
    clone = Clone(folder)
    clone.run("git", "init", "-q")
    clone.run("git", "add", "-A")
    clone.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "-m", "start")
    return clone


def whole_clone(tmp_path_factory):
    """Return a clone of all datasets in which one bare `dvc repro` ran, and the stages it ran, see `built_once`."""
    return built_once(tmp_path_factory, "whole_clone", lambda folder: make_clone(folder, None))


def built_clone(tmp_path_factory):
    """Return the same of one dataset alone."""
    return built_once(tmp_path_factory, "built_clone", make_clone)


def built_once(tmp_path_factory, name, make):
    """Return a clone after one bare `dvc repro`, and the stages it ran.

    It is made once for all files of tests, by `make` in an empty folder. They run nothing in it, and take copies.
    """

    def build(folder):
        (folder / "clone").mkdir()
        ran = make(folder / "clone").repro()
        (folder / "ran").write_text("\n".join(ran))

    folder = made_once(tmp_path_factory, name, build)
    return Clone(folder / "clone"), (folder / "ran").read_text().split("\n")


def small_clone(folder, link):
    """A clone with 40 games of the user's own, small batches, and one `dvc repro` done."""
    clone = make_clone(folder)
    clone.run("dvc", "config", "cache.type", link)
    clone.run(sys.executable, "-m", "stages.simulate", "splendor")
    for game in sorted((clone.folder / "data/sample/splendor").rglob("*.csv"))[::6]:
        target = clone.folder / "data/games" / game.parent.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(game, target)
    shutil.rmtree(clone.folder / "data/sample")
    params = (clone.folder / "params.yaml").read_text()
    params = params.replace("data/sample/splendor", "data/games").replace("batch_size: 64", "batch_size: 16")
    (clone.folder / "params.yaml").write_text(params[: params.index("simulate:")] + "simulate: {}\ntrain: {}\n")
    clone.run(sys.executable, "-m", "stages.discover", "splendor")
    clone.run("dvc", "repro")
    return clone


def recorded(clone):
    """Return the names of the stages in dvc.lock, in order."""
    return re.findall(r"^  (\S+@\S+):$", (clone.folder / "dvc.lock").read_text(), re.MULTILINE)


def in_order_of_a_first_run(clone):
    """Return the same names, of a clone of one dataset, in the order in which a first run writes them."""
    verbs = ("simulate", "discover", "process", "expand", "merge", "split")
    return sorted(recorded(clone), key=lambda name: (verbs.index(name.partition("@")[0]), name))


def type_cures(clone, done):
    """Type what a finished `verify` or `preprocess` says of each fault; return the number of faults."""
    commands = re.findall("`(.*)`$", done.stdout, re.MULTILINE)
    for command in commands:
        clone.run("bash", "-c", command)
    return len(commands)


def flip(path, bit=None):
    """Change one bit: the one with that number, or one in the middle."""
    content = bytearray(path.read_bytes())
    place, number = (len(content) // 2, 4) if bit is None else divmod(bit, 8)
    content[place] ^= 1 << number
    rewrite(path, content)


def rewrite(path, content):
    """Change a file in place; mode and times stay, as when a disk fails."""
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
