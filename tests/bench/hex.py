"""Measure CPU seconds from `.trmph` files of Hex games to an NPZ of positions, and what packed boards save.

Run from the repository's root: ``python tests/bench/hex.py``. It plays 10,000 games in a temporary folder, all
distinct, in which each side prefers cells near its own middle line, and takes, in this one process, in turns:

- find: cut the files into units, with their digests (what discover does);
- read, encode, write: what process does with all positions, the NPZ included;
- savez: the same arrays, all in memory, by `numpy.savez`;
- with boards of one byte a cell instead of one bit: unpack them, write the NPZ.

Printed are medians over the repeats. Exits with 1 if a limit is exceeded.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from stages.core import arrays, bits  # noqa: E402
from stages.datasets.hex import encode, find  # noqa: E402
from stages.datasets.hex.schema import CELL_NAMES, N_CELLS, SIZE, connection  # noqa: E402

REPEATS = 5
GAMES = 10_000
GAMES_PER_FILE = 2_500
NOISE = 3.4  # in a cell's price, which is its distance from the middle line; games then have 67 moves in the mean
EARLIER_PER_S = 5_000  # positions a CPU second of the system that this one replaces
MIN_TIMES = 40  # as many positions a CPU second as that one, at least
SHAPE = (2, SIZE, SIZE)


def cpu_s(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of all threads that a call takes, and what it returns."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def play(n_games: int, seed: int) -> np.ndarray:
    """Return games that go on until the board is full: cells, int64 (n_games, 169), in the order of play."""
    rng = np.random.default_rng(seed)
    row, column = np.divmod(np.arange(N_CELLS), SIZE)
    prices = [np.abs(line - SIZE // 2) + rng.uniform(0, NOISE, (n_games, N_CELLS)) for line in (column, row)]
    cells = np.empty((n_games, N_CELLS), np.int64)
    for ply in range(N_CELLS):
        cells[:, ply] = prices[ply % 2].argmin(axis=1)
        for price in prices:
            price[np.arange(n_games), cells[:, ply]] = np.inf
    return cells


def lengths(cells: np.ndarray) -> np.ndarray:
    """Return the number of moves after which each game is won, int64 (G,), by bisection."""
    placed_at = np.empty_like(cells)
    np.put_along_axis(placed_at, cells, np.arange(N_CELLS)[None], axis=1)
    low, high = np.zeros(len(cells), np.int64), np.full(len(cells), N_CELLS)
    while (high - low > 1).any():
        middle = (low + high) // 2
        is_stone = placed_at < middle[:, None]
        colours = [is_stone & (placed_at % 2 == colour) for colour in (0, 1)]
        is_won = connection.winner(np.stack(colours, axis=1).reshape(-1, *SHAPE)) >= 0
        low, high = np.where(is_won, low, middle), np.where(is_won, middle, high)
    return high


def write_games(folder: Path) -> int:
    """Write the games and return how many positions they have."""
    cells = play(GAMES, seed=42)
    n_plies = lengths(cells)
    lines = [
        f"#13,{''.join(CELL_NAMES[cell] for cell in game[:n].tolist())} {'br'[(n + 1) % 2]}\n"
        for game, n in zip(cells, n_plies.tolist(), strict=True)
    ]
    for start in range(0, GAMES, GAMES_PER_FILE):
        header = ["# Self-play games\n", "# Format: trmph_string winner\n"]
        path = folder / f"games_{start:06d}.trmph"
        path.write_text("".join(header + lines[start : start + GAMES_PER_FILE]), encoding="utf-8")
    return int((n_plies + 1).sum())


def run(folder: Path, n_rows: int) -> dict[str, float]:
    """Take every step once and return the CPU seconds of each, and sizes of files in MB."""
    out: dict[str, float] = {"read": 0.0, "encode": 0.0}
    out["find"], units = cpu_s(lambda: find.find(folder, {}))
    pieces: list[dict[str, np.ndarray]] = []
    for start in range(0, len(units), encode.CHUNK_UNITS):
        seconds, table = cpu_s(partial(encode.read, folder, units[start : start + encode.CHUNK_UNITS], {}))
        out["read"] += seconds
        seconds, piece = cpu_s(partial(encode.encode, table, {}))
        out["encode"] += seconds
        pieces.append(piece)
    members = {name: [piece[name] for piece in pieces] for name in pieces[0]}
    if (found := sum(map(len, members["board"]))) != n_rows or len(
        np.unique(np.concatenate(members["group_id"]))
    ) != GAMES:
        raise SystemExit(f"hex: {found:,} positions, expected {n_rows:,} of {GAMES:,} distinct games")
    out |= write(folder, members)
    (folder / "packed.npz").unlink()
    return out


def write(folder: Path, members: dict[str, list[np.ndarray]]) -> dict[str, float]:
    """Write the arrays in each way; return the CPU seconds, and the sizes of the boards in MB."""
    out = {"write": cpu_s(lambda: arrays.save_npz(folder / "packed.npz", members))[0]}
    joined = {name: np.concatenate(pieces) for name, pieces in members.items()}
    out["savez"] = cpu_s(lambda: np.savez(folder / "savez", **joined))[0]
    out["packed MB"] = joined["board"].nbytes / 1e6
    seconds, boards = cpu_s(lambda: [bits.unpack(piece, SHAPE) for piece in members["board"]])
    out["unpack"], out["unpacked MB"] = seconds, sum(piece.nbytes for piece in boards) / 1e6
    out["write unpacked"] = cpu_s(lambda: arrays.save_npz(folder / "unpacked.npz", members | {"board": boards}))[0]
    for name in ("savez.npz", "unpacked.npz"):
        (folder / name).unlink()
    return out


def main() -> int:
    """Run the benchmark from the command line."""
    with tempfile.TemporaryDirectory() as name:
        n_rows = write_games(Path(name))
        runs = [run(Path(name), n_rows) for _ in range(REPEATS + 1)][1:]
    one = {step: statistics.median(some[step] for some in runs) for step in runs[0]}
    made = one["read"] + one["encode"] + one["write"]
    steps = ", ".join(f"{step} {one[step]:.3f}" for step in ("find", "read", "encode", "write"))
    print(f"{n_rows:,} positions of {GAMES:,} games, CPU s: {steps}")
    times = n_rows / made / EARLIER_PER_S
    print(f"  read, encode and write: {made:.3f} CPU s, {made / one['savez']:.1f}x numpy.savez ({one['savez']:.3f})")
    print(f"  boards as bits: {one['packed MB']:.0f} MB, written with all else in {one['write']:.3f} CPU s")
    unpacked = f"{one['unpack']:.3f} + {one['write unpacked']:.3f} CPU s"
    print(f"  boards as bytes: {one['unpacked MB']:.0f} MB, unpacked and written with all else in {unpacked}")
    print(f"limits: {n_rows / made:,.0f} positions a CPU s, {times:.0f}x the earlier {EARLIER_PER_S:,} of {MIN_TIMES}x")
    return int(times < MIN_TIMES)


if __name__ == "__main__":
    sys.exit(main())
