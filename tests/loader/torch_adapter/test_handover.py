"""Batches that workers hand over in memory that is used again: what arrives is what was made, and nobody's but ours."""

import gc
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from stages.loader import PartArrays, Settings, batches, open_source  # noqa: E402
from stages.loader.torch_adapter import TorchBatches, TorchLoader  # noqa: E402
from stages.loader.torch_adapter.batches import tensors  # noqa: E402
from stages.loader.torch_adapter.handover import Slot, _put, received  # noqa: E402
from tests.helpers.loader_parts import rows_of, write_part  # noqa: E402

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # more workers than cores
]

SIZE = 48
EVERY = ("X", "label_kind", "mask_kind", "row_in_unit", "name")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_part(tmp_path_factory.mktemp("toy"))


def settings(**more):
    return Settings(**{"batch_size": SIZE, "shuffle_seed": 3, "fields": EVERY, **more})


def loader(folder, n_workers=1, chosen=None, **options):
    chosen = chosen or settings()
    return TorchLoader(TorchBatches(PartArrays(folder, "train", EVERY), chosen), num_workers=n_workers, **options)


def growing(batch, randoms):
    """Return a batch that is larger for some samples, with values of every kind, and none of some."""
    n = 1 + int(batch["X"][0, 0]) % 7
    more = {"wide": np.tile(batch["X"], (1, 40 * n)), "half": batch["X"].astype(np.float16)}
    return batch | more | {"seen": batch["X"] > 500, "none": batch["X"][:0], "randoms": randoms, "number": np.array(n)}


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("n_workers", [1, 3])
def test_what_arrives_is_what_was_made(folder, n_workers, start):
    """Every field, its dtype, shape and bits, in the order of the fields; batches that grow; text."""
    chosen = settings(transform=growing)
    with batches(folder, "train", chosen) as stream:
        pairs = zip(loader(folder, n_workers, chosen, multiprocessing_context=start), stream, strict=True)
        for found, expected in pairs:
            assert list(found) == list(expected)
            for name, values in expected.items():
                here = np.asarray(found[name])
                assert (here.dtype, here.shape, here.tobytes()) == (values.dtype, values.shape, values.tobytes())


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_batches_that_are_kept_stay_as_they_are(folder, n_workers, persistent):
    """All of an epoch, far more than there is memory for, also while the next pass is on and the loader is gone."""
    own = loader(folder, n_workers, persistent_workers=persistent)
    kept = list(own)
    for _ in own:
        break
    again = rows_of(own)
    del own
    gc.collect()
    assert rows_of(kept) == rows_of(batches(folder, "train", settings()))
    assert again == rows_of(batches(folder, "train", settings(epoch=2)))


def test_a_view_of_one_field_keeps_its_memory(folder):
    views = [batch["X"][:, 1:] for batch in loader(folder)]
    with batches(folder, "train", settings()) as stream:
        for found, batch in zip(views, stream, strict=True):
            assert np.array_equal(found.numpy(), batch["X"][:, 1:])


def test_batches_may_be_changed(folder):
    """They are the trainer's."""
    seen = []
    for batch in loader(folder, 2):
        seen.append(batch["X"][:, 0].int().tolist())
        batch["X"].zero_()
    assert seen == rows_of(batches(folder, "train", settings()))


def test_two_passes_at_once_do_not_share_memory(folder):
    own = loader(folder, 2)
    given = [(one["X"].clone(), other["X"].clone()) for one, other in zip(own, own, strict=True)]
    for epoch, rows in enumerate(zip(*given, strict=True)):
        assert rows_of({"X": values} for values in rows) == rows_of(batches(folder, "train", settings(epoch=epoch)))


def places(found):
    return {batch["X"].data_ptr() for batch in found}


def test_memory_is_used_again(folder):
    """Of 21 batches of a worker with two ahead no more than four pieces; passes broken off leave none taken."""
    own = loader(folder, persistent_workers=True)
    assert len(places(own)) <= 4
    for _ in range(5):
        for _ in own:
            break
    assert len(places(own)) <= 4


def test_a_slot_is_free_when_the_last_tensor_is_dropped():
    slot = Slot()
    batch = tensors({"a": np.arange(5), "b": np.arange(3.0), "name": np.array([b"x"])})
    content, n_bytes = _put(batch, slot)
    assert not slot.is_free
    found = received(slot, content, n_bytes)
    assert found["name"] is batch["name"]
    last = found["b"][1:]
    found.clear()
    assert not slot.is_free
    assert last.tolist() == [1.0, 2.0]
    del last
    assert slot.is_free


def test_a_forked_copy_of_a_batch_does_not_free_the_slot():
    slot = Slot()
    found = received(slot, *_put(tensors({"a": np.arange(5)}), slot))
    child = os.fork()
    if not child:
        found.clear()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert not slot.is_free
    found.clear()
    assert slot.is_free


def test_a_mixture_arrives(folder):
    chosen = settings(fields=("X",))
    source = open_source([folder, folder], "train", chosen)
    found = rows_of(TorchLoader(TorchBatches(source, chosen), num_workers=2))
    assert found == rows_of(batches([folder, folder], "train", chosen))
