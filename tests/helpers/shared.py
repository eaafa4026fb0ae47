"""What is expensive is made once for all processes of pytest-xdist."""

import fcntl
import os
import shutil


def made_once(tmp_path_factory, name, make):
    """Return a folder that the first process to ask for it makes, while the others wait.

    Parameters
    ----------
    tmp_path_factory
        The fixture of pytest.
    name
        Of the folder; one name, one content.
    make
        Fills the empty folder that it is given. Its place is another one in the end.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, half = base / name, base / f"{name}.half"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            make(half)
            half.rename(folder)
    return folder
