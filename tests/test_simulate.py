"""The simulate verb: what every simulator does with a folder that holds other things, and what a terminal shows."""

import json
import os
import re
import shutil
import sys
from itertools import chain, repeat

import pytest

from stages.datasets import base
from stages.runtime.display import Display
from stages.runtime.memory import Watch
from stages.simulate import FilesMade, Growth
from tests.helpers.places import REPOSITORY
from tests.helpers.samples import BARS, SETTINGS
from tests.helpers.terminal import Terminal
from tests.helpers.waiting import until_files_get_times_after

MORE = {
    "market": {"instruments": {"NQ": {**BARS, "bars": 200}, "ES": {**BARS, "bars": 1_500_000}}},
    "rugs": {"games": 12},
    "splendor": {"games": 150},
}


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


def test_a_simulator_that_says_nothing_shows_the_files_it_writes(tmp_path, monkeypatch):
    """Those of now, not what lay there, nor half a file; how many there will be is not known, so no time left."""
    monkeypatch.setattr("stages.simulate.LOOK_S", 0.0)
    (tmp_path / "old.csv").write_text("x")
    os.utime(tmp_path / "old.csv", (1, 1))
    made = FilesMade("x", tmp_path, None)
    display = Display(made, Watch(str, print))
    assert [display.lines()[i].split(", ")[0].strip() for i in (0, 1)] == ["written: 0.0 MB", "files: 0"]
    until_files_get_times_after(made._since, tmp_path)
    (tmp_path / "games").mkdir()
    (tmp_path / "games/1.csv").write_bytes(bytes(2_000_000))
    (tmp_path / "games/.2.tmp").write_text("x")
    (tmp_path / "old.csv").write_text("y")
    assert display.lines()[0] == "  written: 2.0 MB"
    assert re.fullmatch(r"  files: 2, 0:\d\d:\d\d so far", display.lines()[1])
    assert made.title == "simulate x"
    assert " 0/40, " in Display(FilesMade("x", tmp_path / "none", 40), Watch(str, print)).lines()[1]


# How many files there will be is known of two of them.
SHOWN = {"market": r"\d+/\d+, .* files/s", "rugs": r"files: \d+, 0:00:\d+ so far", "splendor": r"\d+/\d+, .* files/s"}


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["market", "rugs", "splendor"])
def test_a_terminal_shows_that_each_simulation_goes_on(dataset, here):
    """And it ends well, with nothing left of the display."""
    settings = {**SETTINGS[dataset], **MORE[dataset]}
    sample = {"datasets": {dataset: {"raw": f"data/sample/{dataset}", "batch_size": 16}}, "split": {}}
    (here / "params.yaml").write_text(json.dumps({**sample, "simulate": {dataset: settings}}))
    command = [sys.executable, "-m", "stages.simulate", dataset]
    with Terminal(command, here, {**os.environ, "PYTHONPATH": str(REPOSITORY), "JOBS": "1"}) as terminal:
        assert terminal.until(lambda: re.search(SHOWN[dataset], terminal.text()))
        assert terminal.wait() == 0
        assert "files:" not in terminal.text()
        assert "files/s" not in terminal.text()
