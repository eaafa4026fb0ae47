"""`make slim` in a small real DVC repository: what DVC's cache does not hold is kept, and named."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.core import manifests, paths
from stages.pipeline import lock
from tests.helpers.clones import Clone
from tests.helpers.places import REPOSITORY

pytestmark = pytest.mark.slow

NPZ = Path("data/intermediate/toy/b0.npz")
FIELD = Path("data/merged/toy/x.npy")
MAKE_NPZ = "mkdir -p data/intermediate/toy && echo {batch} > data/intermediate/toy/{batch}.npz"
MAKE_MERGED = "mkdir -p data/merged/toy && cd data/merged/toy && cat ../../*/toy/*.npz > x.npy && wc -c x.npy > y.npy"


def make_repository(folder, link):
    """Make a repository of two batches and their merge, written by the shell, after `dvc repro`."""
    shutil.copytree(REPOSITORY / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "raw").write_text("raw")
    (folder / "params.yaml").write_text("datasets:\n  toy: {raw: raw}\ntrain: {}\n")
    (folder / "data/manifests/toy").mkdir(parents=True)
    (folder / paths.batch_list("toy")).write_text(manifests.batch_list_text("toy", ["b0", "b1"]))
    do = {"cmd": MAKE_NPZ.format(batch="${item}"), "deps": ["raw"], "outs": ["data/intermediate/toy/${item}.npz"]}
    merge = {"cmd": MAKE_MERGED, "deps": ["data/intermediate/toy"], "outs": ["data/merged/toy"]}
    stages = {"process": {"foreach": {f"toy-{b}": b for b in ("b0", "b1")}, "do": do}}
    stages |= {"merge": {"foreach": {"toy": "toy"}, "do": merge}}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    clone = Clone(folder)
    clone.run("dvc", "init", "--quiet", "--no-scm")
    clone.run("dvc", "config", "cache.type", link)
    clone.run("dvc", "repro")
    return clone


@pytest.fixture(scope="module", params=["hardlink", "copy", "symlink"])
def finished(request, tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def clone(finished, tmp_path, monkeypatch):
    """A copy that a test may change, with its links, as working directory."""
    subprocess.run(["cp", "-a", finished.folder, tmp_path / "clone"], check=True)
    monkeypatch.chdir(tmp_path / "clone")
    result = Clone(tmp_path / "clone")
    if NPZ.is_symlink():
        shutil.rmtree(NPZ.parent)
        shutil.rmtree(FIELD.parent)
        result.run("dvc", "checkout", "--relink")
    return result


def slim(clone):
    return clone.run(sys.executable, "-m", "stages.commands.slim", check=False)


def assert_kept(clone, *kept):
    """Slim the clone; all that stays is `kept`, each with a line of its own."""
    done = slim(clone)
    assert done.returncode == 1
    named = re.findall(r"^slim toy: kept (\S+), which DVC's cache does not hold$", done.stderr, re.MULTILINE)
    assert named == [str(path) for path in kept]
    assert f"error: files kept: {len(kept)}, see above" in done.stderr
    assert files() == {*kept}


def files():
    return {path for name in ("intermediate", "merged") for path in Path("data", name).rglob("*.np?")}


def object_of(stage, path):
    """Return the object of a file in DVC's cache."""
    (output,) = lock.outputs(lock.read(), stage)
    listing = Path(".dvc/cache/files/md5", output.md5[:2], output.md5[2:])
    if output.path == path:
        return listing
    (md5,) = (item["md5"] for item in json.loads(listing.read_text()) if item["relpath"] == path.name)
    return Path(".dvc/cache/files/md5", md5[:2], md5[2:])


def unlink_from_cache(path):
    """Make a link a file of its own."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def overwrite(path, content):
    """Change the bytes of a file in place and leave its size and times, so that DVC has no reason to read it again."""
    before = path.stat()
    path.chmod(0o644)
    path.write_text(content)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_what_the_cache_holds_is_removed_and_nothing_runs_for_it(clone):
    is_copy = not NPZ.is_symlink() and NPZ.stat().st_nlink == 1
    done = slim(clone)
    assert done.returncode == 0
    first, _, freed = done.stderr.partition("; ")
    assert first == "slim toy: removed 4 files of data/intermediate/toy and data/merged/toy"
    assert (" MB of copies are freed" in freed) == is_copy
    assert ("links to DVC's cache, so no space is freed: `dvc gc --workspace --all-commits`" in freed) == (not is_copy)
    assert not NPZ.parent.exists()
    assert not FIELD.parent.exists()
    assert slim(clone).returncode == 0
    assert clone.repro() == []


def test_a_batch_without_an_object_is_kept(clone):
    unlink_from_cache(NPZ)
    object_of("process@toy-b0", NPZ).unlink()
    assert_kept(clone, NPZ)


def test_a_field_without_an_object_is_kept(clone):
    unlink_from_cache(FIELD)
    object_of("merge@toy", FIELD).unlink()
    assert_kept(clone, FIELD)


def test_a_batch_whose_object_is_damaged_is_kept(clone):
    """A hard link is damaged with it: neither is what dvc.lock records."""
    overwrite(object_of("process@toy-b0", NPZ), "XX\n")
    assert_kept(clone, NPZ)


def test_a_file_that_was_edited_is_kept(clone):
    overwrite(NPZ, "XX\n")
    assert_kept(clone, NPZ)


def test_no_field_is_removed_when_the_list_of_the_folder_is_missing(clone):
    (output,) = lock.outputs(lock.read(), "merge@toy")
    Path(".dvc/cache/files/md5", output.md5[:2], output.md5[2:]).unlink()
    assert_kept(clone, FIELD, FIELD.with_name("y.npy"))


def test_a_file_of_nobody_is_kept(clone):
    mine = FIELD.with_name("mine.npy")
    mine.write_text("mine")
    assert_kept(clone, mine)


def test_without_a_lock_all_is_kept(clone):
    before = files()
    lock.LOCK.unlink()
    done = slim(clone)
    assert done.returncode == 1
    assert done.stderr == "error: dvc.lock: not found, expected the record of a run; `dvc repro`\n"
    assert files() == before
