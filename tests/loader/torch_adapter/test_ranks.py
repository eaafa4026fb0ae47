"""Real processes of torch.distributed: no sample twice, no rank that waits for ever."""

import pytest

pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from tests.helpers.loader_parts import write_part
from tests.helpers.torchrun import told_by_two_ranks

pytestmark = [pytest.mark.train, pytest.mark.slow]

SCRIPT = """
    import json, os, sys
    from datetime import timedelta
    import torch, torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    from stages.loader import PartArrays, Settings
    from stages.loader.torch_adapter import TorchBatches, TorchLoader

    def main():
        torch.set_num_threads(1)
        dist.init_process_group("gloo", timeout=timedelta(seconds=120))
        source, model = PartArrays(sys.argv[1], "train", ("X",)), DistributedDataParallel(torch.nn.Linear(2, 1))
        rows = {}
        for size in range(2, 52):
            loader = TorchLoader(TorchBatches(source, Settings(batch_size=size, shuffle_seed=size)))
            seen = []
            for batch in loader:
                model(batch["X"]).mean().backward()
                seen += batch["X"][:, 0].int().tolist()
            rows[size] = seen
        given = [None, None]
        dist.all_gather_object(given, rows)
        if dist.get_rank() == 0:
            print(json.dumps(given))
        dist.destroy_process_group()

    if __name__ == "__main__":
        main()
"""


def test_two_processes_share_the_samples_and_never_wait(tmp_path):
    """Over 50 batch sizes, and with no setting that says which rank a process is."""
    folder = write_part(tmp_path / "toy", 211)
    first, second = told_by_two_ranks(SCRIPT, folder, tmp_path)
    for size in map(str, range(2, 52)):
        assert not set(first[size]) & set(second[size])
        assert len(first[size]) + len(second[size]) == 211 // int(size) * int(size)
