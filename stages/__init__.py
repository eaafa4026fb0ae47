"""The verbs of the pipeline, one module each, and the rooms they share; `stages.frame` gives rows as DataFrames."""

import importlib
import os
from typing import Any

# NumPy's BLAS is not used, but each process that imports it would start its threads, for 40 ms of CPU.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def __getattr__(name: str) -> Any:
    """Import `frame` where it is asked for; it is no code of a verb, and named so that none depends on it."""
    if name != "frame":
        raise AttributeError(f"module 'stages' has no attribute {name!r}")
    return importlib.import_module("stages.frames").frame
