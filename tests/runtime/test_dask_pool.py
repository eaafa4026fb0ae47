"""A real Dask cluster on this machine: same bytes, and a clear end to whatever goes wrong."""

import hashlib
import json
import logging
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

pytest.importorskip("distributed", reason="needs the extra [cluster]")

import cloudpickle

from stages.core import paths
from stages.core.errors import BadUnit, ExpectedError
from stages.core.files import write_text
from stages.core.params import load
from stages.processing.cluster import Cluster as Makers
from stages.processing.on_worker import BatchJob, make_batch, manifest_digest
from stages.runtime import dask_client, dask_pool, dask_sight, dask_worker
from stages.runtime.workers import Workers, ordered
from tests.helpers.clones import make_clone, with_few_games
from tests.helpers.kills import left_overs, wait_for
from tests.helpers.servers import free_port

pytestmark = pytest.mark.slow

DATASET = "splendor"
GAMES = 60
MOST_ATTEMPTS = 20  # to meet a run before its end; nearly always the first one does
# a scheduler needs nothing of the repository: this one cannot import it
BARE = "import sys; sys.modules['stages'] = None; from distributed.cli.dask_scheduler import main; main()"
SCHEDULER = ("-c", BARE, "--no-dashboard", "--no-show", "--host", "127.0.0.1")
WORKER = ("-m", "distributed.cli.dask_worker", "--no-dashboard", "--no-nanny", "--nthreads", "1")


