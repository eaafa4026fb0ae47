"""The layouts of files of bars that are known: one table, a layout a row.

A layout is chosen by the first lines of a file and, where its bytes do not tell two writers apart, by its name. A file
must fit exactly one row; a plain CSV with a header line fits none and is read by the names of its columns. No row is
tried before another one: `stages.datasets.market.reading.recognise` asks all of them.

Of a row, what must hold:

- `kind`: ``headered``, the first cell of the first line is neither a number nor a time; or ``headerless``;
- `first`, `second`: patterns of the first two cells, of a headerless file in each of the first three lines;
- `begins`: the first cells; `has`, `one_of`, `lacks`: cells anywhere, all, one at least or none of them;
- `title`: a pattern of the line above the header; `second_line`: one of the whole second line;
- `cells`: how many cells a line may have; `separator`; `name`: a pattern of the file's name;
- `hook`: what cannot be said so.

And how it is read: where time, prices and volume stand, by name or by position (of several volumes the first that is
there), how many lines the header has, and what differs from a plain CSV. Cells and names are compared in lower case.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from stages.datasets.market.reading.first_lines import TITLE_WORDS, FirstLines

HEADERED, HEADERLESS = "headered", "headerless"
Columns = tuple[str | int, ...]
T = TypeVar("T")
NAMED = ("open", "high", "low", "close")
SECOND = (1, 2, 3, 4)
BEHIND_TIME = (2, 3, 4, 5)
Pairs = tuple[tuple[str, T], ...]
LEAN_SCALES = (("equity", 1e-4), ("option", 1e-4))
LEAN_ZONES = (("usa", "America/New_York"), ("fxcm", "Etc/GMT+5"), ("oanda", "UTC"), ("crypto", "UTC"))
LEAN_MS = r"0|(?:[1-7]?\d{1,4}|8[0-5]\d{3}|86[0-3]\d\d)000"  # of a day, whole seconds: no date has such a number
BID = "prices of the bid, of quotes"
TRADINGVIEW = ["time", *NAMED]
YAHOO_NAMES = ("open", "high", "low", "close", "adj close", "volume")


@dataclass(frozen=True)
class BarLayout:
    """One way to write bars; see the module for what the attributes mean.

    `stamp` is what a time stands for, the ``begin`` or the ``end`` of its bar; `date_order` that of its dates with
    slashes, where it is certain; `words` and `lot` as in `FileDialect`; `scales` and `zones` are what counts of files
    below a folder; `is_of_day`, that times are milliseconds since the midnight of the day that the file's name says;
    `note` is told when a file is read so.
    """

    id: str
    source: str
    kind: str
    time: Columns
    prices: Columns
    volume: Columns = ()
    first: str = ""
    second: str = ""
    begins: tuple[str, ...] = ()
    has: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    title: str = ""
    second_line: str = ""
    cells: tuple[int, ...] = ()
    separator: str = ""
    name: str = ""
    hook: Callable[[FirstLines], bool] | None = field(default=None, compare=False)
    names_line: int = 0
    header_lines: int = 1
    ticker: str | int | None = None
    zone: str = ""
    stamp: str = "begin"
    date_order: str = ""
    words: str = ""
    adjusted: str = ""
    scale: float = 1.0
    scales: Pairs[float] = ()
    zones: Pairs[str] = ()
    lot: float = 1.0
    is_of_day: bool = False
    note: str = ""


def _is_tradingview(lines: FirstLines) -> bool:
    """Say whether the header is TradingView's: small letters, and `Volume`, if at all, with a capital."""
    header = lines.raw[0]
    return header[:5] == TRADINGVIEW and "volume" not in header


def _closes_after_opening(lines: FirstLines) -> bool:
    """Say whether the seventh cell of klines, their closing time, comes after the first."""
    return all(int(row[6]) > int(row[0]) for row in lines.lower if row[0].isdigit() and row[6].isdigit())


def _has_exact_columns(lines: FirstLines) -> bool:
    """Say whether prices are whole numbers of 1e-9, as they come without `pretty_px`."""
    place = lines.lower[0].index("open") if "open" in lines.lower[0] else 0
    return len(lines.lower) > 1 and len(lines.lower[1]) > place and lines.lower[1][place].isdigit()


