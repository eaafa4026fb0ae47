"""The verbs that tests run one after the other, in the order of the pipeline."""

from stages.pipeline.verbs import VERBS

WITHOUT_DVC = tuple(verb for verb in VERBS if verb != "expand")  # it has nothing to do where DVC does not run
FROM_RAW = WITHOUT_DVC[1:]  # where the raw files are there
