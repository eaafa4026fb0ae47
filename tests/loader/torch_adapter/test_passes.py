"""Passes that begin at the same time."""

import queue
import threading
from collections import Counter

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from torch.utils.data import DataLoader  # noqa: E402

from stages.loader import PartArrays, Settings  # noqa: E402
from stages.loader.stream import Place  # noqa: E402
from stages.loader.torch_adapter import TorchBatches, TorchLoader  # noqa: E402
from stages.loader.torch_adapter.passes import Passes  # noqa: E402
from tests.helpers.loader_parts import flat, rows_of, write_part  # noqa: E402

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # more workers than cores
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),  # fork, Python 3.12
]

N_AT_ONCE, N_EPOCHS = 3, 2


def dataset(folder):
    return TorchBatches(PartArrays(folder, "train", ("X",)), Settings(batch_size=40, shuffle_seed=3))


def plain(data, **options):
    return DataLoader(data, batch_size=None, **options)


def at_once(function, arguments):
    """Return what a function gives for each argument, in a thread each.

    No pool of concurrent.futures: its threads end a process that they fork with the exit 1, of which torch tells.
    """
    results = queue.SimpleQueue()
    threads = [threading.Thread(target=lambda given: results.put(function(given)), args=(one,)) for one in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results.get(timeout=1) for _ in threads]


@pytest.mark.parametrize("make", [plain, TorchLoader])
@pytest.mark.parametrize("is_shared", [True, False])
def test_loaders_of_several_threads_do_not_wait_for_each_other(tmp_path, make, is_shared):
    """Each pass is a whole epoch: of one dataset another for each pass, of several the same for each."""
    folder = write_part(tmp_path / "toy", 400)
    epochs = [rows_of(DataLoader(data, batch_size=None)) for data in [dataset(folder)] for _ in range(6)]
    datasets = [dataset(folder)] * N_AT_ONCE if is_shared else [dataset(folder) for _ in range(N_AT_ONCE)]
    together = threading.Barrier(N_AT_ONCE)

    def passes(data):
        loader = make(data, num_workers=3, timeout=100)
        together.wait()
        return [rows_of(loader) for _ in range(N_EPOCHS)]

    given = Counter(epochs.index(rows) for rows in flat(at_once(passes, datasets)))
    assert given == (dict.fromkeys(range(6), 1) if is_shared else dict.fromkeys(range(N_EPOCHS), N_AT_ONCE))


def test_passes_of_several_threads_are_different_epochs():
    """Without workers, a thousand from each of four threads."""
    passes = Passes(Place(0, 0))
    epochs = flat(at_once(lambda _: [passes.begin().epoch for _ in range(250)], range(4)))
    assert sorted(epochs) == list(range(1000))
