"""Call git, and read files of commits.

Outside of a git repository there are no files that git knows and no merges.
"""

import subprocess

from stages.core.errors import ExpectedError


def output(*arguments: str) -> str:
    """Return what a git command prints, without the last line break.

    Raises
    ------
    ExpectedError
        When it fails; with the last line of what it says.
    """
    done = _run(*arguments)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise ExpectedError(f"git {' '.join(arguments)}: {said[-1]}")
    return done.stdout.rstrip("\n")


def try_output(*arguments: str) -> str:
    """Return what a git command prints, nothing if it fails."""
    done = _run(*arguments)
    return "" if done.returncode else done.stdout.rstrip("\n")


def lines(*arguments: str) -> list[str]:
    """Return the lines that a git command prints, none if it fails."""
    return try_output(*arguments).splitlines()


def show(commit: str, path: str) -> str:
    """Return the text of a file in a commit, nothing if it is not there."""
    done = _run("show", f"{commit}:{path}")
    return "" if done.returncode else done.stdout


def commit_id(name: str) -> str:
    """Return the digest of the commit that a name stands for, nothing if there is none."""
    return try_output("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")


def merge_base(one: str, other: str) -> str:
    """Return the commit from which two have parted, nothing if there is none."""
    return try_output("merge-base", one, other)


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(arguments, 127, "", "git: not found; install it")
