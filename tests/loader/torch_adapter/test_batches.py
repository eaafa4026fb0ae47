"""One order for any ranks and workers, passes that are epochs, and states that go on in any layout."""

import copy
import json
import time
from itertools import product

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from torch.utils.data import DataLoader  # noqa: E402

from stages.core.errors import ExpectedError  # noqa: E402
from stages.core.files import atomic_dir  # noqa: E402
from stages.loader import Adaptive, PartArrays, Settings, Share, batches, open_source  # noqa: E402
from stages.loader.torch_adapter import TorchBatches, TorchLoader  # noqa: E402
from tests.helpers.loader_parts import flat, loader_threads, rows_of, write_part  # noqa: E402

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore:.set_vital. is deprecated:UserWarning"),  # torchdata 0.11 looks at all of torch
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # more workers than cores
]

SIZE = 48
FIELDS = ("X", "name")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_part(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def epochs(folder):
    """Return the batches of five epochs as the plain stream gives them."""
    return [rows_of(batches(folder, "train", Settings(**settings(epoch=epoch)))) for epoch in range(5)]


def settings(**more):
    return {"batch_size": SIZE, "shuffle_seed": 3, "fields": FIELDS, **more}


def dataset(folder, **more):
    return TorchBatches(PartArrays(folder, "train", FIELDS), Settings(**settings(**more)))


def of_ranks(folder, n_ranks, n_workers, state=None, **more):
    """Return the global batches that some ranks with some workers each make together."""
    parts = []
    for rank in range(n_ranks):
        loader = TorchLoader(dataset(folder, shard=(rank, n_ranks), **more), num_workers=n_workers)
        if state is not None:
            loader.load_state_dict(state)
        parts.append(rows_of(loader))
        assert state is not None or len(parts[-1]) == len(loader)
    return [flat(batch) for batch in zip(*parts, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(("n_ranks", "remainder"), [*product([1, 2, 4, 8], ["drop", "pad", "keep"])])
def test_one_order_for_any_layout(folder, n_ranks, remainder):
    expected = rows_of(batches(folder, "train", Settings(**settings(remainder=remainder))))
    for n_workers in range(4):
        assert of_ranks(folder, n_ranks, n_workers, remainder=remainder) == expected


def test_two_workers_give_what_one_process_gives(folder, epochs):
    assert of_ranks(folder, 2, 2, remainder="keep") == epochs[0]


def test_batches_are_tensors_but_for_text(folder):
    batch = next(iter(TorchLoader(dataset(folder))))
    assert batch["X"].dtype == torch.float32
    assert batch["name"].dtype.kind == "S"


def plain(data, **options):
    return DataLoader(data, batch_size=None, **options)


def stateful(data, **options):
    reason = "torchdata is not installed; `make test-train` installs it"
    torchdata = pytest.importorskip("torchdata.stateful_dataloader", reason=reason)
    return torchdata.StatefulDataLoader(data, batch_size=None, **options)


def passes(loader, data):
    """Return what some passes give: two in a row with one broken off between, and two whose epoch is set."""
    first = rows_of(loader)
    for _ in loader:
        break
    third = rows_of(loader)
    data.set_epoch(4)
    fifth = rows_of(loader)
    data.epoch = 3
    return [first, third, fifth, rows_of(loader)]


@pytest.mark.parametrize("make", [plain, stateful, TorchLoader])
def test_each_pass_is_the_next_epoch(folder, epochs, make):
    data = dataset(folder)
    assert passes(make(data), data) == [epochs[i] for i in (0, 2, 4, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("make", [plain, stateful, TorchLoader])
@pytest.mark.parametrize(
    ("start", "persistent", "n_workers"),
    [
        *product(["fork", "spawn", "forkserver"], [True], [2]),
        ("fork", False, 2),
        *product(["spawn", "forkserver"], [False], [1]),  # these import torch for each pass
    ],
)
def test_each_pass_is_the_next_epoch_for_workers(folder, epochs, make, start, persistent, n_workers):
    """Also for those that stay, in each way to start them."""
    data = dataset(folder)
    loader = make(data, num_workers=n_workers, persistent_workers=persistent, multiprocessing_context=start)
    assert passes(loader, data) == [epochs[i] for i in (0, 2, 4, 3)]


def test_equal_seeds_of_two_passes_are_two_passes(folder, epochs):
    """A trainer that seeds torch before each epoch gives each pass the same seed."""
    loader = TorchLoader(dataset(folder), num_workers=2)
    for epoch in range(2):
        torch.manual_seed(0)
        assert rows_of(loader) == epochs[epoch]


def test_a_state_goes_on_in_any_layout(folder, epochs):
    """As JSON; saved while workers have fetched ahead, before the first batch and behind the last one."""
    loader = TorchLoader(dataset(folder), num_workers=2)
    at_begin = json.loads(json.dumps(loader.state_dict()))
    for number, _ in enumerate(loader, 1):
        if number == 7:
            state = json.loads(json.dumps(loader.state_dict()))
    at_end = json.loads(json.dumps(loader.state_dict()))
    assert of_ranks(folder, 1, 0, at_begin) == epochs[0]
    for n_ranks, n_workers in ((1, 0), (2, 0), (3, 1), (1, 3)):
        assert of_ranks(folder, n_ranks, n_workers, state, remainder="keep") == epochs[0][7:]
    assert of_ranks(folder, 1, 0, at_end) == epochs[1]
    with batches(folder, "train", Settings(**settings(epochs=1, resume_from=state))) as stream:
        assert rows_of(stream) == epochs[0][7:]


def test_a_resumed_pass_is_followed_by_the_next_epoch(folder, epochs):
    loader = TorchLoader(dataset(folder, epoch=3))
    for number, _ in enumerate(loader, 1):
        if number == 5:
            break
    state = loader.state_dict()
    again = TorchLoader(dataset(folder), num_workers=2, persistent_workers=True)
    again.load_state_dict(state)
    assert [rows_of(again), rows_of(again)] == [epochs[3][5:], epochs[4]]


@pytest.mark.parametrize(("n_workers", "epoch", "at"), [*product([0], [0, 3], [1, 7, 20]), (2, 0, 1), (2, 3, 8)])
def test_torchdata_goes_on_exactly_twice_in_a_row(folder, epochs, n_workers, epoch, at):
    def loader(state=None, **more):
        made = stateful(dataset(folder, **more), num_workers=n_workers)
        if state is not None:
            made.load_state_dict(state)
        return made

    given, state = [], None
    for n in (at, 4):
        now = loader(state, epoch=epoch) if state is None else loader(state)
        batches_ = iter(now)
        given += [rows_of([next(batches_)])[0] for _ in range(min(n, len(epochs[0]) - len(given)))]
        state = now.state_dict()
        del batches_
    last = loader(state)
    rest = rows_of(last)
    assert given + rest == epochs[epoch] or (given == epochs[epoch] and rest in ([], epochs[epoch + 1]))


def test_a_mixture_goes_on_too(folder, tmp_path):
    other = write_part(tmp_path / "other", 300)
    mixed = [Share(folder, weight=1), Share(other, weight=3)]

    def loader(n_workers):
        chosen = Settings(**settings(fields=("X",)))
        return TorchLoader(TorchBatches(open_source(mixed, "train", chosen), chosen), num_workers=n_workers)

    whole, first = rows_of(loader(2)), loader(2)
    for number, _ in enumerate(first, 1):
        if number == 3:
            break
    again = loader(0)
    again.load_state_dict(first.state_dict())
    assert rows_of(again) == whole[3:]


def test_states_of_others_and_damaged_ones_are_refused(folder, tmp_path):
    loader = TorchLoader(dataset(folder))
    state = loader.state_dict()
    with pytest.raises(ExpectedError, match="state does not agree with its check"):
        loader.load_state_dict({**state, "next": 96})
    with pytest.raises(ExpectedError, match="checkpoint is of shuffle_seed 3, expected 4"):
        TorchLoader(dataset(folder, shuffle_seed=4)).load_state_dict(state)
    other = write_part(tmp_path / "other", 900)
    with pytest.raises(ExpectedError, match=r"checkpoint is of X_train.npy '\w+', expected '\w+'"):
        TorchLoader(dataset(other)).load_state_dict(state)


@pytest.mark.parametrize("options", [{"batch_size": 32}, {}, {"batch_size": 32, "num_workers": 1}])
def test_batches_of_batches_are_refused(folder, options):
    with pytest.raises(ExpectedError, match=r"write DataLoader\(dataset, batch_size=None\), and set batch_size"):
        next(iter(DataLoader(dataset(folder), **options)))


def test_an_order_of_the_data_loader_is_refused(folder):
    with pytest.raises(ExpectedError, match="TorchLoader got batch_size, shuffle, expected none of them; Settings has"):
        TorchLoader(dataset(folder), batch_size=3, shuffle=True)
    with pytest.raises(ValueError, match="shuffle"):
        DataLoader(dataset(folder), batch_size=None, shuffle=True)


@pytest.mark.parametrize("setting", [{"checkpoint_dir": "x"}, {"epochs": 2}, {"adaptive": Adaptive(2, 64)}])
def test_settings_that_torch_has_otherwise_are_refused(folder, setting):
    with pytest.raises(ExpectedError, match=r"loader: (checkpoint_dir|epochs is 2|adaptive)"):
        dataset(folder, **setting)


def test_a_part_is_a_map_for_a_sampler(folder):
    loader = DataLoader(PartArrays(folder, "train", ("X",)), batch_size=32, shuffle=True)
    assert sorted(flat(rows_of(loader))) == list(range(len(loader.dataset)))


def test_an_order_of_whoever_is_first_is_refused(folder):
    with pytest.raises(ExpectedError, match="in_order is False, expected True"):
        TorchLoader(dataset(folder), num_workers=2, in_order=False)


def test_a_copy_of_a_dataset_counts_its_own_epochs(folder, epochs):
    data = dataset(folder)
    copied = TorchLoader(copy.deepcopy(data), num_workers=2)
    assert [rows_of(copied), rows_of(copied)] == epochs[:2]
    assert data.epoch == 0


def test_a_pass_that_was_broken_off_at_once_does_not_hold_up_the_next(folder, epochs):
    """A worker that starts late finds the pass that it is of, though another one has begun."""
    options = {"persistent_workers": True, "worker_init_fn": start_late, "prefetch_factor": 1}
    loader = TorchLoader(dataset(folder), num_workers=2, **options)
    for _ in loader:
        break
    began = time.monotonic()
    assert rows_of(loader) == epochs[1]
    assert time.monotonic() - began < 60


def start_late(number):
    time.sleep(number)


def test_torchdata_goes_on_with_the_next_epoch_behind_the_last_batch(folder, epochs):
    loader = stateful(dataset(folder))
    rows_of(loader)
    again = stateful(dataset(folder))
    again.load_state_dict(loader.state_dict())
    assert [rows for rows in (rows_of(again), rows_of(again), rows_of(again)) if rows][:2] == epochs[1:3]


def test_a_worker_of_another_batch_size_is_refused(folder):
    loader = stateful(dataset(folder), num_workers=2)
    passing = iter(loader)
    next(passing)
    again = stateful(dataset(folder, batch_size=24), num_workers=2)
    again.load_state_dict(loader.state_dict())
    with pytest.raises(ExpectedError, match=r"checkpoint is of worker \[0, 2, 48\], expected \[0, 2, 24\]"):
        next(iter(again))


def ranks_of(rank, data, queue):
    torch.distributed.init_process_group("gloo", init_method=f"file://{queue[1]}", rank=rank, world_size=2)
    loader = TorchLoader(data)
    queue[0].put((rank, [rows_of(loader), rows_of(loader)]))
    torch.distributed.barrier()


@pytest.mark.slow
@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_ranks_that_get_the_dataset_sent_share_each_batch(folder, epochs, tmp_path, start):
    """They ask for their rank where they are, and count their own passes."""
    context = torch.multiprocessing.get_context(start)
    queue = context.Queue(), tmp_path / "meet"
    torch.multiprocessing.start_processes(
        ranks_of, (dataset(folder, remainder="keep"), queue), nprocs=2, join=False, start_method=start
    )
    given = dict(queue[0].get(timeout=100) for _ in range(2))
    for number in range(2):
        assert [left + right for left, right in zip(given[0][number], given[1][number], strict=True)] == epochs[number]


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_workers_refuse_files_that_were_replaced(tmp_path, start):
    """By one line that names the file, where the trainer asks for a batch; forked ones keep the files that are open."""
    folder = write_part(tmp_path / "toy")
    data = dataset(folder)
    with atomic_dir(folder) as new:
        write_part(new)
        np.save(new / "X_train.npy", np.load(new / "X_train.npy") + np.float32(1))
    loader = TorchLoader(data, num_workers=1, persistent_workers=True, multiprocessing_context=start)
    with pytest.raises(ExpectedError, match=r"ExpectedError: .*toy/X_train\.npy: replaced since the source was opened"):
        next(iter(loader))
    forked = TorchLoader(data, num_workers=1, multiprocessing_context="fork")
    assert sorted(flat(rows_of(forked))) == list(range(len(data.source)))


@pytest.mark.parametrize("make", [plain, stateful, TorchLoader])
def test_no_thread_is_left_where_an_iterator_is_dropped(folder, make):
    """Before its first batch was taken, and after."""
    data = dataset(folder)
    for n in (0, 1):
        passing = iter(make(data))
        for _ in range(n):
            next(passing)
        del passing
        assert not loader_threads()


def test_a_pass_that_is_set_on_the_dataset_is_set_for_the_loader(folder):
    loader = TorchLoader(dataset(folder))
    next(iter(loader))
    loader.dataset.set_epoch(4)
    assert loader.state_dict()["epoch"] == 4
    assert loader.state_dict()["next"] == 0
