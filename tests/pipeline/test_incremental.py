"""What reruns after a change, under real git and DVC: the exact set of stages, the files left, the bytes made."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import yaml

from stages.core import manifests, units
from tests.helpers.clones import Clone, built_once, make_clone
from tests.helpers.kills import kill_group

pytestmark = pytest.mark.slow

BATCH_SIZE = 8
WHOLE = ("discover", "merge", "split")
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def edit(clone, name, old, new):
    path = clone.folder / name
    text = path.read_text()
    assert text.count(old) == 1, (name, old)
    path.write_text(text.replace(old, new))


def small_clone(folder):
    """Make a clone with some simulated games of its own in data/games, others in data/spare, that lists no batch yet.

    One of its batches is full, and one of the spare games falls into it.
    """
    clone = make_clone(folder)
    edit(clone, "params.yaml", "games: 240", "games: 60")
    clone.run(sys.executable, "-m", "stages.simulate", "splendor")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["datasets"]["splendor"] |= {"raw": "data/games", "batch_size": BATCH_SIZE}
    params["split"] |= {"train": 0.6, "val": 0.2, "test": 0.2}  # so that none of 20 games' parts is empty
    params["simulate"] = {}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    shutil.move(folder / "data/sample/splendor", folder / "data/spare")
    names = sorted(str(path.relative_to(folder / "data/spare")) for path in (folder / "data/spare").rglob("*.csv"))
    chosen = next(
        kept for kept in (names[::2][:n] for n in range(28, 16, -1)) if overflowing(kept, set(names) - set(kept))
    )
    add(clone, *chosen)
    (folder / "data/manifests/splendor/batches.yaml").write_text(manifests.batch_list_text("splendor", []))
    (folder / "dvc.lock").unlink()
    (folder / ".git/info/exclude").write_text("/data/games/\n/data/spare/\n/data/other/\n")
    return clone


def overflowing(names, spare):
    """Return the spare names that make a full batch overflow into two."""
    before = units.deal(names, BATCH_SIZE)
    full = [batch for batch, keys in before.items() if len(keys) == BATCH_SIZE]
    return sorted(
        name
        for name in spare
        if any(set(units.deal([*names, name], BATCH_SIZE)) == {*before, f"{b}0", f"{b}1"} - {b} for b in full)
    )


def games(clone, folder="games"):
    root = clone.folder / "data" / folder
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.csv"))


def add(clone, *names):
    for name in names:
        target = clone.folder / "data/games" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(clone.folder / "data/spare" / name, target)


def remove(clone, *names):
    for name in names:
        target = clone.folder / "data/spare" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(clone.folder / "data/games" / name, target)


def dealt(clone):
    return units.deal(games(clone), BATCH_SIZE)


def batch_of(clone, name):
    return next(batch for batch, keys in dealt(clone).items() if name in keys)


def growth(clone):
    """Return the spare games that change the list when they are added, and the batches that then differ."""
    before, spare = dealt(clone), overflowing(games(clone), games(clone, "spare"))[:2]
    after = units.deal([*games(clone), *spare], BATCH_SIZE)
    assert set(before) - set(after)
    return spare, [batch for batch, keys in after.items() if keys != before.get(batch)]


def stages(*batches, verbs=WHOLE, dataset="splendor"):
    """Return the names of stages in any order, sorted."""
    return sorted([f"{verb}@{dataset}" for verb in verbs] + [f"process@{dataset}-{batch}" for batch in batches])


def shorten(clone, name):
    """Take the last two moves out of a game; return its former bytes."""
    path = clone.folder / "data/games" / name
    content = path.read_bytes()
    path.write_bytes(b"".join(content.splitlines(keepends=True)[:-2]))
    return content


def lock(clone):
    return (clone.folder / "dvc.lock").read_text()


def lock_without_manifests(clone):
    """Return dvc.lock without the hash of the manifests' folder.

    After a bare `dvc repro` that folder still holds the manifests of vanished batches: the running DVC has them in its
    plan. The next discover removes them.
    """
    pattern = r"(data/manifests/splendor/batches\n +hash: md5\n) +md5: .*\n +size: .*\n +nfiles: .*\n"
    text, count = re.subn(pattern, r"\1", lock(clone))
    assert count == 1
    return text


def preprocess(clone):
    return clone.ran(clone.run(sys.executable, "-m", "stages.commands.preprocess"))


def assert_holds_exactly(clone, names):
    """Assert that arrays, lock and merged groups are of these games' batches and nothing else."""
    batches = sorted(units.deal(names, BATCH_SIZE))
    assert clone.batches() == batches
    assert sorted(path.stem for path in (clone.folder / "data/intermediate/splendor").iterdir()) == batches
    assert re.findall(r"^  process@splendor-(b[01]*):$", lock(clone), re.MULTILINE) == batches
    assert EMPTY_MD5 not in lock(clone)
    with np.load(clone.folder / "data/merged/splendor/groups.npz") as groups:
        assert sorted(groups["units"]) == sorted(names)


