"""Measure what a sample costs on each way from the files to a trainer: ``python tests/bench/loader_paths.py [NAME]``.

Needs torch. Samples of the four datasets (random values, up to 1.4 GB at a time in a temporary folder below data/),
shuffled, in batches of 1,024, with all their fields: rows of Splendor, as float32 and as merged; boards of hex; windows
of the market, from a file that stays mapped and from one that is too large for that; steps of rugs made into
transitions. CPU is that of all threads and processes, less what their start and end take, the least of three rounds
over all ways in turn. The bare loop indexes tensors that are in memory whole. "Ready batches" are copies of one batch,
sent by torch's worker in torch's own way: what a worker costs without any reading. Neither has a goal. Then the memory
of 0 to 4 workers over three epochs. `MISS` marks what is above its goal, and the exit is 1 then. NAME measures one kind
of samples, or ``memory``.
"""

import itertools
import os
import resource
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import parts  # noqa: E402

from stages.datasets.rugs.training.transitions import STEP_FIELDS, from_pairs  # noqa: E402
from stages.loader import PartArrays, Settings, Stream, batches, open_source  # noqa: E402
from stages.loader.torch_adapter import TorchBatches, TorchLoader, to_device  # noqa: E402
from stages.runtime import memory  # noqa: E402

BATCH = 1024
MEMORY_ROWS = 60_000  # 314 MB: more than stays mapped
ROUNDS = 3
FLAT = 1.05
WORKERS = (0, 1, 2, 3, 4)
WITHOUT_GOAL = ("bare loop in memory", "ready batches, 1 worker")


@dataclass(frozen=True)
class Case:
    """A kind of samples: how its part is written, how it is read, and what a sample may cost in us of CPU."""

    write: Callable[[Path, int], Path]
    n_rows: int
    n_batches: int
    goal_us: float
    settings: Settings


def shuffled(**settings: Any) -> Settings:
    """Return settings of a shuffled stream."""
    return Settings(batch_size=BATCH, shuffle_seed=1, **settings)


CASES = {
    "splendor": Case(parts.write_splendor, 250_000, 150, 16, shuffled()),
    "stored": Case(parts.write_stored_splendor, 250_000, 150, 16, shuffled()),
    "hex": Case(parts.write_hex, 2_000_000, 600, 4, shuffled()),
    "market": Case(parts.write_market, 1_500_000, 400, 2, shuffled(window="strategic")),
    "large": Case(parts.write_market, 6_000_000, 400, 2, shuffled(window="strategic")),
    "rugs": Case(
        parts.write_rugs, 1_000_000, 800, 2, shuffled(window="observation", fields=STEP_FIELDS, transform=from_pairs)
    ),
}


