"""Stages side by side: what `make preprocess` does gives what one `dvc repro` gives, and a stop leaves no trace."""

import contextlib
import itertools
import os
import re
import signal
import socket
import sys

import psutil
import pytest

from stages.commands import work_batches
from stages.core.errors import ExpectedError
from stages.pipeline import beside, side_by_side, stage_internals, verbs
from stages.pipeline.elsewhere import Elsewhere
from tests.helpers.clones import copy_of, make_clone, recorded, with_few_games
from tests.helpers.kills import begin, everything, left_overs, running, wait_for, wait_until_gone

PREPROCESS = (sys.executable, "-m", "stages.commands.preprocess")
GAMES = 40

# A stand-in for the pipeline, whose commands are real.


class Stages:
    """Stages with commands of the shell; what is done with them is noted."""

    def __init__(self, commands, restorable=(), unchanged=()):
        self.commands, self.restorable, self.unchanged = commands, restorable, unchanged
        self.begun, self.ended, self.recorded = [], [], []

    def is_plain(self, name):
        return True

    def is_changed(self, name):
        return name not in self.unchanged

    def restore(self, name):
        return name in self.restorable

    def begin(self, name):
        self.begun.append(name)
        return stage_internals.Command(["/bin/sh", "-c", self.commands[name]], ".", os.environ)

    def end(self, name, is_done):
        self.ended.append(name)
        return is_done

    def command(self, name):
        return verbs.command(name)

    def digests(self, name):
        return ["right"]

    def is_kept(self, name):
        return True

    def record(self, names):
        self.recorded += names

    def release(self):
        self.begun.clear()

    def unlocked(self):
        return contextlib.nullcontext()

    def look_anew(self):
        pass

    def show_bars(self, is_shown):
        pass


@pytest.fixture
def two_at_once(monkeypatch):
    monkeypatch.setenv("JOBS", "2")
    monkeypatch.setenv("MEMORY_GB", "8")


def finish(stages, before=None):
    before = before or {name: set() for name in stages.commands}
    side_by_side._Run(stages, before, "it failed").finish()


def batches(*commands):
    return {f"process@a-b{number:02b}": command for number, command in enumerate(commands)}


