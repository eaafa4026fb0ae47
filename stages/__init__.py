"""The verbs of the pipeline, one module each, and the rooms they share."""

import os

# NumPy's BLAS is not used, but each process that imports it would start its threads, for 40 ms of CPU.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
