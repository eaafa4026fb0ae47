"""What a sweep refuses before anything is queued, and where each trial of it is."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from stages.commands import sweep_trials as module
from stages.commands.sweep_queue import Sweep
from stages.commands.sweep_results import table
from stages.commands.sweep_trials import Trial
from stages.core.errors import ExpectedError
from stages.core.params import Params, ParamsError, build
from stages.pipeline import experiments
from stages.pipeline.experiments import QueuedExperiment
from stages.train import Planned

PLANNED = Planned("0123456789abcdef", "loss", ("top1", "loss"), ())
TRIAL = Trial("hex", "hex-lr0.1-012345", {"lr": 0.1}, {"lr": 0.1}, PLANNED)
OTHER = replace(TRIAL, name="hex-lr0.2-fedcba", combination={"lr": 0.2}, planned=replace(PLANNED, identity="fedcba98"))


def params(grid):
    content = {"datasets": {"hex": {"raw": "x"}}, "train": {"hex": {}}, "sweep": {"hex": {"grid": grid}}}
    return build(Params, content, "params.yaml: ")


@pytest.mark.train
@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (
            {"lrr": [0.1]},
            r"^sweep of hex, lrr: 0\.1: params.yaml: train\.hex: unknown key 'lrr', .*mean 'lr'\?",
        ),
        ({"lr": [0.1, -1]}, r"^sweep of hex, lr: -1: params.yaml: train\.hex\.lr: -1, expected a number above 0"),
        ({"schedule": ["cosin"]}, r"train\.hex\.schedule: 'cosin', expected one of constant, cosine"),
        ({"epochs": [1], "samples": [5]}, r"both epochs and samples, expected one of them"),
    ],
)
def test_a_combination_is_checked_as_the_training_does(grid, message):
    pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
    with pytest.raises(ParamsError, match=message):
        module.tried(params(grid), "hex")


@pytest.mark.train
def test_keys_of_the_model_are_checked_and_other_folders_want_a_whole_path(arrays_of, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
    monkeypatch.chdir(arrays_of("hex").parents[2])
    with pytest.raises(ParamsError, match=r"sweep of hex, model\.chanels: 32: .*'chanels'.*did you mean 'channels'\?"):
        module.trials(params({"model": {"chanels": [32]}}), "hex")
    Path("weights.npz").touch()
    with pytest.raises(ParamsError, match=r"train\.hex: weights\.npz is not in the folder an experiment runs in; give"):
        module.trials(params({"init_from": ["weights.npz"]}), "hex")
    one, two = module.trials(params({"lr": [0.1, 0.2]}), "hex")
    assert one.name == f"hex-lr0.1-{one.planned.identity[:6]}"
    assert one.name[-6:] != two.name[-6:]


def test_equal_names_are_refused():
    with pytest.raises(ParamsError, match=r"p: lr: 0\.1 and lr: 0\.2 are the same training; remove one of them"):
        module._refuse_equal([TRIAL, replace(OTHER, planned=PLANNED)], "p")


def queued(name, status, log):
    return QueuedExperiment(name, "1" * 40, status, None, None, log)


def test_a_trial_is_done_failed_waits_or_is_missing(monkeypatch, tmp_path):
    """By the digits of a name: what it says before them depends on what else is tried."""
    log = tmp_path / "log"
    log.write_text("Running stage\nerror: no memory\nERROR: failed to reproduce\nstep 7\n")
    sweep = Sweep({TRIAL.digits: TRIAL, OTHER.digits: OTHER}, {})
    found, commits = [], {}
    monkeypatch.setattr(experiments, "entries", lambda: found)
    monkeypatch.setattr(experiments, "finished", lambda: commits)
    sweep.look()
    assert sweep.missing == [TRIAL.digits, OTHER.digits]
    commits["hex-width3-012345"] = "c"
    found += [queued("hex-012346", "running", log), queued("hex-fedcba", "running", log)]
    sweep.look()
    assert (sweep.commits, sweep.waiting, sweep.missing) == ({"012345": "c"}, {"fedcba": "step 7"}, [])
    found[:] = [queued("hex-fedcba", "failed", log)]
    sweep.look()
    assert (sweep.failures, sweep.waiting, sweep.missing) == ({"fedcba": "no memory"}, {}, [])


def test_the_table_says_dash_where_there_is_no_number():
    parts = {"val": {"model": {"loss": 0.5}}, "test": {"model": {"loss": None, "top1": 0.25}}}
    lines = table([(TRIAL, parts)]).splitlines()
    assert lines[0].split("  ")[0] == "experiment"
    assert lines[1].split() == ["hex-lr0.1-012345", "0.5000", "-", "0.2500", "lr:", "0.1"]


# What experiments want of the repository.


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Return a function that runs git in a folder with the files that are needed, none of them committed."""
    monkeypatch.chdir(tmp_path)
    for name in experiments.NEEDED:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("x")

    def git(*words):
        identity = ("-c", "user.name=t", "-c", "user.email=t@localhost")
        subprocess.run(["git", *identity, *words], check=True, capture_output=True)

    return git


def test_a_repository_without_the_pipeline_in_a_commit_is_refused(repository):
    with pytest.raises(ExpectedError, match=r"^no commit here, expected one: DVC's experiments are commits"):
        experiments.refuse_unready()
    repository("init", "-q")
    repository("add", "dvc.yaml", "params.yaml")
    repository("commit", "-q", "-m", "one")
    with pytest.raises(ExpectedError, match=r"^stages/training/dvc\.yaml: not in git's last commit, expected there"):
        experiments.refuse_unready()
    repository("add", "-A")
    repository("commit", "-q", "-m", "two")
    experiments.refuse_unready()


def test_code_that_git_does_not_know_is_refused_and_the_lock_of_training_is_not(repository):
    repository("init", "-q")
    repository("add", "-A")
    repository("commit", "-q", "-m", "one")
    Path("stages/training/dvc.lock").touch()
    Path("notes.txt").touch()
    experiments.refuse_unready()
    for name in ("a", "b", "c", "d"):
        Path(f"stages/{name}.py").touch()
    with pytest.raises(ExpectedError, match=r"^stages/a.py, stages/b.py, stages/c.py, ...: git does not know it"):
        experiments.refuse_unready()
    repository("add", "-A")
    experiments.refuse_unready()


def test_experiments_that_ended_are_found_by_name(repository):
    repository("init", "-q")
    repository("add", "-A")
    repository("commit", "-q", "-m", "one")
    for name in ("refs/exps/ab/cdef/hex-1", "refs/exps/celery/stash", "refs/exps/exec/EXEC_HEAD"):
        repository("update-ref", name, "HEAD")
    assert [*experiments.finished()] == ["hex-1"]
