"""Pushing, pulling and merging between git clones, through a folder, an SSH server and an S3 server."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from stages.datasets.splendor import simulate
from tests.helpers.clones import Clone, make_clone
from tests.helpers.servers import SERVERS, connect, folder_server, reach
from tests.helpers.tracked_folders import VENV, git_clone, introduce

pytestmark = pytest.mark.slow

N_GAMES = 40


def make(clone, *targets, check=True):
    """Run make with the environment that runs the tests; `-o` keeps it from being made anew."""
    return clone.run("make", "-o", str(VENV / ".ready"), f"VENV={VENV}", *targets, check=check)


def use_own_games(clone, games, batch_size=8):
    """Turn a clone of this repository into one with raw data of its own, tracked with `dvc add`."""
    params = (clone.folder / "params.yaml").read_text()
    params = re.sub(r"raw: .*", "raw: data/games", params[: params.index("simulate:")])
    (clone.folder / "params.yaml").write_text(
        re.sub(r"batch_size: .*", f"batch_size: {batch_size}", params) + "simulate: {}\ntrain: {}\n"
    )
    add_games(clone, games)
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "own games")


def add_games(clone, games):
    for game in games:
        target = clone.folder / "data/games" / game.parent.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(game, target)
    clone.run("dvc", "add", "-q", "data/games")


def preprocess(clone):
    """Run discover and what follows, so that no stage of an older list is in the plan; return what DVC ran."""
    clone.run(sys.executable, "-m", "stages.discover", "splendor")
    ran = clone.repro()
    clone.run("git", "commit", "-qam", "arrays")
    return ran


def batch_of(clone, key):
    manifests = (clone.folder / "data/manifests/splendor/batches").glob("*.json")
    return next(path.stem for path in manifests if f'"{key}"' in path.read_text())


@pytest.fixture(scope="module")
def all_games(tmp_path_factory):
    """60 simulated games; the clones begin with the first 40."""
    folder = tmp_path_factory.mktemp("games")
    simulate.write(folder, {"games": 60, "seed": 7})
    return sorted(folder.rglob("*.csv"), key=lambda path: int(path.stem))


@pytest.fixture(scope="module")
def raw_only(tmp_path_factory, all_games):
    """A clone with raw data of its own in which nothing was run; not to be changed."""
    clone = introduce(make_clone(tmp_path_factory.mktemp("raw_only")))
    use_own_games(clone, all_games[:N_GAMES])
    return clone


@pytest.fixture(scope="module")
def finished(tmp_path_factory, raw_only):
    """The same after a run; not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "clone"
    shutil.copytree(raw_only.folder, folder, symlinks=True)
    clone = Clone(folder)
    assert preprocess(clone) == clone.expected_run(*clone.batches())
    return clone


@pytest.fixture
def origin(finished, tmp_path):
    """A copy of the finished clone that a test may change."""
    shutil.copytree(finished.folder, tmp_path / "origin", symlinks=True)
    return Clone(tmp_path / "origin")


@pytest.mark.parametrize("kind", SERVERS)
def test_what_one_clone_pushes_another_pulls_without_running_anything(kind, origin, tmp_path):
    with SERVERS[kind](tmp_path / "server") as remote:
        connect(origin, remote)
        make(origin, "push")
        other = reach(git_clone(origin, tmp_path / "other"), remote)
        assert make(other, "pull").stdout.count("Running stage") == 0
        assert other.arrays() == origin.arrays()
        assert other.repro("--pull") == []
        games = Path("data/games")
        assert files(other.folder / games) == files(origin.folder / games)

        changed = other.folder / "data/games/2_games/2.csv"
        rows = changed.read_text().splitlines(keepends=True)
        changed.unlink()
        changed.write_text("".join(rows[:-2]))
        batch = batch_of(other, "2_games/2.csv")
        expected = ["discover@splendor", f"process@splendor-{batch}", "merge@splendor", "split@splendor"]
        assert other.repro("--pull") == expected
        other.run("git", "commit", "-qam", "shorter game")
        make(other, "push")

        origin.run("git", "pull", "-q", str(other.folder), "HEAD")
        make(origin, "pull")
        assert origin.arrays() == other.arrays()
        assert origin.repro("--pull") == []

        without_lock(other, tmp_path / "bare")
        bare = reach(Clone(tmp_path / "bare"), remote)
        assert bare.repro("--pull") == ["discover@splendor", "expand@splendor"]
        assert bare.arrays() == other.arrays()
        assert locked(bare) == locked(other)


def without_lock(source, folder):
    clone = git_clone(source, folder)
    clone.run("git", "rm", "-q", "dvc.lock")
    clone.run("git", "commit", "-qm", "no lock")


def locked(clone):
    """Return what dvc.lock says of the stages that exist; DVC keeps the order in which they were first run."""
    stages = yaml.safe_load((clone.folder / "dvc.lock").read_text())["stages"]
    return {name: entry for name, entry in stages.items() if not name.startswith("simulate")}


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.csv")}


