# ruff: noqa: E501 - a file a line
"""Every layout of the table: a generated file of it fits its row and no other, and gives the bars that were written."""

import numpy as np
import pytest

from stages.datasets.market.encode.bars import read_bars
from stages.datasets.market.find import find
from stages.datasets.market.reading import layouts
from stages.datasets.market.reading.first_lines import first_lines
from stages.datasets.market.reading.names import name_of

N = 60
ROWS = [
    (200 + i % 7, 209 + i % 7, 190 + i % 5, 201 + i % 6, 1000 + i) for i in range(N)
]  # open, high, low, close, volume
MINUTES = np.datetime64("2024-03-04T10:00") + 5 * np.arange(N)
DAYS = (np.datetime64("2024-03-04") + np.arange(N)).astype("datetime64[m]")


def text(time, pattern):
    return time.item().strftime(pattern)


def epoch(time, unit):
    return int(time.astype(f"datetime64[{unit}]").astype(np.int64))


def lines_of(pattern, times, separator=","):
    """Return lines: `pattern` has {t...} as strftime, {s} {ms} {us} {ns} as epochs, o h l c v as numbers."""
    result = []
    for time, (o, h, low, c, v) in zip(times, ROWS, strict=True):
        values = {"o": o, "h": h, "l": low, "c": c, "v": v, "up": v - 400, "down": 400}
        epochs = {unit: epoch(time, unit) for unit in ("s", "ms", "us", "ns")}
        values["of_day"] = epochs["ms"] % 86_400_000
        stamp = text(time, pattern.split("|")[0])
        result.append(pattern.split("|")[1].format(t=stamp, **values, **epochs))
    return [line.replace(",", separator) if separator != "," else line for line in result]


