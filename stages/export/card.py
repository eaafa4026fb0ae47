"""The README of an export for Hugging Face: the data card, with the types, files and sizes of the export.

The front matter is written here, with the YAML that the pipeline has anyway, so that an export has the same bytes
whatever is installed beside it; huggingface_hub's DatasetCardData and `datasets` read it back without a loss.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from stages.core import paths
from stages.core.arrays import DamagedFile
from stages.core.errors import ExpectedError
from stages.export.columns import ExportColumns
from stages.report import cards, hub

logger = logging.getLogger("batchwise")

LOAD_SECTION = "\n## How to load\n"
HOW_TO_LOAD = """
## How to load

```text
from datasets import load_dataset

rows = load_dataset("FOLDER")["train"]
```

FOLDER is this one, or its name on the hub. {values} A label of -1 says that its head does not apply to the row.
"""
AS_A_TRAINER = "Features are standardised with mean and deviation of train, as a trainer of this repository reads them."
AS_RAW = "Features are in the units of the raw data; NaN in rows where a feature has no value."


def text(
    dataset: str, columns: Sequence[ExportColumns], splits: Sequence[Mapping[str, Any]], standardised: bool
) -> str:
    """Return the README of a folder.

    Parameters
    ----------
    dataset, columns
        Its name, and its columns.
    splits
        Name, num_examples, num_bytes of each part.
    standardised
        What the features are.
    """
    front, body = parted(card_text(dataset))
    front.pop("dataset_info", None)
    names = [field.name for column in columns for field in column.schema]
    features = [feature for column in columns for feature in column.features]
    size = sum(split["num_bytes"] for split in splits)
    front["configs"] = [
        {
            "config_name": "default",
            "data_files": [{"split": split["name"], "path": f"data/{split['name']}-*"} for split in splits],
        }
    ]
    front["dataset_info"] = {
        "features": [hub.entry(name, feature) for name, feature in zip(names, features, strict=True)],
        "splits": [dict(split) for split in splits],
        "dataset_size": size,
    }
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=120)
    words = body.partition(LOAD_SECTION)[0].rstrip()
    return f"---\n{head}---\n{words}\n{HOW_TO_LOAD.format(values=AS_A_TRAINER if standardised else AS_RAW)}"


def card_text(dataset: str) -> str:
    """Return the data card of the arrays, or the committed one where merged arrays that it tells of are not there.

    Raises
    ------
    ExpectedError
        When there is neither.
    """
    try:
        return cards.card(dataset)
    except DamagedFile as error:
        committed = paths.card(dataset)
        if not committed.is_file():
            raise ExpectedError(str(error)) from None
        logger.warning("%s is the card of the export, as it was committed: %s", committed, error)
        return committed.read_text(encoding="utf-8")


def parted(card: str) -> tuple[dict[str, Any], str]:
    """Return front matter and body of a card."""
    _, head, body = card.split("---\n", 2)
    front: dict[str, Any] = yaml.safe_load(head)
    return front, body
