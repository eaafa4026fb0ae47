"""Batches on a device: on the CPU for real, on CUDA where there is one."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from stages.core import bits  # noqa: E402
from stages.core.errors import ExpectedError  # noqa: E402
from stages.loader import Settings, Share, batches, open_source  # noqa: E402
from stages.loader.torch_adapter import TorchBatches, TorchLoader, to_device  # noqa: E402
from stages.loader.torch_adapter.crossing import ALIGNMENT, Crossing, views  # noqa: E402
from tests.helpers.loader_parts import rows_of, write_part  # noqa: E402
from tests.helpers.stores import split_both, write_merged  # noqa: E402

pytestmark = pytest.mark.train

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
FIELDS = ("X", "board", "grid", "left", "wide", "label_kind", "mask_kind", "row_in_unit", "valid_X", "valid_wide")
CHOICES = {
    "rows": Settings(batch_size=33, shuffle_seed=1, fields=FIELDS),
    "windows": Settings(batch_size=33, shuffle_seed=1, window="X"),
    "all of a window": Settings(batch_size=33, shuffle_seed=1, window="X", fields=FIELDS),
}


@pytest.fixture
def toy(tmp_path):
    return write_part(tmp_path / "toy")


def compact(settings):
    """Return settings with which values travel small."""
    return replace(settings, packed=True, standardised=False)


def on_host(batch):
    return {name: value.cpu() if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def require_same(found, expected):
    """Compare tensors with arrays: names, dtypes, shapes and every bit."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        here = found[name].numpy()
        assert (here.dtype, here.shape) == (values.dtype, values.shape)
        assert here.tobytes() == values.tobytes(), name


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("n_ahead", [1, 3])
def test_small_values_are_finished_to_the_same_bits(stores, choice, device, n_ahead):
    """Rows and windows, fields of bits, rows that are not valid, features of 1, 2 and 8 bytes."""
    settings, n = CHOICES[choice], 0
    with (
        batches(stores["float32"], "train", settings) as expected,
        batches(stores["stored"], "train", compact(settings)) as small,
    ):
        for found, batch in zip(to_device(small, device, n_ahead), expected, strict=True):
            assert all(value.device.type == device for value in found.values())
            require_same(on_host(found), batch)
            n += len(batch["X"])
    assert n > 100


@pytest.mark.parametrize("device", DEVICES)
def test_values_that_need_no_finish_stay_as_they_are(stores, device):
    """Also small ones, where that is asked for."""
    for settings in (CHOICES["rows"], compact(CHOICES["rows"])):
        with batches(stores["stored"], "train", settings) as one, batches(stores["stored"], "train", settings) as two:
            for found, batch in zip(to_device(one, device, finish=False), two, strict=True):
                require_same(on_host(found), batch)


@pytest.mark.parametrize("device", DEVICES)
def test_all_numbers_with_a_point_get_the_dtype(stores, device):
    with batches(stores["stored"], "train", compact(CHOICES["rows"])) as small:
        batch = on_host(next(iter(to_device(small, device, dtype=torch.bfloat16))))
    with batches(stores["float32"], "train", CHOICES["rows"]) as stream:
        expected = next(stream)
    assert torch.equal(batch["X"], torch.from_numpy(expected["X"]).to(torch.bfloat16))
    assert batch["label_kind"].dtype == torch.int16
    assert batch["board"].dtype == torch.uint8


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_loader_is_finished_as_a_stream_is(stores, device, n_workers):
    settings = CHOICES["rows"]
    small = compact(settings)
    loader = TorchLoader(TorchBatches(open_source(stores["stored"], "train", small), small), num_workers=n_workers)
    there = to_device(loader, device)
    assert len(there) == len(loader)
    for epoch in range(2):
        with batches(stores["float32"], "train", settings, epoch=epoch) as expected:
            for found, batch in zip(there, expected, strict=True):
                require_same(on_host(found), batch)


