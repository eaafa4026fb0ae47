"""Data cards: every figure is that of the data, the form is a dataset card's, faults of a template are named."""

import doctest
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from stages import split
from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.params import SplitParams, load
from stages.report import cards
from tests.helpers.merged_fields import write_fields
from tests.helpers.places import REPOSITORY, SHIPPED

PARTS = ("train", "val", "test")
SECTIONS = ("Summary", "Structure", "Creation", "Considerations", "Licensing", "How to load")
COMMITTED = sorted(REPOSITORY.glob("data/cards/*.md"))


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def tables(text):
    """Return the cells of each line of each table by the line's first cell."""
    lines = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in lines}


@pytest.fixture
def written(here, finished):
    """Give the card of 60 games, written in a copy of what the verbs made."""
    for name in ("data/processed", "data/merged", "data/reports"):
        shutil.copytree(finished / name, here / name)
    shutil.copy(finished / "params.yaml", here)
    return cards.write("splendor").read_text(encoding="utf-8")


def test_splits_are_those_of_the_arrays(written):
    """Rows, groups and bytes of each part, in the front matter and in the table."""
    splits = {split.pop("name"): split for split in front_matter(written)["dataset_info"]["splits"]}
    for part in PARTS:
        n_rows = len(np.load(f"data/processed/splendor/X_{part}.npy", mmap_mode="r"))
        n_groups = len(set(np.load(f"data/processed/splendor/keys_{part}.npz")["group_id"].tolist()))
        n_bytes = sum(path.stat().st_size for path in Path("data/processed/splendor").glob(f"*_{part}.np[yz]"))
        assert splits[part] == {"num_examples": n_rows, "num_bytes": n_bytes}
        assert tables(written)[part] == [f"{n_rows:,}", f"{n_groups:,}", f"{n_bytes / 1e6:,.1f}"]


def test_features_are_those_of_the_arrays(written):
    """Name, dtype and shape of a row of everything a trainer can open, and nothing else; labels with their classes."""
    expected = []
    classes = json.loads(Path("data/processed/splendor/label_mappings.json").read_text())
    for part in ("X", "labels", "masks", "keys"):
        found = np.load(next(Path("data/processed/splendor").glob(f"{part}_train.np?")))
        prefix = {"labels": "label_", "masks": "mask_"}.get(part, "")
        members = {"": found} if part == "X" else {name: found[name] for name in found if name != "units"}
        for name, array in members.items():
            said = {"list": array.dtype.name, "length": array.shape[-1]}
            if part == "labels":
                said = {"dtype": {"class_label": {"names": {str(i): one for one, i in classes[name].items()}}}}
            elif array.ndim == 1:
                said = {"dtype": array.dtype.name}
            expected.append({"name": f"{prefix}{name}" or "X", **said})
            assert tables(written)[f"{prefix}{name}" or "X"][0] == array.dtype.name
    assert front_matter(written)["dataset_info"]["features"] == expected


def test_totals_and_classes_are_those_of_the_arrays(written):
    """The figures in the words and in the tables of labels and legal actions."""
    rows = sum(len(np.load(f"data/processed/splendor/X_{part}.npy", mmap_mode="r")) for part in PARTS)
    text = " ".join(written.split())
    assert f"{rows:,} moves of 60 games" in text
    assert "Each position is 1,308 numbers" in text
    normalised = int(np.load("data/processed/splendor/normalizer.npz")["is_normalised"].sum())
    assert f"Of the 1,308 columns of `X`, {normalised:,} are standardised" in text
    assert "60 files in `raw` (limit: none)" in text
    assert "in 5 batches of at most 16 files" in text
    assert front_matter(written)["size_categories"] == ["1K<n<10K"]
    names = json.loads(Path("data/processed/splendor/label_mappings.json").read_text())
    for head, classes in names.items():
        label = np.concatenate([np.load(f"data/processed/splendor/labels_{part}.npz")[head] for part in PARTS])
        counts = np.bincount(label[label >= 0], minlength=len(classes))
        largest = list(classes)[counts.argmax()]
        applied, seen, shown = re.search(
            rf"^\| `{head}` \| ([\d,]+) \| (\d+) of {len(classes)} \| (.*) \|$", written, re.MULTILINE
        ).groups()
        assert (applied, int(seen)) == (f"{counts.sum():,}", (counts > 0).sum())
        assert shown.startswith(f"`{largest}` {counts.max() / counts.sum():.1%}")
        legal = np.load("data/processed/splendor/masks_train.npz")[head].sum(1)
        assert f"| `{head}` | {legal.mean():.2f} | {legal.min()} | {legal.max()} |" in written


def test_the_example_is_the_first_row_of_train(written):
    """Keys and labels as `numpy.load` gives them."""
    keys, labels = (np.load(f"data/processed/splendor/{name}_train.npz") for name in ("keys", "labels"))
    assert f"\ngame_id: {keys['game_id'][0]}\n" in written
    for head in labels:
        assert f"\nlabel_{head}: {labels[head][0]}\n" in written


def test_a_card_says_whether_its_data_are_simulated(written):
    """Supplied files are not called simulated, and a sample is not called anything else."""
    assert "Files supplied in `raw`; who made them is not known" in written
    text = Path("params.yaml").read_text() + "simulate: {splendor: {games: 60, seed: 7}}\n"
    Path("params.yaml").write_text(text)
    assert "Files supplied in `raw`" in cards.card("splendor")
    Path("params.yaml").write_text(text.replace('"raw": "raw"', '"raw": "data/sample/splendor"', 1))
    assert "**Simulated**, not recorded" in cards.card("splendor")
    assert "made all of them (games 60, seed 7)." in cards.card("splendor")