def cpu_s() -> float:
    """Return seconds of CPU of this process and of those of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def spent(make: Callable[[], Iterable[Any]], n_batches: int) -> float:
    """Return seconds of CPU that some batches take, with start and end of what makes them."""
    start = cpu_s()
    given = iter(make())
    for _ in itertools.islice(given, n_batches):
        pass
    del given
    return cpu_s() - start


def per_sample_us(make: Callable[[], Iterable[Any]], n_batches: int) -> float:
    """Return us of CPU a sample: of a round less a short one, which is mostly start and end."""
    short = max(4, n_batches // 20)
    return (spent(make, n_batches) - spent(make, short)) / ((n_batches - short) * BATCH) * 1e6


def stream_of(case: Case, folder: Path) -> Callable[[], Iterator[Any]]:
    """Return what makes a stream that is closed at its end."""

    def make() -> Iterator[Any]:
        with batches(folder, "train", case.settings) as stream:
            yield from stream

    return make


def moved(case: Case, folder: Path) -> Callable[[], Iterator[Any]]:
    """Return what makes a stream of values that travel small and are finished behind it."""
    is_raw = case.write is parts.write_stored_splendor
    settings = replace(case.settings, packed=True, standardised=not is_raw)

    def make() -> Iterator[Any]:
        with Stream(open_source(folder, "train", settings), settings) as stream:
            yield from to_device(stream, "cpu")

    return make


def loader_of(case: Case, folder: Path, n_workers: int) -> Callable[[], Iterable[Any]]:
    """Return what makes a `TorchLoader`."""
    return lambda: TorchLoader(
        TorchBatches(open_source(folder, "train", case.settings), case.settings), num_workers=n_workers
    )


class Batched(torch.utils.data.Dataset):
    """A part by lists of numbers, which a sampler of batches draws, so that samples need not be collated one by one."""

    def __init__(self, source: PartArrays) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, numbers: list[int]) -> dict[str, Any]:
        return {name: torch.from_numpy(values) for name, values in self.source[numbers].items()}


def mapped(case: Case, folder: Path) -> Callable[[], Iterable[Any]]:
    """Return what makes a DataLoader with a sampler of its own over the part as a map."""
    source = PartArrays(folder, "train", case.settings.fields, case.settings.window)
    sampler = torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(source), BATCH, drop_last=True)
    return lambda: DataLoader(Batched(source), batch_size=None, sampler=sampler)


def bare(case: Case, folder: Path) -> Callable[[], Iterator[Any]]:
    """Return what makes a loop over tensors in memory."""
    source = PartArrays(folder, "train", case.settings.fields)
    whole = {name: torch.from_numpy(values) for name, values in source[:].items()}
    n_samples, rows = len(source), 1
    if case.settings.window:
        rows = PartArrays(folder, "train", (case.settings.window,), case.settings.window).window_rows
        whole = {name: values.unfold(0, rows, 1).movedim(-1, 1) for name, values in whole.items()}
        n_samples -= rows - 1

    def make() -> Iterator[Any]:
        order = torch.randperm(n_samples)
        for numbers in order.split(BATCH):
            yield {name: values[numbers] for name, values in whole.items()}

    return make


class Ready(torch.utils.data.IterableDataset):
    """Copies of one batch, without end."""

    def __init__(self, batch: dict[str, torch.Tensor]) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        while True:
            yield {name: values.clone() for name, values in self.batch.items()}


def ready(case: Case, folder: Path) -> Callable[[], Iterable[Any]]:
    """Return what makes torch's own DataLoader with a worker that only copies and sends."""
    batch = next(iter(loader_of(case, folder, 0)()))
    return lambda: DataLoader(Ready(dict(batch)), batch_size=None, num_workers=1)


def measure_case(name: str, parent: Path) -> bool:
    """Print what a sample costs on each way; return whether all are within the goal."""
    case = CASES[name]
    folder = case.write(parent / name, case.n_rows)
    ways = {
        "bare loop in memory": bare,
        "Stream": stream_of,
        "to_device cpu": moved,
        "TorchLoader, 0 workers": lambda *given: loader_of(*given, 0),
        "TorchLoader, 1 worker": lambda *given: loader_of(*given, 1),
        "TorchLoader, 2 workers": lambda *given: loader_of(*given, 2),
        "map, DataLoader": mapped,
        "ready batches, 1 worker": ready,
    }
    makers = {way: of(case, folder) for way, of in ways.items()}
    rounds = [{way: per_sample_us(make, case.n_batches) for way, make in makers.items()} for _ in range(ROUNDS)]
    is_good = True
    for way in ways:
        used = min(of_round[way] for of_round in rounds)
        is_within = way in WITHOUT_GOAL or used <= case.goal_us
        is_good &= is_within
        mark = "" if is_within else "  MISS"
        print(f"{name:9} {way:23} {used:6.2f} us (goal {case.goal_us}){mark}", flush=True)
    return is_good


def measure_memory(parent: Path) -> bool:
    """Print the greatest memory of each of three epochs; return whether it stays."""
    folder, is_good = parts.write_splendor(parent / "memory", MEMORY_ROWS), True
    for n_workers in WORKERS:
        settings = replace(CASES["splendor"].settings, batch_size=256)
        dataset = TorchBatches(open_source(folder, "train", settings), settings)
        loader = TorchLoader(dataset, num_workers=n_workers, persistent_workers=n_workers > 0)
        peaks = []
        for _ in range(3):
            peaks.append(0.0)
            for number, _batch in enumerate(loader):
                if number % 10 == 9:
                    peaks[-1] = max(peaks[-1], memory.usage().pss_mb)
        is_flat = max(peaks) <= FLAT * peaks[0]
        is_good &= is_flat
        shown = ", ".join(f"{peak:.0f}" for peak in peaks)
        print(f"memory    {n_workers} workers: {shown} MB in three epochs{'' if is_flat else '  MISS'}", flush=True)
        del loader
    return is_good


def main() -> int:
    """Measure and print."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # more workers than cores
    chosen = sys.argv[1:] or [*CASES, "memory"]
    print(f"batches of {BATCH}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    is_good = True
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix=".loader.", suffix=".tmp", dir=ROOT / "data") as parent:
            is_good &= measure_memory(Path(parent)) if name == "memory" else measure_case(name, Path(parent))
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