@pytest.mark.parametrize("device", DEVICES)
def test_a_mixture_is_finished(stores, device):
    small = compact(replace(CHOICES["rows"], fields=("X", "board", "valid_X")))
    shares = {store: [Share(stores[store], weight=1), Share(stores[store], weight=2)] for store in stores}
    with (
        batches(shares["stored"], "train", small) as stream,
        batches(shares["float32"], "train", replace(small, packed=False, standardised=True)) as expected,
    ):
        for found, batch in zip(to_device(stream, device), expected, strict=True):
            require_same(on_host(found), batch)


def test_folders_that_are_standardised_otherwise_are_not_finished_at_once(stores, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_merged(seed=2)
    other = split_both()["stored"]
    small = Settings(standardised=False, fields=("grid",))
    with (
        batches([stores["stored"], other], "train", small) as stream,
        pytest.raises(ExpectedError, match=r"stored/toy: standardised or packed otherwise than .*stored/toy, expected"),
    ):
        to_device(stream, "cpu")


def test_what_says_which_rows_are_valid_has_to_come_along(stores):
    with (
        batches(stores["stored"], "train", standardised=False, fields=("X",)) as stream,
        pytest.raises(ExpectedError, match=r"no field 'valid_X' in the batch, expected it, .* name it in `fields`"),
    ):
        next(iter(to_device(stream, "cpu")))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("grid", "grid is torch.float32, expected int16, as it is stored"),
        ("board", "board is torch.float32 .*expected bits"),
    ],
)
def test_values_that_a_transform_changed_are_not_finished(stores, name, message):
    def transform(batch, randoms):
        return batch | {name: batch[name].astype(np.float32)}

    settings = compact(Settings(fields=("grid", "board"), transform=transform))
    with batches(stores["stored"], "train", settings) as stream, pytest.raises(ExpectedError, match=message):
        next(iter(to_device(stream, "cpu")))


@pytest.mark.parametrize("device", DEVICES)
def test_a_state_is_that_of_the_batch_in_hand(toy, device):
    """Not of those that were copied ahead; of a loader and of a stream; text comes along."""
    settings = Settings(batch_size=48, shuffle_seed=3, fields=("X", "name"))
    every = rows_of(batches(toy, "train", settings, epochs=2))
    loader = TorchLoader(TorchBatches(open_source(toy, "train", settings), settings))
    there = to_device(loader, device, prefetch=3)
    for n, batch in enumerate(there, 1):
        assert batch["name"].dtype.kind == "S"
        if n == 5:
            break
    state = json.loads(json.dumps(there.state_dict()))
    with batches(toy, "train", settings, resume_from=state) as stream:
        assert rows_of(map(on_host, to_device(stream, device))) == every[5:21]
    there.load_state_dict(state)
    assert rows_of(map(on_host, there)) == every[5:21]
    assert rows_of(map(on_host, there)) == every[21:]
    there.set_epoch(1)
    assert rows_of(map(on_host, there)) == every[21:]
    with batches(toy, "train", settings, epochs=2) as stream:
        there = to_device(stream, device, prefetch=3)
        assert there.state_dict() == stream.state()
        first = [rows_of([on_host(batch)])[0] for _, batch in zip(range(7), there, strict=False)]
        state = there.state_dict()
    with batches(toy, "train", settings, epochs=2, resume_from=state) as stream:
        assert first + rows_of(stream) == every


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("inner", ["loader", "dataset"])
def test_an_epoch_that_is_set_behind_its_back_is_in_the_state(toy, device, inner):
    """In the middle of a pass, whose next batch is again what the state says."""
    settings = Settings(batch_size=48, shuffle_seed=3, fields=("X",))
    loader = TorchLoader(TorchBatches(open_source(toy, "train", settings), settings))
    there = to_device(loader, device)
    passing = iter(there)
    next(passing)
    (loader if inner == "loader" else loader.dataset).set_epoch(4)
    assert (there.state_dict()["epoch"], there.state_dict()["next"]) == (4, 0)
    next(passing)
    assert (there.state_dict()["epoch"], there.state_dict()["next"]) == (0, 96)


