"""What stages/pipeline/README.md tells of DVC, command by command, in a clone and in repositories beside it."""

import functools
import http.server
import json
import re
import subprocess
import sys
import threading

import pytest

from tests.helpers.places import REPOSITORY
from tests.helpers.servers import connect, s3_server
from tests.pipeline.test_incremental import copy_of, finished_clone

pytestmark = pytest.mark.slow

TEXT = (REPOSITORY / "stages/pipeline/README.md").read_text()
ARRAYS = "data/processed/splendor"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone whose arrays are made and committed, and pushed to a folder; its raw files are git's."""
    folder = tmp_path_factory.mktemp("clone") / "clone"
    result = copy_of(finished_clone(tmp_path_factory)[0], folder)
    (folder / ".git/info/exclude").write_text("/data/spare/\n")
    result.run(sys.executable, "-m", "stages.commands.preprocess")
    result.run("git", "config", "user.name", "t")
    result.run("git", "config", "user.email", "t@localhost")
    result.run("dvc", "remote", "add", "--default", "store", str(tmp_path_factory.mktemp("store")))
    result.run("git", "add", "--all")
    result.run("git", "commit", "--quiet", "--message", "made")
    result.run("dvc", "push", "--quiet")
    return result


def typed(clone, command, **names):
    """Run a command of the document, with what stands for a name replaced; return what it prints."""
    assert command in TEXT
    words = [names.get(word, word).replace("hex", "splendor") for word in command.split()]
    return clone.run(*words).stdout


def beside(clone, folder):
    """Make an empty repository of git and DVC, and return how to run commands there."""
    other = type(clone)(folder)
    other.run("git", "init", "--quiet")
    other.run("dvc", "init", "--quiet")
    return other


def sizes(clone):
    return json.loads((clone.folder / ARRAYS / "stats.json").read_text())["groups"]


def test_an_experiment_changes_the_parts_and_checkout_takes_it_back(clone):
    before, committed = clone.arrays(), sizes(clone)
    typed(clone, "dvc exp run -S split.seed=7 split@hex")
    assert clone.arrays() != before
    typed(clone, "git checkout dvc.lock params.yaml")
    told = clone.run(sys.executable, "-m", "stages.commands.status").stdout
    assert told.startswith("splendor: outputs are of another version than dvc.lock: data/metrics/splendor")
    typed(clone, "dvc checkout")
    assert (clone.arrays(), sizes(clone)) == (before, committed)
    assert "up to date" in clone.run(sys.executable, "-m", "stages.commands.status").stdout


def test_a_grid_of_seeds_is_one_command_and_its_queue(clone):
    before = clone.arrays()
    typed(clone, "dvc exp run --queue -S split.seed=1,2 split@hex")
    typed(clone, "dvc exp run --run-all --jobs 1")
    shown = typed(clone, "dvc exp show --only-changed")
    assert re.findall(r"split\.seed|params\.yaml:split\.seed", shown)
    assert clone.run("dvc", "queue", "status").stdout.count("Success") == 2
    assert clone.arrays() == before


def test_arrays_are_imported_read_and_listed_elsewhere(clone, tmp_path):
    other = beside(clone, tmp_path)
    typed(other, "dvc import URL data/processed/hex", URL=str(clone.folder))
    (tmp_path / "elsewhere").mkdir()
    typed(type(clone)(tmp_path / "elsewhere"), "dvc get URL data/processed/hex", URL=str(clone.folder))
    stats = (clone.folder / ARRAYS / "stats.json").read_text()
    assert (tmp_path / "splendor/stats.json").read_text() == stats
    script = (
        f"from dvc.api import DVCFileSystem, open as read; u = {str(clone.folder)!r}\n"
        f"with read('{ARRAYS}/stats.json', repo=u) as file: assert file.read() == {stats!r}\n"
        f"DVCFileSystem(u, rev='HEAD').get('{ARRAYS}', 'got', recursive=True)\n"
        "from dvc.repo import Repo; found = Repo(u).artifacts.read()\n"
        "assert found['dvc.yaml']['splendor'].path == 'data/processed/splendor'\n"
        "[models] = [entries for name, entries in found.items() if 'training' in name]\n"
        "assert models['hex-model'].type == 'model'; assert models['hex-model'].path.endswith('data/models/hex')\n"
    )
    other.run(sys.executable, "-c", script)
    assert (tmp_path / "got/stats.json").read_text() == stats


