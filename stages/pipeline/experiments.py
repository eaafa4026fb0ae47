"""DVC's queue of experiments: what is in it, its worker, and how both are brought in order after a kill.

An experiment is a commit beside the branches, ``refs/exps/<commit it began at>/<name>``. A queued one is a commit in a
stash and a file in .dvc/tmp/exps; a worker, a process of its own that goes on when the one that started it ends, takes
one after the other and runs `dvc exp exec-run` in a temporary folder with the files that git knows. It ends when the
queue is empty for ten seconds.

What a killed worker had in work stays "running" for ever, and the experiment's process may have lived on. So without a
worker, what runs is stopped and taken out of the queue, to be queued again.
"""

import contextlib
import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from stages.core.errors import ExpectedError
from stages.pipeline import git, internals, queue_internals, verbs
from stages.pipeline.dvc import DVC
from stages.pipeline.queue_internals import QueuedExperiment
from stages.runtime.signals import HeldBack

__all__ = ["QueuedExperiment"]

NEEDED = ("dvc.yaml", "params.yaml", verbs.TRAINING)
CODE = (*NEEDED, "dvc.lock", "stages", "data/manifests")  # where a file that git does not know would be missed
LOCK_OF_TRAINING = str(Path(verbs.TRAINING).with_name("dvc.lock"))  # made by each training, in the copy as well
EXPS = Path(".dvc/tmp/exps")
RWLOCK = EXPS / "rwlock"
WORKER_LOG = EXPS / "celery/dvc-exp-worker-1.out"
STOP_S = 30.0  # a training ends its step and writes a checkpoint
POLL_S = 0.2
START_S = 10.0  # in which a worker that was started is seen among the processes
TOLD = 3  # most file names in an error

logger = logging.getLogger("batchwise")


# Before anything is queued.


def refuse_unready() -> None:
    """Refuse a repository whose experiments would not train what lies in the workspace.

    Raises
    ------
    ExpectedError
        When there is no git repository, the pipeline is not committed, or git does not know a file of the code.
    """
    if not git.commit_id("HEAD"):
        raise ExpectedError("no commit here, expected one: DVC's experiments are commits; `git init`, add and commit")
    missing = [name for name in NEEDED if not git.show("HEAD", f"./{name}")]
    if missing:
        raise ExpectedError(f"{', '.join(missing)}: not in git's last commit, expected there by experiments; commit it")
    unknown = git.lines("ls-files", "--others", "--exclude-standard", "--", *CODE)
    unknown = [name for name in unknown if name != LOCK_OF_TRAINING]
    if unknown:
        names = ", ".join([*unknown[:TOLD], *(["..."] if len(unknown) > TOLD else [])])
        raise ExpectedError(f"{names}: git does not know it, so an experiment would lack it; `git add` it")
    if unmerged := git.lines("diff", "--name-only", "--diff-filter=U"):
        raise ExpectedError(f"{unmerged[0]}: a merge is not finished, expected none; finish it")


def queue(name: str, target: str, overrides: Sequence[str]) -> None:
    """Put an experiment into the queue: the workspace as it is, with other params; it takes two seconds.

    DVC sets what is changed in the workspace aside meanwhile, so signals wait until it has put that back.

    Raises
    ------
    ExpectedError
        When DVC refuses it; with its reason.
    """
    settings = [word for override in overrides for word in ("--set-param", override)]
    words = ["exp", "run", "--queue", "--single-item", "--name", name, *settings, target]
    with HeldBack():
        done = _dvc(*words)
    _refuse_failed(done, f"{name}: DVC does not queue it")


