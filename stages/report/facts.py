"""Gather what is known of one dataset, and say in words what is missing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stages.core import manifests, paths
from stages.core.errors import ExpectedError
from stages.core.fields import NamedField, read_fields
from stages.differences.compare import Difference
from stages.differences.drift import PartDrift, read_drift
from stages.pipeline.lock import StageState
from stages.processed import Processed
from stages.processed.reader import read_json
from stages.report.columns import ColumnRange, read_columns
from stages.report.figure import Figure, own_figures
from stages.report.generations import GenerationScore, read_generations
from stages.report.lock import changed_data
from stages.report.logs import Run, read_runs
from stages.report.model import TrainedModel, read_model

Json = dict[str, Any]


@dataclass
class Facts:
    """All that the page says of one dataset; what is missing is empty and named in `missing`.

    Attributes
    ----------
    stats, report, fields
        Contents of stats.json, of merge's report and of fields.json.
    runs
        The last run of each stage and listed batch, in the order they began.
    columns, packed, figures
        The feature columns, the shapes of the features that are stored as bits, which have none, and the figures of the
        dataset's own package.
    drift
        What differs in val and test from train.
    model
        The trained model, None where there is none.
    generations
        Those of a network that learns from its own games.
    stages
        What DVC rebuilt and reused since the last commit.
    changes
        What differs in the data from the last commit's; None where nothing was made anew.
    missing
        One sentence for each thing that is not on the page.
    """

    name: str
    stats: Json = field(default_factory=dict)
    report: Json = field(default_factory=dict)
    fields: list[NamedField] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    columns: list[ColumnRange] = field(default_factory=list)
    packed: dict[str, tuple[int, ...]] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    drift: list[PartDrift] = field(default_factory=list)
    model: TrainedModel | None = None
    generations: list[GenerationScore] = field(default_factory=list)
    stages: list[StageState] = field(default_factory=list)
    changes: Difference | None = None
    missing: list[str] = field(default_factory=list)

    @property
    def parts(self) -> list[str]:
        """Names of the parts of the split."""
        return list(self.stats.get("rows", {}))

    @property
    def peak_mb(self) -> float:
        """Greatest memory of any run."""
        return max((run.peak_mb for run in self.runs), default=0.0)

    @property
    def budget_mb(self) -> float | None:
        """Smallest memory budget of any run, None when no run says."""
        return min((run.budget_mb for run in self.runs if run.budget_mb), default=None)

    @property
    def seconds(self) -> float:
        """Time of all runs together."""
        return sum(run.seconds for run in self.runs)

    def batch_runs(self) -> list[Run]:
        """Return the runs that read one batch of raw units."""
        return [run for run in self.runs if run.stage == "process"]


def gather(dataset: str, stages: list[StageState], takes_sample: bool = True) -> Facts:
    """Return what is known of a dataset.

    Parameters
    ----------
    stages
        What DVC rebuilt and reused of it.
    takes_sample
        Whether its raw files are the simulated ones; if not, the last simulation is no run of this data.
    """
    facts = Facts(dataset, stages=stages)
    folder = paths.processed_dir(dataset)
    data = Processed(folder)
    facts.stats = _try(facts, data.stats, "sizes, classes and legal actions") or {}
    facts.report = _try(facts, lambda: read_json(paths.report(dataset)), "bad units, duplicates and batches") or {}
    facts.fields = _try(facts, lambda: read_fields(paths.merged_dir(dataset)), "the fields") or []
    facts.columns = _try(facts, lambda: read_columns(folder), "feature ranges") or []
    facts.packed = _try(facts, data.packed_shapes, "packed features") or {}
    facts.drift = _try(facts, lambda: read_drift(data), "drift of val and test") or []
    facts.changes = _try(facts, lambda: changed_data(dataset, stages), "what changed since the last commit")
    facts.figures = _try(facts, lambda: own_figures(dataset, folder), "the dataset's own figures") or []
    facts.model = _try(facts, lambda: read_model(dataset), "the trained model")
    facts.generations = _try(facts, lambda: read_generations(dataset), "generations") or []
    facts.runs = [run for run in _runs(dataset) if takes_sample or run.stage != "simulate"]
    if not (facts.columns or facts.packed) and folder.is_dir():
        facts.missing.append(f"Feature ranges: no array of features in {folder}.")
    facts.missing += _missing_from_logs(facts)
    return facts


def _try(facts: Facts, read: Callable[[], Any], what: str) -> Any:
    """Return what `read` gives; where a file is missing or damaged note that and return None."""
    try:
        return read()
    except FileNotFoundError as error:
        facts.missing.append(f"{what[0].upper()}{what[1:]}: {error.filename} is not here; `dvc repro` makes it.")
    except (ExpectedError, OSError, KeyError) as error:
        facts.missing.append(f"{what[0].upper()}{what[1:]}: {error}")
    return None


def _runs(dataset: str) -> list[Run]:
    """Return the last runs; those of batches that are no longer listed are left out."""
    listed = manifests.read_batch_list(dataset) if paths.batch_list(dataset).is_file() else None
    runs = read_runs(paths.LOG_DIR, dataset)
    return [run for run in runs if not run.batch or listed is None or run.batch in listed]


def _missing_from_logs(facts: Facts) -> list[str]:
    if not facts.runs:
        return [f"Memory, time and workers: no run of {facts.name} in {paths.LOG_DIR}; logs are not shared."]
    notes = []
    unfinished = [f"{run.stage} {run.name}" for run in facts.runs if not run.is_finished]
    if unfinished:
        notes.append(f"Not finished when last seen: {', '.join(unfinished[:5])}{' ...' if unfinished[5:] else ''}.")
    if not facts.batch_runs():
        notes.append("Workers and speed: no run of process in the logs.")
    elif not any(run.chunks for run in facts.batch_runs()):
        notes.append("Workers: the logs do not say which worker did what; they will after the next run.")
    return notes
