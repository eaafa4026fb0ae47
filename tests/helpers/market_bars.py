"""Bars made by hand for the tests of the market encoder: a history, and its units with their halos."""

import numpy as np

from stages.datasets.market.encode import Bars, Table
from stages.datasets.market.find import find
from stages.datasets.market.schema import LOOKBACK

HALF_HOUR_NS = 1_800_000_000_000
HEADER = "Timestamp,Open,High,Low,Close,Volume"


def write_bars(folder, lines, name="NQ.csv", header=HEADER, end="\n"):
    """Write lines of bars as a file and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(end.join([header, *lines, ""]).encode())
    return folder


def history(n, seed=5, tick=0.01, segment_rows=10**9):
    """Return `n` bars of a random walk on ticks, a new segment every `segment_rows`, a month every 150 to 250 bars."""
    rng = np.random.default_rng(seed)
    close = np.cumsum(rng.standard_t(3, n) * 12 + rng.choice([0, 0, 0, -60, 60], n)).round() + 10_000
    open_ = np.append(close[:1], close[:-1]) + rng.integers(-3, 4, n)
    spread = rng.integers(0, 6, (2, n))
    row = np.arange(n)
    return {
        "time": row * HALF_HOUR_NS,
        "open": open_ * tick,
        "high": (np.maximum(open_, close) + spread[0]) * tick,
        "low": (np.minimum(open_, close) - spread[1]) * tick,
        "close": close * tick,
        "volume": rng.integers(0, 5000, n) * (rng.random(n) > 0.05).astype(float),
        "segment": row // segment_rows * segment_rows * HALF_HOUR_NS,
        "line": row.astype(np.int32) + 1,
        "month": np.searchsorted(np.cumsum(rng.integers(150, 250, n // 150 + 1)), row, side="right").astype(np.int32),
    }


def first_rows(bars, volume_bars):
    """Return for each month the first row of its halo, row by row as the design says it, and its first own row."""
    result = {}
    for month in range(int(bars["month"][-1]) + 1):
        own = int(np.flatnonzero(bars["month"] == month)[0])
        result[month] = max(0, own - max(LOOKBACK, volume_bars)), own
    return result


def table(bars, months, volume_bars=200):
    """Return the table of some months, as `encode.read` gives it."""
    first, pieces = first_rows(bars, volume_bars), []
    for unit, month in enumerate(months):
        halo, own = first[month]
        stop = int(np.flatnonzero(bars["month"] == month)[-1]) + 1
        piece = {name: values[halo:stop] for name, values in bars.items()}
        piece["unit"] = np.full(stop - halo, unit, np.int32)
        piece["volume_bars"] = np.full(stop - halo, volume_bars, np.int32)
        piece["is_own"] = np.arange(halo, stop) >= own
        pieces.append(piece)
    whole = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    return Table(Bars(**whole, findings=()), tuple(f"NQ/2024-{month + 1:02d}" for month in months))


def refusal(folder, options=None):
    """Return why the only file of a folder, or the first one that is, is not usable."""
    reasons = [unit.context["bad"] for unit in find(folder, options or {}) if not unit.digest]
    assert reasons, "every file is usable"
    return reasons[0]


def quiet_bars(n=140):
    """Return bars without a gap: body 1, high 11, low 9."""
    return {
        name: np.full(n, value)
        for name, value in zip(("open", "high", "low", "close"), (9.5, 11.0, 9.0, 10.5), strict=True)
    }


def with_a_gap(row=70):
    """Return quiet bars that jump by 10 at a bar of body 10: a bullish gap from 11 to 19 at the bar after, `row`."""
    bars = quiet_bars()
    bars = {name: np.where(np.arange(140) >= row, values + 10, values) for name, values in bars.items()}
    bars["close"][row - 1] = 19.5
    bars["high"][row - 1] = 20.0
    return bars
