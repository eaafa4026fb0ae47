"""The stream as a torch dataset, where torch is installed."""

import json
import subprocess
import sys

import numpy as np
import pytest

from stages.core import arrays
from tests.helpers.places import REPOSITORY

pytest.importorskip("torch")

SCRIPT = """
import json, sys
from torch.utils.data import DataLoader
from stages.loader import Settings, PartArrays
from stages.loader.torch_adapter import TorchBatches

def main():
    folder, n_workers = sys.argv[1], int(sys.argv[2])
    dataset = TorchBatches(PartArrays(folder, "train", ("X", "name")), Settings(batch_size=10, shuffle_seed=1))
    loader = DataLoader(dataset, batch_size=None, num_workers=n_workers)
    epochs = []
    for dataset.epoch in range(2):
        batches = list(loader)
        assert all(batch["X"].dtype.is_floating_point and batch["name"].dtype.kind == "S" for batch in batches)
        epochs.append([batch["X"][:, 0].tolist() for batch in batches])
    print(json.dumps(epochs))
    if n_workers:
        kept = TorchBatches(dataset.source, Settings(checkpoint_dir="x"))
        try:
            next(iter(DataLoader(kept, batch_size=None, num_workers=1)))
        except ValueError as error:
            print(error)

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [0, 2])
def test_workers_share_the_samples(tmp_path, n_workers):
    """Each sample once an epoch, in another order in the next."""
    row = np.arange(95)
    np.save(tmp_path / "X_train.npy", row[:, None].astype(np.float32))
    arrays.save_npz(tmp_path / "keys_train.npz", {"name": [row.astype("S16")]})
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path), str(n_workers)]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    first, second = json.loads(result.stdout.splitlines()[0])
    for epoch in (first, second):
        assert sorted(int(value) for batch in epoch for value in batch) == row.tolist()
    assert sorted(map(tuple, first)) != sorted(map(tuple, second))
    if n_workers:
        assert "use num_workers=0" in result.stdout
