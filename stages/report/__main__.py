"""Write data/reports/index.html, the data cards and the model cards: the command behind `make report`."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.core.errors import ExpectedError
from stages.core.files import write_text
from stages.core.params import Params, load
from stages.report import cards, facts, lock, model_cards
from stages.runtime import cli

logger = logging.getLogger("batchwise")

PAGE = Path("data/reports/index.html")


def report(datasets: Sequence[str]) -> Path:
    """Write the page about some datasets and return where it is."""
    from stages.report.page import page  # loads the JavaScript engine that bundles the charts' library

    comparison, params = lock.compare(), load()
    gathered = [facts.gather(dataset, comparison.of(dataset), params.takes_sample(dataset)) for dataset in datasets]
    write_text(PAGE, page(gathered, comparison))
    logger.info("report: wrote %s (%.1f MB)", PAGE, PAGE.stat().st_size / 1e6)
    return PAGE


def write_cards(datasets: Sequence[str]) -> None:
    """Write the data card of each dataset whose arrays are here, and the card of each trained model."""
    for dataset in datasets:
        for what, write in (("data card", cards.write), ("model card", model_cards.write)):
            try:
                path = write(dataset)
            except (ExpectedError, OSError) as error:
                logger.warning("report: no %s: %s", what, error)
                continue
            if path is not None:
                logger.info("report: wrote %s", path)


def main() -> int:
    """Run the command."""

    def action(params: Params, datasets: Sequence[str]) -> None:
        report(datasets)
        write_cards(datasets)

    return cli.on_datasets("report", "Write one HTML page about the run.", action)


if __name__ == "__main__":
    sys.exit(main())
