"""The loader for torch, which is in the extra `train` and not among the requirements.

::

    from stages.loader import open_source
    from stages.loader.torch_adapter import TorchBatches, TorchLoader, to_device

    loader = TorchLoader(TorchBatches(open_source(folder, "train", settings), settings), num_workers=2)
    for batch in to_device(loader, "cuda"): ...

- `batches`: the stream as an IterableDataset of dicts of tensors;
- `passes`: which epoch a pass over it is, agreed on by all its worker processes; `gate` lets one at a time do so;
- `loader`: a DataLoader whose state goes on in any other layout;
- `handover`: the memory in which its workers hand batches over;
- `device`: batches on the device of the trainer, copied ahead; `crossing` is the memory they wait in, `finish`
  standardises and unpacks them there.
"""

from stages.loader.torch_adapter.batches import TorchBatches
from stages.loader.torch_adapter.device import DeviceBatches, to_device
from stages.loader.torch_adapter.loader import TorchLoader

__all__ = ["DeviceBatches", "TorchBatches", "TorchLoader", "to_device"]
