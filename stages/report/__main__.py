"""Write data/reports/index.html and the data cards: the command behind `make report`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.core.errors import ExpectedError
from stages.core.files import write_text
from stages.core.params import load
from stages.report import cards, facts, lock
from stages.runtime import cli

logger = logging.getLogger("batchwise")

PAGE = Path("data/reports/index.html")


def report(datasets: Sequence[str]) -> Path:
    """Write the page about some datasets and return where it is."""
    from stages.report.page import page  # loads the JavaScript engine that bundles the charts' library

    comparison = lock.compare()
    gathered = [facts.gather(dataset, comparison.of(dataset)) for dataset in datasets]
    write_text(PAGE, page(gathered, comparison))
    logger.info("report: wrote %s (%.1f MB)", PAGE, PAGE.stat().st_size / 1e6)
    return PAGE


def write_cards(datasets: Sequence[str]) -> None:
    """Write the data card of each dataset that has one and whose arrays are here."""
    for dataset in datasets:
        try:
            logger.info("report: wrote %s", cards.write(dataset))
        except (ExpectedError, OSError) as error:
            logger.warning("report: no data card: %s", error)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m stages.report", description="Write one HTML page about the run.")
    parser.add_argument("dataset", nargs="*", help="datasets of params.yaml; default: all of them")
    chosen = parser.parse_args().dataset

    def action() -> None:
        params = load()
        for dataset in chosen:
            params.dataset(dataset)
        datasets = chosen or sorted(params.datasets)
        report(datasets)
        write_cards(datasets)

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