class Cluster:
    """A scheduler and workers, started in a folder; they are this test's own processes."""

    def __init__(self, folder, scratch):
        self.folder, self.scratch, self.workers = folder, scratch, []
        port = free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        self.scheduler = self._start(scratch, *SCHEDULER, "--port", str(port))

    def add(self, n_workers, *, folder=None, python=(), **environment):
        """Start workers; return their processes."""
        started = [
            self._start(folder or self.folder, *python, *WORKER, self.address, **environment) for _ in range(n_workers)
        ]
        self.workers += started
        return started

    def wait(self, n_workers):
        from distributed import Client

        with Client(self.address, set_as_default=False, timeout=90) as client:
            client.wait_for_workers(n_workers, timeout=90)

    def stop(self):
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()

    def _start(self, folder, *command, **changes):
        environment = {**os.environ, "DASK_TEMPORARY_DIRECTORY": str(self.scratch), **changes}
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with the sample listed in batches, whose NPZ were made by threads: their digests are in `expected`."""
    clone = with_few_games(make_clone(tmp_path_factory.mktemp("clone")), GAMES)
    for name in ("simulate", "discover", "process"):
        clone.run(sys.executable, "-m", f"stages.{name}", DATASET)
    clone.expected = digests(clone)
    return clone


@pytest.fixture(scope="module")
def three_workers(clone, tmp_path_factory):
    started = Cluster(clone.folder, tmp_path_factory.mktemp("scratch"))
    started.add(3)
    started.wait(3)
    yield started
    started.stop()


@pytest.fixture
def lone(clone, tmp_path, monkeypatch):
    """A scheduler without workers, whose client is in the clone."""
    started = Cluster(clone.folder, tmp_path)
    monkeypatch.chdir(clone.folder)
    monkeypatch.setenv("BACKEND", "dask")
    monkeypatch.setenv("DASK_SCHEDULER", started.address)
    yield started
    started.stop()


@pytest.fixture
def client(clone, three_workers, monkeypatch):
    """Use the three workers in this process."""
    monkeypatch.chdir(clone.folder)
    monkeypatch.setenv("BACKEND", "dask")
    monkeypatch.setenv("DASK_SCHEDULER", three_workers.address)
    return three_workers


def digests(clone):
    folder = clone.folder / "data/intermediate" / DATASET
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def arrays_of(clone):
    return list((clone.folder / "data/intermediate").rglob("*.npz"))


def tokens(clone):
    """Return what a run on a cluster has there until it ends."""
    return list((clone.folder / ".dvc/tmp/batchwise").glob("cluster.*"))


def process(clone, address, **environment):
    """Run process on the cluster; return the running process."""
    shutil.rmtree(clone.folder / "data/intermediate", ignore_errors=True)
    return subprocess.Popen(
        [sys.executable, "-m", "stages.process", DATASET],
        cwd=clone.folder,
        env={**os.environ, "BACKEND": "dask", "DASK_SCHEDULER": address, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_cluster_makes_the_same_bytes_as_threads_and_is_quiet(clone, three_workers):
    running = process(clone, three_workers.address, LOG="warning")
    _, stderr = running.communicate(timeout=120)
    assert (running.returncode, stderr) == (0, "")
    assert digests(clone) == clone.expected
    assert tokens(clone) == []


def test_preprocess_and_a_bare_repro_on_a_cluster_give_the_bytes_of_threads(clone, three_workers):
    variables = ("env", "BACKEND=dask", f"DASK_SCHEDULER={three_workers.address}")
    shutil.rmtree(clone.folder / "data/intermediate", ignore_errors=True)
    done = clone.run(*variables, sys.executable, "-m", "stages.commands.preprocess")
    assert digests(clone) == clone.expected
    assert {worker for worker in workers_of(clone) if worker.startswith("127.0.0.1:")} == workers_of(clone)
    assert clone.repro() == []
    name = f"process@{DATASET}-{clone.batches()[0]}"
    assert f"Running stage '{name}':\nRunning stage" in done.stdout
    done = clone.run(*variables, "dvc", "repro", "--force", "--single-item", name)
    assert "of splendor on a cluster" in done.stderr
    assert digests(clone) == clone.expected
    assert clone.repro() == []


def workers_of(clone):
    """Return who made the batches, as the log has it, since the log began."""
    lines = (clone.folder / "data/logs/process.jsonl").read_text().splitlines()
    latest = {entry["name"]: entry["worker"] for entry in map(json.loads, lines) if entry["event"] == "chunk"}
    return set(latest.values())


def test_what_nobody_took_is_removed_and_also_what_a_killed_run_left(clone, client):
    folder = clone.folder / "data/intermediate" / DATASET
    folder.mkdir(parents=True, exist_ok=True)
    token = clone.folder / f".dvc/tmp/batchwise/cluster.0.{socket.gethostname()}-999999999"
    left = [folder / f".b0.npz.0.{token.name}.{whose}tmp" for whose in ("elsewhere-1.", "")]
    token.parent.mkdir(parents=True, exist_ok=True)
    for path in (token, *left):
        path.touch()
    params = {DATASET: load().dataset(DATASET)}
    with Makers(params) as makers:
        assert not token.exists()
        assert [path for path in left if path.exists()] == []
        one = makers.begin(DATASET, clone.batches()[0])
        while not one.is_done():
            select.select([makers], [], [], 1)
            makers.look()
        assert len(list(folder.glob(".*.tmp"))) == 1
    assert list(folder.glob(".*.tmp")) == []


def stopped_at_work(clone, address):
    """Return a run of process that is stopped before its end, while its workers write; try again where it was over."""
    for _ in range(MOST_ATTEMPTS):
        running = process(clone, address)
        wait_for(lambda run=running: (tokens(clone) and (left_overs(clone) or arrays_of(clone))) or has_ended(run))
        running.send_signal(signal.SIGSTOP)
        wait_for(lambda run=running: has_ended(run) or is_stopped(run))
        if tokens(clone):
            return running
        running.send_signal(signal.SIGCONT)
        running.communicate(timeout=120)
    pytest.fail(f"the run was over before it could be stopped, {MOST_ATTEMPTS} times")


def has_ended(process):
    return process.poll() is not None


def is_stopped(process):
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


def test_a_run_that_was_killed_leaves_nothing_once_another_was_there(clone, three_workers):
    running = stopped_at_work(clone, three_workers.address)
    running.kill()
    running.communicate()
    assert len(tokens(clone)) == 1
    _, stderr = process(clone, three_workers.address).communicate(timeout=120)
    assert digests(clone) == clone.expected, stderr
    assert wait_for(lambda: left_overs(clone) == [])  # a worker may have been at a chunk
    assert tokens(clone) == []


def test_a_batch_of_another_manifest_or_of_a_run_that_is_over_is_not_made(clone, client):
    batch = clone.batches()[0]
    job = BatchJob(DATASET, batch, load().dataset(DATASET), manifest_digest(DATASET, batch), "nowhere")
    with pytest.raises(ExpectedError, match=f"{batch}.json: .* sees another file than the run does"):
        list(ordered(make_batch, [replace(job, manifest="0")]))
    with pytest.raises(ExpectedError, match=f"{DATASET}-{batch}: the run is over, the batch is dropped"):
        list(ordered(make_batch, [job]))
    assert list((clone.folder / "data/intermediate").rglob(".*.tmp")) == []


def test_a_bad_file_is_told_in_one_line_as_with_threads(clone, three_workers):
    game = sorted((clone.folder / "data/sample/splendor/2_games").iterdir())[0]
    original = game.read_bytes()
    game.chmod(0o644)
    game.write_bytes(original + b"x")
    try:
        running = process(clone, three_workers.address, LOG="warning")
        _, stderr = running.communicate(timeout=120)
    finally:
        game.write_bytes(original)
    assert running.returncode == 1
    where = re.escape(str(game.relative_to(clone.folder)))
    assert re.fullmatch(f"error: {where}: changed since discover listed it; .*\n", stderr), stderr


def test_errors_keep_type_message_and_cause(client):
    def refuse(item):
        try:
            return 1 // (item - 3)
        except ZeroDivisionError as error:
            raise BadUnit("game.csv:3: found 9") from error

    with pytest.raises(BadUnit, match=r"^game\.csv:3: found 9$") as caught:
        list(ordered(refuse, range(9)))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_workers_are_named_and_seen_and_results_are_bounded_and_in_order(client, monkeypatch):
    """It goes on until all were seen, which a busy machine needs more items for; there are enough for a minute."""
    monkeypatch.setattr(dask_pool, "POLL_S", 0.1)

    def slow(item):
        time.sleep(0.1)
        return item.label

    taken = []

    def items():
        for number in range(2000):
            taken.append(number)
            yield SimpleNamespace(label=f"game {number}")

    names, seen, most_ahead, keys = set(), set(), 0, []
    with Workers() as workers:
        assert workers.n_workers == 3
        for n_done, done in enumerate(workers.ordered(slow, items())):
            time.sleep(0.05)
            keys.append(done.result)
            names.add(done.worker)
            seen |= set(workers.busy().items())
            most_ahead = max(most_ahead, len(taken) - n_done)
            if n_done >= 24 and len(names) == len({worker for worker, _ in seen}) == 3:
                break
    assert keys == [f"game {number}" for number in range(len(keys))]
    assert most_ahead <= 2 * 3 + 2
    assert all(re.fullmatch(r"game \d+", what) for _, what in seen), seen
    assert len(names) == 3
    assert {name.rpartition("/")[0] for name in names} == {worker for worker, _ in seen}


def test_a_worker_that_is_killed_costs_only_time(clone, client):
    """Last of the three workers' tests but one: two are left."""
    marker = clone.folder / "killed"

    def fatal_once(item):
        if item == 4 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item

    assert list(ordered(fatal_once, range(30))) == [i * i for i in range(30)]
    assert marker.exists()


