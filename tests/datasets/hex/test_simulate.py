"""Self-play: real games, a function of the options alone, whatever stops the process on the way."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime

import psutil
import pytest

from stages.core.errors import ExpectedError
from stages.core.params import load
from stages.datasets.hex import simulate
from stages.datasets.hex.schema import CELL_NAMES
from stages.datasets.hex.simulate.openings import OPENINGS, opening
from stages.datasets.hex.simulate.temperature import Schedule
from tests.helpers.hex_boards import is_joined
from tests.helpers.places import REPOSITORY
from tests.helpers.terminal import Terminal

OPTIONS = {"games": 8, "workers": 3, "seed": 42, "started": "2025-01-01T00:00:00", "widths": [3]}
NAME = "selfplay_20250101_000000.trmph"
MOST_ATTEMPTS = 5  # to meet a run that is not over; nearly always the first one does


@pytest.fixture(autouse=True)
def _one_job(monkeypatch):
    """Play in this process; tests that want more say so."""
    monkeypatch.setenv("JOBS", "1")


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Give the folder and the figures of a run; not to be changed."""
    folder = tmp_path_factory.mktemp("played")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JOBS", "1")
        return folder, simulate.write(folder, OPTIONS)


def games_of(folder):
    """Return (worker, moves as cells, winner) of every game, in the order of the files."""
    found = []
    for path in sorted(folder.rglob("*.trmph")):
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith("#13,"):
                names = re.findall(r"([a-m])(\d+)", line[4:-2])
                moves = [CELL_NAMES.index(letter + number) for letter, number in names]
                found.append((int(path.parent.name.removeprefix("worker_")), moves, line[-1]))
    return found


def test_games_are_legal_and_end_with_the_winning_stone(played):
    """Blue first, no cell twice, nobody joined before the last move, and then the winner of the line."""
    games = games_of(played[0])
    assert len(games) == 8
    for _, moves, winner in games:
        assert len(set(moves)) == len(moves)
        last = (len(moves) - 1) % 2
        assert winner == "br"[last]
        assert is_joined(set(moves[last::2]), last)
        assert not is_joined(set(moves[last::2][:-1]), last)
        assert not is_joined(set(moves[1 - last :: 2]), 1 - last)


def test_worker_plays_every_third_game_and_openings_go_round(played):
    """Game i is the next one of worker i mod 3, and opens with the i-th stone of the list."""
    games = games_of(played[0])
    for worker in range(3):
        first = [CELL_NAMES[moves[0]] for number, moves, _ in games if number == worker]
        assert first == [f"a{i + 2}" for i in range(worker, 8, 3)]


def test_openings_are_those_of_the_reference():
    """12 + 7 + 10 + 3 stones, two empty boards and a bad stone, in this order, again and again."""
    assert len(OPENINGS) == 35
    assert [OPENINGS[i] for i in (0, 11, 12, 18, 19, 28, 29, 30, 31, 32, 33, 34)] == (
        ["a2", "a13", "b5", "b11", "b2", "k2", "a1", "b12", "c3", "", "", "b1"]
    )
    assert opening(35 + 12) == (4 * 13 + 1,)
    assert opening(33) == ()


def test_files_begin_with_what_decides_them(played):
    """Written by hand; the time is the option's, with microseconds."""
    assert (played[0] / "worker_1" / NAME).read_text().splitlines()[:10] == [
        "# Self-play games - 2025-01-01T00:00:00.000000",
        "# Model: distance",
        "# Engine: fixed-tree minimax 2",
        "# Search widths: [3]",
        "# Temperature: 0.5",
        "# Temperature decay: exponential to 0.01 within 50 moves",
        "# Openings: 35",
        "# Random seed: 42",
        "# Worker: 1 of 3",
        "# Format: trmph_string winner",
    ]


OWN = """
from stages.datasets.hex.simulate.evaluate import DistanceEvaluator

class Network(DistanceEvaluator):
    def __init__(self, path):
        self.digest = "net-" + path.read_text()

def network(path):
    return Network(path)
"""


@pytest.fixture
def network(tmp_path, monkeypatch):
    """Write a file of weights and a module with an evaluator that is made of it; return options of both."""
    monkeypatch.syspath_prepend(tmp_path)
    module = f"network_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(OWN)
    file = tmp_path / "weights.npz"

    def write(content, sha256=None):
        file.write_text(content)
        weights = {"file": str(file), "sha256": sha256 or hashlib.sha256(content.encode()).hexdigest()}
        return {**OPTIONS, "games": 2, "workers": 1, "evaluator": f"{module}:network", "weights": weights}

    return write


