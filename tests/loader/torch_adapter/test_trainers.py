"""accelerate and Lightning give a model the samples that the loader gives, each once, and go on with its state."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from torch.utils.data import DataLoader  # noqa: E402

from stages.core.errors import ExpectedError  # noqa: E402
from stages.loader import Settings, batches, open_source  # noqa: E402
from stages.loader.torch_adapter import TorchBatches, TorchLoader, to_device  # noqa: E402
from tests.helpers.loader_parts import rows_of, write_part  # noqa: E402
from tests.helpers.torchrun import run_by_two_ranks, told_by_two_ranks  # noqa: E402

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated:FutureWarning"),  # Lightning 2.6 with torch 2.13
    pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined"),  # which is right
    pytest.mark.filterwarnings("ignore:The '.*dataloader' does not have many workers"),
]

SETTINGS = Settings(batch_size=48, shuffle_seed=3, fields=("X", "label_kind"))
STEPS = 21  # of an epoch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_part(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def epochs(folder):
    """Return the samples of three epochs, a batch at a time."""
    return [rows_of(batches(folder, "train", SETTINGS, epoch=epoch)) for epoch in range(3)]


def loader(folder, **options):
    return TorchLoader(TorchBatches(open_source(folder, "train", SETTINGS), SETTINGS), **options)


def of_accelerate(**options):
    """Return an Accelerator of this process alone, whatever others there were."""
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed; `make test-train` installs it")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    return accelerate.Accelerator(cpu=True, **options)


def test_accelerate_leaves_the_loader_as_it_is_and_keeps_its_state(folder, epochs, tmp_path):
    """`save_state` in the middle of an epoch; another process goes on at the next batch."""
    first = of_accelerate()
    model = torch.nn.Linear(2, 1)
    own = loader(folder)
    model, optimizer, prepared = first.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), own)
    assert prepared is own
    seen = []
    for batch in to_device(prepared, first.device):
        seen.append(batch["X"][:, 0].int().tolist())
        optimizer.zero_grad()
        first.backward(model(batch["X"]).mean())
        optimizer.step()
    assert seen == epochs[0]
    for n, _ in enumerate(prepared, 1):
        if n == 5:
            first.save_state(str(tmp_path / "state"))
            break
    second = of_accelerate()
    model = torch.nn.Linear(2, 1)
    model, optimizer, again = second.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), loader(folder))
    second.load_state(str(tmp_path / "state"))
    assert [rows_of(again), rows_of(again)] == [epochs[1][5:], epochs[2]]


SCRIPT = """
    import json, sys
    import torch, torch.distributed as dist
    from accelerate import Accelerator
    from stages.loader import Settings, open_source
    from stages.loader.torch_adapter import TorchBatches, TorchLoader, to_device

    def main():
        torch.set_num_threads(1)
        accelerator = Accelerator(cpu=True)
        settings = Settings(batch_size=48, shuffle_seed=3, fields=("X",))
        loader = TorchLoader(TorchBatches(open_source(sys.argv[1], "train", settings), settings))
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        steps = []
        for batch in to_device(loader, accelerator.device):
            accelerator.backward(model(batch["X"]).mean())
            optimizer.step()
            optimizer.zero_grad()
            steps.append(batch["X"][:, 0].int().tolist())
        given = [None, None]
        dist.all_gather_object(given, steps)
        if accelerator.is_main_process:
            print(json.dumps(given))
        accelerator.end_training()

    if __name__ == "__main__":
        main()
