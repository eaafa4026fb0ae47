"""A process that has imported the verbs and forks for each command: a start takes 20 ms of CPU, not 300.

Each command runs as `python -m` would run it, in a process of its own: its folder, arguments, environment, output and
exit code are its own. What it has from here is the modules, imported before. Orders come as one line of JSON on stdin,
exit codes go as one line each to stdout; the end of stdin is the end.
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
from itertools import product

from tests.helpers.places import REPOSITORY, SHIPPED, module_of
from tests.helpers.verbs import FROM_RAW

LONGEST_S = 300
DVC = "dvc.__main__"


class Nursery:
    """The parent of the commands that tests run; use it in a ``with`` statement."""

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
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
        if not select.select([self._process.stdout], [], [], LONGEST_S)[0]:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise TimeoutError(f"{order['command']}: still running after {LONGEST_S} s")
        return int(self._process.stdout.readline())


def _read(file):
    file.seek(0)
    return file.read().decode()


def main():
    """Fork for each order; in the child, return the order."""
    for line in sys.stdin:
        order = json.loads(line)
        if order["command"][0] == DVC:
            import_module("dvc.cli.parser")  # half a second, for those who need it
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
    sys.path[0] = order["folder"]
    sys.modules.pop(module, None)  # else it would not be run anew
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    commands = [path.stem for path in (REPOSITORY / "stages/commands").glob("[!_]*.py")]
    for name in ("simulate", "expand", *FROM_RAW, *commands):
        import_module(module_of(name))
    for dataset, room in product(SHIPPED, ("simulate", "find", "encode")):
        import_module(f"stages.datasets.{dataset}.{room}")
    gc.freeze()  # what is never looked at stays shared with the children
    if order := main():
        become(order)
