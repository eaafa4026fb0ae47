"""Train with other settings, one experiment of DVC's for each, and rank what came of it: behind `make sweep`.

In: the section `sweep` of params.yaml, see stages/commands/sweep_grid.py, and everything a training reads. Every
combination is checked as the training itself does before one is queued. Its name ends with the first digits of the
training's identity: of all parameters, arrays, code and versions. So what ended well is not trained again, whenever it
was, what waits is not queued twice, and after a change of any of these the experiments are others.

Out: for each combination a commit that `dvc exp show` lists, and a table, the lowest loss on val first. Exit code 1 if
one failed. A sweep that was stopped or killed goes on with the same command: DVC's queue keeps what waits, and a
training goes on at its checkpoint.
"""

import sys
from collections.abc import Sequence

from stages.commands.preprocess import preprocess
from stages.commands.sweep_queue import Sweep, run
from stages.commands.sweep_results import summary
from stages.commands.sweep_trials import chosen, trials, tried
from stages.core.errors import ExpectedError
from stages.core.params import Params
from stages.pipeline import experiments, verbs
from stages.runtime import cli
from stages.runtime.text import printable
from stages.train import require_torch


def main() -> int:
    """Run the command."""
    kept = ["nothing was queued yet"]

    def action(params: Params, datasets: Sequence[str]) -> None:
        require_torch()
        named = chosen(params, datasets)
        for dataset in named:
            tried(params, dataset)
        experiments.refuse_unready()
        preprocess(params, named)
        experiments.refuse_unready()  # again: it may have made the first dvc.lock
        found = [trial for dataset in named for trial in trials(params, dataset)]
        targets = {trial.digits: verbs.train_stage(trial.dataset) for trial in found}
        sweep = Sweep({trial.digits: trial for trial in found}, targets)
        run(sweep, kept.append)
        sys.stdout.write(f"{printable_lines(summary(sweep))}\n")
        if sweep.failures:
            raise ExpectedError(f"sweep: {len(sweep.failures)} of {len(found)} experiments failed, see above")

    return cli.on_datasets(
        "commands.sweep", "Train with other settings, and rank what came of it.", action, lambda: kept[-1]
    )


def printable_lines(text: str) -> str:
    """Return a text of several lines without control characters."""
    return "\n".join(printable(line) for line in text.split("\n"))


if __name__ == "__main__":
    sys.exit(main())