def _dvc(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run DVC in a session of its own, which Ctrl-C and a kill of this process's group do not reach."""
    folder = str(Path(sys.executable).parent)  # DVC starts its worker, and the training, by name
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
    environment["PATH"] = os.pathsep.join([folder, environment.get("PATH", "")])
    return subprocess.run(
        [*DVC, *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )


def _refuse_failed(done: "subprocess.CompletedProcess[str]", what: str) -> None:
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()] or ["no reason given"]
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
        raise ExpectedError(f"{what}: {errors[0].removeprefix('ERROR: ').strip()}; correct it and run again")


# What is there.


def entries() -> list[QueuedExperiment]:
    """Return what is in the queue and has not ended well."""
    return queue_internals.experiments_in_queue()


def finished() -> dict[str, str]:
    """Return the commit of each experiment that ended well, by its name; the newest of several."""
    lines = git.lines("for-each-ref", "--sort=committerdate", "--format=%(objectname) %(refname)", "refs/exps")
    found = {}
    for line in lines:
        commit, _, ref = line.partition(" ")
        parts = ref.split("/")
        if len(parts) == len(("refs", "exps", "ab", "cd...", "name")):
            found[parts[-1]] = commit
    return found


def outputs(store: internals.Store, commit: str, stage: str) -> dict[str, Path]:
    """Return where in the cache the outputs of a stage of training lie, by path, as an experiment left them.

    Parameters
    ----------
    store
        DVC's cache.
    commit
        That of the experiment.
    stage
        ``train@hex``.
    """
    content: dict[str, Any] = yaml.safe_load(git.show(commit, f"./{LOCK_OF_TRAINING}")) or {}
    outs = content.get("stages", {}).get(stage, {}).get("outs", [])
    return {out["path"]: store.object(out["md5"]) for out in outs}


def reason(entry: QueuedExperiment) -> str:
    """Return why an experiment failed: the first error in what it said, of the training if it says one, else of DVC."""
    lines = _lines(entry.log)
    errors = [line for line in lines if line.startswith("error: ")] or [line for line in lines if "ERROR: " in line]
    if errors:
        return errors[0].removeprefix("error: ").removeprefix("ERROR: ")
    return f"it said nothing; see {WORKER_LOG}" if not lines else f"it ended behind {lines[-1]!r}"


def last_line(entry: QueuedExperiment) -> str:
    """Return what an experiment said last."""
    return (_lines(entry.log) or [""])[-1]


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return [line.strip() for line in text.splitlines() if line.strip()]


# The worker.


def worker() -> psutil.Process | None:
    """Return the process that takes experiments from the queue of this repository, None if there is none."""
    return next(iter(_processes("queue-worker")), None)


def _processes(word: str) -> list[psutil.Process]:
    """Return the processes of DVC's queue that work in this repository and have a word in their command line."""
    here, found = Path.cwd(), []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            is_one = word in words and "exp" in words and process.status() != psutil.STATUS_ZOMBIE
            if is_one and Path(process.cwd()).is_relative_to(here):
                found.append(process)
        except (psutil.Error, OSError):  # it ended meanwhile, or is another user's
            continue
    return found


def start_worker() -> None:
    """Start a worker if there is none: one, since several may lose experiments.

    Raises
    ------
    ExpectedError
        When it does not start.
    """
    _refuse_failed(_dvc("queue", "start", "--jobs", "1"), "DVC's queue does not start")
    end = time.monotonic() + START_S
    while worker() is None and time.monotonic() < end:
        time.sleep(0.1)


def bring_in_order() -> list[str]:
    """Without a worker, take out of the queue what was in work when it was killed; return the names.

    What a killed sweep was about to queue is waited for.
    """
    psutil.wait_procs(_processes("--queue"), timeout=STOP_S)
    if worker() is not None:
        return []
    _end_experiments()
    left = [entry for entry in entries() if entry.status == "running"]
    remove(left)
    for entry in left:
        if entry.folder is not None and entry.folder.is_relative_to(EXPS.absolute()):
            shutil.rmtree(entry.folder, ignore_errors=True)
    RWLOCK.unlink(missing_ok=True)
    return [entry.name for entry in left]


def remove(chosen: Iterable[QueuedExperiment]) -> None:
    """Take entries out of the queue; what they have trained stays among the checkpoints."""
    revisions = {entry.revision for entry in chosen}
    if revisions:
        queue_internals.remove_from_queue(revisions)


def stop() -> list[str]:
    """Let the training in work write a checkpoint and end, and the worker with it; return the names of what ended.

    What waits stays in the queue. The experiment that ended is taken out of it, as if it had not begun.
    """
    running = {entry.revision for entry in entries() if entry.status == "running"}
    queue_internals.let_worker_end()
    _end_experiments()
    ended = [entry for entry in entries() if entry.revision in running and entry.status == "failed"]
    remove(ended)
    return [*(entry.name for entry in ended), *bring_in_order()]


def _end_experiments() -> None:
    """Let each training write a checkpoint and end, and with it what runs it; kill what is there after `STOP_S`."""
    told: set[int] = set()  # a training that is told twice ends without a checkpoint
    end = time.monotonic() + STOP_S
    while (at_work := [*_processes("exec-run"), *_processes("queue-worker")]) and time.monotonic() < end:
        for process in filter(_is_training, _with_children(at_work)):
            if process.pid not in told:
                told.add(process.pid)
                _signal(process, signal.SIGTERM)
        time.sleep(POLL_S)
    for process in _with_children(at_work):
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(at_work, timeout=STOP_S)


def _with_children(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    found = {process.pid: process for process in processes}
    for process in list(found.values()):
        with contextlib.suppress(psutil.Error):
            found |= {child.pid: child for child in process.children(recursive=True)}
    return list(found.values())


def _is_training(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return ("-m", "stages.train") in itertools.pairwise(words)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
