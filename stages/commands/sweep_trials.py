"""The trials of a sweep: each combination as the training that it would be, checked before anything is queued."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from stages.commands.sweep_grid import Combination, applied, combinations, name_of, told, varying
from stages.core import paths
from stages.core.params import Params, ParamsError
from stages.train import Planned, check_settings, plan

DIGITS = 6  # of an identity, in names: two of a hundred trainings have the same once in 3,400 sweeps

T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """A combination that is tried.

    Attributes
    ----------
    dataset, name
        Whose training it is, and the name of its experiment.
    combination, entry
        What it changes, and what ``train.<dataset>`` is then.
    planned
        What the training would be.
    """

    dataset: str
    name: str
    combination: Combination
    entry: Mapping[str, Any]
    planned: Planned

    @property
    def digits(self) -> str:
        """What no other training's name ends with."""
        return self.planned.identity[:DIGITS]


def chosen(params: Params, datasets: Sequence[str]) -> list[str]:
    """Return the datasets to sweep: those that are named, or all that have an entry in `sweep`.

    Raises
    ------
    ParamsError
        When a named one has no entry there or in `train`, or none has one.
    """
    named = params.with_entry("sweep", datasets)
    for dataset in named:
        params.require_entry("train", dataset)
    return named


def tried(params: Params, dataset: str) -> list[Combination]:
    """Return the combinations of a dataset; their keys and the trainer's values are checked, without arrays.

    Raises
    ------
    ParamsError
        When one is wrong; with the combination.
    """
    found = combinations(params.sweep[dataset], f"{paths.PARAMS_FILE}: sweep.{dataset}")
    for one in found:
        _checked(dataset, one, partial(check_settings, dataset, applied(params.train[dataset], one)))
    return found


def trials(params: Params, dataset: str) -> list[Trial]:
    """Return the trials of a dataset, all of each checked; the arrays must be up to date.

    Raises
    ------
    ExpectedError
        When a combination is wrong, two of them are the same training, or one reads what an experiment does not have.
    """
    found, result = tried(params, dataset), []
    keys = varying(found)
    for one in found:
        entry = applied(params.train[dataset], one)
        planned = _checked(dataset, one, partial(plan, dataset, entry))
        if planned.elsewhere:
            where = f"{paths.PARAMS_FILE}: train.{dataset}: {planned.elsewhere[0]}"
            raise ParamsError(f"{where} is not in the folder an experiment runs in; give the whole path, from /")
        name = name_of(dataset, one, keys, planned.identity[:DIGITS])
        result.append(Trial(dataset, name, one, entry, planned))
    _refuse_equal(result, f"{paths.PARAMS_FILE}: sweep.{dataset}")
    return result


def _checked(dataset: str, combination: Combination, check: Callable[[], T]) -> T:
    """Return what a check does, with the combination named in its error."""
    try:
        return check()
    except ParamsError as error:
        first, *others = error.lines
        raise ParamsError(f"sweep of {dataset}, {told(combination)}: {first}", *others) from None


def _refuse_equal(found: Iterable[Trial], where: str) -> None:
    seen: dict[str, Trial] = {}
    for trial in found:
        if trial.digits in seen:
            both = f"{told(seen[trial.digits].combination)} and {told(trial.combination)}"
            raise ParamsError(f"{where}: {both} are the same training; remove one of them")
        seen[trial.digits] = trial
