"""Measure generations of hex against what is demanded: ``python tests/bench/iterate.py``; behind `make bench-iterate`.

Three generations with the settings of params.yaml, beginning with the sample's arrays and the model of `make train`,
in a temporary folder below data/. Each line is a check, what it requires and what was found; `MISS` marks what is not
reached, and the exit is 1 then. Needs torch.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from measure import NOTHING, Usage, run  # noqa: E402
from tables import table  # noqa: E402
from train_checks import Line, at_least, at_most, told  # noqa: E402
from train_places import ENVIRONMENT  # noqa: E402

from stages.datasets.hex.schema import SIZE  # noqa: E402
from stages.datasets.hex.training.generation import games_in  # noqa: E402
from stages.datasets.hex.training.network import load  # noqa: E402

STAGES = ("selfplay", "ingest", "learn", "gate")
VERDICTS = {True: "PASS", False: "MISS", None: ""}
N_BOARDS = 4096


def boards_per_s(weights: Path) -> float:
    """Return boards that the network answers in a second of CPU, on one thread."""
    rng, network = np.random.default_rng(0), load(weights)
    stones = rng.random((N_BOARDS, SIZE, SIZE))
    boards = np.stack([stones < 0.2, stones > 0.8], axis=1).astype(np.uint8)
    movers, spent = rng.integers(0, 2, N_BOARDS).astype(np.uint8), []
    for _ in range(4):
        start = time.process_time()
        network.both(boards, movers)
        spent.append(time.process_time() - start)
    return N_BOARDS / statistics.median(spent[1:])


def generation(folder: Path, key: str) -> Usage:
    """Make a generation, and return what it used."""
    used = NOTHING
    for stage in STAGES:
        used += run([sys.executable, "-m", f"stages.generations.{stage}", key], folder, ENVIRONMENT)
    return used


def speed_of_play(folder: Path) -> float:
    """Return the games of self-play a second, as its log says."""
    log = (folder / "data/logs/selfplay.jsonl").read_text().splitlines()
    return float([json.loads(line) for line in log if '"end"' in line][-1]["games_per_s"])


def checks(folder: Path) -> Iterator[Line]:
    yield at_least("boards a CPU s", boards_per_s(ROOT / "data/models/hex/weights.npz"), 2000)
    anchors = []
    for number in range(1, 4):
        key = f"hex-g{number:03d}"
        used = generation(folder, key)
        place = folder / "data/generations" / key
        gate, (n_games, n_distinct) = json.loads((place / "gate.json").read_bytes()), games_in(place / "raw")
        search, raw, anchor = gate["search"], gate["raw"], gate["anchor"]
        anchors.append(anchor["share"])
        if number == 1:
            yield at_least("games of self-play a second", speed_of_play(folder), 20)
            won = f"{search['won']} of {search['distinct']} distinct"
            yield Line(f"{key}: games won of the network before", ">= 110 of 200", won, search["share"] >= 0.55)
            yield at_least(f"{key}: Wilson bound", search["wilson"], 0.5)
            yield at_most(f"{key}: minutes", used.wall_s / 60, 10)
        yield at_least(f"{key}: distinct games of self-play", n_distinct / n_games, 0.95)
        text = f"{search['won']}:{search['distinct'] - search['won']}, raw {raw['won']}:{raw['distinct'] - raw['won']}"
        kept = "kept" if gate["kept"] else "not kept"
        yield told(f"{key}: match, anchor", f"{text}, {anchor['won']} of {anchor['distinct']}, {kept}")
        yield told(f"{key}: CPU s", f"{used.cpu_s:.0f}")
    yield Line(
        "share won of the anchor, third > first", f"> {anchors[0]:.3f}", f"{anchors[2]:.3f}", anchors[2] > anchors[0]
    )


def main() -> int:
    lines = []
    with tempfile.TemporaryDirectory(prefix="bench-iterate-", suffix=".tmp", dir=ROOT / "data") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        for part in ("processed", "models"):
            (folder / "data" / part).symlink_to(ROOT / "data" / part)
        (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        for line in checks(folder):
            print(f"{line.check}: {line.measured} {VERDICTS[line.is_met]}", file=sys.stderr, flush=True)
            lines.append((line.check, line.required, line.measured, VERDICTS[line.is_met]))
    print(table([("check", "required", "measured", ""), *lines]))
    return int(any(line[-1] == "MISS" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