TABLE = (
    # Three header lines, or one.
    BarLayout("yfinance", "yfinance from 0.2.51, download()", HEADERED, (0,), NAMED, ("volume",),
           first="price", second_line="ticker.*", header_lines=3, ticker=1),
    BarLayout("yfinance_by_ticker", "yfinance, download(group_by='ticker')", HEADERED, (0,), NAMED, ("volume",),
           first="ticker", second_line="price.*", names_line=1, header_lines=3, ticker=0),
    BarLayout("yfinance_2023", "yfinance to 0.2.50, several levels", HEADERED, (0,), NAMED, ("volume",),
           first="", second_line='(?:"")?,.*', one_of=YAHOO_NAMES, header_lines=3, ticker=1, hook=lambda lines: (
               len(lines.lower) > 2 and lines.lower[1][0] == "" and lines.lower[2][0] in ("date", "datetime"))),
    BarLayout("yfinance_history", "yfinance, Ticker.history()", HEADERED, (0,), NAMED, ("volume",),
           first="date|datetime", has=("dividends", "stock splits")),
    BarLayout("yahoo", "Yahoo Finance, yfinance to 0.2.50", HEADERED, (0,), NAMED, ("volume",),
           first="date|datetime", has=("adj close",), lacks=("dividends",), adjusted="adj close"),
    BarLayout("tradingview", "TradingView, Export chart data", HEADERED, (0,), NAMED, ("volume",),
           begins=("time",), hook=_is_tradingview),
    # Exchanges of coins.
    BarLayout("binance", "Binance, klines as dumped", HEADERLESS, (0,), SECOND, (5,),
           first=r"\d{13}|\d{16}", cells=(12,), separator=",", hook=_closes_after_opening),
    BarLayout("binance_header", "Binance, klines with a header", HEADERED, ("open_time",), NAMED, ("volume",),
           has=("open_time", "close_time")),
    BarLayout("kraken", "Kraken, OHLCVT dumps", HEADERLESS, (0,), SECOND, (5,),
           first=r"\d{9,10}", cells=(7,), separator=","),
    BarLayout("cryptodatadownload", "CryptoDataDownload", HEADERED, ("unix", "date"), NAMED, ("volume of the symbol",),
           first="unix|date", one_of=("symbol",), hook=lambda lines: (
               "date" in lines.lower[0][:2] and any(cell.startswith("volume ") for cell in lines.lower[0]))),
    BarLayout("kaggle_bitcoin", "Kaggle, Bitstamp and Coinbase minutes", HEADERED, ("timestamp",), NAMED,
           ("volume_(btc)",), has=("volume_(currency)",)),
    BarLayout("epochs", "klines of six columns without a header", HEADERLESS, (0,), SECOND, (5,),
           first=r"\d{10}|\d{13}|\d{16}|\d{19}", cells=(6,)),
    # Currencies and platforms.
    BarLayout("metatrader5", "MetaTrader 5, bars", HEADERED, ("<date>", "<time>"),
           ("<open>", "<high>", "<low>", "<close>"), ("<vol>", "<tickvol>"), has=("<date>", "<tickvol>"),
           note="the clock is that of the broker's server"),
    BarLayout("metatrader4", "MetaTrader 4, history", HEADERLESS, (0, 1), BEHIND_TIME, (6,),
           first=r"\d{4}\.\d\d\.\d\d", second=r"\d\d:\d\d", cells=(7,), separator=",", name=r"(?!dat_mt_).*",
           note="the clock is that of the broker's server, the volume the number of ticks"),
    BarLayout("histdata_mt", "histdata.com, MetaTrader files", HEADERLESS, (0, 1), BEHIND_TIME, (6,),
           first=r"\d{4}\.\d\d\.\d\d", second=r"\d\d:\d\d", cells=(7,), separator=",", name=r"dat_mt_.*",
           zone="Etc/GMT+5"),
    BarLayout("histdata", "histdata.com, ASCII files", HEADERLESS, (0,), SECOND, (5,),
           first=r"\d{8} \d{6}|\d{8}", cells=(6,), separator=";", name=r"(?!.*\.(?:last|bid|ask)\b).*",
           zone="Etc/GMT+5"),
    BarLayout("ninjatrader", "NinjaTrader 8, export", HEADERLESS, (0,), SECOND, (5,),
           first=r"\d{8} \d{6}|\d{8}", cells=(6,), separator=";", name=r"(?!dat_).*", zone="UTC", stamp="end"),
    BarLayout("dukascopy", "Dukascopy, web export", HEADERED, (0,), NAMED, ("volume",), first="gmt time", zone="UTC"),
    BarLayout("dukascopy_local", "Dukascopy, web export, local time", HEADERED, (0,), NAMED, ("volume",),
           first="local time"),
    BarLayout("jforex_utc", "JForex, Historical Data Manager", HEADERED, (0,), NAMED, ("volume",),
           first=r"time \((?:utc|gmt)\)", zone="UTC"),
    BarLayout("jforex_eet", "JForex, Historical Data Manager", HEADERED, (0,), NAMED, ("volume",),
           first=r"time \(eet\)", zone="Europe/Athens"),
    BarLayout("stooq", "Stooq, bulk files", HEADERED, ("<date>", "<time>"), ("<open>", "<high>", "<low>", "<close>"),
           ("<vol>",), first="<ticker>", has=("<openint>",), separator=",", ticker="<ticker>"),
    BarLayout("stooq_pl", "Stooq, Polish pages", HEADERED, (0,), ("otwarcie", "najwyzszy", "najnizszy", "zamkniecie"),
           ("wolumen",), first="data", has=("otwarcie", "zamkniecie")),
    BarLayout("finam", "Finam, MOEX exports", HEADERED, ("<date>", "<time>"), ("<open>", "<high>", "<low>", "<close>"),
           ("<vol>",), first="<ticker>|<date>", has=("<close>",), lacks=("<tickvol>", "<openint>"), ticker="<ticker>",
           note="stamps are taken as begins; set shift_minutes if the export has ends"),
    BarLayout("tslab", "TSLab", HEADERLESS, (0, 1), BEHIND_TIME, (6,), first=r"\d\d/\d\d/\d{4}", second=r"\d\d:\d\d",
           cells=(7, 8), separator=";", date_order="month_first", zone="UTC"),
    # Brokers and vendors.
    BarLayout("interactive_brokers", "ib_insync, ib_async frames", HEADERED, ("date",), NAMED, ("volume",),
           has=("date", "average", "barcount")),
    BarLayout("interactive_brokers_wap", "API scripts of Interactive Brokers", HEADERED, ("date",), NAMED, ("volume",),
           has=("date", "wap", "count")),
    BarLayout("interactive_brokers_raw", "Interactive Brokers, raw text", HEADERLESS, (0,), SECOND, (5,),
           first=r"\d{8} {1,2}\d\d:\d\d:\d\d(?: [a-z_/]+)?|\d{8}-\d\d:\d\d:\d\d", separator=","),
    BarLayout("interactive_brokers_raw_days", "Interactive Brokers, raw text, days or epochs", HEADERLESS, (0,), SECOND,
           (5,), first=r"\d{8}|\d{10}", cells=(8,), separator=","),
    BarLayout("alpha_vantage", "Alpha Vantage, adjusted days", HEADERED, ("timestamp",), NAMED, ("volume",),
           has=("timestamp",), one_of=("adjusted_close", "adjusted close"), adjusted="adjusted_close"),
    BarLayout("alpha_vantage_json", "Alpha Vantage, keys of its JSON", HEADERED, (0,),
           ("1. open", "2. high", "3. low", "4. close"), ("5. volume", "6. volume"), has=("1. open", "4. close")),
    BarLayout("firstratedata", "FirstRateData", HEADERLESS, (0,), SECOND, (5,),
           first=r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?)?", second=r"(?!\d\d?:).*", cells=(6, 7), separator=",",
           name=r".*_(?:full|1min|5min|30min|1hour|1day|continuous).*", zone="America/New_York"),
    BarLayout("plain_headerless", "time, o, h, l, c, v", HEADERLESS, (0,), SECOND, (5,),
           first=r"\d{4}-\d\d-\d\d(?:[ Tt]\d\d:\d\d(?::\d\d)?.*)?", second=r"(?!\d\d?:).*", cells=(6, 7), separator=",",
           name=r"(?!.*_(?:full|1min|5min|30min|1hour|1day|continuous)).*"),
    BarLayout("plain_headerless_two", "date, time, o, h, l, c, v", HEADERLESS, (0, 1), BEHIND_TIME, (6,),
           first=r"\d{4}-\d\d-\d\d", second=r"\d\d?:\d\d(?::\d\d)?", cells=(7, 8), separator=","),
    BarLayout("sierra_chart", "Sierra Chart, text export", HEADERED, ("date", "time"), ("open", "high", "low", "last"),
           ("volume",), begins=("date", "time"), has=("last", "volume"),
           one_of=("bidvolume", "# of trades", "numberoftrades"), lacks=("%change", "%chg")),
    BarLayout("tradestation", "TradeStation", HEADERED, ("date", "time"), NAMED, ("vol",),
           begins=("date", "time"), has=("close",), one_of=("up", "vol"), lacks=("last",), stamp="end",
           date_order="month_first", hook=lambda lines: (
               {"up", "down"} <= set(lines.lower[0]) or {"vol", "oi"} <= set(lines.lower[0]))),
    BarLayout("investing", "Investing.com", HEADERED, (0,), (2, 3, 4, 1), (5,), cells=(7,), words="KMBT-",
           hook=lambda lines: lines.lower[0][5] in ("vol.", "出来高") and any(
               mark in lines.lower[0][6] for mark in ("%", "変化率"))),
    BarLayout("nasdaq", "Nasdaq.com, historical data", HEADERED, ("date",), ("open", "high", "low", "close/last"),
           ("volume",), has=("close/last",), words="$", date_order="month_first"),
    BarLayout("barchart", "Barchart", HEADERED, ("time",), ("open", "high", "low", "latest or last"), ("volume",),
           one_of=("%change", "%chg"), first="time|symbol", zone="America/Chicago"),
    BarLayout("massive", "Massive (Polygon), flat files", HEADERED, ("window_start",), NAMED, ("volume",),
           has=("ticker", "window_start"), ticker="ticker"),
    BarLayout("databento", "Databento, whole numbers of 1e-9", HEADERED, ("ts_event",), NAMED, ("volume",),
           has=("ts_event", "rtype", "open"), ticker="symbol", scale=1e-9, hook=_has_exact_columns),
    BarLayout("databento_pretty", "Databento, decimal prices", HEADERED, ("ts_event",), NAMED, ("volume",),
           has=("ts_event", "rtype", "open"), ticker="symbol", hook=lambda lines: not _has_exact_columns(lines)),
    BarLayout("tiingo", "Tiingo, days", HEADERED, ("date",), NAMED, ("volume",), has=("divcash", "splitfactor"),
           adjusted="adjclose"),
    BarLayout("norgate", "Norgate Data", HEADERED, ("date",), NAMED, ("volume",), has=("turnover", "unadjusted close")),
    BarLayout("kibot", "Kibot, minutes", HEADERLESS, (0, 1), BEHIND_TIME, (6,), first=r"\d\d/\d\d/\d{4}",
           second=r"\d\d:\d\d", cells=(7,), separator=",", date_order="month_first", zone="America/New_York"),
    BarLayout("kibot_days", "Kibot, days", HEADERLESS, (0,), SECOND, (5,), first=r"\d\d/\d\d/\d{4}", cells=(6,),
           separator=",", date_order="month_first"),
    BarLayout("lean", "QuantConnect LEAN, hours and days", HEADERLESS, (0,), SECOND, (5,), first=r"\d{8} \d\d:\d\d",
           cells=(6,), separator=",", scales=LEAN_SCALES, zones=LEAN_ZONES),
    BarLayout("lean_quotes", "QuantConnect LEAN, hours and days of quotes", HEADERLESS, (0,), SECOND,
           first=r"\d{8} \d\d:\d\d", cells=(11,), separator=",", scales=LEAN_SCALES, zones=LEAN_ZONES, note=BID),
    BarLayout("lean_of_day", "QuantConnect LEAN, minutes of a day", HEADERLESS, (0,), SECOND, (5,), first=LEAN_MS,
           cells=(6,), separator=",", scales=LEAN_SCALES, zones=LEAN_ZONES, is_of_day=True),
    BarLayout("lean_of_day_quotes", "QuantConnect LEAN, minutes of a day of quotes", HEADERLESS, (0,), SECOND,
           first=LEAN_MS, cells=(11,), separator=",", scales=LEAN_SCALES, zones=LEAN_ZONES, is_of_day=True, note=BID),
    BarLayout("pine", "TradingView, Pine seeds", HEADERLESS, (0,), SECOND, (5,), first=r"\d{8}[Tt]", cells=(6,),
           separator=","),
    # Exchanges whose pages have other words.
    BarLayout("tdx", "TDX (通达信)", HEADERED, ("日期", "时间"), ("开盘", "最高", "最低", "收盘"), ("成交量",),
           first="日期", has=("开盘", "收盘"), title=rf".*(?:{TITLE_WORDS}).*", zone="Asia/Shanghai", stamp="end",
           date_order="month_first"),
    BarLayout("eastmoney", "akshare, Eastmoney", HEADERED, ("日期",), ("开盘", "最高", "最低", "收盘"), ("成交量",),
           has=("日期", "开盘", "收盘"), title=rf"(?!.*(?:{TITLE_WORDS})).*", lot=100),
    BarLayout("tushare", "Tushare", HEADERED, ("trade_date",), NAMED, ("vol",),
           has=("ts_code", "trade_date"), ticker="ts_code", lot=100),
    BarLayout("japan", "Exchanges of Japan", HEADERED, (0,), ("始値", "高値", "安値", "終値"), ("出来高",),
           first="日付", has=("始値", "高値", "安値", "終値")),
    BarLayout("nse", "NSE of India", HEADERED, ("date",), NAMED, ("volume",), has=("series", "prev. close")),
)  # fmt: skip
BY_ID = {layout.id: layout for layout in TABLE}


