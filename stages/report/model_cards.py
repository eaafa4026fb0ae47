"""Write the model card of a dataset, data/models/<dataset>/README.md.

The words are the dataset's own, stages/datasets/<dataset>/model_card.md: what the model learns, and what the sample can
and cannot teach. The rest is stages/report/model_card.md, a `string.Template`, filled with what the training left.
"""

from collections.abc import Sequence
from pathlib import Path
from string import Template

from stages.core import paths
from stages.core.files import write_text
from stages.core.part_files import PARTS
from stages.processed import Processed
from stages.report.cards import markdown_table
from stages.report.model import MODEL, TrainedModel, read_model, shown

TEMPLATE = Path(__file__).parent / "model_card.md"
NO_WORDS = "What it learns is not described: stages/datasets/<dataset>/model_card.md would say it."


def write(dataset: str) -> Path | None:
    """Write the card of a trained model; return its path, None where there is no model.

    Raises
    ------
    ExpectedError
        When a file of the model is damaged.
    OSError
        When one is missing.
    """
    model = read_model(dataset)
    if model is None:
        return None
    write_text(paths.model_card(dataset), card(dataset, model))
    return paths.model_card(dataset)


def card(dataset: str, model: TrainedModel) -> str:
    """Return the text of a card."""
    words, about = paths.model_words(dataset), model.about
    rows = Processed(paths.processed_dir(dataset)).stats()["rows"]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        dataset=dataset,
        words=words.read_text(encoding="utf-8").strip() if words.is_file() else NO_WORDS,
        metrics_table=_metrics(model),
        verdicts="\n".join(f"- {sentence}" for sentence in model.verdicts()),
        rows=", ".join(f"{rows[part]:,} rows of {part}" for part in PARTS),
        step=f"{about['step']:,}",
        n_steps=f"{about['n_steps']:,}",
        epoch=f"{about['epoch']:.4g}",
        n_parameters=f"{about['n_parameters']:,}",
        origin_table=_origin(model),
    )


def _metrics(model: TrainedModel) -> str:
    of_test, names = model.of_part("test"), [MODEL, *model.baselines]
    rows = [(one["name"], *(shown(of_test[of].get(one["name"])) for of in names)) for one in model.headlines]
    return markdown_table(("metric", *names), rows)


def _origin(model: TrainedModel) -> str:
    about = model.about
    rows: Sequence[tuple[str, str]] = [
        *((f"`{name}`", f"SHA-256 `{digest}`") for name, digest in about["data"].items()),
        ("identity", f"`{about['identity']}`"),
        *about["versions"].items(),
        ("processor, threads", f"{about['cpu']}, {about['threads']}"),
    ]
    return markdown_table(("what", "which"), rows)
