"""Measure how long a GPU waits for batches: ``python tests/bench/device.py [MODEL_WIDTH]``.

Needs torch, and a GPU that it can use; without one it says so and measures nothing. 250,880 rows of Splendor (random
values, 1.3 GB as float32 in a temporary folder below data/), all their fields, in shuffled batches of 4,096, through
`to_device` into a perceptron of two hidden layers in bfloat16. The wait is the time on the GPU between the end of a
step and the begin of the next one, less what it is with a batch that lies there already. Exits with 1 if it is above
5 % of the time, and says for steps of which length the loader is fast enough.
"""

import itertools
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import parts  # noqa: E402

from stages.loader import Settings, open_source  # noqa: E402
from stages.loader.torch_adapter import TorchBatches, TorchLoader, to_device  # noqa: E402

N_ROWS = 250_880
BATCH = 4096
STEPS, WARM_UP = 120, 20
GOAL = 0.05
SETTINGS = Settings(batch_size=BATCH, shuffle_seed=1)
Timing = tuple[float, float]


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches of one pass after another."""
    while True:
        yield from loader


def timing(given: Iterator[Any], width: int) -> Timing:
    """Return ms a step on the GPU: computing, and between the end of a step and the begin of the next one."""
    layers = [torch.nn.Linear(parts.COLUMNS, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(width, 4)).to("cuda", torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    marks = []
    for batch in itertools.islice(given, STEPS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        loss = torch.nn.functional.cross_entropy(model(batch["X"]), batch["label_action_type"].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        end.record()
        marks.append((begin, end))
    torch.cuda.synchronize()
    marks = marks[WARM_UP:]
    computing = sum(begin.elapsed_time(end) for begin, end in marks) / len(marks)
    between = [end.elapsed_time(begin) for (_, end), (begin, _) in itertools.pairwise(marks)]
    return computing, sum(between) / len(between)


def loaders(parent: Path) -> Iterator[tuple[str, Iterable[Any]]]:
    """Yield each way to feed the GPU, with its name."""
    ways = {"float32": parts.write_splendor, "int8, standardised there": parts.write_stored_splendor}
    for name, write in ways.items():
        folder = write(parent / write.__name__, N_ROWS)
        settings = replace(SETTINGS, standardised="int8" not in name)
        for n_workers in (0, 4):
            dataset = TorchBatches(open_source(folder, "train", settings), settings)
            loader = TorchLoader(dataset, num_workers=n_workers, persistent_workers=n_workers > 0)
            yield f"{name}, {n_workers} workers", to_device(loader, "cuda", prefetch=3, dtype=torch.bfloat16)


def main() -> int:
    """Measure and print."""
    if not torch.cuda.is_available():
        print("no GPU that torch can use is at hand: nothing was measured")
        return 0
    width, is_good = int(sys.argv[1]) if len(sys.argv) > 1 else 8192, True
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batches of {BATCH}, {width} units a layer")
    with tempfile.TemporaryDirectory(prefix=".device.", suffix=".tmp", dir=ROOT / "data") as parent:
        least = None
        for name, loader in loaders(Path(parent)):
            given = endless(loader)
            if least is None:
                least = timing(itertools.repeat(next(given)), width)
                print(f"a batch that is there: {least[0]:.2f} ms a step, {least[1]:.2f} between", flush=True)
            computing, between = timing(given, width)
            wait = max(0.0, between - least[1])
            share = wait / (computing + between)
            is_good &= share <= GOAL
            mark = (
                "" if share <= GOAL else f"  MISS (fast enough for steps of {(computing + wait) / (1 - GOAL):.1f} ms)"
            )
            print(f"{name}: {computing:.2f} ms a step, {wait:.2f} of waiting, {share:.1%} (goal 5 %){mark}", flush=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
