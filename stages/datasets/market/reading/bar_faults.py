"""What can be wrong with a bar, a bit each, and judging the prices and volumes of many at once."""

import numpy as np

ROUNDING = 4 * np.finfo(np.float64).eps  # share of a price by which another one may pass it: a factor was multiplied
LEAST, MOST = 1e-15, 1e15  # of a price: the ratio of two of them is far within float32
MOST_VOLUME = 1e18
EXACT = 2.0**53  # whole numbers up to here are held exactly

CELLS, TIME, SKIPPED, NOT_NUMBER, PRICE, VOLUME, RANGE, BEYOND = (1 << bit for bit in range(8))
REASONS = {
    CELLS: "too few or too many cells",
    TIME: "time not readable",
    SKIPPED: "time that the clocks of its zone skip",
    NOT_NUMBER: "value missing or no number",
    PRICE: "price not above 0",
    VOLUME: "volume below 0",
    RANGE: "open or close outside low to high",
    BEYOND: "price or volume of a size that features cannot hold",
}
NO_VOLUME = 1 << 8  # beside NOT_NUMBER: only the volume is none
NO_TIME = TIME | SKIPPED


def judge(values: list[np.ndarray], fault: np.ndarray, has_negative: bool) -> np.ndarray:
    """Add to `fault` what is wrong with the prices and the volume; a value that is no number is wrong in itself.

    A high or low that open or close pass by a rounding is moved there, in `values`; return where, bool (N,).
    """
    opened, high, low, close, volume = values
    if _are_plain(values):
        return np.zeros(len(fault), bool)
    is_finite = np.logical_and.reduce([np.isfinite(column) for column in values])
    least, most = np.minimum(opened, close), np.maximum(opened, close)
    lowest, highest = np.minimum(least, np.minimum(low, high)), np.maximum(most, np.maximum(low, high))
    is_outside = ((low > least) | (high < most)) & is_finite
    checks = {
        VOLUME: (volume < 0) & is_finite,
        NOT_NUMBER: ~is_finite & (fault & CELLS == 0),
        BEYOND: ((highest > MOST) | (volume > MOST_VOLUME)) & is_finite,
    }
    if has_negative:
        checks[BEYOND] |= (lowest < -MOST) & is_finite
    else:
        checks[PRICE] = (lowest <= 0) & is_finite
        checks[BEYOND] |= (lowest < LEAST) & (lowest > 0)
    is_repaired = is_outside & _repair(values, is_outside) if is_outside.any() else is_outside
    checks[RANGE] = is_outside & ~is_repaired
    if checks[NOT_NUMBER].any():
        checks[NO_VOLUME] = checks[NOT_NUMBER] & np.logical_and.reduce([np.isfinite(price) for price in values[:4]])
    for reason, is_wrong in checks.items():
        if is_wrong.any():
            fault[is_wrong] |= reason
    return is_repaired


def _repair(values: list[np.ndarray], is_outside: np.ndarray) -> np.ndarray:
    """Move highs and lows that open or close pass by a rounding there; return where they pass by no more, bool (N,)."""
    opened, high, low, close, _ = values
    least, most = np.minimum(opened, close), np.maximum(opened, close)
    rounding = ROUNDING * np.maximum(np.abs(most), np.abs(least))
    is_near = (low <= least + rounding) & (high >= most - rounding)
    values[1] = np.where(is_outside & is_near, np.maximum(high, most), high)
    values[2] = np.where(is_outside & is_near, np.minimum(low, least), low)
    return is_near


def _are_plain(values: list[np.ndarray]) -> bool:
    """Say whether nothing is wrong with any row, in a few passes; NaN compares as wrong."""
    opened, high, low, close, volume = values
    if not len(low) or not (
        low.min() >= LEAST and high.max() <= MOST and 0 <= volume.min() <= volume.max() <= MOST_VOLUME
    ):
        return False
    return all(bool((a <= b).all()) for a, b in ((low, opened), (low, close), (opened, high), (close, high)))
