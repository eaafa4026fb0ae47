"""What a kill left of DVC's own files is mended, and what a DVC at work uses is left alone."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from stages.pipeline import internals, lock, repair
from tests.helpers.places import REPOSITORY

RAW = Path("data/games")
RECORD = "outs:\n- md5: {}.dir\n  size: 1\n  nfiles: 1\n  hash: md5\n  path: games\n"


def entry(**out):
    deps = [{"path": "in", "hash": "md5", "md5": "2", "size": 1}]
    return {"cmd": "c", "deps": deps, "outs": [{"path": "out", "hash": "md5", "md5": "1", "size": 3, **out}]}


def lock_text(*names):
    stages = {name: entry(md5="3.dir", nfiles=4) for name in names}
    return yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A repository of git and DVC with a dvc.lock of two stages; not to be changed."""
    folder = tmp_path_factory.mktemp("template")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    (folder / "dvc.lock").write_text(lock_text("merge@a", "split@a"))
    (folder / "data").mkdir()
    (folder / "data/games.dvc").write_text(RECORD.format("4"))
    for command in (
        ["git", "init", "-q"],
        [sys.executable, "-m", "dvc", "init", "-q"],
        [sys.executable, "-m", "dvc", "config", "core.analytics", "false"],
        ["git", "add", "-A"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "first"],
    ):
        subprocess.run(command, cwd=folder, env=clean, check=True)
    return folder


@pytest.fixture
def repository(template, tmp_path, monkeypatch):
    """A copy of it as working directory."""
    shutil.copytree(template, tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    return Path.cwd()


def write_rwlock(*holders, text=None):
    content = {"write": {f"/out{i}": holder for i, holder in enumerate(holders)}, "read": {"/in": list(holders)}}
    repair.RWLOCK.write_text(json.dumps(content) if text is None else text)


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def running():
    """Start a process that does nothing, whose last words are given; it ends with the test."""
    processes = []

    def start(*words):
        command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)", *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        processes.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_whole_lock_stays_and_a_copy_of_it_is_kept(repository):
    text = lock.LOCK.read_text()
    assert repair.mend([RAW]) == []
    assert (lock.LOCK.read_text(), lock.COPY.read_text()) == (text, text)


@pytest.mark.parametrize("share", [0, 0.5])
@pytest.mark.parametrize("source", ["copy", "git", "none"])
def test_an_empty_or_half_lock_is_put_back_and_told(repository, share, source):
    text = lock_text("merge@a", "split@a", "split@b") if source == "copy" else lock_text("merge@a", "split@a")
    lock.LOCK.write_text(text)
    if source == "copy":
        repair.mend()
    if source == "none":
        subprocess.run(["git", "rm", "-q", "--cached", "dvc.lock"], check=True)
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "none"], check=True
        )
    cut = text[: int(len(text) * share)]
    lock.LOCK.write_text(cut)
    (told,) = repair.mend()
    assert told.startswith("dvc.lock: cut when a DVC was killed")
    assert lock.COPY.with_name("dvc.lock.damaged").read_text() == cut
    if source == "none":
        assert not lock.LOCK.exists()
        assert "DVC's run cache" in told
    else:
        assert lock.LOCK.read_text() == text
        assert ("the copy of the last run" if source == "copy" else "git's last commit") in told
    assert repair.mend() == []


def test_every_cut_of_a_lock_is_seen_or_leaves_whole_stages(repository):
    """A cut at any byte; of what is taken for whole, each stage but those that lack an output is as it was."""
    text = lock.LOCK.read_text()
    whole = lock.parsed(text, "")
    for n_bytes in range(len(text)):
        cut = text[:n_bytes]
        if lock.is_whole(cut):
            stages = lock.parsed(cut, "")
            assert stages
            assert all(stage == whole[name] for name, stage in stages.items() if "outs" in stage)


COMMITTED = (REPOSITORY / "dvc.lock").read_text()


def test_the_committed_lock_is_whole():
    assert lock.is_whole(COMMITTED)


def is_beginning(some, whole):
    """Say whether an entry of dvc.lock is as DVC wrote it, but for what comes after a point."""
    keys, all_keys = list(some), list(whole)
    last = keys[-1]
    if keys != all_keys[: len(keys)] or any(some[key] != whole[key] for key in keys[:-1]):
        return False
    if isinstance(some[last], list):
        return some[last] == whole[last][: len(some[last])]
    return some[last] == whole[last] or last == "params"