def test_a_file_of_a_server_is_taken_and_updated(clone, tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "here/data/games").mkdir(parents=True)
    other = beside(clone, tmp_path / "here")
    source = tmp_path / "served/1.csv"
    source.write_text("one")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=source.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/1.csv"
        typed(other, "dvc import-url URL data/games/1.csv", URL=url)
        assert (tmp_path / "here/data/games/1.csv").read_text() == "one"
        source.write_text("another")
        typed(other, "dvc update data/games/1.csv.dvc")
        server.shutdown()
    assert (tmp_path / "here/data/games/1.csv").read_text() == "another"


def test_a_file_of_a_bucket_is_taken_and_updated(clone, tmp_path):
    """Its address is that of a remote, which knows the keys."""
    from s3fs import S3FileSystem

    (tmp_path / "here/data/games").mkdir(parents=True)
    other = beside(clone, tmp_path / "here")
    taken = tmp_path / "here/data/games/1.csv"
    with s3_server(tmp_path / "served") as remote:
        connect(other, remote)
        keys = {"key": remote.secrets["access_key_id"], "secret": remote.secrets["secret_access_key"]}
        bucket = S3FileSystem(**keys, endpoint_url=remote.settings["endpointurl"])
        bucket.pipe_file("bucket/store/raw/1.csv", b"one")
        typed(other, "dvc import-url URL data/games/1.csv", URL="remote://store/raw/1.csv")
        assert taken.read_text() == "one"
        bucket.pipe_file("bucket/store/raw/1.csv", b"another")
        typed(other, "dvc update data/games/1.csv.dvc")
    assert taken.read_text() == "another"


def test_a_worktree_takes_its_files_from_a_cache_that_both_share(clone, tmp_path):
    """As links into it, and nothing is left to run there."""
    command = "dvc cache dir --local /srv/dvc"
    other = type(clone)(tmp_path / "other")
    clone.run("git", "worktree", "add", "--quiet", "--detach", str(other.folder))
    typed(other, command, **{"/srv/dvc": str(clone.folder / ".dvc/cache")})
    other.run("dvc", "checkout", "--quiet")
    assert other.arrays() == clone.arrays()
    assert [path for path in other.arrays() if (other.folder / path).stat().st_nlink == 1] == []
    assert other.repro() == []


def test_a_shallow_clone_pulls_and_has_nothing_to_run(clone, tmp_path):
    assert "`git clone --depth 1`" in TEXT
    other = type(clone)(tmp_path / "other")
    clone.run("git", "clone", "--quiet", "--depth", "1", f"file://{clone.folder}", str(other.folder))
    other.run("dvc", "pull", "--quiet")
    assert other.run("git", "rev-list", "--count", "HEAD").stdout == "1\n"
    assert other.arrays() == clone.arrays()
    assert other.repro() == []


def test_what_differs_is_listed_file_by_file(clone):
    stats = clone.folder / ARRAYS / "stats.json"
    subprocess.run(["cp", "--remove-destination", stats, f"{stats}.new"], check=True)
    try:
        assert f"{ARRAYS}/stats.json.new" in typed(clone, "dvc data status --granular")
    finally:
        (stats.parent / "stats.json.new").unlink()
    assert "Added:" in typed(clone, "dvc diff HEAD~1")


def test_each_dataset_is_an_artifact():
    named = (REPOSITORY / "dvc.yaml").read_text().partition("\nartifacts:\n")[2]
    assert [f"  {name}:\n    path: data/processed/{name}\n" in named for name in ("hex", "rugs")] == [True, True]
