"""Call the dvc command; it dies with the process that calls it, and a failure is one error.

What DVC and its stages say goes to the terminal as it is; the error says what to do next.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from stages.core.complete import complete
from stages.core.errors import ExpectedError
from stages.runtime.signals import die_with_parent

logger = logging.getLogger("batchwise")

DVC = (sys.executable, "-m", "dvc")
QUIETER = (sys.executable, "-m", "stages.pipeline.dvc_cli")  # the same, without lines that mean nothing here


def complete_params() -> None:
    """Write into params.yaml the keys that DVC wants to find there, and say which; no command works without them."""
    for line in complete():
        logger.info(line)


def call(
    *arguments: str, failure: str, environment: Mapping[str, str] | None = None, shows_errors_only: bool = False
) -> None:
    """Run a dvc command.

    Parameters
    ----------
    arguments
        ``repro``, ``--quiet``, ``split@splendor`` and so on.
    failure
        The error's text: what failed and what to do.
    environment
        Of the command; None is that of this process.
    shows_errors_only
        Drop what the command says of its progress; its own ``--quiet`` would drop the reason of a failure too.

    Raises
    ------
    ExpectedError
        When the command fails.
    """
    stdout = subprocess.DEVNULL if shows_errors_only else None
    command = [*(QUIETER if arguments[0] == "repro" else DVC), *arguments]
    done = subprocess.run(command, env=environment, stdout=stdout, check=False, preexec_fn=die_with_parent)
    if done.returncode:
        raise ExpectedError(failure)


def nested_repro(*stages: str, failure: str) -> None:
    """Run some stages, and not what they depend on, from within a stage that DVC runs.

    DVC tells its stages about itself in variables; the nested one must not take itself for the outer one.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
    call("repro", "--single-item", *stages, failure=failure, environment=environment)


def status() -> dict[str, list[Any]]:
    """Return what `dvc status` says of each stage of dvc.yaml that is not up to date; other pipelines are left out.

    Returns
    -------
    dict
        By stage name a list of ``"changed command"`` and of ``{"changed deps": {path: state}}``, where the state of
        params is again a dict of keys.

    Raises
    ------
    ExpectedError
        When the command fails; with the last line of what it says.
    """
    done = subprocess.run(
        [*DVC, "status", "--json"], capture_output=True, text=True, check=False, preexec_fn=die_with_parent
    )
    if done.returncode:
        raise ExpectedError(f"dvc status failed: {done.stderr.strip().splitlines()[-1]}")
    stages: dict[str, list[Any]] = json.loads(done.stdout)
    return {name: entries for name, entries in stages.items() if ":" not in name}