def assert_seen_or_harmless(cut, whole):
    """A cut lock that is taken for whole is one that DVC reads; what it lacks it takes for changed."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA

    if not lock.is_whole(cut):
        return False
    COMPILED_LOCKFILE_SCHEMA(yaml.load(cut, yaml.CSafeLoader))
    stages = lock.parsed(cut, "")
    *earlier, last = stages
    assert stages.keys() == dict.fromkeys(list(whole)[: len(stages)]).keys()
    assert all(stages[name] == whole[name] for name in earlier)
    assert is_beginning(stages[last], whole[last]), last
    return True


def test_every_cut_of_a_stage_of_the_committed_lock_is_seen_or_harmless():
    """Each byte of every third stage; the stages are taken one by one, which is the same and 40 times faster."""
    head, *stages = re.split(r"^(?=  \S+@\S+:$)", COMMITTED, flags=re.MULTILINE)
    assert len(stages) > 30
    for stage in stages[::3]:
        text = head + stage
        whole = lock.parsed(text, "")
        taken = [assert_seen_or_harmless(text[:n_bytes], whole) for n_bytes in range(len(text))]
        assert 0 < sum(taken) < len(text) / 20


def test_random_cuts_of_the_committed_lock_are_seen_or_harmless():
    """At random bytes, and at the ends of random lines, of which more leave YAML."""
    rng, whole = random.Random(20240617), lock.parsed(COMMITTED, "")
    ends = [match.end() for match in re.finditer("\n", COMMITTED)][:-1]
    for n_bytes in (*rng.sample(range(len(COMMITTED)), 300), *rng.sample(ends, 10)):
        assert_seen_or_harmless(COMMITTED[:n_bytes], whole)


@pytest.mark.parametrize("line", ["params:", "params.yaml:", "hash: md5"])
def test_a_lock_cut_behind_a_line_that_leaves_yaml_is_seen(line):
    cut = COMMITTED[: COMMITTED.index("\n", COMMITTED.rindex(f"  {line}")) + 1]
    assert isinstance(yaml.load(cut, yaml.CSafeLoader), dict)
    assert not lock.is_whole(cut)


def test_a_lock_with_the_marks_of_a_merge_is_left_to_the_user(repository):
    text = f"<<<<<<< HEAD\n{lock.LOCK.read_text()}=======\n>>>>>>> theirs\n"
    lock.LOCK.write_text(text)
    assert repair.mend() == []
    assert lock.LOCK.read_text() == text


@pytest.mark.parametrize("text", ["", "outs:\n- md5: 4"])
def test_a_cut_record_of_a_tracked_folder_is_put_back(repository, text):
    (repository / "data/games.dvc").write_text(text)
    (told,) = repair.mend([RAW / "2_games"])
    assert told.startswith("data/games.dvc: cut when a DVC was killed; put back from git's last commit")
    assert (repository / "data/games.dvc").read_text() == RECORD.format("4")


def test_an_emptied_configuration_is_put_back(repository):
    text = repair.CONFIG.read_text()
    assert "analytics" in text
    repair.CONFIG.write_text("")
    (told,) = repair.mend()
    assert told.startswith(".dvc/config: cut when a DVC was killed; put back from git's last commit")
    assert (repair.CONFIG.read_text(), repair.mend()) == (text, [])


def test_a_left_over_of_the_run_cache_is_removed_and_told(repository):
    """A temporary file, and a folder without an entry: DVC takes the newest entry there, and fails for ever."""
    told = "{}: of the run cache, not written when a DVC was killed; removed"
    sound, empty, half = (repair.RUN_CACHE / "74" / name for name in ("741a", "741b", "741c"))
    for folder in (sound, empty, half):
        folder.mkdir(parents=True)
    for path in (sound / "98ab", sound / "98ab.x7.tmp", half / "98ab.x8.tmp"):
        path.write_text("cmd: c\n")
    left = (empty, half, sound / "98ab.x7.tmp")
    assert sorted(repair.mend()) == sorted(told.format(path) for path in left)
    assert [path for path in repair.RUN_CACHE.rglob("*") if path.is_file()] == [sound / "98ab"]
    assert list(sound.parent.iterdir()) == [sound]
    assert repair.mend() == []


def test_what_dvc_left_among_outputs_is_removed_and_told(repository):
    """Its temporary names alone, and nothing in folders of the user."""
    names = (".ODi1cKtCG8SdGKcG3srt_w.tmp", ".-GxLAcGHUFgZMfpZgPSqwg.tmp")
    left = [Path("data", folder, name) for folder, name in zip(("manifests/a", "processed"), names, strict=True)]
    kept = [Path("data", folder, names[0]) for folder in ("raw", "games/2_games", "mine", ".")]
    kept += [Path("data/merged/.X.npy.host-1.tmp"), Path("data/merged/X.tmp")]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    told = "{}: not written to its end when a DVC was killed; removed"
    assert sorted(repair.mend()) == sorted(told.format(path) for path in left)
    assert [path for path in (*left, *kept) if path.exists()] == kept
    assert repair.mend() == []


@pytest.mark.parametrize(
    "text", ["", '{"write": {"/a": {"pi', "[]", "null", '{"write": [1]}', '{"read": {"/a": [{}]}}']
)
def test_a_damaged_rwlock_is_removed_and_told(repository, text):
    write_rwlock(text=text)
    assert repair.mend() == [".dvc/tmp/rwlock: damaged when a DVC was killed; removed"]
    assert not repair.RWLOCK.exists()


@pytest.mark.parametrize("text", ["{}", '{"write": {}, "read": {}}'])
def test_an_rwlock_that_names_nobody_stays(repository, text):
    write_rwlock(text=text)
    assert repair.mend() == []
    assert repair.RWLOCK.read_text() == text


def test_the_rwlock_of_a_dead_process_is_removed_and_told(repository):
    number = dead_process()
    write_rwlock({"pid": number, "cmd": "/bin/dvc repro"})
    assert repair.mend() == [f".dvc/tmp/rwlock: left by a DVC that was killed (process {number}); removed"]
    assert not repair.RWLOCK.exists()


def test_the_rwlock_of_a_living_process_that_is_no_dvc_is_removed(repository, running):
    """The process has got the number of one that was killed: other words, or the same, but started later."""
    for words, age_s in ((("edit",), 0), (("repro",), 3600)):
        write_rwlock({"pid": running(*words).pid, "cmd": "/bin/dvc repro"})
        written = time.time() - age_s
        os.utime(repair.RWLOCK, (written, written))
        assert len(repair.mend()) == 1
        assert not repair.RWLOCK.exists()


def test_nothing_is_touched_while_a_dvc_runs_a_stage(repository, running):
    """It holds no lock of DVC's then; rwlock names it, and the list of processes."""
    write_rwlock({"pid": running("-m", "dvc", "repro").pid, "cmd": "/lib/dvc/__main__.py repro"}, {"pid": 1, "cmd": ""})
    lock.LOCK.write_text("")
    before = repair.RWLOCK.read_bytes()
    (told,) = repair.mend()
    assert told.startswith("dvc.lock: damaged, and `")
    assert "is at work; wait until it ends" in told
    assert (repair.RWLOCK.read_bytes(), lock.LOCK.read_bytes()) == (before, b"")
    write_rwlock(text="")
    assert len(repair.mend()) == 2
    assert repair.RWLOCK.exists()


