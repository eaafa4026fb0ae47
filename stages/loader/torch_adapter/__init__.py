"""The loader for torch, which is in the extra `train` and not among the requirements.

::

    from stages.loader import open_source
    from stages.loader.torch_adapter import TorchBatches, TorchLoader

    loader = TorchLoader(TorchBatches(open_source(folder, "train", settings), settings), num_workers=2)

- `batches`: the stream as an IterableDataset of dicts of tensors;
- `passes`: which epoch a pass over it is, agreed on by all its worker processes;
- `loader`: a DataLoader whose state goes on in any other layout.
"""

from stages.loader.torch_adapter.batches import TorchBatches
from stages.loader.torch_adapter.loader import TorchLoader

__all__ = ["TorchBatches", "TorchLoader"]
