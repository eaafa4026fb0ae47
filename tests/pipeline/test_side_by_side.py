"""Stages side by side: what `make preprocess` does gives what one `dvc repro` gives, and a stop leaves no trace."""

import itertools
import os
import re
import signal
import sys

import pytest

from stages.pipeline import beside, stage_internals, verbs
from tests.helpers.clones import copy_of, make_clone, recorded, with_few_games
from tests.helpers.kills import begin, everything, left_overs, running, wait_for, wait_until_gone

PREPROCESS = (sys.executable, "-m", "stages.commands.preprocess")
MODULE = "stages/pipeline/beside.py"
GAMES = 48


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A clone with small data in which nothing ran."""
    return with_few_games(make_clone(tmp_path_factory.mktemp("start")), GAMES)


@pytest.fixture(scope="module")
def by_dvc(start, tmp_path_factory):
    """The bytes of all that bare `dvc repro` makes."""
    clone = copy_of(start, tmp_path_factory.mktemp("by_dvc"))
    clone.run(sys.executable, "-m", "stages.simulate", "splendor")
    clone.run(sys.executable, "-m", "stages.discover", "splendor")
    clone.run("dvc", "repro")
    return made(clone)


@pytest.fixture
def clone(start, tmp_path):
    return copy_of(start, tmp_path)


def made(clone):
    """Return the bytes of all that the stages make, and of dvc.lock; the data cards are preprocess's own."""
    return {name: content for name, content in everything(clone).items() if not name.startswith("data/cards/")}


def edit(clone, name, old, new):
    path = clone.folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def preprocess(clone, check=True, **variables):
    return clone.run("env", *(f"{name}={value}" for name, value in variables.items()), *PREPROCESS, check=check)


def process_ran(done):
    return [name for name in re.findall(r"^Running stage '(.+)':$", done.stdout, re.MULTILINE) if "process@" in name]


# How many at once.


@pytest.mark.parametrize("jobs", [1, 2, 16])
@pytest.mark.parametrize("memory_gb", [0.2, 1, 2.3, 8, 100])
def test_the_shares_of_all_that_run_at_once_are_within_the_budget(monkeypatch, jobs, memory_gb):
    monkeypatch.setenv("JOBS", str(jobs))
    monkeypatch.setenv("MEMORY_GB", str(memory_gb))
    shares = beside.shares([verbs.stage_name("process", "a", f"b{number:b}") for number in range(8, 20)])
    assert 1 <= shares.n_at_once <= min(jobs, 12)
    if shares.n_at_once > 1:
        needed_mb = shares.n_at_once * float(shares.variables["MEMORY_GB"]) * 1024 + beside.OWN_MB
        assert needed_mb <= memory_gb * 1024
        assert float(shares.variables["MEMORY_GB"]) * 1024 >= beside.LEAST_SHARE_MB - 1
        assert int(shares.variables["JOBS"]) * shares.n_at_once >= jobs


def test_a_small_budget_is_not_divided(monkeypatch):
    monkeypatch.setenv("JOBS", "8")
    monkeypatch.setenv("MEMORY_GB", "1")
    names = [verbs.stage_name("process", "a", batch) for batch in ("b0", "b1")]
    assert beside.shares(names).n_at_once == 1


# The same as dvc repro.


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"JOBS": "1"}, {"JOBS": "3", "MEMORY_GB": "8"}])
def test_preprocess_gives_the_bytes_and_the_lock_of_dvc_repro_which_then_runs_nothing(clone, by_dvc, variables):
    done = preprocess(clone, **variables)
    assert len(process_ran(done)) == len(clone.batches()) > 2
    assert made(clone) == by_dvc
    assert clone.repro() == []
    assert made(clone) == by_dvc
    assert process_ran(preprocess(clone, **variables)) == []
    assert made(clone) == by_dvc


@pytest.mark.slow
def test_without_a_lock_file_the_whole_of_it_is_written(clone, by_dvc):
    (clone.folder / "dvc.lock").unlink()
    preprocess(clone)
    assert made(clone) == by_dvc
    assert clone.repro() == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_where_dvc_fails_while_a_stop_is_obeyed_the_stop_is_what_counts(stop):
    from dvc.exceptions import DvcException

    def obey():
        try:
            raise stop
        finally:
            raise DvcException("the lock is held")

    with pytest.raises(stop), stage_internals.failures_as_not_by_hand():
        obey()