@pytest.mark.slow
def test_nothing_is_touched_while_a_dvc_holds_its_locks(repository, monkeypatch):
    """It may be writing just now."""
    lock.LOCK.write_text("")
    write_rwlock(text="")
    with internals.locked():
        code = "from stages.pipeline import repair; print(repair.mend())"
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
        )
    assert done.stdout == "[]\n"
    assert (lock.LOCK.read_bytes(), repair.RWLOCK.read_bytes()) == (b"", b"")
    assert len(repair.mend()) == 2


@pytest.mark.parametrize(
    ("words", "recorded"),
    [
        (("-m", "dvc", "repro"), "/lib/dvc/__main__.py repro"),
        (("/bin/dvc", "exp", "run", "-n", "two words"), "/bin/dvc exp run -n two words"),
        (("-m", "stages.commands.work"), "/a b/stages/commands/work.py"),
    ],
)
def test_what_a_living_process_wrote_into_rwlock_is_taken_for_its_own(repository, running, words, recorded):
    """DVC records `sys.argv`, joined with spaces."""
    write_rwlock({"pid": running(*words).pid, "cmd": recorded})
    before = repair.RWLOCK.read_bytes()
    assert repair.mend() == []
    assert repair.RWLOCK.read_bytes() == before


def test_tidying_writes_the_lock_whole_and_in_the_bytes_of_dvc(repository, monkeypatch):
    """The same as DVC's own `modify_yaml`, which writes in place; a failure leaves the old file."""
    from dvc.utils.serialize import modify_yaml

    text = (REPOSITORY / "dvc.lock").read_text()
    for name in ("ours", "dvcs"):
        Path(name).write_text(text)
    number = Path("ours").stat().st_ino
    for path, modify in ((Path("ours"), internals.modified), (Path("dvcs"), modify_yaml)):
        with modify(path) as content:
            content["stages"]["split@hex"] = content["stages"].pop("split@hex")
    assert Path("ours").read_bytes() == Path("dvcs").read_bytes() != text.encode()
    assert Path("ours").stat().st_ino != number
