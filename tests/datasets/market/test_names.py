"""Names of files -> instruments, and files that together are one."""

import logging

import numpy as np
import pytest

from stages.core.errors import BadUnit, ExpectedError
from stages.datasets.market.encode.bars import read_bars
from stages.datasets.market.find import find
from stages.datasets.market.reading.names import day_of, name_of
from tests.helpers.market_bars import write_bars

NAMES = {
    "NQ.csv": "NQ",
    "@CL - 30 min - ETH.csv": "CL",
    "NQ_30min.csv": "NQ_30min",
    "BTCUSDT-5m-2024-03.csv": "BTCUSDT",
    "BTCUSDT-1d-2024-03-04.csv": "BTCUSDT",
    "XBTUSD_5.csv": "XBTUSD",
    "CME_MINI_NQ1!, 1D_94cae.csv": "NQ1!",
    "Binance_BTCUSDT_1h.csv": "BTCUSDT",
    "DAT_ASCII_EURUSD_M1_201202.csv": "EURUSD",
    "EURUSD_M1_202001020000_202608111933.csv": "EURUSD",
    "AAPL_full_1min_adjsplitdiv.txt": "AAPL",
    "ES_1min_continuous_adjusted.txt": "ES",
    "aapl.us.txt": "AAPL",
    "ES 12-06.Last.txt": "ES_12-06",
    "NASDAQ 100 Historical Data.csv": "NASDAQ_100",
    "20240304_abc_minute_trade.csv": "ABC",
    "minute/abc/20240304_trade.csv": "abc",
    "SH#600062.txt": "600062",
    "31#01093.txt": "01093",
    "ES/5min.csv": "ES",
    "raw/ES/2024-03.csv": "ES",
    "NQ/NQ.csv": "NQ",
}


@pytest.mark.parametrize("path", NAMES)
def test_names_of_vendors(path):
    assert name_of(path).instrument == NAMES[path]


@pytest.mark.parametrize(
    ("path", "day"),
    [
        ("20240304_abc_minute_trade.csv", "2024-03-04"),
        ("20240305/20240304.csv", "2024-03-04"),
        ("20240305/2024/abc.csv", "2024-03-05"),
        ("120240304.csv", ""),
        ("20240230_abc.csv", ""),
        ("EURUSD_20240230_20240304.csv", "2024-03-04"),
    ],
)
def test_the_day_of_a_name(path, day):
    """The file's own name first; eight digits that are no date are none."""
    assert day_of(path) == day


def test_a_rule_of_the_user():
    assert name_of("a/ES-5m-2024-03.csv", "{name}-{bars}-{year}-{month}").instrument == "ES"
    assert name_of("5m/2024/ES.csv", "{bars}/{year}/{name}").bars == "5m"
    with pytest.raises(BadUnit, match=r"ES.csv: not a name like '\{name\}-\{year\}'"):
        name_of("ES.csv", "{name}-{year}")


def bars(first, n, step=5):
    stamps = np.datetime64(first) + step * np.arange(n)
    return [f"{str(t).replace('T', ' ')}:00,100,120,95,{100 + i % 3},{i}" for i, t in enumerate(stamps)]


def test_files_of_months_are_one_instrument(tmp_path):
    """Joined in the order of time; a month looks back into the files before, and a new one touches nothing old."""
    n = 31 * 288
    whole = bars("2024-03-01T00:00", n + 30 * 288)
    write_bars(tmp_path, whole[n:], "BTCUSDT-5m-2024-04.csv")
    write_bars(tmp_path, whole[:n], "BTCUSDT-5m-2024-03.csv")
    before = find(tmp_path, {})
    assert [unit.key for unit in before] == ["BTCUSDT/2024-03", "BTCUSDT/2024-04"]
    assert [source.path[-6:-4] for source in before[1].sources] == ["03", "04"]
    table = read_bars(tmp_path, before, {})
    alone = write_bars(tmp_path / "alone", whole, "BTCUSDT.csv")
    expected = read_bars(alone, find(alone, {}), {})
    for name in ("time", "close", "volume", "segment", "is_own", "line"):
        np.testing.assert_array_equal(getattr(table, name), getattr(expected, name), name)
    (alone / "BTCUSDT.csv").unlink()
    write_bars(tmp_path, bars("2024-05-01T00:00", 100), "BTCUSDT-5m-2024-05.csv")
    after = find(tmp_path, {})
    assert after[:2] == before
    assert [unit.key for unit in after[2:]] == ["BTCUSDT/2024-05"]


def test_files_that_overlap(tmp_path):
    """Equal rows are one; others are refused as rows of one time are."""
    write_bars(tmp_path, bars("2024-03-01T00:00", 300), "X-5m-2024-03.csv")
    write_bars(tmp_path, bars("2024-03-01T00:00", 300)[290:] + bars("2024-03-02T01:00", 30), "X-5m-2024-04.csv")
    table = read_bars(tmp_path, find(tmp_path, {}), {})
    assert len(table.time) == 330
    write_bars(tmp_path, bars("2024-03-02T00:55", 30), "X-5m-2024-04.csv")
    with pytest.raises(BadUnit, match="have the time of another one and other values"):
        read_bars(tmp_path, find(tmp_path, {}), {})


@pytest.mark.parametrize(
    "names", [("NQ 5min.csv", "NQ 30min.csv"), ("NQ/5min.csv", "NQ/30min.csv"), ("a/NQ.csv", "b/NQ.csv")]
)
def test_files_that_do_not_belong_together(tmp_path, names):
    for name in names:
        folder, _, file = name.rpartition("/")
        write_bars(tmp_path / folder, bars("2024-03-01T00:00", 50), file)
    with pytest.raises(ExpectedError, match=r"both hold NQ.*set .*options.instrument, such as '\{name\}"):
        find(tmp_path, {})


def test_bars_of_several_lengths_are_told(tmp_path, caplog):
    write_bars(tmp_path / "ES", bars("2024-03-01T00:00", 50), "5min.csv")
    write_bars(tmp_path / "NQ", bars("2024-03-01T00:00", 50, 30), "30min.csv")
    with caplog.at_level(logging.INFO):
        assert [unit.key for unit in find(tmp_path, {})] == ["ES/2024-03", "NQ/2024-03"]
    assert "bars of 2 lengths: 5 min (ES), 30 min (NQ)" in caplog.text