def test_games_of_other_weights_are_never_continued(network, tmp_path):
    """The header has the digest of the file, and what the evaluator says of itself."""
    folder = tmp_path / "games"
    path = folder / "worker_0" / NAME
    options = network("1")
    assert simulate.write(folder, options)["n_new"] == 2
    digest = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"  # `printf 1 | sha256sum`
    assert path.read_text().splitlines()[1:5] == [
        f"# Model: {options['evaluator']}",
        "# Model digest: net-1",
        f"# Weights: sha256 {digest}",
        "# Engine: fixed-tree minimax 2",
    ]
    assert simulate.progress(folder, options) == (2, 2)
    assert simulate.write(folder, options)["n_new"] == 0
    other = network("2")
    with pytest.raises(
        ExpectedError, match=r"weights\.sha256: 6b86.*, expected d4735e3a.*, that of .*weights\.npz; restore"
    ):
        simulate.write(folder, options)
    assert "net-1" in path.read_text()
    assert simulate.write(folder, other)["n_new"] == 2
    assert "net-2" in path.read_text()


def test_weights_that_are_not_there_or_not_wanted_are_told(network, tmp_path):
    """The embedded evaluator has none."""
    options = network("1")
    (tmp_path / "weights.npz").unlink()
    with pytest.raises(ExpectedError, match=r"simulate\.hex\.weights\.file: '.*weights\.npz' cannot be read \(No such"):
        simulate.write(tmp_path / "games", options)
    with pytest.raises(ExpectedError, match=r"weights: '.*', expected none with evaluator distance"):
        simulate.write(tmp_path / "games", {**options, "evaluator": "distance"})
    with pytest.raises(ExpectedError, match=r"weights\.sha256: 'ABC', expected 64 digits 0-9a-f, of `sha256sum FILE`"):
        simulate.write(tmp_path / "games", network("1", sha256="ABC"))


def test_games_are_those_of_this_engine(played):
    """If this fails, the same options give other games: raise `simulate.ENGINE`, so that no old file is continued."""
    content = b"".join(path.read_bytes() for path in sorted(played[0].rglob("*.trmph")))
    assert hashlib.sha256(content).hexdigest()[:16] == "d23bcf142a30bbd2"


@pytest.mark.parametrize(
    ("jobs", "cache"), [pytest.param("2", 60_000, marks=pytest.mark.slow), ("3", 60_000), ("1", 1)]
)
def test_neither_processes_nor_neighbours_nor_the_cache_change_a_game(
    played, tmp_path, snapshot, monkeypatch, jobs, cache
):
    """With three processes every worker plays alone."""
    monkeypatch.setenv("JOBS", jobs)
    simulate.write(tmp_path, {**OPTIONS, "cache": cache})
    assert snapshot(tmp_path) == snapshot(played[0])


@pytest.mark.parametrize("workers", [1, 5])
def test_any_number_of_workers_plays_the_same_games(played, tmp_path, workers):
    simulate.write(tmp_path, {**OPTIONS, "workers": workers})
    same, expected = (sorted(game[1:] for game in games_of(folder)) for folder in (tmp_path, played[0]))
    assert same == expected


def test_more_games_are_appended_and_fewer_are_cut(played, tmp_path, snapshot):
    """In every file the games before stay, byte for byte; a run with nothing to do plays nothing."""
    figures = simulate.write(tmp_path, {**OPTIONS, "games": 4})
    before = snapshot(tmp_path)
    assert figures["n_new"] == 4
    assert simulate.write(tmp_path, OPTIONS)["n_new"] == 4
    after = snapshot(tmp_path)
    assert after == snapshot(played[0])
    assert all(after[name].startswith(content) for name, content in before.items())
    assert simulate.write(tmp_path, OPTIONS)["n_new"] == 0
    assert simulate.write(tmp_path, {**OPTIONS, "games": 4})["n_new"] == 0
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"workers": 2},
        {"widths": [2]},
        {"temperature": 1.0},
        {"temperature_end": 0.2},
        {"decay": "constant"},
        {"decay": "linear"},
        {"decay": "game_progress"},
        {"decay": "step"},
        {"decay_moves": 5},
        {"openings": False},
        {"started": "2025-02-01T00:00:00"},
    ],
)
def test_games_of_other_options_are_never_continued(played, tmp_path, snapshot, change):
    """Old files there or not, the result is the same."""
    options = {**OPTIONS, **change, "games": 3}
    simulate.write(tmp_path / "new", options)
    (tmp_path / "old").mkdir()
    for name, content in snapshot(played[0]).items():
        path = tmp_path / "old" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    assert simulate.write(tmp_path / "old", options)["n_new"] == 3
    assert snapshot(tmp_path / "old") == snapshot(tmp_path / "new")


