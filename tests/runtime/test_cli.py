"""What all verbs share on the command line: help, exit codes, log levels."""

import pytest

from stages.pipeline.verbs import VERBS

PURPOSE = {
    "simulate": "raw data of a dataset in data/sample/",
    "discover": "deal them into batches",
    "expand": "batches that were added",
    "process": "raw units of a batch into data/intermediate/",
    "merge": "batches of a dataset into data/merged/",
    "split": "groups to train, val and test",
}
COMMANDS = ("preprocess", "status", "plan", "verify", "slim", "work", "report", "report.cards")  # of several datasets
WITHOUT_BATCH = [verb for verb in PURPOSE if verb != "process"]


def test_the_purpose_of_every_verb_is_tested():
    assert tuple(PURPOSE) == VERBS


@pytest.mark.parametrize("verb", PURPOSE)
def test_help_says_what_a_verb_does(run, here, verb):
    result = run(verb, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    text = " ".join(result.stdout.split())
    assert text.startswith(f"usage: python -m stages.{verb} ")
    for word in (PURPOSE[verb], "params.yaml", "JOBS", "MEMORY_GB", "BACKEND", "LOG"):
        assert word in text
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        *((verb, ()) for verb in PURPOSE),
        *((verb, ("splendor", "b0")) for verb in WITHOUT_BATCH),
        ("process", ("splendor", "b0", "b1")),
        ("merge", ("splendor", "--fast")),
    ],
)
def test_wrong_usage_is_exit_code_2(run, workspace, verb, arguments):
    result = run(verb, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(f"usage: python -m stages.{verb} ")
    assert not (workspace / "data").exists()


def test_a_run_logs_to_stderr_and_prints_nothing(run, workspace):
    result = run("discover", "splendor")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "discover splendor: 60 units in 5 batches (5 new, 0 gone)\n"


@pytest.mark.parametrize("verb", VERBS[1:])
@pytest.mark.parametrize("level", ["warning", "error"])
def test_log_warning_is_silent_on_success(run, merged, verb, level):
    result = run(verb, "splendor", LOG=level)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("level", ["loud", "INFO", "10"])
def test_a_bad_log_level_is_wrong_usage(run, workspace, level):
    result = run("discover", "splendor", LOG=level)
    assert result.returncode == 2
    assert result.stderr == f"LOG: '{level}', expected one of debug, info, warning, error\n"
    assert not (workspace / "data").exists()


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"JOBS": "0"}, "JOBS: '0', expected a whole number from 1"),
        ({"BACKEND": "spark"}, "BACKEND: 'spark', expected one of loky, threading, dask"),
        ({"MEMORY_GB": "much"}, "MEMORY_GB: 'much', expected a number of gigabytes"),
    ],
)
def test_a_bad_knob_is_one_line(run, processed, environment, reason):
    result = run("process", "splendor", "b01", LOG="warning", **environment)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert result.stderr.startswith(f"error: {reason}")


@pytest.mark.parametrize("verb", PURPOSE)
def test_an_unknown_dataset_is_one_line(run, workspace, verb):
    result = run(verb, "splendour")
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert result.stderr.startswith("error: params.yaml: ")
    assert "splendour" in result.stderr
    assert not (workspace / "data").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_on_an_unknown_dataset_does_nothing_to_the_others(run, workspace, command):
    result = run(command, "splendor", "splendour")
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert result.stderr.startswith("error: params.yaml: no dataset 'splendour', expected one of: splendor, toy")
    assert not (workspace / "data").exists()


@pytest.mark.parametrize("verb", PURPOSE)
def test_without_params_every_verb_says_where_to_run(run, here, verb):
    result = run(verb, "splendor")
    assert result.returncode == 1
    assert (
        result.stderr == "error: params.yaml: not found, expected in the working directory; run from the repository\n"
    )
    assert not list(here.iterdir())


def test_a_dataset_without_a_package_is_one_line(run, workspace):
    """`toy` has an entry in params.yaml and no package."""
    (workspace / "raw").mkdir(exist_ok=True)
    result = run("discover", "toy")
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert result.stderr.startswith("error: ")
    assert "stages/datasets/toy" in result.stderr


def test_an_expected_failure_has_a_traceback_at_log_debug_only(run, workspace):
    short = run("merge", "splendor", LOG="warning")
    long = run("merge", "splendor", LOG="debug")
    assert short.returncode == long.returncode == 1
    assert len(short.stderr.splitlines()) == 1
    assert "Traceback (most recent call last):" in long.stderr
    assert long.stderr.splitlines()[-1] == short.stderr.strip()


def test_what_is_in_the_way_is_one_line(run, workspace):
    (workspace / "data").write_text("a file where a folder belongs")
    result = run("discover", "splendor")
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert result.stderr.startswith("error: ")
    assert "data" in result.stderr


def test_simulate_makes_what_params_ask_for(run, here, snapshot):
    entry = "datasets: {splendor: {raw: data/sample/splendor}}\nsimulate: {splendor: {games: 5, seed: 1}}\n"
    (here / "params.yaml").write_text(entry)
    assert run("simulate", "splendor").returncode == 0
    before = snapshot("data/sample")
    assert len(before) == 5
    assert run("simulate", "splendor", JOBS="1").returncode == 0
    assert snapshot("data/sample") == before


def test_expand_copies_the_list_when_nothing_changed(run, processed):
    assert run("expand", "splendor").returncode == 0
    folder = processed / "data/manifests/splendor"
    assert (folder / "expanded.yaml").read_bytes() == (folder / "batches.yaml").read_bytes()