def test_a_worker_killed_in_the_middle_of_process_leaves_the_same_bytes(clone, three_workers):
    running = stopped_at_work(clone, three_workers.address)
    victim = next(worker for worker in three_workers.workers if worker.poll() is None)
    victim.kill()
    victim.wait()
    running.send_signal(signal.SIGCONT)
    _, stderr = running.communicate(timeout=120)
    assert running.returncode == 0, stderr
    assert digests(clone) == clone.expected


def test_what_a_worker_made_is_taken_though_it_died_since(clone, lone):
    """Whoever writes into that folder meanwhile removes what the dead began there."""
    (worker,) = lone.add(1)
    lone.wait(1)
    with Makers({DATASET: load().dataset(DATASET)}) as makers:
        made = makers.begin(DATASET, clone.batches()[0])
        wait_for(made.is_done)
        worker.kill()
        worker.wait()
        other = paths.intermediate_dir(DATASET) / "other"
        write_text(other, "")
        other.unlink()
        made.take()
    assert digests(clone) == clone.expected
    assert left_overs(clone) == []


def test_a_worker_that_answers_nothing_at_connect_is_left_out_while_another_is_sound(lone, monkeypatch, caplog):
    """One that was just stopped is waited for; one that was silent for long before is not asked at all.

    The times are long enough that a sound one keeps them on a busy machine too.
    """
    stopped, sound = lone.add(2)
    lone.wait(2)
    with Workers() as workers:  # both import what they need, which takes longer than an answer
        assert workers.n_workers == 2
    stopped.send_signal(signal.SIGSTOP)
    for reason in ("no answer for 10 s", r"no word for \d+ s"):
        caplog.clear()
        with caplog.at_level(logging.WARNING), Workers() as workers:
            assert workers.n_workers == 1
            done = list(workers.ordered(lambda item: (item, os.getpid()), range(9)))
        assert [each.result for each in done] == [(item, sound.pid) for item in range(9)]
        (told,) = caplog.messages
        assert re.fullmatch(rf"DASK_SCHEDULER: worker tcp://127\.0\.0\.1:\d+: {reason}; it is left out", told)
        monkeypatch.setattr(dask_sight, "SILENT_S", 5.0)
    sound.send_signal(signal.SIGSTOP)
    with pytest.raises(
        ExpectedError, match=f"^DASK_SCHEDULER: {lone.address}: no answer of a worker within 10 s; star"
    ):
        dask_pool.DaskPool()


