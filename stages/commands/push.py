"""Send arrays and run cache to the remote, and see that all of it is there: the command behind `make push`.

`make work` sends the batch that it built in the same way.

In: dvc.lock, the ``.dvc`` files, DVC's cache. Out: the remote, and a line such as "129 of 129 objects are in store".
`make verify REMOTE=yes` also reads the remote's objects and sends again those whose bytes are not what they were.
"""

import logging
import os
import sys
from collections.abc import Sequence

from stages.commands.repair import look_first
from stages.core.errors import ExpectedError
from stages.core.params import load
from stages.pipeline import dvc, internals, merges, remote
from stages.pipeline.remote import RemoteFault
from stages.runtime import cli

logger = logging.getLogger("batchwise")

FAILURE = "dvc push failed, see above; what was sent is kept, run the same command again"


def push() -> None:
    """Send everything, and again what did not arrive whole.

    Raises
    ------
    ExpectedError
        When no remote is set, DVC fails, or an object is in neither the remote nor DVC's cache.
    """
    params = load()
    look_first(params, sorted(params.datasets))
    merges.check()
    store = remote.open_remote()
    dvc.call("push", "--run-cache", failure=FAILURE)
    n_objects = _see_to(remote.expected(internals.open_store()), store)
    sys.stdout.write(f"{n_objects:,} of {n_objects:,} objects are in {store.name}\n")


def send(objects: Sequence[remote.Shared], store: remote.RemoteStore) -> None:
    """Send some objects without DVC, which takes a second to begin, and again what did not arrive whole.

    Raises
    ------
    ExpectedError
        When an object is not whole in the remote afterwards.
    """

    def faults() -> list[RemoteFault]:
        return remote.size_faults(objects, store.sizes_of(shared.md5 for shared in objects))

    found = faults()
    if wrong := [fault for fault in found if fault.is_there]:
        _tell_again(wrong, store)
        remote.make_way(wrong, {fault.shared.md5: 0 for fault in wrong}, store)
    for fault in found:
        internals.upload(fault.shared.file.object, store.fs, store.address(fault.shared.md5))
    remote.refuse(faults(), len(objects), store)


def _see_to(objects: Sequence[remote.Shared], store: remote.RemoteStore) -> int:
    """See that the remote holds all objects; send again what it does not hold whole.

    Returns
    -------
    int
        How many there are.
    """
    found = store.sizes()
    faults = remote.size_faults(objects, found)
    if faults:
        _send_again(faults, found, store)
        faults = remote.size_faults(objects, store.sizes())
    remote.refuse(faults, len(objects), store)
    return len(objects)


def _tell_again(faults: Sequence[RemoteFault], store: remote.RemoteStore) -> None:
    logger.warning("%d objects are not whole in %s, for example %s; sending again", len(faults), store.name, faults[0])


def _send_again(faults: Sequence[RemoteFault], sizes: dict[str, int], store: remote.RemoteStore) -> None:
    _tell_again(faults, store)
    remote.make_way(faults, sizes, store)
    dvc.call("push", "--quiet", failure=FAILURE)


def remote_faults() -> int:
    """Read every object of the remote if the environment variable ``REMOTE`` is yes, and send the wrong ones again.

    Returns
    -------
    int
        How many objects could not be mended; each is a line on stdout.
    """
    if not _is_asked():
        return 0
    store = remote.open_remote()
    objects = remote.expected(internals.open_store())
    sizes = store.sizes()
    faults = _all_faults(objects, sizes, store)
    if faults:
        _send_again(faults, sizes, store)
        faults = _all_faults(objects, store.sizes(), store)
    again = "`make push` on a machine whose DVC cache has it"
    sys.stdout.writelines(f"{store.name}: {fault}; {again}\n" for fault in faults)
    n_whole = len(objects) - len(faults)
    sys.stdout.write(f"{n_whole:,} of {len(objects):,} objects in {store.name} have the bytes of their digests\n")
    return len(faults)


def _all_faults(
    objects: Sequence[remote.Shared], sizes: dict[str, int], store: remote.RemoteStore
) -> list[RemoteFault]:
    faults = remote.size_faults(objects, sizes)
    known = {fault.shared.md5 for fault in faults}
    return faults + remote.byte_faults([shared for shared in objects if shared.md5 not in known], store)


def _is_asked() -> bool:
    value = os.environ.get("REMOTE", "") or "no"
    if value not in ("yes", "no"):
        raise ExpectedError(f"REMOTE: {value!r}, expected yes or no; correct it")
    return value == "yes"


def main() -> int:
    """Run the command."""
    cli.parser("commands.push", "Send arrays and run cache to the remote, and see that all is there.").parse_args()
    return cli.run(push, lambda: "what was sent is kept")


if __name__ == "__main__":
    sys.exit(main())
