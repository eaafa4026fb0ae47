"""Sums over the last k rows that have the same bits whatever stands before and after them.

Every result at row t is a tree of additions over rows t-k+1..t whose shape depends on k alone. A cumulative sum over
the chunk would be shorter, but its rounding depends on where the chunk begins, and that of a BLAS product on the shape
of the chunk; both flip single float32 cells between runs over different chunks. For the same reason only operations
that IEEE 754 rounds exactly are used (+ - * / sqrt): NumPy's exp, log and tanh may differ in the last bit between
processors.

None of the functions but `ema` knows where a segment begins: rows less than k rows behind a beginning hold a mixture,
and the caller marks them as not valid.
"""

from collections.abc import Callable

import numpy as np

LN2_HIGH, LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10  # their sum is ln 2; n * LN2_HIGH is exact
TAYLOR_TERMS = 14  # 0.35**14 / 14! < 5e-18
TANH_LIMIT = 25.0  # 1 - tanh(25) < 4e-22


def earlier(x: np.ndarray, k: int) -> np.ndarray:
    """Return, at each row, the value of `x` (n,) `k` rows earlier; 1 where there is no such row."""
    result = np.empty_like(x)
    result[:k] = 1
    result[k:] = x[: max(len(x) - k, 0)]
    return result


def decayed_sum(x: np.ndarray, k: int, decay: float = 1.0) -> np.ndarray:
    """Return at row t the sum of ``decay**i * x[t - i]`` over i = 0..k-1.

    Sums of 1, 2, 4, ... rows are each made of two of the size before, and those in the binary digits of `k` are joined.

    Parameters
    ----------
    x
        Values, float64 (n,).
    k
        Rows, at least 1.
    decay
        Weight of a row against the next one.

    Returns
    -------
    ndarray
        float64 (n,); the first k-1 rows hold no meaning.

    Examples
    --------
    >>> decayed_sum(np.array([1.0, 2.0, 4.0, 8.0]), 3)[2:]
    array([ 7., 14.])
    """
    total, n_total, total_weight = np.zeros_like(x), 0, 1.0
    for size in _powers_of_two(k):
        if k & size:
            total = total + total_weight * earlier(x, n_total) if n_total else x
            n_total += size
            total_weight *= decay
        if 2 * size <= k:
            x = x + decay * earlier(x, size)
            decay *= decay
    return total


def comoment(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """Return at row t the sum of ``(x - mean of x) * (y - mean of y)`` over rows t-k+1..t.

    Parts of 1, 2, 4, ... rows are joined by the rule of Chan, which subtracts no large squares: a window of equal
    prices gives exactly 0.

    Parameters
    ----------
    x, y
        Values, float64 (n,).
    k
        Rows, at least 1.

    Returns
    -------
    ndarray
        float64 (n,); the first k-1 rows hold no meaning.

    References
    ----------
    Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing sample variances, 1979.
    """
    part = (x, y, np.zeros_like(x))
    total, n_total = part, 0
    for size in _powers_of_two(k):
        if k & size:
            total = _join(total, n_total, part, size) if n_total else part
            n_total += size
        if 2 * size <= k:
            part = _join(part, size, part, size)
    return total[2]


Part = tuple[np.ndarray, np.ndarray, np.ndarray]  # sums of x, sums of y, comoments


def _join(late: Part, n_late: int, early: Part, n_early: int) -> Part:
    """Join the moments of the last `n_late` rows with those of the `n_early` rows before them."""
    x, y, moment = (earlier(values, n_late) for values in early)
    x_difference = n_early * late[0] - n_late * x
    is_square = late[0] is late[1]
    y_difference = x_difference if is_square else n_early * late[1] - n_late * y
    scale = 1.0 / (n_late * n_early * (n_late + n_early))
    sums = late[0] + x
    joined = late[2] + moment + scale * x_difference * y_difference
    return sums, sums if is_square else late[1] + y, joined


def _powers_of_two(limit: int) -> list[int]:
    """Return 1, 2, 4, ... up to `limit`."""
    return [1 << bit for bit in range(limit.bit_length())]


def ema(x: np.ndarray, age: np.ndarray, alpha: float, first: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the exponential moving average ``e += alpha * (x - e)`` since a defined row.

    The recursion is unrolled in doubling steps: after step j a row holds the weighted sum of its last ``2**j`` rows, or
    of all since the beginning if they are fewer, so 14 steps do for a run of 16,000 rows.

    Parameters
    ----------
    x
        Values, float64 (n,).
    age
        Rows since the average began, int64 (n,): 0 where it begins, negative before (no meaning there).
    alpha
        Weight of the newest row, between 0 and 1.
    first
        Gives the average at its first row from the value there.

    Returns
    -------
    ndarray
        float64 (n,).
    """
    result = np.where(age == 0, first(x), alpha * x)
    oldest = int(age.max(initial=0))
    decay = 1.0 - alpha
    for size in _powers_of_two(oldest):
        result = result + np.where(age >= size, decay * earlier(result, size), 0.0)
        decay *= decay
    return result


def tanh(x: np.ndarray) -> np.ndarray:
    """Return the hyperbolic tangent, to 2e-16 and with the same bits on every processor.

    It is (1 - q) / (1 + q) with q = exp(-2|x|) = 2**-n * exp(-r), |r| <= ln(2)/2, by Taylor's series.
    """
    exponent = 2.0 * np.minimum(np.abs(x), TANH_LIMIT)
    halvings = np.rint(exponent * (1.0 / (LN2_HIGH + LN2_LOW)))
    rest = exponent - halvings * LN2_HIGH - halvings * LN2_LOW
    series = np.ones_like(x)
    for term in range(TAYLOR_TERMS, 0, -1):
        series = 1.0 - series * rest / term
    decayed = np.ldexp(series, -halvings.astype(np.int32))
    return np.copysign((1.0 - decayed) / (1.0 + decayed), x)