def test_the_items_of_a_stopped_worker_go_to_others_and_late_results_are_not_taken_twice(clone, lone, caplog):
    """One item waits for a file, so that the stop surely meets the worker that has it in hand."""
    processes = {process.pid: process for process in lone.add(3)}
    lone.wait(3)
    begun, may_end, awaited = clone.folder / "begun", clone.folder / "may_end", 8
    begun.mkdir()

    def slow(item):
        (begun / f"{item}.{os.getpid()}").touch()
        while item == awaited and not may_end.exists():
            time.sleep(0.01)
        return item

    results = []
    with caplog.at_level(logging.INFO), Workers() as workers:
        coming = workers.ordered(slow, range(60))
        results += [next(coming).result for _ in range(6)]
        (in_hand,) = wait_for(lambda: list(begun.glob(f"{awaited}.*")))
        victim = processes[int(in_hand.suffix[1:])]
        victim.send_signal(signal.SIGSTOP)
        wait_for(lambda: is_stopped(victim))
        may_end.touch()
        stopped_at = time.monotonic()
        while not any("go to others" in message for message in caplog.messages):
            results.append(next(coming).result)
        assert time.monotonic() - stopped_at < 60  # the scheduler itself would wait five minutes
        victim.send_signal(signal.SIGCONT)  # what it had in hand is late now
        wait_for(lambda: is_heard_again(workers, caplog))
        results += [done.result for done in coming]
    assert results == list(range(60))
    assert len(list(begun.glob(f"{awaited}.*"))) == 2  # it was done by two
    (told,) = [message for message in caplog.messages if "go to others" in message]
    assert re.fullmatch(
        r"DASK_SCHEDULER: worker tcp://\S+: no word for \d+ s; the [1-9] items that it has go to others", told
    )


