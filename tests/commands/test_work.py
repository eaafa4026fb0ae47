"""`make work`: several clones build the batches of one dataset together through one remote."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dvc.fs import LocalFileSystem

from stages.commands import work
from stages.datasets.splendor import simulate
from tests.helpers.clones import Clone, make_clone
from tests.helpers.servers import folder_server, s3_server, ssh_server
from tests.pipeline.test_sharing import connect, git_clone, introduce, make, reach, use_own_games

pytestmark = pytest.mark.slow

SERVERS = {"folder": folder_server, "ssh": ssh_server, "s3": s3_server}
VENV = Path(sys.executable).parents[1]
N_GAMES = 40
LOCAL = LocalFileSystem()


@pytest.fixture(scope="module")
def raw_only(tmp_path_factory):
    """A clone with raw data of its own in which nothing was run; not to be changed.

    Its committed list of batches is that of the simulated sample, so it is out of date.
    """
    games = tmp_path_factory.mktemp("games")
    simulate.write(games, {"games": N_GAMES, "seed": 7})
    clone = introduce(make_clone(tmp_path_factory.mktemp("raw_only")))
    use_own_games(clone, sorted(games.rglob("*.csv")), batch_size=16)
    return clone


@pytest.fixture(scope="module")
def alone(raw_only, tmp_path_factory):
    """The same after a run on one machine; not to be changed."""
    folder = tmp_path_factory.mktemp("alone") / "clone"
    shutil.copytree(raw_only.folder, folder, symlinks=True)
    Clone(folder).run(sys.executable, "-m", "stages.commands.preprocess")
    return Clone(folder)


@pytest.fixture
def origin(raw_only, tmp_path):
    shutil.copytree(raw_only.folder, tmp_path / "origin", symlinks=True)
    return Clone(tmp_path / "origin")


def share_raw(clone, remote):
    connect(clone, remote)
    clone.run("dvc", "push", "-q", "data/games.dvc")


def start_work(clone):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_", "MAKE"))}
    with log_file(clone).open("wb") as log:
        return subprocess.Popen(
            ["make", "-o", str(VENV / ".ready"), f"VENV={VENV}", "work"],
            cwd=clone.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )


def log_file(clone):
    return clone.folder.with_name(f"{clone.folder.name}.log")


def built_by(text):
    return [line.split("building ")[1].split(",")[0] for line in text.splitlines() if ": building b" in line]


def process_runs(clone):
    """Return the batches whose process stage really ran in a clone, from the log the stage writes."""
    path = clone.folder / "data/logs/process.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split('"splendor-')[1].split('"')[0] for line in lines if '"event": "end"' in line]


@pytest.mark.parametrize("kind", ["s3", "ssh"])
def test_three_clones_build_all_batches_and_each_gets_the_bytes_of_one(kind, origin, alone, tmp_path):
    with SERVERS[kind](tmp_path / "server") as remote:
        share_raw(origin, remote)
        clones = [reach(git_clone(origin, tmp_path / f"worker{i}"), remote) for i in range(3)]
        workers = [start_work(clone) for clone in clones]
        codes = [worker.wait(400) for worker in workers]
        assert codes == [0, 0, 0], [log_file(clone).read_text() for clone in clones]
        orders = [recorded(clone) for clone in clones]
        last = clones[0].repro("--pull")
    assert orders == [recorded(alone)] * 3  # merge and split are those of the committed lock
    assert recorded(clones[0]) == recorded(alone)
    assert process_entries(clones[0]) == process_entries(alone)
    runs = [process_runs(clone) for clone in clones]
    assert sorted(set().union(*runs)) == alone.batches()
    assert sum(map(bool, runs)) > 1
    assert max(map(len, runs)) < len(alone.batches())
    assert last == ["merge@splendor", "split@splendor"]
    assert clones[0].arrays() == alone.arrays()


def recorded(clone):
    """Return the names of the stages in dvc.lock, in order."""
    return re.findall(r"^  (\S+@\S+):$", (clone.folder / "dvc.lock").read_text(), re.MULTILINE)


def process_entries(clone):
    """Return the text of the batches in dvc.lock, those that others built too."""
    return re.findall(r"^  process@.*\n(?:    .*\n)+", (clone.folder / "dvc.lock").read_text(), re.MULTILINE)


def claims(remote):
    return list((remote.folder / "claims").glob("*")) if (remote.folder / "claims").is_dir() else []


def test_the_claim_of_a_killed_worker_is_taken_over(origin, alone, tmp_path, monkeypatch):
    with folder_server(tmp_path / "server") as remote:
        share_raw(origin, remote)
        victim, other = (git_clone(origin, tmp_path / name) for name in ("victim", "other"))
        stay_at_the_first(victim)
        process = start_work(victim)
        until = time.monotonic() + 120
        while not any(map(Path.read_text, claims(remote))) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        (claim,) = claims(remote)

        monkeypatch.chdir(other.folder)
        store = work.open_remote()
        assert not store.is_built(claim.name)
        assert not store.claim(claim.name)
        before = claim.read_text()
        wait_less(other, seconds=10)
        done = make(other, "work")  # waits for CLAIM_SECONDS, since it has no earlier look to compare with
        assert before.split()[0] not in [path.read_text().split()[0] for path in claims(remote)]
        assert store.is_built(claim.name)
        assert other.repro("--pull") == ["merge@splendor", "split@splendor"]
    assert sorted(built_by(done.stderr)) == alone.batches()
    assert claims(remote) == []
    assert other.arrays() == alone.arrays()


def wait_less(clone, seconds):
    """Let a worker take over what nobody renewed for these seconds."""
    edit_work(clone, "\nCLAIM_SECONDS = 60.0\n", f"\nCLAIM_SECONDS = {seconds}\n")


def stay_at_the_first(clone):
    """Let a worker claim one batch and never be done with it, however late it is killed."""
    edit_work(clone, "built = builder.build(stage, key)", "built = time.sleep(3600)")


def edit_work(clone, old, new):
    path = clone.folder / "stages/commands/work.py"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("kind", SERVERS)
def test_a_claim_is_refused_while_fresh_and_given_when_old(kind, origin, tmp_path, monkeypatch):
    with SERVERS[kind](tmp_path / "server") as remote:
        share_raw(origin, remote)
        monkeypatch.chdir(origin.folder)
        ours, theirs = work.open_remote(), work.open_remote()
        assert ours.claim("0" * 64)
        assert ours.claim("0" * 64)
        assert not theirs.claim("0" * 64)
        monkeypatch.setattr(work, "CLAIM_SECONDS", -1.0)
        assert theirs.claim("0" * 64)
        ours.release("0" * 64)
        monkeypatch.undo()
        monkeypatch.chdir(origin.folder)
        assert not ours.claim("0" * 64)
        theirs.release("0" * 64)
        assert ours.claim("0" * 64)


def test_a_batch_counts_as_built_only_with_its_arrays(alone, tmp_path, monkeypatch):
    """`dvc push --run-cache` sends run-cache entries also of arrays it does not send."""
    shutil.copytree(alone.folder, tmp_path / "builder", symlinks=True)
    builder = Clone(tmp_path / "builder")
    with folder_server(tmp_path / "server") as remote:
        connect(builder, remote)
        builder.run("dvc", "push", "-q", "--run-cache", "data/games.dvc")
        monkeypatch.chdir(builder.folder)
        keys = work.run_cache_keys("splendor")
        store = work.open_remote()
        assert not any(store.is_built(key) for key in keys.values())
        make(builder, "work")
        assert all(store.is_built(key) for key in keys.values())
        assert process_runs(builder) == process_runs(alone)
        helper = git_clone(builder, tmp_path / "helper")
        assert built_by(make(helper, "work").stderr) == []


def test_a_batch_of_which_a_part_arrived_is_not_taken_for_built_and_is_sent_again(alone, tmp_path):
    """`dvc push` takes any object that is there for a whole one."""
    builder = Clone(shutil.copytree(alone.folder, tmp_path / "builder", symlinks=True))
    with folder_server(tmp_path / "server") as remote:
        connect(builder, remote)
        make(builder, "work")
        entry = re.search(r"  outs:\n    - path: \S+\n      hash: md5\n      md5: (\S+)", process_entries(builder)[0])
        sent = remote.folder / "files/md5" / entry[1][:2] / entry[1][2:]
        content = sent.read_bytes()
        sent.unlink()  # it may be a link to the builder's own
        sent.write_bytes(content[:-7])
        sent.chmod(0o444)  # else DVC reads it before it trusts it
        done = make(builder, "work")
        assert len(built_by(done.stderr)) == 1
        assert f"{len(content) - 7:,} bytes, expected {len(content):,}; sending again" in done.stderr
        assert sent.read_bytes() == content


def test_work_without_a_remote_is_one_line_that_names_the_command(origin):
    done = make(origin, "work", check=False)
    (line,) = [line for line in done.stderr.splitlines() if not re.match(r"make(\[\d+\])?:", line)]
    assert done.returncode == 2
    assert line.startswith("error: no remote")
    assert "`make remote URL=...`" in line


def test_a_worker_that_fails_gives_its_claim_back(origin, tmp_path):
    game = origin.folder / "data/games/2_games/2.csv"
    text = game.read_text()
    game.unlink()
    game.write_text(text.replace(",", "|"))
    origin.run("dvc", "add", "-q", "data/games")
    with folder_server(tmp_path / "server") as remote:
        share_raw(origin, remote)
        done = make(origin, "work", check=False)
    assert done.returncode == 2
    assert "error: dvc repro" in done.stderr
    assert "failed to reproduce 'process@splendor-" in done.stderr  # DVC's own reason
    assert claims(remote) == []


def test_a_claim_that_is_renewed_is_not_taken_over_however_long_it_is_held(tmp_path, monkeypatch):
    """Two clocks that differ by an hour do not matter either: the one who looks counts by its own."""
    monkeypatch.setattr(work, "CLAIM_SECONDS", 6.0)  # so much longer than it takes to be renewed that a pause may come
    monkeypatch.setattr(work, "RENEW_SECONDS", 0.05)
    ours, theirs = (work.Remote(LOCAL, str(tmp_path), name) for name in ("ours", "theirs"))
    assert ours.claim("key")
    with ours.renewing("key"):
        end = time.monotonic() + 8
        while time.monotonic() < end:
            assert not theirs.claim("key")
            time.sleep(0.01)
    monkeypatch.setattr(work, "CLAIM_SECONDS", 0.2)
    until = time.monotonic() + 60
    while not theirs.claim("key"):
        assert time.monotonic() < until
    assert not ours.claim("key")


def test_a_claim_of_another_is_not_renewed_nor_released(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "RENEW_SECONDS", 0.01)
    ours, theirs = (work.Remote(LOCAL, str(tmp_path), name) for name in ("ours", "theirs"))
    theirs.claim("key")
    before = (tmp_path / "claims/key").read_bytes()
    with ours.renewing("key"):
        time.sleep(0.2)
    ours.release("key")
    assert (tmp_path / "claims/key").read_bytes() == before