def edits(content):
    """Return a file's content as somebody may have changed it, by name; all games stay well-formed."""
    lines = content.splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if line.startswith(b"#13,"))
    return {
        "another winner": b"".join(
            [*lines[:-1], lines[-1].replace(b" b", b" x").replace(b" r", b" b").replace(b" x", b" r")]
        ),
        "another game": b"".join([*lines[:first], b"#13,a1b2a2 b\n", *lines[first + 1 :]]),
        "one game fewer": b"".join([*lines[:first], *lines[first + 1 :]]),
        "games swapped": b"".join([*lines[:first], lines[first + 1], lines[first], *lines[first + 2 :]]),
        "no last game": b"".join(lines[:-1]),
    }


@pytest.mark.parametrize("name", ["another winner", "another game", "one game fewer", "games swapped", "no last game"])
def test_a_sample_that_was_edited_or_cut_is_made_as_it_was(played, tmp_path, snapshot, name):
    """Games before the edit stay, and those of other files."""
    folder = tmp_path / "games"
    simulate.write(folder, OPTIONS)
    path = folder / "worker_0" / NAME
    path.write_bytes(edits(path.read_bytes())[name])
    assert 1 <= simulate.write(folder, OPTIONS)["n_new"] <= 3
    assert snapshot(folder) == snapshot(played[0])


def test_a_sample_that_another_machine_played_is_played_anew(played, tmp_path, snapshot):
    """There is no list of its games; half a list keeps half of them."""
    folder = tmp_path / "games"
    simulate.write(folder, OPTIONS)
    for path in (tmp_path / ".games.played").iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    assert simulate.write(folder, OPTIONS)["n_new"] == 3
    shutil.rmtree(tmp_path / ".games.played")
    assert simulate.write(folder, OPTIONS)["n_new"] == 8
    assert snapshot(folder) == snapshot(played[0])


def test_figures_are_counts_of_the_games(played):
    """As the files say; equal games are counted once each time they come again."""
    folder, figures = played
    games = games_of(folder)
    assert figures["n_games"] == 8
    assert figures["mean_length"] == pytest.approx(sum(len(moves) for _, moves, _ in games) / 8, abs=0.01)
    assert figures["blue_wins"] == sum(winner == "b" for *_, winner in games)
    assert figures["blue_wins"] + figures["red_wins"] == 8
    assert 0 <= figures["cache_hits"] < figures["lookups"]


def test_without_chance_games_with_one_opening_are_duplicates(tmp_path):
    """Games 0 and 35 open alike; at temperature 0 they go on alike."""
    options = {**OPTIONS, "games": 36, "workers": 36, "widths": [1], "temperature": 0, "decay": "constant"}
    assert simulate.write(tmp_path, options)["duplicates"] >= 1


@pytest.mark.slow
def test_games_of_the_sample_hardly_repeat(tmp_path):
    """Of 400 at most 4, as there are 20 times fewer with warm moves before move 5 as with those before move 3.

    Pairs of equal games, hence duplicates, grow with the square of the games: of 1,000 it would be 25.
    """
    sample = load(REPOSITORY / "params.yaml").simulate["hex"]
    assert simulate.write(tmp_path, {**sample, "games": 400})["duplicates"] <= 4


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("exponential", {0: 0.5, 25: 0.5 * 0.02**0.5, 50: 0.01, 168: 0.01}),
        ("linear", {0: 0.5, 25: 0.255, 50: 0.01, 168: 0.01}),
        ("game_progress", {0: 0.5, 169: 0.01}),
        ("step", {0: 0.5, 9: 0.5, 10: 0.8, 24: 0.8, 25: 0.5, 50: 0.2, 168: 0.2}),
        ("constant", {0: 0.5, 168: 0.5}),
    ],
)
def test_temperature_falls_as_its_schedule_says(decay, expected):
    """At the first move, on the way and at the end."""
    schedule = Schedule(decay, 0.5, 0.01, 50, (10, 25, 50), (0.8, 0.5, 0.2))
    assert {move: schedule.at(move) for move in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"games": 0}, r"simulate\.hex\.games: 0, expected a whole number from 1"),
        ({"workers": 0}, r"simulate\.hex\.workers: 0"),
        ({"seed": -1}, r"simulate\.hex\.seed: -1, expected a whole number from 0"),
        ({"width": [3]}, r"simulate\.hex: unknown key 'width'.*did you mean 'widths'"),
        ({"widths": []}, r"widths: \[\], expected whole numbers from 1 to 169"),
        ({"widths": [3, 0.5]}, r"widths\[1\]: 0\.5, expected int"),
        ({"temperature": -1}, r"temperature: -1, expected a number from 0 to"),
        ({"temperature": float("nan")}, r"temperature: nan"),
        ({"temperature_end": 0}, r"temperature_end: 0\.0, expected a number above 0 with exponential decay"),
        ({"decay": "cosine"}, r"decay: 'cosine', expected one of exponential, linear, step"),
        ({"step_moves": [10, 5, 50]}, r"step_moves: \[10, 5, 50\], expected rising"),
        ({"step_temperatures": [0.8]}, r"step_temperatures: \[0\.8\], expected as many as step_moves, 3"),
        ({"openings": 1}, r"openings: 1, expected bool"),
        ({"started": "now"}, r"started: 'now', expected a time such as"),
        ({"started": datetime(2025, 1, 1)}, r"started: .*put the time in quotes"),
        ({"evaluator": "nobody"}, r"nobody"),
    ],
)
def test_faulty_options_are_named(tmp_path, change, reason):
    """The key, what was found, what is expected; nothing is written."""
    with pytest.raises(ExpectedError, match=reason):
        simulate.write(tmp_path, {**OPTIONS, **change})
    assert not list(tmp_path.iterdir())