def test_a_clone_without_lock_runs_only_what_the_run_cache_lacks(origin, tmp_path):
    with folder_server(tmp_path / "server") as remote:
        connect(origin, remote)
        make(origin, "push")
        batch = origin.batches()[2]
        entries = [path for path in (remote.folder / "runs").glob("*/*/*") if f"splendor {batch}" in path.read_text()]
        assert len(entries) == 1
        shutil.rmtree(entries[0].parent)
        without_lock(origin, tmp_path / "bare")
        bare = Clone(tmp_path / "bare")
        ran = bare.repro("--pull")
    assert ran == ["discover@splendor", "expand@splendor", f"process@splendor-{batch}"]
    assert bare.arrays() == origin.arrays()


@pytest.mark.parametrize("kind", ["ssh", "s3"])
def test_a_server_refuses_a_clone_without_the_secrets(kind, origin, tmp_path):
    with SERVERS[kind](tmp_path / "server") as remote:
        connect(origin, remote)
        stranger = git_clone(origin, tmp_path / "stranger")
        for name in remote.secrets.keys() - {"keyfile"}:
            stranger.run("dvc", "remote", "modify", "--local", "store", name, "wrong")
        assert make(stranger, "push", check=False).returncode != 0


@pytest.mark.parametrize("kind", SERVERS)
def test_a_corrupted_object_on_the_remote_is_refused(kind, origin, tmp_path):
    with SERVERS[kind](tmp_path / "server") as remote:
        connect(origin, remote)
        make(origin, "push")
        lock = (origin.folder / "dvc.lock").read_text()
        batch = origin.batches()[0]
        md5 = re.search(rf"path: data/intermediate/splendor/{batch}.npz\n +hash: md5\n +md5: (\w+)", lock)[1]
        damaged = flip_a_byte(remote.folder / "files/md5" / md5[:2] / md5[2:])
        other = reach(git_clone(origin, tmp_path / "other"), remote)
        done = make(other, "pull", check=False)
    assert done.returncode != 0
    assert f"{batch}.npz" in done.stderr
    objects = [path for path in other.folder.rglob("*") if path.is_file() and path.stat().st_size == len(damaged)]
    assert damaged not in [path.read_bytes() for path in objects]


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    return bytes(content)


def test_two_users_who_added_files_get_the_bytes_of_one_who_added_both(finished, all_games, tmp_path):
    """Each adds games and both change one; one of both batches overflows; git cannot merge dvc.lock."""
    more = all_games[N_GAMES:]
    with folder_server(tmp_path / "server") as remote:
        hub = tmp_path / "hub"
        first = Clone(shutil.copytree(finished.folder, tmp_path / "first", symlinks=True))
        connect(first, remote)
        make(first, "push")
        first.run("git", "clone", "-q", "--bare", ".", str(hub))
        first, second, both = (git_clone(Clone(hub), tmp_path / name) for name in ("ann", "bob", "both"))
        for clone, games in ((first, more[:6]), (second, more[6:12]), (both, more[:12])):
            make(clone, "pull")
            shorten(clone, all_games[0], 1 if clone is first else 2)
            add_games(clone, games)
            preprocess(clone)
        of_first, of_second = (same_batches(clone, both) - same_batches(clone, finished) for clone in (first, second))
        for clone in (first, second):
            make(clone, "push")
        first.run("git", "push", "-q")

        second.run("git", "pull", "-q", "--no-rebase", check=False)
        conflicts = second.run("git", "diff", "--name-only", "--diff-filter=U").stdout.split()
        assert set(conflicts) >= {"dvc.lock", "data/games.dvc"}
        assert "not merged" in make(second, "status", check=False).stderr
        asked = make(second, "merge", check=False)
        assert asked.returncode != 0
        assert f"both changed {all_games[0].parent.name}/{all_games[0].name}; " in asked.stderr
        done = make(second, "merge", "TAKE=ours")
    assert files(second.folder / "data/games") == files(both.folder / "data/games")
    assert second.batches() == both.batches()
    assert second.arrays() == both.arrays()
    ran = second.ran(done)
    assert not {f"process@splendor-{batch}" for batch in of_first | of_second} & set(ran)
    assert second.run("git", "status", "--porcelain").stdout == ""
    assert (second.folder / "data/games.dvc").read_bytes() == (both.folder / "data/games.dvc").read_bytes()
    assert locked(second) == locked(both)
    assert len(second.run("git", "log", "-1", "--format=%P").stdout.split()) == 2


def shorten(clone, game, n_rounds):
    """Take the last rounds from a game; its folder begins with the number of players."""
    path = clone.folder / "data/games" / game.parent.name / game.name
    rows = path.read_text().splitlines(keepends=True)
    path.unlink()
    path.write_text("".join(rows[: -n_rounds * int(game.parent.name[0])]))


def same_batches(clone, other):
    """Return the batches whose manifests are the same in two clones."""
    ours, theirs = (
        {path.name: path.read_bytes() for path in (c.folder / "data/manifests/splendor/batches").iterdir()}
        for c in (clone, other)
    )
    return {name.removesuffix(".json") for name in ours.keys() & theirs.keys() if ours[name] == theirs[name]}
