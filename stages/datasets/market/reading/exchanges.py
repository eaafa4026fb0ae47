"""Days on which an exchange trades, by the package exchange_calendars; it is loaded where a calendar is named only."""

import logging
import warnings
from difflib import get_close_matches
from typing import Any

import numpy as np

from stages.core.errors import ExpectedError
from stages.datasets.market.reading.times import DAY_NS

logger = logging.getLogger("batchwise")


def sessions(name: str, first: int, last: int, where: str) -> np.ndarray:
    """Return the days from `first` to `last`, days since 1970, on which an exchange trades, int64, sorted.

    Parameters
    ----------
    name
        As the package has it, such as ``XNYS``.
    first, last
        Days since 1970.
    where
        The setting, for errors.

    Raises
    ------
    ExpectedError
        When the package is not installed, does not know the name, or not the exchange's days of that time.
    """
    package = _package(where)
    known = package.get_calendar_names()
    if name not in known:
        near = get_close_matches(name.upper(), known, 1)
        raise ExpectedError(
            f"{where}: {name!r}, expected a calendar of exchange_calendars such as 'XNYS'"
            f"{f'; did you mean {near[0]!r}?' if near else '; see exchange_calendars.get_calendar_names()'}"
        )
    start, end = (str(np.datetime64(day, "D")) for day in (first, last + 1))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it tells its own authors, of pandas to come
            days = package.get_calendar(name, start=start, end=end).sessions
    except ValueError as error:
        raise ExpectedError(
            f"{where}: {name!r} from {start} to {end}: {error}; remove it, or bars of that time"
        ) from None
    found: np.ndarray = days.to_numpy().astype("datetime64[D]").astype(np.int64)
    return found[found <= last]


def _package(where: str) -> Any:
    """Return the package; it takes some seconds to load, with pandas."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import exchange_calendars
    except ImportError:
        raise ExpectedError(
            f"{where}: the package exchange_calendars is not installed, expected it for a calendar that is named; "
            "`pip install -e '.[calendars]'` installs it"
        ) from None
    return exchange_calendars


def trading_days(instrument: str, time: np.ndarray, name: str, where: str) -> np.ndarray:
    """Return the days on which an instrument trades, days since 1970, int64: those of its exchange, and of its bars.

    Parameters
    ----------
    instrument
        Its name; a bar on a day that the exchange is closed is told.
    time
        int64 (N,) ns UTC of its bars, one at least, sorted.
    name, where
        As in `sessions`.
    """
    own = np.unique(time // DAY_NS)
    days = sessions(name, int(own[0]), int(own[-1]), where)
    strange = np.setdiff1d(own, days)
    if len(strange):
        logger.warning(
            "%s: %s of %s days with a bar are no trading days of %s, the first %s, expected none; correct %s or the "
            "bars",
            *(instrument, f"{len(strange):,}", f"{len(own):,}", name, np.datetime64(int(strange[0]), "D"), where),
        )
    return np.union1d(own, days)
