"""Parts as merged, under real DVC: what reruns, and that every command works with them."""

import sys

import numpy as np
import pytest

from stages.loader import Settings, batches
from tests.helpers.clones import linked_copy_of, whole_clone
from tests.helpers.places import SHIPPED

pytestmark = pytest.mark.slow

PARTS = ("train", "val", "test")


def drawn(clone, dataset, **settings):
    """Return the bytes of all batches of a dataset, part by part."""
    found = []
    for part in PARTS:
        with batches(clone.folder / "data/processed" / dataset, part, Settings(**settings)) as stream:
            found += [{name: (v.dtype, v.shape, v.tobytes()) for name, v in batch.items()} for batch in stream]
    return found


def test_a_trainer_reads_the_same_bits_of_the_whole_sample(tmp_path_factory, tmp_path):
    """Of every dataset; a dataset's own setting reruns its split alone; going back, nothing runs."""
    clone = linked_copy_of(whole_clone(tmp_path_factory)[0], tmp_path)
    module = [sys.executable, "-m"]
    clone.run(*module, "stages.commands.preprocess")
    choices = {dataset: [{"batch_size": 500, "shuffle_seed": 1}] for dataset in SHIPPED}
    choices["market"] += [{"window": "strategic"}, {"window": "tactical", "fields": ("strategic", "tactical")}]
    choices["rugs"] += [{"window": "observation"}]
    before = {dataset: [drawn(clone, dataset, **choice) for choice in choices[dataset]] for dataset in choices}
    written = clone.arrays()
    params = (clone.folder / "params.yaml").read_text()

    (clone.folder / "params.yaml").write_text(params.replace("    split: {}\n", "    split: {store: stored}\n", 1))
    assert clone.repro() == ["split@splendor"]
    x = np.load(clone.folder / "data/processed/splendor/X_train.npy", mmap_mode="r")
    assert (x.dtype, x.shape[1:]) == (np.int8, (1308,))

    (clone.folder / "params.yaml").write_text(params.replace("\nsplit:\n", "\nsplit:\n  store: stored\n"))
    assert sorted(clone.repro()) == [f"split@{dataset}" for dataset in SHIPPED]
    for dataset, expected in before.items():
        assert [drawn(clone, dataset, **choice) for choice in choices[dataset]] == expected
    assert clone.run(*module, "stages.commands.verify").stdout.count("every file is as written") == len(SHIPPED)
    for dataset in SHIPPED:
        assert "raw     data/sample/" in clone.run(*module, "stages.commands.trace", dataset, "val", "3").stdout
    clone.run(*module, "stages.report")
    page = (clone.folder / "data/reports/index.html").read_text(encoding="utf-8")
    assert "is not here" not in page
    assert clone.run("dvc", "metrics", "diff", "--json").stdout.strip() in ("", "{}")

    (clone.folder / "params.yaml").write_text(params)
    assert clone.repro() == []
    assert clone.arrays() == written