ISO, DATE, DOTS = "%Y-%m-%d %H:%M:%S", "%Y-%m-%d", "%Y.%m.%d"
# id -> name of the file, header, what a line is like, bars, separator
FILES = {
    "yfinance": ("A", "Price,Close,High,Low,Open,Volume\nTicker,A,A,A,A,A\nDate,,,,,", DATE + "|{t},{c},{h},{l},{o},{v}", DAYS),
    "yfinance_by_ticker": ("A", "Ticker,A,A,A,A,A\nPrice,Open,High,Low,Close,Volume\nDate,,,,,", DATE + "|{t},{o},{h},{l},{c},{v}", DAYS),
    "yfinance_2023": ("A", ",Close,High,Low,Open,Volume\n,A,A,A,A,A\nDate,,,,,", DATE + "|{t},{c},{h},{l},{o},{v}", DAYS),
    "yfinance_history": ("A", "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits", DATE + " 00:00:00-05:00|{t},{o},{h},{l},{c},{v},0,0", DAYS),
    "yahoo": ("A", "Date,Open,High,Low,Close,Adj Close,Volume", DATE + "|{t},{o},{h},{l},{c},{o},{v}", DAYS),
    "tradingview": ("CME_NQ1!, 5", "time,open,high,low,close,Volume,Up,Volume", "|{s},{o},{h},{l},{c},{v},,7", MINUTES),
    "binance": ("A-5m-2024-03", "", "|{ms},{o},{h},{l},{c},{v},9{ms},1,1,1,1,0", MINUTES),
    "binance_header": ("A", "open_time,open,high,low,close,volume,close_time,quote_volume,count", "|{ms},{o},{h},{l},{c},{v},9{ms},1,1", MINUTES),
    "kraken": ("XBTUSD_5", "", "|{s},{o},{h},{l},{c},{v},12", MINUTES),
    "cryptodatadownload": ("A", "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume USD,Volume BTC", ISO + "|{s},{t},BTC/USD,{o},{h},{l},{c},77,{v}", MINUTES),
    "kaggle_bitcoin": ("A", "Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price", "|{s},{o},{h},{l},{c},{v},7,7", MINUTES),
    "epochs": ("A", "", "|{ms},{o},{h},{l},{c},{v}", MINUTES),
    "metatrader5": ("A", "<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<TICKVOL>,<VOL>,<SPREAD>", DOTS + ",%H:%M:%S|{t},{o},{h},{l},{c},{v},0,6", MINUTES, "\t"),
    "metatrader4": ("EURUSD5", "", DOTS + ",%H:%M|{t},{o},{h},{l},{c},{v}", MINUTES),
    "histdata_mt": ("DAT_MT_EURUSD_M1_202403", "", DOTS + ",%H:%M|{t},{o},{h},{l},{c},{v}", MINUTES - 300),
    "histdata": ("DAT_ASCII_EURUSD_M1_202403", "", "%Y%m%d %H%M%S|{t},{o},{h},{l},{c},{v}", MINUTES - 300, ";"),
    "ninjatrader": ("ES 03-24.Last", "", "%Y%m%d %H%M%S|{t},{o},{h},{l},{c},{v}", MINUTES + 5, ";"),
    "dukascopy": ("A", "Gmt time,Open,High,Low,Close,Volume", "%d.%m.%Y %H:%M:%S.000|{t},{o},{h},{l},{c},{v}", MINUTES),
    "dukascopy_local": ("A", "Local time,Open,High,Low,Close,Volume", "%d.%m.%Y %H:%M:%S.000 GMT+0900|{t},{o},{h},{l},{c},{v}", MINUTES + 540),
    "jforex_utc": ("A", "Time (UTC),Open,High,Low,Close,Volume ", DOTS + " %H:%M:%S|{t},{o},{h},{l},{c},{v}", MINUTES),
    "jforex_eet": ("A", "Time (EET),Open,High,Low,Close,Volume", DOTS + " %H:%M:%S|{t},{o},{h},{l},{c},{v}", MINUTES + 120),
    "stooq": ("aapl.us", "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>", "%Y%m%d,000000|AAPL.US,D,{t},{o},{h},{l},{c},{v},0", DAYS),
    "stooq_pl": ("A", "Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen", DATE + "|{t},{o},{h},{l},{c},{v}", DAYS),
    "finam": ("SBER", "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>", "%Y%m%d,%H%M%S|SBER,5,{t},{o},{h},{l},{c},{v}", MINUTES, ";"),
    "tslab": ("A", "", "%m/%d/%Y,%H:%M|{t},{o},{h},{l},{c},{v},", MINUTES, ";"),
    "interactive_brokers": ("A", ",date,open,high,low,close,volume,average,barCount", ISO + "-05:00|0,{t},{o},{h},{l},{c},{v},1,1", MINUTES - 300),
    "interactive_brokers_wap": ("A", "Date,Open,High,Low,Close,Volume,WAP,Count", ISO + "|{t},{o},{h},{l},{c},{v},1,1", MINUTES),
    "interactive_brokers_raw": ("A", "", "%Y%m%d  %H:%M:%S|{t},{o},{h},{l},{c},{v},1,1", MINUTES),
    "interactive_brokers_raw_days": ("A", "", "%Y%m%d|{t},{o},{h},{l},{c},{v},1,1", DAYS),
    "alpha_vantage": ("A", "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient", DATE + "|{t},{o},{h},{l},{c},1,{v},0,1", DAYS),
    "alpha_vantage_json": ("A", "date,1. open,2. high,3. low,4. close,5. volume", ISO + "|{t},{o},{h},{l},{c},{v}", MINUTES),
    "firstratedata": ("AAPL_full_5min_UNADJUSTED", "", ISO + "|{t},{o},{h},{l},{c},{v}", MINUTES - 300),
    "plain_headerless": ("A", "", ISO + "|{t},{o},{h},{l},{c},{v}", MINUTES),
    "plain_headerless_two": ("A", "", DATE + ",%H:%M|{t},{o},{h},{l},{c},{v}", MINUTES),
    "sierra_chart": ("ESM26-CME", "Date, Time, Open, High, Low, Last, Volume, NumberOfTrades, BidVolume, AskVolume", "%Y/%m/%d, %H:%M:%S|{t}, {o}, {h}, {l}, {c}, {v}, 1, 1, 1", MINUTES),
    "tradestation": ("A", '"Date","Time","Open","High","Low","Close","Up","Down"', "%m/%d/%Y,%H:%M|{t},{o},{h},{l},{c},{up},{down}", MINUTES + 5),
    "investing": ("NASDAQ 100 Historical Data", '"Date","Price","Open","High","Low","Vol.","Change %"', '%b %d, %Y|"{t}","{c}.00","{o}.00","{h}.00","{l}.00","{v}","0.05%"', DAYS),
    "nasdaq": ("A", "Date,Close/Last,Volume,Open,High,Low", "%m/%d/%Y|{t},${c}.00,{v},${o}.00,${h}.00,${l}.00", DAYS),
    "barchart": ("A", "Time,Open,High,Low,Latest,Change,%Change,Volume", '%Y-%m-%d %H:%M|"{t}",{o},{h},{l},{c},1,+0.02%,{v}', MINUTES - 360),
    "massive": ("2024/A", "ticker,volume,open,close,high,low,window_start,transactions", "|A,{v},{o},{c},{h},{l},{ns},3", MINUTES),
    "databento": ("A", "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol", "|{ns},33,1,42,{o}000000000,{h}000000000,{l}000000000,{c}000000000,{v},ESH4", MINUTES),
    "databento_pretty": ("A", "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol", "%Y-%m-%dT%H:%M:%S.000000000Z|{t},33,1,42,{o}.00,{h}.00,{l}.00,{c}.00,{v},ESH4", MINUTES),
    "tiingo": ("A", "date,close,high,low,open,volume,adjClose,adjHigh,adjLow,adjOpen,adjVolume,divCash,splitFactor", DATE + "|{t},{c},{h},{l},{o},{v},1,1,1,1,1,0.0,1.0", DAYS),
    "norgate": ("A", "Date,Open,High,Low,Close,Volume,Turnover,Unadjusted Close,Dividend", DATE + "|{t},{o},{h},{l},{c},{v},1,1,0", DAYS),
    "kibot": ("A", "", "%m/%d/%Y,%H:%M|{t},{o},{h},{l},{c},{v}", MINUTES - 300),
    "kibot_days": ("A", "", "%m/%d/%Y|{t},{o},{h},{l},{c},{v}", DAYS),
    "lean": ("A", "", "%Y%m%d %H:%M|{t},{o},{h},{l},{c},{v}", MINUTES),
    "lean_quotes": ("A", "", "%Y%m%d %H:%M|{t},{o},{h},{l},{c},5,9,9,9,9,5", MINUTES),
    "lean_of_day": ("20240304_abc_minute_trade", "", "|{of_day},{o},{h},{l},{c},{v}", MINUTES),
    "lean_of_day_quotes": ("20240304_abc_minute_quote", "", "|{of_day},{o},{h},{l},{c},5,9,9,9,9,5", MINUTES),
    "pine": ("A", "", "%Y%m%dT|{t},{o},{h},{l},{c},{v}", DAYS),
    "tdx": ("SH#600001", "600001 示例股份 日线 前复权\n日期,开盘,最高,最低,收盘,成交量,成交额", "%Y/%m/%d|{t},{o},{h},{l},{c},{v},1", DAYS, "\t"),
    "eastmoney": ("A", "日期,股票代码,开盘,收盘,最高,最低,成交量,成交额", DATE + "|{t},600001,{o},{c},{h},{l},{v},1", DAYS),
    "tushare": ("A", "ts_code,trade_date,open,high,low,close,pre_close,change,pct_chg,vol,amount", "%Y%m%d|600001.SH,{t},{o},{h},{l},{c},1,1,1,{v},1", DAYS),
    "japan": ("A", "日付,始値,高値,安値,終値,出来高", '%Y/%m/%d|{t},"1,{o}","1,{h}","1,{l}","1,{c}",{v}', DAYS),
    "nse": ("A", "Date ,series ,OPEN ,HIGH ,LOW ,PREV. CLOSE ,ltp ,close ,vwap ,VOLUME ", '%d-%b-%Y|{t},EQ,{o}.00,{h}.00,{l}.00,1,1,{c}.00,1,"{v}"', DAYS),
}  # fmt: skip


