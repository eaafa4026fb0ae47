"""Files of QuantConnect LEAN: a day a file with milliseconds since midnight, scale and zone by folder, quotes."""

import logging

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.datasets.market.encode.bars import read_bars
from stages.datasets.market.find import find
from tests.helpers.market_bars import refusal

PRICES = [(510000, 514000, 509000, 512000), (512000, 515000, 511000, 513000), (513000, 513500, 512500, 512700)]
OPENING = 34_200_000  # 9:30, ms since midnight
NO_VOLUME = {"volume": "none"}


def write(folder, path, prices=PRICES, cells="{v}"):
    """Write three minutes from 9:30 on; `cells` stands behind the prices."""
    lines = [
        f"{OPENING + 60_000 * i},{','.join(map(str, four))},{cells.format(v=88000 + i)}"
        for i, four in enumerate(prices)
    ]
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text("\n".join([*lines, ""]))
    return folder


def bars_of(folder, options=None):
    units = find(folder, options or {})
    assert all(unit.digest for unit in units), units[0].context
    return read_bars(folder, units, options or {})


def minutes(first):
    return (np.datetime64(first, "ns") + np.arange(3) * np.timedelta64(1, "m")).tolist()


US = "equity/usa/minute/abc"


@pytest.mark.parametrize("name", ["20240304_abc_minute_trade.csv", "20240304_trade.csv", "20240304.csv"])
def test_equities_of_the_usa(tmp_path, name):
    """A clock of New York, prices as whole numbers of 1e-4: exactly the decimals that are meant."""
    folder = write(tmp_path, f"{US}/{name}")
    (unit,) = find(folder, {})
    assert unit.key.lower() == "abc/2024-03"
    table = bars_of(folder)
    assert table.time.astype("datetime64[ns]").tolist() == minutes("2024-03-04T14:30")
    assert table.open.tolist() == [51.0, 51.2, 51.3]
    assert table.high.tolist() == [51.4, 51.5, 51.35]
    assert table.low.tolist() == [50.9, 51.1, 51.25]
    assert table.close.tolist() == [51.2, 51.3, 51.27]
    assert table.volume.tolist() == [88000, 88001, 88002]


def test_days_are_one_series(tmp_path, caplog):
    """A file a day, of which the second is on summer time."""
    write(tmp_path, f"{US}/20240311_abc_minute_trade.csv")
    write(tmp_path, f"{US}/20240308_abc_minute_trade.csv")
    with caplog.at_level(logging.INFO):
        table = bars_of(tmp_path)
    assert table.time.astype("datetime64[ns]").tolist() == minutes("2024-03-08T14:30") + minutes("2024-03-11T13:30")
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.endswith(
        "and 1 more: read as lean_of_day, times that name no zone in America/New_York, prices times 0.0001"
    )


PLAIN = [(51.0, 51.4, 50.9, 51.2)] * 3


@pytest.mark.parametrize(
    ("folder", "first"),
    [("crypto/coinbase", "09:30"), ("forex/oanda", "09:30"), ("forex/fxcm", "14:30"), ("future/cme", "09:30")],
)
def test_other_markets(tmp_path, folder, first):
    """Zone by folder; prices as they stand."""
    table = bars_of(write(tmp_path, f"{folder}/minute/abc/20240304_abc_minute_trade.csv", PLAIN))
    assert table.time.astype("datetime64[ns]").tolist() == minutes(f"2024-03-04T{first}")
    assert set(table.close) == {51.2}


def test_a_folder_of_the_day(tmp_path):
    """The name of the folder says the day where that of the file does not."""
    table = bars_of(write(tmp_path, "2024-03-04/abc.csv", PLAIN))
    assert table.time.astype("datetime64[ns]").tolist() == minutes("2024-03-04T09:30")


def test_without_a_day_it_is_refused(tmp_path):
    reason = refusal(write(tmp_path, "equity/abc.csv"))
    assert "'34200000' are milliseconds since midnight" in reason
    assert "expected one like 20240304; rename it" in reason


def test_large_prices_elsewhere_are_asked_for(tmp_path):
    """51 or 510,000: nothing tells, so the user does."""
    assert "price_scale to 0.0001 or 1" in refusal(write(tmp_path, "20240304_abc_minute_trade.csv"))


@pytest.mark.parametrize(("scale", "close"), [(0.0001, 51.2), (1, 512000.0)])
def test_the_scale_of_prices_by_option(tmp_path, scale, close):
    folder = write(tmp_path, "20240304_abc_minute_trade.csv")
    assert bars_of(folder, {"instruments": {"ABC": {"price_scale": scale}}}).close[0] == close


QUOTES = "310,510200,514300,509100,512200,7"


def test_quotes(tmp_path, caplog):
    """Of bid and ask the bid; there is no volume, which is to be said."""
    folder = write(tmp_path, f"{US}/20240304_abc_minute_quote.csv", cells=QUOTES)
    assert "set volume: none" in refusal(folder)
    with caplog.at_level(logging.INFO):
        table = bars_of(folder, {"instruments": {"ABC": NO_VOLUME}})
    assert "prices of the bid, of quotes" in caplog.text
    assert table.close.tolist() == [51.2, 51.3, 51.27]
    assert set(table.volume) == {0.0}


def test_quotes_and_trades_are_two_series(tmp_path):
    write(tmp_path, f"{US}/20240304_abc_minute_quote.csv", cells=QUOTES)
    write(tmp_path, f"{US}/20240304_abc_minute_trade.csv")
    with pytest.raises(ExpectedError, match=r"both hold ABC, with bars of 'minute_quote' and 'minute_trade'"):
        find(tmp_path, {})


@pytest.mark.parametrize(
    ("path", "prices", "close"),
    [
        ("equity/usa/daily/abc.csv", "510000,522500,507500,515000", 51.5),
        ("option/usa/daily/abc.csv", "5100,5225,5075,5150", 0.515),
        ("crypto/coinbase/daily/abc.csv", "5100,5225,5075,5150", 5150.0),
    ],
)
def test_days_below_equity_are_scaled(tmp_path, path, prices, close):
    lines = [f"2024030{day} 00:00,{prices},12" for day in (4, 5, 6)]
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text("\n".join([*lines, ""]))
    assert set(bars_of(tmp_path).close.tolist()) == {close}