@pytest.mark.parametrize("device", DEVICES)
def test_a_stream_that_was_left_goes_on_with_what_was_copied_ahead(toy, device):
    settings = Settings(batch_size=48, fields=("X",))
    with batches(toy, "train", settings) as stream:
        there, seen = to_device(stream, device), []
        for batch in there:
            seen.append(on_host(batch))
            break
        seen += map(on_host, there)
    assert rows_of(seen) == rows_of(batches(toy, "train", settings))


def test_what_has_no_state_and_wrong_settings_are_named(toy, tmp_path):
    plain = to_device([{"X": np.arange(3)}], "cpu")
    assert [batch["X"].tolist() for batch in plain] == [[0, 1, 2]]
    assert len(plain) == 1
    with pytest.raises(ExpectedError, match="list has no epochs or states to set, expected a TorchLoader"):
        plain.state_dict()
    with pytest.raises(ExpectedError, match="prefetch is 0, expected at least 1"):
        to_device([], "cpu", prefetch=0)
    with (
        batches(toy, "train", checkpoint_dir=tmp_path / "checkpoints") as stream,
        pytest.raises(ExpectedError, match="checkpoint_dir for a stream that is copied ahead"),
    ):
        to_device(stream, "cpu")


def fields_of(rng, n):
    """Return tensors of every kind, of `n` rows."""
    return {
        "a": torch.from_numpy(rng.integers(0, 9, (n, 3)).astype(np.int8)),
        "b": torch.from_numpy(rng.normal(size=(n, 2, 5))).transpose(1, 2),
        "c": torch.from_numpy(rng.integers(0, 2**60, n).astype(np.uint64)),
        "d": torch.from_numpy(rng.random(n) < 0.5),
        "e": torch.from_numpy(rng.normal(size=(n, 7)).astype(np.float32)),
    }


def test_packed_memory_is_used_again_and_grows():
    """Every field comes out as it went in, those of no rows too."""
    rng, crossing, places = np.random.default_rng(1), Crossing(is_pinned=False), []
    for n in (10, 11, 0, 300, 300, 7):
        fields = fields_of(rng, n)
        packed = crossing.pack(fields)
        places.append(packed.untyped_storage().data_ptr())
        found = views(packed, fields)
        assert all(torch.equal(found[name], values) for name, values in fields.items())
        assert all(values.data_ptr() % 8 == 0 for values in found.values())
        assert len(packed) % ALIGNMENT == 0
    assert places[0] == places[1] == places[2]
    assert places[3] == places[4] == places[5]


def test_rows_of_bits_are_unpacked_as_numpy_does(tmp_path):
    """Every byte, and shapes that end within one."""
    for shape in ((8,), (2, 13, 13), (3,), (1, 7)):
        packed = bits.pack(np.random.default_rng(1).integers(0, 2, (256, *shape)))
        folder = tmp_path / str(len(packed[0])) / str(shape[-1])
        folder.mkdir(parents=True)
        np.save(folder / "board_train.npy", packed)
        (folder / "packed.json").write_text(json.dumps({"board": list(shape)}))
        with batches(folder, "train", batch_size=256, packed=True) as stream:
            (batch,) = to_device(stream, "cpu")
        assert np.array_equal(batch["board"].numpy(), bits.unpack(packed, shape))


@pytest.mark.gpu
def test_memory_is_not_given_to_another_batch_while_the_trainer_computes(toy):
    """Steps are queued far behind the host; every batch is still its own when its step runs."""
    settings = Settings(batch_size=48, shuffle_seed=3, fields=("X",), epochs=20)
    busy = torch.randn(2048, 2048, device="cuda")
    sums = []
    with batches(toy, "train", settings) as stream:
        for batch in to_device(stream, "cuda", prefetch=3):
            for _ in range(4):
                busy = (busy @ busy).clamp(-1, 1)
            sums.append(batch["X"].double().sum())
    with batches(toy, "train", settings) as stream:
        assert torch.stack(sums).cpu().tolist() == [float(batch["X"].astype(float).sum()) for batch in stream]