def test_where_dvc_fails_it_is_not_by_hand():
    from dvc.exceptions import DvcException

    with pytest.raises(stage_internals.NotByHand, match="the lock is held"), stage_internals.failures_as_not_by_hand():
        raise DvcException("the lock\nis held")


@pytest.mark.slow
def test_with_another_dvc_than_the_one_that_was_tried_dvc_repro_does_it(clone, by_dvc):
    edit(clone, "stages/pipeline/internals.py", 'TRIED_WITH: Final = "', 'TRIED_WITH: Final = "0.')
    done = preprocess(clone)
    assert "Running stage 'process@" in done.stdout
    assert "Updating lock file" in done.stdout
    assert made(clone) == by_dvc


@pytest.mark.slow
def test_where_dvc_fails_dvc_repro_says_why(clone):
    preprocess(clone)
    edit(clone, "dvc.yaml", "stages:\n", "stages:\n  nonsense: 3\n")
    done = preprocess(clone, check=False)
    assert done.returncode == 1
    assert "dvc.yaml' validation failed" in done.stderr
    assert "error: dvc repro failed, see above" in done.stderr


@pytest.mark.slow
def test_batches_that_the_run_cache_knows_do_not_run(clone, by_dvc):
    preprocess(clone)
    names = "|".join(("process", "merge", "split"))
    lock = clone.folder / "dvc.lock"
    lock.write_text(re.sub(rf"  (?:{names})@\S+:\n(?:    .*\n)+", "", lock.read_text()))
    assert not [name for name in recorded(clone) if name.startswith("process@")]
    done = preprocess(clone)
    assert process_ran(done) == []
    assert done.stdout.count("is cached - skipping run") == len(clone.batches()) + 2
    assert made(clone) == by_dvc


# Failures.


@pytest.mark.slow
def test_a_batch_that_fails_says_why_and_the_others_are_kept(clone, by_dvc):
    preprocess(clone)
    game = next((clone.folder / "data/sample/splendor").rglob("*.csv"))
    text = game.read_text()
    game.unlink()  # it may be a link into DVC's cache
    game.write_text(text.replace("\n", "\nx", 1))
    with (clone.folder / "stages/datasets/splendor/encode/__init__.py").open("a") as file:
        file.write("\n# A comment, so that all batches run.\n")
    failed = preprocess(clone, check=False, SIMULATE="no", JOBS="2", MEMORY_GB="8")
    assert failed.returncode == 1
    assert f"{game.name}:" in failed.stdout + failed.stderr
    assert "error: dvc repro failed, see above; finished batches are kept" in failed.stderr
    game.write_text(text)
    done = preprocess(clone)
    assert len(process_ran(done)) < len(clone.batches())
    assert clone.repro() == []


@pytest.mark.slow
def test_a_batch_whose_share_of_the_memory_is_too_small_runs_again_alone(clone, by_dvc):
    edit(clone, MODULE, "LEAST_SHARE_MB = 1024", "LEAST_SHARE_MB = 10")
    done = preprocess(clone, JOBS="4", MEMORY_GB="0.32")
    assert "its share of the memory was too small" in done.stderr
    assert made(clone) == by_dvc
    assert clone.repro() == []


# Stops.


def stopped_while_batches_run(clone, number):
    """Send a signal to preprocess alone while two batches run; return its exit code and the stages that ran."""
    process = begin(clone, *PREPROCESS, JOBS="2", MEMORY_GB="8")
    stages = wait_for(lambda: len(found := running(process, "stages.process")) >= 2 and found)
    os.kill(process.pid, number)
    process.wait(timeout=30)
    return process.returncode, stages


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]
)
def test_a_stop_of_preprocess_alone_ends_its_stages_and_one_more_run_gives_the_same_bytes(clone, by_dvc, number, code):
    returned, stages = stopped_while_batches_run(clone, number)
    assert returned == code
    assert wait_until_gone(stages) == []
    if number != signal.SIGKILL:
        assert left_overs(clone) == []
    preprocess(clone)
    assert made(clone) == by_dvc
    assert left_overs(clone) == []
    assert clone.repro() == []


@pytest.mark.slow
def test_what_was_done_before_a_stop_is_in_the_lock_file(clone):
    stopped_while_batches_run(clone, signal.SIGTERM)
    assert [name for name in recorded(clone) if name.startswith(("simulate@", "discover@"))]
    names = [name for name, _ in itertools.groupby(recorded(clone))]
    assert names == sorted(set(names), key=names.index)