@pytest.fixture(scope="module")
def unrun(tmp_path_factory):
    """A clone with raw files of its own in which nothing has run."""
    return small_clone(tmp_path_factory.mktemp("unrun"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A clone in which one bare `dvc repro` ran, and the stages it ran."""
    return finished_clone(tmp_path_factory)


def finished_clone(tmp_path_factory):
    """Return it, made once for all files of tests; nothing is to be run in it."""
    return built_once(tmp_path_factory, "small_clone", small_clone)


def copy_of(clone, folder):
    shutil.copytree(clone.folder, folder, symlinks=True)
    return Clone(folder)


@pytest.fixture
def clone(finished, tmp_path):
    """A copy of the finished clone that a test may change."""
    return copy_of(finished[0], tmp_path / "clone")


def test_one_bare_repro_is_enough_for_own_data_and_an_empty_list(finished):
    clone, ran = finished
    assert sorted(ran) == stages(*dealt(clone), verbs=(*WHOLE, "expand"))
    assert_holds_exactly(clone, games(clone))
    assert clone.repro() == []


def test_touching_a_file_runs_nothing(clone):
    os.utime(clone.folder / "data/games" / games(clone)[0], (1, 1))
    assert clone.repro() == []


def test_a_changed_file_runs_its_batch_and_changed_back_runs_discover_alone(clone, finished):
    name = games(clone)[3]
    content = shorten(clone, name)
    assert sorted(clone.repro()) == stages(batch_of(clone, name))
    assert clone.arrays() != finished[0].arrays()
    (clone.folder / "data/games" / name).write_bytes(content)
    assert clone.repro() == ["discover@splendor"]
    assert clone.arrays() == finished[0].arrays()
    assert lock(clone) == lock(finished[0])


def test_an_added_file_runs_its_batch_and_removed_again_runs_discover_alone(clone, finished):
    batches = dealt(clone)
    name = next(n for n in games(clone, "spare") if set(units.deal([*games(clone), n], BATCH_SIZE)) == set(batches))
    add(clone, name)
    assert sorted(clone.repro()) == stages(batch_of(clone, name))
    assert_holds_exactly(clone, games(clone))
    remove(clone, name)
    assert clone.repro() == ["discover@splendor"]
    assert lock(clone) == lock(finished[0])


def test_an_overflow_runs_the_two_batches_that_replace_the_full_one(clone):
    name = overflowing(games(clone), games(clone, "spare"))[0]
    before = dealt(clone)
    add(clone, name)
    new = sorted(set(dealt(clone)) - set(before))
    assert len(new) == 2
    assert sorted(clone.repro()) == stages(*new, verbs=(*WHOLE, "expand"))
    assert_holds_exactly(clone, games(clone))
    assert clone.repro() == []


def test_a_removed_file_runs_its_batch_alone(clone):
    batches = dealt(clone)
    name = next(
        n for n in games(clone) if set(units.deal([g for g in games(clone) if g != n], BATCH_SIZE)) == set(batches)
    )
    batch = batch_of(clone, name)
    remove(clone, name)
    assert sorted(clone.repro()) == stages(batch)
    assert_holds_exactly(clone, games(clone))


def test_a_renamed_file_runs_the_batches_of_both_names(clone):
    batches, old = dealt(clone), games(clone)[0]
    rest = [name for name in games(clone) if name != old]
    new = next(
        name
        for name in (f"{old.partition('/')[0]}/{number}.csv" for number in range(900_000, 901_000))
        if set(units.deal([*rest, name], BATCH_SIZE)) == set(batches)
        and name not in units.deal([*rest, name], BATCH_SIZE)[batch_of(clone, old)]
    )
    touched = {batch_of(clone, old)}
    path = clone.folder / "data/games" / new
    (clone.folder / "data/games" / old).rename(path)
    old_id, new_id = (name.rpartition("/")[2].removesuffix(".csv") for name in (old, new))
    path.write_text(re.sub(rf"^{old_id},", f"{new_id},", path.read_text(), flags=re.MULTILINE))
    touched.add(batch_of(clone, new))
    assert len(touched) == 2
    assert sorted(clone.repro()) == stages(*touched)
    assert_holds_exactly(clone, games(clone))


def test_an_emptied_batch_leaves_no_arrays_no_lock_entry_and_no_row(clone):
    before = dealt(clone)
    batch = next(
        b
        for b, keys in before.items()
        if set(units.deal([g for g in games(clone) if g not in keys], BATCH_SIZE)) == set(before) - {b}
    )
    remove(clone, *before[batch])
    assert sorted(clone.repro()) == stages(verbs=(*WHOLE, "expand"))
    assert_holds_exactly(clone, games(clone))
    assert clone.repro() == []


def test_a_comment_in_the_datasets_code_runs_process_and_stops(clone):
    with (clone.folder / "stages/datasets/splendor/encode/labels.py").open("a") as file:
        file.write("\n# A comment.\n")
    assert sorted(clone.repro()) == stages(*dealt(clone), verbs=())


def test_a_split_param_runs_split_alone(clone):
    edit(clone, "params.yaml", "seed: 42", "seed: 43")
    assert clone.repro() == ["split@splendor"]


def test_batch_size_runs_the_batches_it_makes(clone):
    before, after = dealt(clone), units.deal(games(clone), 2 * BATCH_SIZE)
    edit(clone, "params.yaml", f"batch_size: {BATCH_SIZE}", f"batch_size: {2 * BATCH_SIZE}")
    changed = [batch for batch, keys in after.items() if keys != before.get(batch)]
    assert 0 < len(changed) < len(after)
    assert sorted(clone.repro()) == stages(*changed, verbs=(*WHOLE, "expand"))
    assert clone.repro() == []


def add_dataset(clone):
    """Add a dataset that needs no other shared file: a package, a params entry, a `vars` line and an empty list."""
    package = clone.folder / "stages/datasets/copy"
    shutil.copytree(clone.folder / "stages/datasets/splendor", package, ignore=shutil.ignore_patterns("__pycache__"))
    for path in package.rglob("*.py"):
        path.write_text(path.read_text().replace("stages.datasets.splendor", "stages.datasets.copy"))
    shutil.copytree(clone.folder / "data/games", clone.folder / "data/other")
    params = yaml.safe_load((clone.folder / "params.yaml").read_text())
    entry = {**deepcopy(params["datasets"]["splendor"]), "raw": "data/other", "batch_size": 2 * BATCH_SIZE}
    params["datasets"]["copy"] = entry  # a copy: PyYAML writes what stands twice as an anchor and an alias
    (clone.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    line = "  - data/manifests/splendor/batches.yaml\n"
    edit(clone, "dvc.yaml", line, line + line.replace("splendor", "copy"))
    (clone.folder / "data/manifests/copy").mkdir()
    (clone.folder / "data/manifests/copy/batches.yaml").write_text(manifests.batch_list_text("copy", []))


def test_another_dataset_reruns_its_own_stages_alone(clone):
    add_dataset(clone)
    batches = units.deal(games(clone), 2 * BATCH_SIZE)
    assert sorted(clone.repro()) == stages(*batches, verbs=(*WHOLE, "expand"), dataset="copy")
    name = games(clone)[0]
    batch = next(batch for batch, keys in batches.items() if name in keys)
    with (clone.folder / "data/other" / name).open("r+") as file:
        rows = file.read().splitlines(keepends=True)
        file.seek(0)
        file.truncate()
        file.writelines(rows[:-2])
    assert sorted(clone.repro()) == stages(batch, dataset="copy")
    shorten(clone, name)
    assert sorted(clone.repro()) == stages(batch_of(clone, name))


def test_growing_back_what_was_removed_builds_no_batch_and_splits_nothing(clone, finished):
    spare, changed = growth(clone)
    add(clone, *spare)
    assert sorted(clone.repro()) == stages(*changed, verbs=(*WHOLE, "expand"))
    assert_holds_exactly(clone, games(clone))
    grown = clone.arrays()
    remove(clone, *spare)
    assert set(clone.repro()) - {"merge@splendor"} == {"discover@splendor", "expand@splendor"}
    assert_holds_exactly(clone, games(clone))
    assert clone.arrays() == finished[0].arrays()
    add(clone, *spare)
    assert preprocess(clone) == ["discover@splendor", "expand@splendor"]
    assert clone.arrays() == grown


def test_the_lock_after_growth_and_shrinking_is_that_of_a_fresh_build(clone, finished):
    spare, _ = growth(clone)
    add(clone, *spare)
    clone.repro()
    remove(clone, *spare)
    clone.repro()
    assert lock_without_manifests(clone) == lock_without_manifests(finished[0])
    assert clone.repro() == []
    assert preprocess(clone) == ["discover@splendor"]
    assert lock(clone) == lock(finished[0])
    assert preprocess(clone) == []


def test_a_dataset_grown_with_make_has_the_lock_of_a_fresh_build(clone, unrun, tmp_path):
    spare, changed = growth(clone)
    fresh = copy_of(unrun, tmp_path / "fresh")
    for each in (clone, fresh):
        add(each, *spare)
    assert sorted(preprocess(clone)) == stages(*changed, verbs=(*WHOLE, "expand"))
    fresh.repro()
    assert lock(clone) == lock(fresh)
    assert clone.arrays() == fresh.arrays()


def test_batches_that_vanish_while_the_code_changes_come_back_whole(clone, finished):
    """Process leaves placeholders for such batches; DVC's run cache must not hand them out later."""
    before = dealt(clone)
    kept = units.deal(games(clone), 2 * BATCH_SIZE)
    assert set(before) - set(kept)
    edit(clone, "params.yaml", f"batch_size: {BATCH_SIZE}", f"batch_size: {2 * BATCH_SIZE}")
    with (clone.folder / "stages/datasets/splendor/encode/labels.py").open("a") as file:
        file.write("\n# A comment.\n")
    clone.repro()
    assert sorted(clone.batches()) == sorted(kept)
    assert sorted(path.stem for path in (clone.folder / "data/intermediate/splendor").iterdir()) == sorted(kept)
    edit(clone, "params.yaml", f"batch_size: {2 * BATCH_SIZE}", f"batch_size: {BATCH_SIZE}")
    clone.repro()
    assert clone.arrays() == finished[0].arrays()
    assert clone.repro() == []


def test_placeholders_are_forgotten_by_make_as_well(clone, finished):
    edit(clone, "params.yaml", f"batch_size: {BATCH_SIZE}", f"batch_size: {2 * BATCH_SIZE}")
    with (clone.folder / "stages/datasets/splendor/encode/labels.py").open("a") as file:
        file.write("\n# A comment.\n")
    clone.repro()
    edit(clone, "params.yaml", f"batch_size: {2 * BATCH_SIZE}", f"batch_size: {BATCH_SIZE}")
    preprocess(clone)
    assert clone.arrays() == finished[0].arrays()
    assert_holds_exactly(clone, games(clone))


def test_own_data_on_a_fresh_clone_need_one_bare_repro_whatever_list_is_committed(unrun, finished, tmp_path):
    clone = copy_of(unrun, tmp_path / "clone")
    clone.run("git", "checkout", "--quiet", "dvc.lock", "data/manifests/splendor/batches.yaml")
    committed = set(clone.batches())
    ran = clone.repro()
    assert committed - set(clone.batches())
    assert set(stages(*dealt(clone), verbs=(*WHOLE, "expand"))) <= set(ran)
    assert set(ran) <= set(stages(*dealt(clone), *committed, verbs=(*WHOLE, "expand")))
    assert clone.arrays() == finished[0].arrays()
    assert clone.repro() == []
    preprocess(clone)
    assert_holds_exactly(clone, games(clone))


def test_a_clone_of_the_commit_builds_the_committed_lock(finished, tmp_path):
    source = copy_of(finished[0], tmp_path / "source")
    source.run("git", "add", "-A")
    source.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "-m", "own data")
    source.run("git", "clone", "-q", str(source.folder), str(tmp_path / "clone"))
    clone = Clone(tmp_path / "clone")
    shutil.copytree(source.folder / "data/games", clone.folder / "data/games")
    ran = clone.repro()
    assert sorted(set(ran) - {"expand@splendor"}) == stages(*dealt(clone))
    assert clone.run("git", "status", "--porcelain", "--untracked-files=no").stdout == ""
    assert clone.arrays() == source.arrays()


def test_force_runs_every_stage_and_changes_nothing(clone, finished):
    assert sorted(clone.repro("--force")) == stages(*dealt(clone), verbs=(*WHOLE, "expand"))
    assert lock(clone) == lock(finished[0])


def test_force_with_growth_needs_one_run(clone, unrun, tmp_path):
    spare, _ = growth(clone)
    add(clone, *spare)
    ran = clone.repro("--force")
    assert set(stages(*dealt(clone), verbs=(*WHOLE, "expand"))) <= set(ran)
    assert clone.repro() == []
    fresh = copy_of(unrun, tmp_path / "fresh")
    add(fresh, *spare)
    fresh.repro()
    assert clone.arrays() == fresh.arrays()


def test_growth_with_a_code_change_needs_one_run(clone):
    spare, _ = growth(clone)
    add(clone, *spare)
    with (clone.folder / "stages/datasets/splendor/encode/labels.py").open("a") as file:
        file.write("\n# A comment.\n")
    assert set(stages(*dealt(clone), verbs=(*WHOLE, "expand"))) <= set(clone.repro())
    assert clone.repro() == []
    assert sorted(path.stem for path in (clone.folder / "data/intermediate/splendor").iterdir()) == clone.batches()


@pytest.mark.parametrize("link", ["copy", "hardlink", "symlink"])
def test_growth_and_shrinking_work_with_every_link_type(clone, finished, link):
    clone.run("dvc", "config", "--local", "cache.type", link)
    clone.run("dvc", "checkout", "--relink")
    npz = clone.folder / "data/intermediate/splendor" / f"{clone.batches()[0]}.npz"
    kinds = {"copy": npz.stat().st_nlink == 1 and not npz.is_symlink(), "symlink": npz.is_symlink()}
    assert kinds.get(link, npz.stat().st_nlink > 1)
    spare, changed = growth(clone)
    add(clone, *spare)
    assert sorted(clone.repro()) == stages(*changed, verbs=(*WHOLE, "expand"))
    remove(clone, *spare)
    assert set(clone.repro()) - {"merge@splendor"} == {"discover@splendor", "expand@splendor"}
    assert clone.arrays() == finished[0].arrays()
    assert_holds_exactly(clone, games(clone))


def interrupt(clone, is_time, seconds=120):
    """Start `dvc repro` in a process group of its own; interrupt the group, as Ctrl-C does, once `is_time` says so."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.Popen(
        ["dvc", "repro"],
        cwd=clone.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + seconds
    while not is_time():
        assert process.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    kill_group(process, signal.SIGINT)
    rwlock = clone.folder / ".dvc/tmp/rwlock"
    if rwlock.is_file() and not rwlock.read_bytes():  # DVC was just writing it, which no later `dvc repro` gets over
        clone.run(sys.executable, "-m", "stages.commands.repair")
    return process.returncode


def test_after_ctrl_c_in_the_first_run_one_bare_repro_gives_the_same_bytes(unrun, finished, tmp_path):
    clone = copy_of(unrun, tmp_path / "clone")
    made = clone.folder / "data/intermediate/splendor"
    assert interrupt(clone, lambda: made.is_dir() and len(list(made.glob("*.npz"))) >= 3) != 0
    ran = clone.repro()
    assert 0 < len([name for name in ran if name.startswith("process@")]) < len(dealt(clone))
    assert clone.arrays() == finished[0].arrays()
    assert lock(clone) == lock(finished[0])


def test_after_ctrl_c_in_growth_one_bare_repro_is_enough(clone, unrun, tmp_path):
    spare, changed = growth(clone)
    add(clone, *spare)
    made = clone.folder / "data/intermediate/splendor"
    assert interrupt(clone, lambda: (made / f"{changed[0]}.npz").exists()) != 0
    clone.repro()
    fresh = copy_of(unrun, tmp_path / "fresh")
    add(fresh, *spare)
    fresh.repro()
    assert clone.arrays() == fresh.arrays()
    assert_holds_exactly(clone, games(clone))
    assert clone.repro() == []