"""


@pytest.mark.slow
def test_two_processes_of_accelerate_share_each_batch(folder, epochs, tmp_path):
    """No sample twice and none lost, but those behind the last whole batch."""
    pytest.importorskip("accelerate", reason="accelerate is not installed; `make test-train` installs it")
    first, second = told_by_two_ranks(SCRIPT, folder, tmp_path)
    assert [one + other for one, other in zip(first, second, strict=True)] == epochs[0][: STEPS - 1]


@pytest.mark.parametrize("how", [{}, {"num_workers": 1}, {"num_workers": 1, "multiprocessing_context": "spawn"}])
@pytest.mark.parametrize("is_dispatched", [None, False])
def test_a_plain_loader_that_accelerate_prepared_is_refused(folder, how, is_dispatched):
    """Where it would lose the other ranks' samples; in one process it may be."""
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed; `make test-train` installs it")
    accelerator = of_accelerate(dataloader_config=accelerate.DataLoaderConfiguration(dispatch_batches=is_dispatched))
    source = open_source(folder, "train", SETTINGS)
    alone = accelerator.prepare(DataLoader(TorchBatches(source, SETTINGS), batch_size=None, **how))
    assert len(next(iter(alone))["X"]) == 48
    first = TorchBatches(source, replace(SETTINGS, shard=(0, 2)))
    assert len(next(iter(DataLoader(first, batch_size=None, **how)))["X"]) == 24
    with pytest.raises(
        ExpectedError, match=r"samples would be lost; write TorchLoader\(dataset\) instead of DataLoader"
    ):
        next(iter(accelerator.prepare(DataLoader(first, batch_size=None, **how))))


PLAIN = """
    import sys
    import torch
    from accelerate import Accelerator
    from torch.utils.data import DataLoader
    from stages.loader import Settings, open_source
    from stages.loader.torch_adapter import TorchBatches

    accelerator = Accelerator(cpu=True)
    settings = Settings(batch_size=48, shuffle_seed=3, fields=("X",))
    dataset = TorchBatches(open_source(sys.argv[1], "train", settings), settings)
    for batch in accelerator.prepare(DataLoader(dataset, batch_size=None)):
        pass
"""


@pytest.mark.slow
def test_a_plain_loader_that_two_processes_prepared_is_refused(folder, tmp_path):
    """And none of them waits for ever."""
    pytest.importorskip("accelerate", reason="accelerate is not installed; `make test-train` installs it")
    done = run_by_two_ranks(PLAIN, folder, tmp_path)
    assert done.returncode != 0
    assert "ExpectedError: loader: accelerate prepared a DataLoader of a dataset that gives rank 0 of 2" in done.stderr


@pytest.fixture
def lightning():
    """Give the package, whose own use of torch warns."""
    return pytest.importorskip("lightning", reason="lightning is not installed; `make test-train` installs it")


def module(lightning, seen):
    """Return a model that notes the samples of each step."""

    class Noting(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = torch.nn.Linear(2, 1)

        def training_step(self, batch, _):
            seen.append(batch["X"][:, 0].int().tolist())
            return self.model(batch["X"]).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Noting()


def trainer(lightning, folder, **options):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return lightning.Trainer(accelerator="cpu", devices=1, default_root_dir=folder, **quiet, **options)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_lightning_fits_on_each_epoch_in_turn(folder, epochs, lightning, tmp_path, n_workers):
    seen = []
    fit = trainer(lightning, tmp_path, max_epochs=2)
    fit.fit(module(lightning, seen), loader(folder, num_workers=n_workers))
    assert seen == epochs[0] + epochs[1]


@pytest.mark.parametrize("is_moved", [False, True])
def test_lightning_goes_on_in_the_middle_of_an_epoch(folder, epochs, lightning, tmp_path, is_moved):
    """With the loader, and with what `to_device` makes of it."""
    seen = []

    def given():
        return to_device(loader(folder), "cpu") if is_moved else loader(folder)

    class Saving(lightning.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == STEPS + 5:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    fit = trainer(lightning, tmp_path, max_steps=STEPS + 5, callbacks=Saving())
    fit.fit(module(lightning, seen), given())
    again = trainer(lightning, tmp_path, max_epochs=3)
    again.fit(module(lightning, seen), given(), ckpt_path=str(tmp_path / "last.ckpt"))
    assert seen == epochs[0] + epochs[1] + epochs[2]