WITHOUT_VOLUME = {"lean_quotes", "lean_of_day_quotes"}
FACTORS = dict.fromkeys(WITHOUT_VOLUME, 0) | {"eastmoney": 100, "tushare": 100}  # of the volume that is written


def content_of(name, is_newest_first=False):
    _, header, pattern, times, *separator = FILES[name]
    mark = separator[0] if separator else ","
    lines = lines_of(pattern, times, mark)
    top = [line.replace(",", mark) for line in header.split("\n")] if header else []
    return "\n".join([*top, *(lines[::-1] if is_newest_first else lines), ""]).encode()


def expected_times(name):
    times = FILES[name][3]
    return (DAYS if np.array_equal(times, DAYS) else MINUTES).astype("datetime64[ns]")


def test_every_layout_has_a_file():
    assert list(FILES) == [layout.id for layout in layouts.TABLE]


@pytest.mark.parametrize("name", FILES)
def test_a_file_fits_its_own_layout_only(name):
    """The rules are disjoint: all of them are asked."""
    lines = first_lines(content_of(name), f"{FILES[name][0]}.csv", "")
    assert [layout.id for layout in layouts.TABLE if layouts.fits(layout, lines)] == [name]


# The same in other words: id, name of the file, two lines or more.
VARIANTS = {
    "raw text in UTC": ("interactive_brokers_raw", "A", "20240304-14:30:00,51,52,50,51,880,51,4\n20240304-14:31:00,51,52,50,51,880,51,4"),
    "raw text, epochs": ("interactive_brokers_raw_days", "A", "1709562600,51,52,50,51,880,51,4\n1709562660,51,52,50,51,880,51,4"),
    "raw text, dates among epochs": ("interactive_brokers_raw_days", "A", "20240304,51,52,50,51,880,51,4\n1709649000,51,52,50,51,880,51,4"),
    "a day from midnight on": ("lean_of_day", "20240304_trade", "0,51,52,50,51,88\n60000,51,52,50,51,88\n86340000,51,52,50,51,88"),
    "weeks in tabs": ("tdx", "600001", "600001 示例 周线 不复权\n日期\t开盘\t最高\t最低\t收盘\t成交量\n2024/03/08\t5\t6\t4\t5\t12"),
    "minutes": ("tdx", "600001", "600001 示例 5分钟线\n日期,时间,开盘,最高,最低,收盘,成交量\n2024/03/08,0935,5,6,4,5,12"),
    "an indicator of that name": ("tradingview", "A", "time,open,high,low,close,5日线\n1709562600,51,52,50,51,50"),
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_fit_one_layout(variant):
    expected, name, content = VARIANTS[variant]
    lines = first_lines(content.encode(), f"{name}.csv", "")
    assert [layout.id for layout in layouts.TABLE if layouts.fits(layout, lines)] == [expected]


@pytest.mark.parametrize("is_newest_first", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_the_bars_that_were_written(tmp_path, name, is_newest_first):
    """Times in UTC at which bars begin, prices and volumes; also with the newest bar first."""
    path = tmp_path / f"{FILES[name][0]}.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content_of(name, is_newest_first))
    no_volume = {"instruments": {name_of(path.name).instrument: {"volume": "none"}}}
    options = no_volume if name in WITHOUT_VOLUME else {}
    units = find(tmp_path, options)
    table = read_bars(tmp_path, units, options)
    assert {unit.context["dialects"][0]["layout"] for unit in units} == {name}
    own = table.is_own
    assert table.time[own].astype("datetime64[ns]").tolist() == expected_times(name).tolist()
    values = np.stack([getattr(table, key)[own] for key in ("open", "high", "low", "close", "volume")], axis=1)
    thousand = np.array([1000, 1000, 1000, 1000, 0]) if name == "japan" else 0
    factors = [1, 1, 1, 1, FACTORS.get(name, 1)]
    np.testing.assert_allclose(values, np.array(ROWS) * factors + thousand, rtol=1e-15)
    assert table.findings == ()


@pytest.mark.parametrize(("name", "encoding"), [("japan", "cp932"), ("tdx", "gb18030"), ("eastmoney", "gb18030")])
def test_names_in_the_letters_of_the_place(name, encoding):
    """Words of a header tell the encoding where it is not UTF-8; the bars themselves are ASCII."""
    lines = first_lines(content_of(name).decode().encode(encoding), "A.csv", "")
    assert [layout.id for layout in layouts.TABLE if layouts.fits(layout, lines)] == [name]
    assert lines.lower == first_lines(content_of(name), "A.csv", "").lower