def test_two_run_at_once_and_what_waits_for_them_runs_last(two_at_once, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    meet = "touch {}; until [ -e {} ]; do sleep 0.01; done; echo {}"
    stages = Stages({**batches(meet.format("a", "b", "one"), meet.format("b", "a", "two")), "merge@a": "ls"})
    finish(stages, {"merge@a": set(batches("", "")), **{name: set() for name in batches("", "")}})
    assert sorted(stages.recorded[:2]) == list(batches("", ""))
    assert stages.recorded[2:] == ["merge@a"]
    told = capfd.readouterr().out
    assert told.endswith("Running stage 'merge@a':\n> ls\na\nb\n")
    assert "Running stage 'process@a-b00':\none\n" in told


def test_what_is_unchanged_or_in_the_run_cache_does_not_run(two_at_once, capfd):
    names = list(batches("", "", ""))
    stages = Stages(batches("exit 1", "exit 1", "true"), restorable=names[:1], unchanged=names[1:2])
    finish(stages)
    assert (stages.ended, stages.recorded) == ([names[2]], [names[0], names[2]])
    assert f"'{names[0]}' is cached" in capfd.readouterr().out


WHEN = "until [ -e {} ]; do sleep 0.01; done; {}"


def test_one_that_fails_says_why_and_what_was_done_is_recorded(two_at_once, tmp_path, monkeypatch, capfd):
    """It fails when the third one has begun, hence the first is done."""
    monkeypatch.chdir(tmp_path)
    stages = Stages(batches("true", WHEN.format("begun", "echo why; exit 3"), "touch begun; sleep 30"))
    with pytest.raises(ExpectedError, match=r"^it failed$"):
        finish(stages)
    assert stages.recorded == ["process@a-b00"]
    assert "why\n" in capfd.readouterr().out


def all_shells_ended(others):
    """Say whether the shells that this process started have ended, some others left aside."""
    shells = [process for process in psutil.Process().children() if process not in others and process.name() == "sh"]
    return all(process.status() == psutil.STATUS_ZOMBIE for process in shells)


def test_what_ended_at_the_same_look_as_one_that_fails_is_kept(two_at_once, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stages, others = Stages(batches("touch a; exit 3", WHEN.format("a", "touch b"))), psutil.Process().children()
    stages.look_anew = lambda: wait_for(lambda: all_shells_ended(others))
    with pytest.raises(ExpectedError, match=r"^it failed$"):
        finish(stages)
    assert stages.recorded == ["process@a-b01"]


def test_one_after_the_other_each_has_all_of_the_memory(two_at_once, monkeypatch):
    monkeypatch.setenv("JOBS", "1")
    monkeypatch.setenv("MEMORY_GB", "0.2")
    stages = Stages(batches(*['[ "$MEMORY_GB" = 0.2 ]'] * 4))
    finish(stages)
    assert stages.recorded == list(stages.commands)


def test_one_whose_share_of_the_memory_is_too_small_runs_again_alone_with_all_of_it(two_at_once, capfd):
    needs_all = '[ "$MEMORY_GB" = 8 ] || { echo "error: raise MEMORY_GB"; exit 1; }'
    stages = Stages(batches(needs_all, "sleep 0.2"))
    finish(stages)
    assert sorted(stages.recorded) == list(batches("", ""))
    assert "\nerror" not in capfd.readouterr().out


# The sleeps are short, since one that the shell begins after the signal is not told of it.
UNTIL_TOLD = "trap 'echo it is kept; exit' INT; {}; while :; do sleep 0.01; done"


def test_ctrl_c_ends_the_commands_tells_what_they_tell_and_records_what_was_done(
    two_at_once, tmp_path, monkeypatch, caplog
):
    """It comes when both commands are ready for it."""
    monkeypatch.chdir(tmp_path)
    others = psutil.Process().children()
    kill = WHEN.format("ready", "kill -INT $PPID")
    stages = Stages(batches("true", UNTIL_TOLD.format("touch ready"), UNTIL_TOLD.format(kill)))
    with pytest.raises(KeyboardInterrupt):
        finish(stages)
    assert stages.recorded == ["process@a-b00"]
    assert caplog.messages == ["it is kept"]
    assert set(psutil.Process().children()) <= set(others)


@pytest.mark.parametrize("runner", [side_by_side, work_batches])
def test_ctrl_c_in_the_moment_a_command_starts_ends_it_too(two_at_once, runner, tmp_path, monkeypatch, caplog, capfd):
    """It comes while the command runs already and this process has not yet gone on."""
    monkeypatch.chdir(tmp_path)
    others = psutil.Process().children()

    def start(*arguments, **options):
        running = beside.start(*arguments, **options)
        wait_for(lambda: (tmp_path / "sent").exists())
        return running

    monkeypatch.setattr(runner, "start", start)
    stages = Stages(batches(UNTIL_TOLD.format("kill -INT $PPID; touch sent"), "true"))
    with pytest.raises(KeyboardInterrupt):
        finish(stages) if runner is side_by_side else work_batches._run(stages, "process@a-b00")
    assert "it is kept" in caplog.text + capfd.readouterr().out
    assert set(psutil.Process().children()) <= set(others)


class Makers:
    """A stand-in for a cluster: no batch is done before all were begun, then one after the other."""

    def __init__(self, n_batches, md5="right", n_at_once=1):
        self.n_batches, self.md5, self.n_at_once, self.promised = n_batches, md5, n_at_once, []
        self.woken, self.wakes = socket.socketpair()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.woken.close()
        self.wakes.close()

    def begin(self, dataset, batch):
        self.promised.append(Promised(batch, self.md5))
        if len(self.promised) == self.n_batches:
            self.wakes.send(b".")
        return self.promised[-1]

    def busy(self):
        return {}

    def look(self):
        self.woken.recv(1)
        for one in [one for one in self.promised if not one.done][: self.n_at_once]:
            one.done = True
        self.wakes.send(b".")

    def fileno(self):
        return self.woken.fileno()


class Promised:
    """A batch of the stand-in."""

    def __init__(self, batch, md5):
        self.batch, self.md5, self.done, self.is_cancelled = batch, md5, False, False

    def is_done(self):
        return self.done

    def cancel(self):
        self.is_cancelled = True

    def take(self):
        if self.md5 == "bad":
            raise ExpectedError("a.csv:3: no move")
        return self.md5


def finish_elsewhere(makers):
    stages = Stages({**batches(*["exit 1"] * makers.n_batches), "merge@a": "true"})
    before = {name: set() for name in batches(*["exit 1"] * makers.n_batches)}
    elsewhere = Elsewhere(lambda: makers)
    try:
        side_by_side._Run(stages, {**before, "merge@a": set(before)}, "it failed", elsewhere).finish()
    finally:
        elsewhere.close()
    return stages


def test_all_batches_are_in_flight_elsewhere_at_once_and_what_waits_for_them_runs_here(two_at_once):
    stages = finish_elsewhere(Makers(20))
    assert stages.recorded == [*batches(*[""] * 20), "merge@a"]
    assert stages.ended == stages.recorded


def test_one_that_fails_elsewhere_says_why_and_the_others_are_not_waited_for(two_at_once, caplog):
    makers = Makers(3, "bad")
    with pytest.raises(ExpectedError, match=r"^it failed$"):
        finish_elsewhere(makers)
    assert caplog.messages[-1] == "a.csv:3: no move"
    assert [one.is_cancelled for one in makers.promised] == [False, True, True]


def test_what_is_made_elsewhere_when_another_fails_is_kept(two_at_once):
    makers = Makers(3, n_at_once=3)
    stages = Stages({**batches(*["exit 1"] * 3), "merge@a": "true"})
    begin = makers.begin

    def begin_bad_first(dataset, batch):
        makers.md5 = "right" if makers.promised else "bad"
        return begin(dataset, batch)

    makers.begin = begin_bad_first
    elsewhere = Elsewhere(lambda: makers)
    before = {name: set() for name in batches("", "", "")}
    with pytest.raises(ExpectedError, match=r"^it failed$"):
        side_by_side._Run(stages, {**before, "merge@a": set(before)}, "it failed", elsewhere).finish()
    elsewhere.close()
    assert stages.recorded == list(before)[1:]


def test_beside_a_stage_that_has_all_of_the_memory_none_begins(two_at_once, tmp_path, monkeypatch):
    """Also not when a batch that was made elsewhere ends meanwhile."""
    monkeypatch.chdir(tmp_path)
    stages = Stages({"process@b-b00": "exit 1", "merge@a": "sleep 0.5; [ ! -e b ]", "merge@b": "touch b"})
    before = {"process@b-b00": set(), "merge@a": set(), "merge@b": {"process@b-b00"}}
    elsewhere = Elsewhere(lambda: Makers(1))
    side_by_side._Run(stages, before, "it failed", elsewhere).finish()
    elsewhere.close()
    assert stages.ended == ["process@b-b00", "merge@a", "merge@b"]


def test_a_file_that_is_another_than_a_worker_wrote_is_refused(two_at_once):
    with pytest.raises(ExpectedError, match=r"^process@a-b00: the file has MD5 right, expected wrong as a worker wrot"):
        finish_elsewhere(Makers(2, "wrong"))


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


# With DVC.


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


def preprocess(clone, check=True, **variables):
    return clone.run("env", *(f"{name}={value}" for name, value in variables.items()), *PREPROCESS, check=check)


def ran(done):
    return re.findall(r"^Running stage '(.+)':$", done.stdout, re.MULTILINE)


def process_ran(done):
    return [name for name in ran(done) if "process@" in name]


@pytest.mark.slow
def test_preprocess_gives_the_bytes_and_the_lock_of_dvc_repro_which_then_runs_nothing(clone, by_dvc):
    """Also when dvc.lock was lost, and the run cache knows it all."""
    done = preprocess(clone, JOBS="3", MEMORY_GB="8")
    assert len(process_ran(done)) == len(clone.batches()) > 2
    assert made(clone) == by_dvc
    assert clone.repro() == []
    assert ran(preprocess(clone)) == []
    (clone.folder / "dvc.lock").unlink()
    done = preprocess(clone)
    assert process_ran(done) == []
    assert done.stdout.count("is cached - skipping run") >= len(clone.batches()) + 2
    assert made(clone) == by_dvc


@pytest.mark.slow
def test_after_a_raw_file_is_gone_each_stage_runs_once(clone, by_dvc):
    preprocess(clone)
    next((clone.folder / "data/sample").rglob("*.csv")).unlink()
    stages = ran(preprocess(clone, SIMULATE="no"))
    assert stages[0] == "discover@splendor"
    assert len(stages) == len(set(stages))
    assert "merge@splendor" in stages


@pytest.mark.slow
def test_states_that_a_user_or_a_kill_leaves_end_in_what_dvc_repro_gives(clone, by_dvc):
    """No list of batches; the note of a `dvc repro` that did not end, beside a list that changes."""
    preprocess(clone)
    batch_list = clone.folder / "data/manifests/splendor/batches.yaml"
    batch_list.unlink()
    preprocess(clone)
    assert made(clone) == by_dvc
    params = clone.folder / "params.yaml"
    before = params.read_text()
    params.write_text(re.sub(r"batch_size: \d+", "batch_size: 5", before, count=1))
    note = clone.folder / ".dvc/tmp/batchwise/splendor.list-changed"
    note.write_text("b0\n")
    preprocess(clone)
    assert not note.exists()
    assert clone.repro() == []
    params.write_text(before)
    preprocess(clone)
    assert made(clone) == by_dvc


@pytest.mark.slow
def test_a_stage_of_ones_own_before_merge_is_brought_up_to_date(clone):
    path = clone.folder / "dvc.yaml"
    own = "stages:\n  notes: {cmd: cp README.md data/own.txt, deps: [README.md], outs: [data/own.txt]}\n"
    text = path.read_text().replace("stages:\n", own, 1)
    path.write_text(text.replace("        - stages/merging\n", "        - stages/merging\n        - data/own.txt\n"))
    for line in ("", "more\n"):
        with (clone.folder / "README.md").open("a") as file:
            file.write(line)
        preprocess(clone)
        assert (clone.folder / "data/own.txt").read_text() == (clone.folder / "README.md").read_text()
        assert clone.repro() == []


@pytest.mark.slow
def test_where_dvc_fails_dvc_repro_says_why(clone):
    path = clone.folder / "dvc.yaml"
    path.write_text(path.read_text().replace("stages:\n", "stages:\n  nonsense: 3\n"))
    done = preprocess(clone, check=False)
    assert done.returncode == 1
    assert "dvc.yaml' validation failed" in done.stderr
    assert "error: dvc repro failed, see above" in done.stderr


@pytest.mark.slow
def test_a_stop_of_preprocess_alone_ends_its_stages_and_one_more_run_gives_the_same_bytes(clone, by_dvc):
    process = begin(clone, *PREPROCESS, JOBS="2", MEMORY_GB="8")
    wait_for(lambda: len(running(process, "stages.process")) >= 2 or process.poll() is not None)
    stages = running(process, "stages.process")
    assert process.poll() is None, "it ended before it could be stopped"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert wait_until_gone(stages) == []
    assert left_overs(clone) == []
    assert [name for name in recorded(clone) if name.startswith(("simulate@", "discover@"))]
    names = [name for name, _ in itertools.groupby(recorded(clone))]
    assert names == sorted(set(names), key=names.index)
    preprocess(clone)
    assert made(clone) == by_dvc