def test_a_card_again_is_the_same_bytes(written):
    """A card is a function of the data: no date, time or host."""
    assert cards.card("splendor") == written
    assert not re.search(r"20\d\d-\d\d|\d\d:\d\d|seconds", written)


def test_a_dataset_without_labels_and_masks_has_a_card(here, finished, monkeypatch):
    """The tables say that there is nothing."""
    for name in ("data/processed", "data/merged", "data/reports"):
        shutil.copytree(finished / name, here / name)
    shutil.copy(finished / "params.yaml", here)
    path = Path("data/processed/splendor/stats.json")
    found = json.loads(path.read_text()) | {"labels": {}, "legal_actions": {}}
    path.write_text(json.dumps(found))
    values = cards.placeholders("splendor", load())
    assert (values["labels_table"], values["legal_table"]) == ("No labels.", "No masks.")


def test_a_card_counts_what_was_left_out(written):
    """Duplicates by unit, those with most first and the others together; findings by reason; or that there are none."""
    values = cards.placeholders("splendor", load())
    assert values["duplicates_table"] == "No duplicates."
    assert values["findings_table"] == "Nothing was wrong within units."
    path = paths.report("splendor")
    found = json.loads(path.read_text())
    found["duplicates"]["by_unit"] = {f"file {i}": 1000 * i for i in range(1, 8)}
    found["findings"] = {"by_reason": {"no winner": 2, "bad | letter": 1200}}
    path.write_text(json.dumps(found))
    values = cards.placeholders("splendor", load())
    lines = values["duplicates_table"].splitlines()[2:]
    assert lines == [*(f"| `file {i}` | {i},000 |" for i in (7, 6, 5, 4, 3)), "| 2 others | 3,000 |"]
    assert values["findings_table"].splitlines()[2:] == ["| bad \\| letter | 1,200 |", "| no winner | 2 |"]


def test_a_card_says_that_a_feature_is_stored_as_merged(written):
    """With its dtype, and how a reader standardises it; nothing else but the bytes differs."""
    split.split("splendor", SplitParams(store="stored"))
    text = cards.write("splendor").read_text(encoding="utf-8")
    changed = {line.split(" | ")[0] for line in set(text.splitlines()) ^ set(written.splitlines())}
    assert tables(text)["X"][0] == "int8"
    assert tables(text)["X"][2].removesuffix(" |").endswith("(value - `mean`) / `scale` of `normalizer.npz`")
    assert {line for line in changed if line.startswith("| ")} == {"| `X`", "| train", "| val", "| test"}
    assert len(text.splitlines()) == len(written.splitlines())


def test_a_card_says_what_packed_bytes_are(written):
    """The shape of an unpacked row stands beside that of the bytes."""
    folder = paths.merged_dir("splendor")
    fields = json.loads((folder / "fields.json").read_text())
    next(field for field in fields if field["name"] == "X")["bits"] = [2, 13, 13]
    write_fields(folder, fields)
    assert tables(cards.card("splendor"))["X"][1] == "1308 (bits of 2 x 13 x 13)"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${rows} ${row}", r"card\.md: no placeholder 'row', expected one of: .*rows"),
        ("5 $ each", r"card\.md: Invalid placeholder in string: line 1, col 3; write a dollar sign as \$\$"),
    ],
)
def test_a_faulty_template_is_named(written, monkeypatch, tmp_path, text, reason):
    """The error names the file, what is wrong and what to do."""
    (tmp_path / "card.md").write_text(text)
    monkeypatch.setattr(paths, "card_template", lambda dataset: tmp_path / "card.md")
    with pytest.raises(ExpectedError, match=reason):
        cards.card("splendor")


def test_without_arrays_a_card_says_what_to_run(workspace):
    """The file, and no card."""
    with pytest.raises(ExpectedError, match=r"^data/processed/splendor/stats.json: not found, expected the finished"):
        cards.write("splendor")
    assert not Path("data/cards").exists()


def test_the_worked_examples_are_what_the_functions_give():
    """The docstrings' examples run."""
    found = doctest.testmod(cards)
    assert found.attempted
    assert not found.failed


def test_every_shipped_dataset_has_a_committed_card():
    """One card for each dataset that the repository ships, and its words in the dataset's package."""
    assert {path.stem for path in COMMITTED} >= set(SHIPPED)
    assert all((REPOSITORY / "stages/datasets" / name / "card.md").is_file() for name in SHIPPED)


def test_a_dataset_without_words_of_its_own_has_a_card(written, monkeypatch, tmp_path):
    """Of the same form, with the same figures."""
    monkeypatch.setattr(paths, "card_template", lambda dataset: tmp_path / "card.md")
    text = cards.card("splendor")
    assert front_matter(text)["dataset_info"] == front_matter(written)["dataset_info"]
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == list(SECTIONS)
    assert "${" not in text


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_card_has_the_form_of_a_dataset_card(path):
    """Front matter and sections as the Hugging Face hub wants them; no placeholder is left."""
    text = path.read_text(encoding="utf-8")
    head = front_matter(text)
    assert {"pretty_name", "license", "task_categories", "size_categories", "tags", "dataset_info"} <= set(head)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == list(SECTIONS)
    assert "${" not in text
    n_rows = sum(split["num_examples"] for split in head["dataset_info"]["splits"])
    assert f"{n_rows:,} " in text
    assert head["size_categories"] == [cards.size_category(n_rows)]
