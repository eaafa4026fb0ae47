"""The section ``iterate.<dataset>`` of params.yaml, but for what is the dataset's own."""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.params import AtLeast, Between, Params, ParamsError, build

Share = Annotated[float, Between(0, 1)]


@dataclass(frozen=True)
class Mix:
    """What a generation learns from.

    Attributes
    ----------
    window
        How many generations, the newest and those before it.
    new_share
        Share of the samples that are of the newest one.
    base_share
        Share of those that are of data/processed/<dataset>; generations between have the rest, in equal shares, and
        where there are none it is the base's.
    rows
        Which rows of the base, two fractions such as [0.5, 1.0]; null for all.
    passes
        How often, on average, a row of the newest generation is learnt from.
    """

    window: Annotated[int, AtLeast(1)] = 4
    new_share: Share = 0.5
    base_share: Share = 0.25
    rows: list[Any] | None = None
    passes: Annotated[float, Between(0, 100, is_open=True)] = 3.0


@dataclass(frozen=True)
class IterateSettings:
    """The keys of ``iterate.<dataset>``; `selfplay` and `gate` are the dataset's own.

    `train` has keys of ``train.<dataset>`` that are other here.
    """

    selfplay: dict[str, Any] = field(default_factory=dict)
    mix: Mix = field(default_factory=Mix)
    train: dict[str, Any] = field(default_factory=dict)
    gate: dict[str, Any] = field(default_factory=dict)


class SelfPlayer(Protocol):
    """What stages/datasets/<dataset>/training/generation.py has."""

    def simulator_options(self, entry: Mapping[str, Any], best: Path, number: int) -> dict[str, Any]:
        """Return the simulator's options for the games of a generation, from its section `selfplay`."""

    def gate(self, entry: Mapping[str, Any], candidate: Path, best: Path, number: int) -> dict[str, Any]:
        """Play a match, as the section `gate` says; return its figures, of which ``kept`` says who stays."""

    def anchor(self, entry: Mapping[str, Any], best: Path) -> dict[str, Any]:
        """Play a network against a fixed opponent; return the figures."""

    def games_in(self, raw: Path) -> tuple[int, int]:
        """Return how many games a folder holds, and how many of them are distinct."""


def settings_of(params: Params, dataset: str) -> IterateSettings:
    """Return the section of a dataset, checked.

    Raises
    ------
    ParamsError
        When there is none, or something in it is wrong.
    """
    params.require_entry("iterate", dataset)
    where = f"{paths.PARAMS_FILE}: iterate.{dataset}"
    settings = build(IterateSettings, params.iterate[dataset], where)
    if settings.mix.new_share + settings.mix.base_share > 1:
        raise ParamsError(f"{where}.mix: new_share and base_share sum to more than 1; lower one")
    return settings


def player_of(dataset: str) -> SelfPlayer:
    """Return what a dataset says of its generations.

    Raises
    ------
    ExpectedError
        When it says nothing.
    """
    package = f"stages.datasets.{dataset}"
    name = f"{package}.training.generation"
    for one in (package, f"{package}.training", name):
        if importlib.util.find_spec(one) is None:
            raise ExpectedError(f"iterate {dataset}: no {one.replace('.', '/')}.py, expected it for self-play")
    player: SelfPlayer = importlib.import_module(name)
    return player