def conditions(layout: BarLayout, lines: FirstLines) -> list[tuple[str, bool]]:
    """Return what a layout asks of the first lines of a file, in words, each with whether it holds."""
    asked = _of_lines(layout, lines)
    is_plain = all(is_so for _, is_so in asked)
    asked += _of_cells(layout, lines)
    if layout.kind == HEADERED:
        asked += _of_header(layout, lines.lower[0])
    if layout.title:
        asked.append((f"a line above like {layout.title!r}", bool(re.fullmatch(layout.title, lines.title))))
    if layout.second_line:
        is_so = bool(re.match(layout.second_line, lines.second_line))
        asked.append((f"a second line like {layout.second_line!r}", is_so))
    if layout.name:
        asked.append((f"a file name like {layout.name!r}", bool(re.fullmatch(layout.name, lines.name))))
    if layout.hook is not None:
        asked.append(("more than its names", is_plain and layout.hook(lines)))
    return asked


def _of_lines(layout: BarLayout, lines: FirstLines) -> list[tuple[str, bool]]:
    """Return what is asked of whole lines."""
    is_headered = layout.kind == HEADERED
    asked = [("a header line" if is_headered else "no header line", lines.is_headered == is_headered)]
    if layout.separator:
        asked.append((f"cells separated by {layout.separator!r}", lines.separator == layout.separator))
    if layout.cells:
        is_so = all(len(row) in layout.cells for row in lines.lower[: 1 if is_headered else 3])
        asked.append((f"{' or '.join(map(str, layout.cells))} cells in a line", is_so))
    return asked