def is_heard_again(workers, caplog):
    workers.busy()  # looks at the cluster
    return any(message.endswith(": heard of again") for message in caplog.messages)


class StopsOnce:
    """A result whose sending stops the worker, once."""

    def __init__(self, item, marker):
        self.item, self.marker = item, marker

    def __reduce__(self):
        if self.item == 4 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        return int, (self.item,)


def test_a_result_in_the_memory_of_a_stopped_worker_is_made_again_and_holds_up_no_other(clone, lone, monkeypatch):
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a worker cannot import this module
    monkeypatch.setattr(dask_sight, "SILENT_S", 3.0)
    lone.add(3)
    lone.wait(3)
    marker = clone.folder / "stopped"
    started = time.monotonic()
    assert list(ordered(lambda item: StopsOnce(item, marker), range(30))) == list(range(30))
    assert marker.exists()
    assert time.monotonic() - started < 60


def test_a_fatal_item_ends_the_run_after_some_deaths(lone, monkeypatch):
    lone.add(4)
    lone.wait(4)
    with pytest.raises(ExpectedError, match="4 workers died while they had item 0 in hand, the last one tcp://"):
        list(ordered(lambda _: os.kill(os.getpid(), signal.SIGKILL), range(1)))


def test_ctrl_c_ends_within_two_seconds_and_the_cluster_goes_on_with_nothing(clone, three_workers):
    code = """if True:
        import sys, time
        from pathlib import Path
        from stages.runtime import cli, workers
        def slow(item):
            Path(f"begun.{item}").touch()
            end = time.monotonic() + 60
            while not Path("may_end_all").exists() and time.monotonic() < end:
                time.sleep(0.01)
        sys.exit(cli.run(lambda: list(workers.ordered(slow, range(100)))))"""
    running = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=clone.folder,
        env={**os.environ, "BACKEND": "dask", "DASK_SCHEDULER": three_workers.address},
        stderr=subprocess.PIPE,
        text=True,
    )
    started = time.monotonic()
    while not list(clone.folder.glob("begun.*")):
        assert running.poll() is None
        time.sleep(0.01)
    start_s = time.monotonic() - started
    running.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, stderr = running.communicate(timeout=120)
    seconds = time.monotonic() - started
    assert seconds < max(2, start_s)  # a slow or busy machine needs more than two to start
    assert running.returncode == 130
    assert re.fullmatch("interrupted: .*\n", stderr), stderr
    n_begun = rest_of_a_run(clone, three_workers)
    assert n_begun <= 3  # one for each worker
    assert len(list(clone.folder.glob("begun.*"))) == n_begun


def rest_of_a_run(clone, cluster):
    """Let workers end what they have in hand once the scheduler dropped all else; return how many had begun by then."""
    from distributed import Client

    with Client(cluster.address, set_as_default=False) as other:
        wait_for(lambda: not any(other.processing().values()), 30)
        n_begun = len(list(clone.folder.glob("begun.*")))
        (clone.folder / "may_end_all").touch()
        # each worker does one thing at a time: by the answer it has ended all that was there before
        other.gather([other.submit(os.getpid, workers=[worker], pure=False) for worker in other.nthreads()])
    return n_begun


def test_without_an_address_it_says_what_to_set(monkeypatch):
    monkeypatch.setenv("BACKEND", "dask")
    monkeypatch.delenv("DASK_SCHEDULER", raising=False)
    with pytest.raises(ExpectedError, match=r"^DASK_SCHEDULER: not set, expected the scheduler's address such as tcp:"):
        list(ordered(abs, [1]))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "carrier-pigeon://1", "tcp://no.such.host.invalid:8786"])
def test_a_scheduler_that_is_away_is_named_soon(monkeypatch, address):
    monkeypatch.setattr(dask_client, "CONNECT_S", 1.0)
    monkeypatch.setenv("DASK_SCHEDULER", address)
    started = time.monotonic()
    with pytest.raises(ExpectedError, match=f"^DASK_SCHEDULER: {address}: no scheduler there .*: dask scheduler$"):
        dask_pool.DaskPool()
    assert time.monotonic() - started < 15


