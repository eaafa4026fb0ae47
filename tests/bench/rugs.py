"""Measure CPU seconds from a Parquet store of rugs to an NPZ of steps, against reading and parsing alone, and memory.

Run from the repository's root: ``python tests/bench/rugs.py``. It simulates a store of some 31,700 ws_event rows, as a
day of recording has, in a temporary folder and takes, in this one process, in turns:

- parsing: read the same columns of the same files, one after the other, and parse the payloads of the same rows with
  each JSON library that is installed; none makes anything of what it parsed;
- find: list the episodes with their digests (what discover does);
- read, encode, write: what process does with all episodes, the NPZ included.

Printed are medians over the repeats; the limit is for read, encode and write against the fastest parser. Memory is the
peak of discover and process as commands, on this store and on one of 4 times as many games: process holds the arrays of
a batch and the payloads of a chunk, discover some 100 bytes for each row. Exits with 1 if a limit is exceeded.
"""

import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import measure
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from stages.core import arrays  # noqa: E402
from stages.datasets.rugs import encode, find, simulate  # noqa: E402
from stages.datasets.rugs.reading import payload, store  # noqa: E402
from stages.datasets.rugs.schema import GSU, OTHER, PLAYER, PRESS, TRADE  # noqa: E402

REPEATS = 5
GAMES, TIMES = 37, 4
MAX_RATIO = 2.5  # read, encode and write against reading and parsing
MAX_GROWTH = 1.25  # of the peak of a command with `TIMES` as many games; of more chunks the largest is larger
KINDS = (GSU, PLAYER, TRADE, PRESS, OTHER)
LIBRARIES = {"msgspec": "msgspec.json.decode", "orjson": "orjson.loads", "simdjson": "simdjson.loads"}
TYPED = "msgspec, into structs"

Parser = Callable[[int, list[bytes]], None]


def cpu_s(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of all threads that a call takes, and what it returns."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def parsers() -> dict[str, Parser]:
    """Return what parses payloads, by name: libraries that make objects of all of it, and one that skips the rest."""
    found: dict[str, Parser] = {}
    for name, path in LIBRARIES.items():
        module, _, function = path.rpartition(".")
        try:
            found[name] = partial(_parse, getattr(importlib.import_module(module), function))
        except ImportError:
            continue
    return found | {TYPED: lambda kind, raws: _parse(payload.DECODERS[kind], kind, raws)}


def _parse(function: Callable[[bytes], object], _kind: int, raws: list[bytes]) -> None:
    for raw in raws:
        try:
            function(raw)
        except (ValueError, msgspec.MsgspecError):
            continue  # cut off, or a NaN


def needed(folder: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Read the columns that are read of all files, and yield the payloads of needed rows by kind."""
    for path in sorted(folder.glob("doc_type=*/*/*.parquet")):
        if (doc := path.parts[-3].removeprefix("doc_type=")) not in store.DOCS:
            continue
        table = pq.ParquetFile(path).read(columns=list(store.TYPES), use_threads=False)
        raws = table["raw_json"].cast(pa.binary())
        if doc == "button_event":
            yield PRESS, raws.to_pylist()
            continue
        for name, kind in store.KINDS.items():
            yield kind, raws.filter(pc.equal(table["event_name"], name)).to_pylist()


def parse(folder: Path, parser: Parser) -> int:
    """Read and parse the needed payloads; return how many there are."""
    n_payloads = 0
    for kind, raws in needed(folder):
        parser(kind, raws)
        n_payloads += len(raws)
    return n_payloads


def run(folder: Path, target: Path) -> dict[str, float]:
    """Take every step once and return the CPU seconds of each."""
    spent = {name: cpu_s(partial(parse, folder, parser))[0] for name, parser in parsers().items()}
    spent["find"], units = cpu_s(lambda: find.find(folder, {}))
    spent |= {"read": 0.0, "encode": 0.0}
    pieces: list[dict[str, np.ndarray]] = []
    for start in range(0, len(units), encode.CHUNK_UNITS):
        seconds, table = cpu_s(partial(encode.read, folder, units[start : start + encode.CHUNK_UNITS], {}))
        spent["read"] += seconds
        seconds, piece = cpu_s(partial(encode.encode, table, {}))
        spent["encode"] += seconds
        pieces.append(piece)
    if len(units) != GAMES:
        raise SystemExit(f"rugs: {len(units)} episodes, expected {GAMES}")
    members = {name: [piece[name] for piece in pieces] for name in pieces[0]}
    spent["write"] = cpu_s(lambda: arrays.save_npz(target / "steps.npz", members))[0]
    return spent | {"steps": float(sum(len(piece["tick"]) for piece in pieces))}


def peaks_mb(folder: Path, raw: Path) -> dict[str, float]:
    """Return the peak PSS in MB of each command on a store, with one worker."""
    folder.mkdir()
    entry = {"raw": str(raw), "batch_size": 8}
    (folder / "params.yaml").write_text(json.dumps({"datasets": {"rugs": entry}}), encoding="utf-8")
    knobs = {"JOBS": "1", "LOG": "warning", "PYTHONPATH": str(ROOT)}
    return {
        verb: measure.run([sys.executable, "-m", f"stages.{verb}", "rugs"], folder, knobs).peak_mb
        for verb in ("discover", "process")
    }


def speed(raw: Path, target: Path) -> float:
    """Print the CPU seconds; return the ratio that has a limit."""
    truth = json.loads((raw / "truth.json").read_text(encoding="utf-8"))
    runs = [run(raw / "events_parquet", target) for _ in range(REPEATS + 1)][1:]
    one = {step: statistics.median(some[step] for some in runs) for step in runs[0]}
    steps = ", ".join(f"{step} {one[step]:.3f}" for step in ("find", "read", "encode", "write"))
    n_events = truth["documents"]["ws_event"]
    print(f"{n_events:,} ws_event rows, {GAMES} episodes, {one['steps']:,.0f} steps, CPU s: {steps}")
    made = one["read"] + one["encode"] + one["write"]
    for name in parsers():
        print(f"  read and parse with {name}: {one[name]:.3f} CPU s; store to NPZ {made:.3f}, {made / one[name]:.2f}x")
    fastest = min(one[name] for name in parsers())
    rows_per_s = n_events / (made + one["find"])
    print(f"  find: {one['find'] / fastest:.2f}x the fastest; find and store to NPZ: {rows_per_s:,.0f} rows a CPU s")
    return made / fastest


def main() -> int:
    """Run the benchmark from the command line."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = {n_games: folder / str(n_games) for n_games in (GAMES, TIMES * GAMES)}
        for n_games, raw in stores.items():
            simulate.write(raw, {"games": n_games, "seed": 42, "sessions": 3, "defects": False})
        ratio = speed(stores[GAMES], folder)
        few, many = (peaks_mb(folder / f"{n_games} run", raw) for n_games, raw in stores.items())
    for verb in few:
        print(f"{verb}: peak {few[verb]:.0f} MB with {GAMES} games, {many[verb]:.0f} MB with {TIMES * GAMES}")
    growth = max(many[verb] / few[verb] for verb in few)
    print(f"limits: {ratio:.2f}x of {MAX_RATIO:g}x reading and parsing; {growth:.2f}x of {MAX_GROWTH:g}x memory")
    return int(ratio > MAX_RATIO or growth > MAX_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