def _of_cells(layout: BarLayout, lines: FirstLines) -> list[tuple[str, bool]]:
    """Return what is asked of the first two cells of each line that counts."""
    own, asked = lines.lower[: 1 if layout.kind == HEADERED else 3], []
    if layout.first or layout.second_line:
        asked.append((f"a first cell like {layout.first!r}", all(re.fullmatch(layout.first, row[0]) for row in own)))
    if layout.second:
        is_so = all(len(row) > 1 and re.fullmatch(layout.second, row[1]) for row in own)
        asked.append((f"a second cell like {layout.second!r}", is_so))
    return asked


def _of_header(layout: BarLayout, header: list[str]) -> list[tuple[str, bool]]:
    """Return what is asked of the cells of the header; one of TradingView may have any names of indicators."""
    asked = [("no header of TradingView", header[:5] != TRADINGVIEW or layout.id == "tradingview")]
    if layout.begins:
        asked.append((f"first cells {', '.join(layout.begins)}", tuple(header[: len(layout.begins)]) == layout.begins))
    asked += [(f"a cell {cell!r}", cell in header) for cell in layout.has]
    if layout.one_of:
        asked.append((f"a cell {' or '.join(layout.one_of)}", any(cell in header for cell in layout.one_of)))
    return [*asked, *((f"no cell {cell!r}", cell not in header) for cell in layout.lacks)]


def fits(layout: BarLayout, lines: FirstLines) -> bool:
    """Say whether a file fits a layout, by its first lines and its name."""
    return all(is_so for _, is_so in conditions(layout, lines))
