"""A process that has imported the verbs, or DVC, and forks for each command: a start takes 20 ms of CPU, not 300.

Each command runs as `python -m` would run it, in a process of its own: its folder, arguments, environment, output and
exit code are its own. What it has from here is the modules, imported before. Orders come as one line of JSON on stdin,
exit codes go as one line each to stdout; the end of stdin is the end.

A nursery for clones has no module of this repository, since a clone has its own: DVC and the packages alone, of
whose import a `dvc repro` that has nothing to do takes 0.8 s of CPU of 1.1.
"""

import gc
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from importlib import import_module
from importlib.util import find_spec
from itertools import product

from tests.helpers.places import REPOSITORY, SHIPPED, module_of

LONGEST_S = 300
LONGEST_OF_CLONES_S = 1200  # all four datasets of a fresh clone, beside other work
DVC = "dvc.__main__"
NEEDED_BY = {DVC: "dvc.cli.parser", "stages.train": "torch", "stages.predict": "torch"}
FOR_CLONES = "for clones"
PACKAGES = (
    *("joblib", "msgspec", "numpy", "psutil", "rich.console", "rich.live", "rich.table", "yaml"),
    *("dulwich.client", "dulwich.repo", "dvc.cachemgr", "dvc.cli.parser", "dvc.data_cloud", "dvc.dirs", "dvc.dvcfile"),
    *("dvc.lock", "dvc.output", "dvc.parsing", "dvc.render", "dvc.repo", "dvc.repo.index", "dvc.repo.reproduce"),
    *("dvc.rwlock", "dvc.scm", "dvc.stage.cache", "dvc.stage.run", "dvc.ui", "dvc.utils.serialize", "dvc_data.index"),
    *("networkx", "scmrepo.git", "asyncssh", "s3fs"),
)


class Nursery:
    """The parent of the commands that tests run; use it in a ``with`` statement.

    Parameters
    ----------
    words
        `FOR_CLONES`, or nothing.
    """

    def __init__(self, *words):
        self._words = words
        self._longest_s = LONGEST_OF_CLONES_S if words else LONGEST_S

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *self._words],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, command, folder, environment):
        """Run `python -m <command>` to its end and return it.

        Parameters
        ----------
        command
            Module and arguments.
        folder
            Working directory.
        environment
            All variables.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            streams = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
            code = self._order({"command": command, "folder": folder, "environment": environment, "streams": streams})
            texts = [_read(file) for file in (out, err)]
        return subprocess.CompletedProcess(command, code, *texts)

    def _order(self, order):
        self._process.stdin.write(json.dumps(order, default=str) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], self._longest_s)[0]:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise TimeoutError(f"{order['command']}: still running after {self._longest_s} s")
        return int(self._process.stdout.readline())


def _read(file):
    file.seek(0)
    return file.read().decode()


def main():
    """Fork for each order; in the child, return the order."""
    for line in sys.stdin:
        order = json.loads(line)
        if name := NEEDED_BY.get(order["command"][0]):  # for those who need it: half a second, and two for torch
            import_module(name)
            gc.freeze()
        child = os.fork()
        if child == 0:
            return order
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def become(order):
    """Make this process the command that was ordered."""
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    for number, path in ((0, os.devnull), *enumerate(order["streams"], 1)):
        file = os.open(path, os.O_RDWR)
        os.dup2(file, number)
        os.close(file)
    module, *sys.argv[1:] = order["command"]
    sys.path[:1] = [order["folder"], *filter(None, order["environment"].get("PYTHONPATH", "").split(os.pathsep))]
    sys.modules.pop(module, None)  # else it would not be run anew
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def prepare(words):
    """Import what the commands need."""
    if words == [FOR_CLONES]:
        for name in PACKAGES:
            if find_spec(name.partition(".")[0]):  # not every environment reaches every kind of remote
                import_module(name)
        return
    from tests.helpers.verbs import FROM_RAW

    commands = [path.stem for path in (REPOSITORY / "stages/commands").glob("[!_]*.py")]
    for name in ("simulate", "expand", *FROM_RAW, *commands):
        import_module(module_of(name))
    for dataset, room in product(SHIPPED, ("simulate", "find", "encode")):
        import_module(f"stages.datasets.{dataset}.{room}")


if __name__ == "__main__":
    prepare(sys.argv[1:])
    gc.freeze()  # what is never looked at stays shared with the children
    if order := main():
        become(order)
