"""Kill a command with all it started, at a seeded moment, and see what it leaves."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil


def begin(clone, *command, output=None, **variables):
    """Start a command in a process group of its own, with the signals of a terminal, whatever is ignored here.

    What it says goes to the open file `output`, or nowhere.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_", "MAKE"))}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    nothing = subprocess.DEVNULL
    return subprocess.Popen(
        command,
        cwd=clone.folder,
        env={**environment, **variables},
        stdin=nothing,
        stdout=output or nothing,
        stderr=output or nothing,
        start_new_session=True,
        preexec_fn=_heed_signals,
    )


def _heed_signals():
    """Under `nohup` SIGHUP is ignored, in the background of a script SIGINT, and a child would ignore them too."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def descendants(process):
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_until_gone(processes, seconds=10.0):
    """Return those that are alive after so many seconds; a signal at a parent's death ends them in milliseconds."""
    end = time.monotonic() + seconds
    while (alive := [process for process in processes if _alive_or_gone(process)]) and time.monotonic() < end:
        time.sleep(0.01)
    return alive


def _alive_or_gone(process):
    try:
        return is_alive(process)
    except psutil.NoSuchProcess:
        return False


def is_stage(process):
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return any(word.startswith("stages.") for word in words) and "-c" not in words


def wait_for(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.002)
    return found


def kill_group(process, number=signal.SIGKILL):
    """Send a signal to a process group; say whether it was still at work. What is killed is gone when this returns.

    Where it goes on with another stage the signal is sent again: DVC ignores SIGINT while a command runs, and a stage
    that is about to end may do so too.
    """
    was_running = process.poll() is None
    met = set(descendants(process))
    members = [child for child in met if _group(child) == process.pid]
    if was_running:
        os.killpg(process.pid, number)
    end = time.monotonic() + 120
    while wait_at_most(process, 1):
        assert time.monotonic() < end, f"it still runs 120 s after {signal.Signals(number).name}"
        if later := set(filter(is_stage, descendants(process))) - met:
            met |= later
            os.killpg(process.pid, number)
    if number == signal.SIGKILL:
        assert wait_until_gone(members, 30) == []  # one that waits for the disk dies later than the signal
    return was_running


def _group(process):
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


def left_overs(clone):
    return sorted(str(path.relative_to(clone.folder)) for path in (clone.folder / "data").rglob("*.tmp"))


def stop_at_left_over(clone, process):
    """Stop a process group while a temporary file is there, which stays when it is killed then; or return at its end.

    Without a stop the file may have its final name before the signal comes.
    """
    while process.poll() is None:
        if left_overs(clone):
            os.killpg(process.pid, signal.SIGSTOP)
            wait_for(lambda: psutil.Process(process.pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE))
            if left_overs(clone):
                return
            os.killpg(process.pid, signal.SIGCONT)
        time.sleep(0.001)


def everything(clone):
    """Return the bytes of all that the pipeline makes, and of dvc.lock."""
    files = {path for path in (clone.folder / "data").rglob("*") if path.is_file()}
    # What is there for the next run alone: logs, and the list of the games that Hex has played.
    files = {path for path in files if not {"logs", ".hex.played"} & set(path.parts)} | {clone.folder / "dvc.lock"}
    return {str(path.relative_to(clone.folder)): path.read_bytes() for path in sorted(files)}


def running(process, name):
    return [child for child in descendants(process) if is_stage(child) and name in _words(child)]


def _words(process):
    try:
        return process.cmdline()
    except psutil.Error:  # it ended since
        return []


# Kills of a whole run.

SIGNALS = (signal.SIGKILL, signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Kill:
    """A signal to a command with all it started, some seconds after its start.

    One that is aimed waits then for the moment in which DVC has emptied a file of its own to write it anew.
    """

    number: signal.Signals
    after_s: float
    is_aimed: bool

    def __str__(self):
        return f"{self.number.name} after {self.after_s:.1f} s" + (", when DVC writes" if self.is_aimed else "")


def seeded_kills(n_kills, seconds, seed):
    """Return kills spread over the seconds that a command takes, each signal in turn, every second one aimed."""
    rng = random.Random(seed)
    kills = []
    for number in range(n_kills):
        is_aimed = number % 2 == 1
        latest = 0.7 if is_aimed else 0.95  # so that DVC still has something to write
        kills.append(Kill(SIGNALS[number // 2 % len(SIGNALS)], seconds * rng.uniform(0.05, latest), is_aimed))
    return kills


def carry_out(kill, clone, command):
    """Start a command and kill it with all it started; say whether that ended it."""
    process = begin(clone, *command)
    wait_at_most(process, kill.after_s)
    while kill.is_aimed and process.poll() is None and not is_emptied(clone):
        pass
    return kill_group(process, kill.number) and process.returncode != 0


def assert_one_more_run_gives(clone, command, expected):
    """Run a command, which must give the bytes `expected`; return what it says of files of DVC that it mended."""
    done = clone.run(*command, check=False)
    told = done.stdout[-2000:] + done.stderr[-2000:]
    assert done.returncode == 0, told
    assert (found := differences(everything(clone), expected)) == [], f"{found} differ; {told}"
    assert (found := left_overs(clone)) == [], f"left over: {found}"
    return [line for line in done.stderr.splitlines() if "when a DVC was killed" in line or "by a DVC that" in line]


def differences(found, expected):
    """Return the names that only one of two collections of bytes has, or whose bytes differ."""
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))


def is_emptied(clone):
    """Say whether DVC is writing one of its own files; rwlock is written some ten times a stage."""
    for name in ("dvc.lock", ".dvc/tmp/rwlock"):
        try:
            if (clone.folder / name).stat().st_size == 0:
                return True
        except FileNotFoundError:
            continue
    return False


def wait_at_most(process, seconds):
    """Wait for the end of a process, so many seconds at most; say whether it still runs."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    return process.poll() is None
