"""The facts of the raw files, and the options of the dataset.

A file is a CSV whose header line is `COLUMNS`. Every line after it is a measurement: two numbers, and 1 where there was
an alarm, else 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.core.params import build

FEATURES = ("temperature", "humidity")
COLUMNS = (*FEATURES, "alarm")


@dataclass(frozen=True)
class Options:
    """The options of the dataset in params.yaml.

    Attributes
    ----------
    separator
        What stands between two cells of a line.
    """

    separator: str = ","


def parse_options(entry: Mapping[str, Any]) -> Options:
    """Return the options, checked: an unknown key or a wrong type is an error that names it."""
    return build(Options, entry, "params.yaml: datasets.skeleton.options")
