"""The simulate verb: what every simulator does with a folder that holds other things, and what a terminal shows."""

import os
import shutil
from itertools import chain, repeat

import pytest

from stages.datasets import base
from stages.runtime.display import Display
from stages.runtime.memory import Watch
from stages.simulate import Growth
from tests.helpers.samples import SETTINGS


def files(folder):
    """Return the content of every file below a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("dataset", sorted(SETTINGS))
def test_a_folder_becomes_that_of_the_settings_and_links_stay(dataset, tmp_path, monkeypatch):
    """DVC keeps the folder between runs: what does not belong goes, and no file, maybe a link, is written to."""
    monkeypatch.setenv("JOBS", "1")
    simulator, settings = base.simulator(dataset), SETTINGS[dataset]
    folder, cache = tmp_path / "sample", tmp_path / "cache"
    simulator.write(folder, {**settings, "seed": 2})
    shutil.copytree(folder, cache, copy_function=os.link)
    before = files(cache)
    for name in ("stray.csv", ".hidden", "deep/er/stray.parquet"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    simulator.write(folder, settings)
    assert files(cache) == before
    simulator.write(tmp_path / "fresh", settings)
    assert files(folder) == files(tmp_path / "fresh") != before
    assert not (folder / "deep").exists()


def test_the_display_counts_what_is_made_now():
    """Goes on where an earlier run stopped; with other settings, what that left is removed and made anew."""

    def shown(*seen):
        looks = chain(seen, repeat(seen[-1]))
        display = Display(Growth("x", lambda: next(looks)), Watch(str, print))
        return [display.lines()[-2].split()[1].rstrip(",") for _ in seen[1:]]

    assert shown((100, 600), (100, 600), (350, 600), (600, 600)) == ["0/500", "250/500", "500/500"]
    assert shown((350, 600), (0, 600), (90, 600), (600, 600)) == ["0/600", "90/600", "600/600"]
    assert shown((350, 300), (350, 300), (300, 300)) == ["0/0", "0/0"]
