"""Exports of TDX: a title above the header, in GBK as a rule, a footer, prices below 0, stamps of ends."""

import logging

import numpy as np
import pytest

from stages.core.errors import BadUnit
from stages.datasets.market.encode.bars import read_bars
from stages.datasets.market.find import find
from tests.helpers.market_bars import refusal

HEADER = ["日期", "开盘", "最高", "最低", "收盘", "成交量", "成交额"]
DAYS = ["2024/03/04", "2024/03/05", "2024/03/06", "2024/03/07", "2024/03/08"]
MONTH_FIRST = [f"{day[5:]}/{day[:4]}" for day in DAYS]
PRICES = [(5.10, 5.22, 5.07, 5.15), (5.15, 5.25, 5.12, 5.20), (5.20, 5.20, 5.01, 5.02)]
PRICES += [(5.02, 5.10, 5.00, 5.10), (5.10, 5.11, 5.08, 5.09)]
FOOTERS = ["#数据来源:通达信", "数据来源:通达信"]


def write(folder, days=DAYS, prices=PRICES, mark="\t", encoding="gbk", footer=FOOTERS[0], title="日线 前复权"):
    rows = [[day, *(f"{p:.2f}" for p in four), "12003", "61800.00"] for day, four in zip(days, prices, strict=True)]
    lines = [f"600001 示例股份 {title}", *(mark.join(row) for row in [HEADER, *rows]), footer, ""]
    (folder / "SH#600001.txt").write_bytes("\r\n".join(lines).encode(encoding))
    return folder


def bars_of(folder, options=None):
    units = find(folder, options or {})
    assert all(unit.digest for unit in units), units[0].context
    return read_bars(folder, units, options or {})


@pytest.mark.parametrize("footer", FOOTERS)
@pytest.mark.parametrize("mark", ["\t", ","])
@pytest.mark.parametrize("encoding", ["gbk", "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("days", [DAYS, MONTH_FIRST])
def test_days(tmp_path, encoding, mark, footer, days):
    """Prices and volumes as they stand, dates in either order; the footer is counted as a note, not as a bad row."""
    table = bars_of(write(tmp_path, days, mark=mark, encoding=encoding, footer=footer))
    assert table.time.astype("datetime64[ns]").astype("datetime64[D]").astype(str).tolist() == [
        day.replace("/", "-") for day in DAYS
    ]
    assert list(zip(table.open, table.high, table.low, table.close, strict=True)) == PRICES
    assert set(table.volume.tolist()) == {12003.0}
    assert [(found.reason, found.count) for found in table.findings] == [
        ("note of the vendor or empty line, no bar", 1)
    ]


def test_the_instrument_stands_behind_the_market(tmp_path):
    assert find(write(tmp_path), {})[0].key == "600001/2024-03"


@pytest.mark.parametrize(("title", "is_told"), [("日线 前复权", True), ("日线 后复权", False), ("日线 不复权", False)])
def test_prices_below_0_are_told(tmp_path, caplog, title, is_told):
    """Those of a stock that paid out much may be below 0 once they are adjusted backwards."""
    with caplog.at_level(logging.INFO):
        bars_of(write(tmp_path, title=title))
    (told,) = [record.getMessage() for record in caplog.records if "read as tdx" in record.getMessage()]
    assert ("old ones may be 0 or less, which negative_prices allows" in told) == is_told


def test_prices_below_0_are_bars_by_option(tmp_path):
    below = [tuple(price - 5.1 for price in four) for four in PRICES]
    folder = write(tmp_path, prices=below)
    with pytest.raises(BadUnit, match="price not above 0"):
        bars_of(folder)
    table = bars_of(folder, {"negative_prices": True})
    np.testing.assert_allclose(table.close, [four[3] - 5.1 for four in PRICES], atol=0.005)


def test_minutes_are_stamped_at_their_end(tmp_path):
    """The bar of 9:35 in Shanghai begins at 9:30, 1:30 UTC; dates and times have columns of their own."""
    lines = ["600001 示例股份 5分钟线 不复权", "\t".join([HEADER[0], "时间", *HEADER[1:]])]
    lines += [f"2024/03/04\t{clock}\t5.10\t5.22\t5.07\t5.15\t1200\t6180.00" for clock in ("0935", "0940", "0945")]
    (tmp_path / "600001.txt").write_bytes("\n".join([*lines, FOOTERS[0], ""]).encode("gbk"))
    table = bars_of(tmp_path)
    first = np.datetime64("2024-03-04T01:30", "ns") + np.arange(3) * np.timedelta64(5, "m")
    assert table.time.astype("datetime64[ns]").tolist() == first.tolist()


def test_utf_16_is_named(tmp_path):
    assert "UTF-16" in refusal(write(tmp_path, encoding="utf-16"))
