"""Stream the arrays of data/processed/<dataset>/ to a trainer, a batch at a time.

In: the folder that split writes. Out: dicts of arrays, made in a background thread and bounded in memory::

    from stages.loader import batches

    with batches("data/processed/splendor", "train", batch_size=256, shuffle_seed=42) as stream:
        for batch in stream:
            train(batch["X"], batch["label_action_type"], batch["mask_action_type"])

- `part_arrays`: the arrays of one part, and how rows or windows are gathered from them;
- `mapped_file`, `scattered`: a file of arrays, and how the rows of a large one are read with one call of the kernel;
- `form`: values standardised or as merged, bits unpacked or not;
- `mixture`: several folders as one source; `agreement` says whether they fit together;
- `reopening`: a source in another process, and whether its files are still the same;
- `integrity`: whether the files are those that split wrote;
- `layout`: who takes what of a batch, among ranks and workers;
- `order`: which sample comes at which position, a function of seed and epoch alone;
- `samples`: those of each batch, looked up for several batches at once;
- `sizes`: how many samples travel together;
- `stream`: the thread between, its end, its failures and its metrics;
- `checkpoint`: where a killed run goes on;
- `torch_adapter`: the same as an IterableDataset and a DataLoader, where torch is installed.
"""

from stages.loader.mixture import Mixture, Share, open_source
from stages.loader.part_arrays import PartArrays
from stages.loader.settings import Adaptive, Settings
from stages.loader.stream import Metrics, Stream, batches

__all__ = ["Adaptive", "Metrics", "Mixture", "PartArrays", "Settings", "Share", "Stream", "batches", "open_source"]
