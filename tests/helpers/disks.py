"""Small disks, for tests that fill them."""

import os
import subprocess
from contextlib import contextmanager

import pytest


def mount(folder, *options):
    """Mount a file system; skip where this user may not."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount is not allowed here: {done.stderr.strip()}")


def unmount(folder):
    subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def memory_disk(folder, n_bytes):
    """Give a folder that holds that many bytes, kept in memory."""
    mount(folder, "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs")
    try:
        yield folder
    finally:
        unmount(folder)


def enlarge(folder, n_bytes):
    """Make a disk of `memory_disk` larger, with all that is on it."""
    subprocess.run(["mount", "-o", f"remount,size={n_bytes}", folder], check=True)


def disk_use(folder):
    """Return the bytes that a folder takes on a disk."""
    shown = subprocess.run(["du", "-s", "--block-size=1", folder], capture_output=True, text=True, check=True).stdout
    return int(shown.split()[0])
