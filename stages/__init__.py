"""The verbs of the pipeline, one module each, and the rooms they share; `stages.frame` gives rows as DataFrames."""

import os
from typing import TYPE_CHECKING

# NumPy's BLAS is not used, but each process that imports it would start its threads, for 40 ms of CPU.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if TYPE_CHECKING:
    from stages.frames import frame as frame


def __getattr__(name: str) -> object:
    """Import `frame` where it is asked for: the verbs have no use for it."""
    if name != "frame":
        raise AttributeError(f"module 'stages' has no attribute {name!r}")
    from stages.frames import frame

    return frame
