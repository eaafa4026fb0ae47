"""Where every artefact lies, relative to the repository's root, which is the working directory of all verbs."""

from pathlib import Path

PARAMS_FILE = Path("params.yaml")
LOG_DIR = Path("data/logs")
GENERATIONS_DIR = Path("data/generations")


def sample_dir(dataset: str) -> Path:
    """Folder of the raw data that the simulator of `dataset` makes."""
    return Path("data/sample", dataset)


def batch_list(dataset: str) -> Path:
    """Path of the committed list of batch ids of `dataset`, which dvc.yaml reads."""
    return Path("data/manifests", dataset, "batches.yaml")


def manifest_dir(dataset: str) -> Path:
    """Folder with one manifest (units and digests) per batch."""
    return Path("data/manifests", dataset, "batches")


def manifest(dataset: str, batch: str) -> Path:
    """Path of one batch's manifest."""
    return manifest_dir(dataset) / f"{batch}.json"


def expanded(dataset: str) -> Path:
    """Path of the copy of the batch list that `expand` hands to `merge`."""
    return Path("data/manifests", dataset, "expanded.yaml")


def list_changed_marker(dataset: str) -> Path:
    """Path of the note from discover to expand: the list of batches changed in this DVC run."""
    return Path(".dvc/tmp/batchwise", f"{dataset}.list-changed")


def intermediate_dir(dataset: str) -> Path:
    """Folder with one NPZ per batch."""
    return Path("data/intermediate", dataset)


def intermediate(dataset: str, batch: str) -> Path:
    """Path of one batch's arrays."""
    return intermediate_dir(dataset) / f"{batch}.npz"


def merged_dir(dataset: str) -> Path:
    """Folder with one .npy per field, all batches together."""
    return Path("data/merged", dataset)


def report(dataset: str) -> Path:
    """Path of merge's account of a dataset: rows, duplicates, bad units."""
    return Path("data/reports", f"{dataset}.json")


def processed_dir(dataset: str) -> Path:
    """Folder with the arrays a trainer reads."""
    return Path("data/processed", dataset)


def metrics_dir(dataset: str) -> Path:
    """Folder with the figures of a dataset that `dvc metrics` compares."""
    return Path("data/metrics", dataset)


def plots_dir(dataset: str) -> Path:
    """Folder with the tables of a dataset that `dvc plots` draws."""
    return Path("data/plots", dataset)


def model_dir(dataset: str) -> Path:
    """Folder with the weights of a trained model and what it says of itself."""
    return Path("data/models", dataset)


def train_metrics(dataset: str) -> Path:
    """Path of the metrics of a trained model on val and test, beside those of its baselines."""
    return Path("data/train", dataset, "metrics.json")


def train_figures(dataset: str) -> Path:
    """Path of what the report draws of a trained model on test."""
    return Path("data/train", dataset, "figures.json")


def curve(dataset: str) -> Path:
    """Path of the table of a training's evaluations."""
    return Path("data/curves", dataset, "curve.csv")


def checkpoints_dir(dataset: str) -> Path:
    """Folder with the checkpoints of all trainings of a dataset."""
    return Path("data/checkpoints", dataset)


def card(dataset: str) -> Path:
    """Path of the committed data card of a dataset."""
    return Path("data/cards", f"{dataset}.md")


def model_card(dataset: str) -> Path:
    """Path of the card of a trained model, beside its weights."""
    return model_dir(dataset) / "README.md"


def model_words(dataset: str) -> Path:
    """Path of what a dataset says of its models."""
    return Path(__file__).parents[1] / "datasets" / dataset / "model_card.md"


def card_template(dataset: str) -> Path:
    """Path of the words of a dataset's data card."""
    return Path(__file__).parents[1] / "datasets" / dataset / "card.md"