def write_params(folder, **change):
    entry = json.dumps({**OPTIONS, **change})
    (folder / "params.yaml").write_text(f"datasets: {{}}\nsimulate: {{hex: {entry}}}\n")


def test_the_verb_logs_the_figures_and_is_quiet(run, here):
    """One line on stderr when it is piped."""
    write_params(here, games=2)
    result = run("simulate", "hex", JOBS="1")
    assert (result.returncode, result.stdout, len(result.stderr.splitlines())) == (0, "", 1)
    entries = [json.loads(line) for line in (here / "data/logs/simulate.jsonl").read_text().splitlines()]
    (end,) = [entry for entry in entries if entry["event"] == "end"]  # a watch's sample may come after it
    assert (end["name"], end["n_games"], end["n_new"]) == ("hex", 2, 2)
    assert {"mean_length", "blue_wins", "red_wins", "duplicates", "cache_hits", "games_per_s", "seconds"} <= set(end)


def start(folder):
    """Start the verb, with two worker processes."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "JOBS": "2"}
    command = [sys.executable, "-m", "stages.simulate", "hex"]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(condition, seconds=120):
    """Wait until something is so."""
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop
        time.sleep(0.002)


def n_games(folder):
    """Return how many games the files have."""
    return sum(path.read_bytes().count(b"#13,") for path in folder.rglob("worker_*/selfplay*"))


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bytes(run, here, tmp_path_factory, snapshot):
    """SIGKILL of the whole process at any moment: at most the games in play are lost, and nobody writes on."""
    whole = tmp_path_factory.mktemp("whole")
    change = {"games": 24, "workers": 4, "widths": [6]}
    simulate.write(whole, {**OPTIONS, **change})
    write_params(here, **change)
    sample = here / "data/sample/hex"
    for n_least in (1, 6, 11, 16):
        for _ in range(MOST_ATTEMPTS):
            process = start(here)
            wait_for(lambda n_least=n_least: n_games(sample) >= n_least)
            process.send_signal(signal.SIGKILL)
            if process.wait() == -signal.SIGKILL and n_games(sample) < 24:
                break
            shutil.rmtree(sample)  # this process looked too late
        time.sleep(0.1)
        left = snapshot(sample)
        assert all(snapshot(whole)[name].startswith(content) for name, content in left.items() if "/." not in name)
    assert 16 <= n_games(sample) < 24
    assert run("simulate", "hex", JOBS="2").returncode == 0
    assert snapshot(sample) == snapshot(whole)


def is_player(process):
    """Say whether a process is a worker, and neither the tracker of resources nor what starts processes."""
    words = " ".join(process.cmdline())
    return "loky" in words and "tracker" not in words


@pytest.mark.slow
def test_a_killed_worker_process_is_told_and_made_up_for(run, here, snapshot, tmp_path_factory):
    """The other worker's games are kept too."""
    whole = tmp_path_factory.mktemp("whole")
    change = {"games": 24, "workers": 4, "widths": [6]}
    simulate.write(whole, {**OPTIONS, **change})
    write_params(here, **change)
    sample = here / "data/sample/hex"
    process = start(here)
    wait_for(lambda: n_games(sample) >= 4)
    players = [child for child in psutil.Process(process.pid).children(recursive=True) if is_player(child)]
    players[0].kill()
    assert process.wait(120) == 1
    assert run("simulate", "hex", JOBS="2").returncode == 0
    assert snapshot(sample) == snapshot(whole)


@pytest.mark.slow
def test_a_terminal_shows_how_many_games_are_done(here):
    """Out of all that are to be played, with the time left."""
    write_params(here, games=24, workers=4, widths=[8, 3])
    command = [sys.executable, "-m", "stages.simulate", "hex"]
    with Terminal(command, here, {**os.environ, "PYTHONPATH": str(REPOSITORY), "JOBS": "1"}) as terminal:
        terminal.until(lambda: re.search(r"[1-9]\d*/24, .* left", terminal.text()))
        assert terminal.wait() == 0
