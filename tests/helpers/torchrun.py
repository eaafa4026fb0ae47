"""Several processes of torch.distributed on this machine."""

import json
import subprocess
import sys
import textwrap

from tests.helpers.places import REPOSITORY


def torchrun(n_ranks):
    """Return the words that start a Python program in so many processes."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_ranks)]


def run_by_two_ranks(script, folder, tmp_path):
    """Run a script in two processes, on a folder."""
    path = tmp_path / "ranks.py"
    path.write_text(textwrap.dedent(script))
    command = [*torchrun(2), str(path), str(folder)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)


def told_by_two_ranks(script, folder, tmp_path):
    """Run a script in two processes, on a folder; return what its last line says as JSON."""
    done = run_by_two_ranks(script, folder, tmp_path)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