def test_what_is_no_scheduler_is_named_soon(monkeypatch):
    """It accepts the connection and says nothing."""
    monkeypatch.setattr(dask_client, "CONNECT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        monkeypatch.setenv("DASK_SCHEDULER", address)
        with pytest.raises(ExpectedError, match=f"{address}: no scheduler there"):
            dask_pool.DaskPool()


def test_no_workers_then_none_left_then_no_scheduler_are_told(lone, monkeypatch):
    monkeypatch.setattr(dask_pool, "ANSWER_S", 1.0)
    with pytest.raises(ExpectedError, match=f"^DASK_SCHEDULER: {lone.address}: no workers within 1 s; start them in /"):
        list(ordered(abs, [1]))
    monkeypatch.setattr(dask_pool, "ANSWER_S", 10.0)
    monkeypatch.setattr(dask_pool, "POLL_S", 0.1)
    [worker] = lone.add(1)
    lone.wait(1)
    with Workers() as first, Workers() as second:
        results = first.ordered(abs, range(100))
        assert next(results).result == 0
        monkeypatch.setattr(dask_pool, "LOST_S", 1.0)
        worker.kill()
        with pytest.raises(
            ExpectedError, match=r"no worker, or no word of the scheduler, for 1 s; look after the clus"
        ):
            list(results)
        monkeypatch.setattr(dask_pool, "LOST_S", 60.0)
        threading.Timer(0.3, lone.scheduler.kill).start()
        with pytest.raises(
            ExpectedError, match=r"lost the connection to the scheduler; start it again with its worker"
        ):
            list(second.ordered(abs, range(100)))


def test_a_worker_in_another_folder_is_refused_when_it_joins_late_and_when_a_run_connects(clone, lone, tmp_path):
    lone.add(1)
    lone.wait(1)
    expected = f"worker tcp://.* works in '{tmp_path}', expected the folder '{clone.folder}' on a shared file system"
    with Workers() as workers:
        lone.add(1, folder=tmp_path, PYTHONPATH=str(clone.folder))
        lone.wait(2)
        with pytest.raises(ExpectedError, match=expected):
            for _ in workers.ordered(lambda _: time.sleep(0.05), range(2000)):
                pass
    with pytest.raises(ExpectedError, match=expected):
        list(ordered(abs, [1]))


def test_a_worker_with_other_code_is_refused(clone, lone, tmp_path):
    shutil.copytree(clone.folder / "stages", tmp_path / "stages")
    (tmp_path / "stages/core/units.py").write_text("# edited\n")
    lone.add(1, python=["-P"], PYTHONPATH=str(tmp_path))
    with pytest.raises(
        ExpectedError, match=r"worker tcp://.* runs code '[0-9a-f]{16}', expected '[0-9a-f]{16}' as her"
    ):
        list(ordered(abs, [1]))


def test_a_worker_without_the_code_is_named(lone, tmp_path):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").touch()
    lone.add(1, python=["-P"], PYTHONPATH=str(tmp_path))
    with pytest.raises(ExpectedError, match=r"worker tcp://.* cannot run the code of this folder \(ModuleNotFoundErr"):
        list(ordered(abs, [1]))


@pytest.mark.parametrize("what", ["code", "python", "numpy"])
def test_what_differs_is_named(tmp_path, what):
    token = tmp_path / "token"
    token.touch()
    site = dask_worker.here(token=str(token))
    assert dask_worker.refusal(site) == ""
    found = getattr(site, what)
    assert dask_worker.refusal(replace(site, **{what: "0.1"})) == f"runs {what} '{found}', expected '0.1' as here"
    token.unlink()
    assert "expected the folder" in dask_worker.refusal(replace(site, folder=str(Path("/elsewhere"))))
