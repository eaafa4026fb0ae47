"""What is not a plain CSV: told by its first lines, or by what params.yaml says; and refused for what it is."""

import gzip
import logging
import re

import numpy as np
import pytest

from stages.core.errors import BadUnit, ExpectedError
from stages.datasets.market import encode
from stages.datasets.market.encode.bars import read_bars
from stages.datasets.market.find import find
from tests.helpers.market_bars import refusal, write_bars

N = 30
VALUES = [(1000.25 + i % 7, 1030.5 + i % 7, 990.75, 1001.5 + i % 6, 1000 + i) for i in range(N)]
TIMES = np.datetime64("2024-03-04T00:00") + 5 * np.arange(N)
ENGLISH = "Timestamp,Open,High,Low,Close,Volume"


def write(folder, template, header="", name="X.csv", time="%Y-%m-%d %H:%M:%S", comma=False):
    """Write a file of the bars above, a line each: {t} {o} {h} {l} {c} {v}."""
    lines = [header] if header else []
    for stamp, (o, h, low, c, v) in zip(TIMES, VALUES, strict=True):
        prices = {"o": f"{o:.2f}", "h": f"{h:.2f}", "l": f"{low:.2f}", "c": f"{c:.2f}"}
        prices = {key: text.replace(".", ",") for key, text in prices.items()} if comma else prices
        lines.append(template.format(t=stamp.item().strftime(time), v=v, thousands=f"{v:,}", **prices))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
    return folder


def bars_of(folder, options=None):
    units = find(folder, options or {})
    assert all(unit.digest for unit in units), units[0].context
    table = read_bars(folder, units, options or {})
    values = np.stack([getattr(table, name) for name in ("open", "high", "low", "close", "volume")], axis=1)
    return table, values


def check(folder, options=None, volume=True):
    table, values = bars_of(folder, options)
    assert table.time.astype("datetime64[ns]").tolist() == TIMES.astype("datetime64[ns]").tolist()
    expected = np.array(VALUES)
    expected[:, 4] *= volume
    assert values.tolist() == expected.tolist()
    assert table.findings == ()


SEMICOLONS = ENGLISH.replace(",", ";")
PLAIN = {
    "semicolons and decimal commas": ("{t};{o};{h};{l};{c};{v}", SEMICOLONS, {"comma": True}),
    "semicolons and decimal points": ("{t};{o};{h};{l};{c};{v}", SEMICOLONS, {}),
    "tabs": ("{t}\t{o}\t{h}\t{l}\t{c}\t{v}", ENGLISH.replace(",", "\t"), {}),
    "quoted commas": ('{t},"{o}","{h}","{l}","{c}",{v}', ENGLISH, {"comma": True}),
    "quoted thousands": ('{t},{o},{h},{l},{c},"{thousands}"', ENGLISH, {}),
    "blanks around": ("{t} , {o}, {h}, {l}, {c}, {v}", "Date, Open, High, Low, Close, Volume", {}),
    "blanks around dates and times": (
        "{t}, {o}, {h}, {l}, {c}, {v}", "Date, Time, Open, High, Low, Close, Volume", {"time": "%Y-%m-%d, %H:%M:%S"}
    ),
    "excel": ("sep=;\n{t};{o};{h};{l};{c};{v}".removeprefix("sep=;\n"), "sep=;\n" + SEMICOLONS, {"comma": True}),
    "metatrader's dates": (
        "{t},{o},{h},{l},{c},{v}", "Date,Time,Open,High,Low,Close,Volume", {"time": "%Y.%m.%d,%H:%M"}
    ),
    "dukascopy's times": ("{t},{o},{h},{l},{c},{v}", ENGLISH, {"time": "%d.%m.%Y %H:%M:%S.000"}),
    "twelve hours": ("{t},{o},{h},{l},{c},{v}", ENGLISH, {"time": "%Y-%m-%d %I:%M %p"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", PLAIN)
def test_kinds_of_plain_files(tmp_path, kind):
    """Separators, decimal commas, thousands, blanks and dates of other programs need no option."""
    template, header, kwargs = PLAIN[kind]
    check(write(tmp_path, template, header, **kwargs))


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_epochs_by_their_digits(tmp_path, unit, factor):
    lines = [f"{int(t.astype('datetime64[s]').astype(int)) * factor},100,120,90,110,{i}" for i, t in enumerate(TIMES)]
    table, _ = bars_of(write_bars(tmp_path, lines, header="timestamp,open,high,low,close,volume"))
    assert table.time.astype("datetime64[ns]").tolist() == TIMES.astype("datetime64[ns]").tolist()


def test_a_format_of_the_user(tmp_path):
    """Names, separator, decimal comma, lines to skip and time format, for one instrument or for all that fit."""
    header = "made by hand\nWhen;Eroeffnung;Hoch;Tief;Schluss;Menge"
    names = dict(zip(("time", "open", "high", "low", "close", "volume"), header.split("\n")[1].split(";"), strict=True))
    settings = {
        "columns": names,
        "separator": ";", "decimal": ",", "header": 2, "time_format": "%d.%m.%y %H:%M",
    }  # fmt: skip
    folder = write(tmp_path, "{t};{o};{h};{l};{c};{v}", header, time="%d.%m.%y %H:%M", comma=True)
    check(folder, {"instruments": {"X": settings}})
    check(folder, {"formats": {"ours": settings}})
    check(folder, {"formats": {"ours": settings}, "instruments": {"X": {"format": "ours"}}})
    assert "fits no known format" in refusal(folder)


def test_names_for_a_file_without_a_header(tmp_path):
    folder = write(tmp_path, "{v}|{c}|{l}|{h}|{o}|{t}")
    names = ["volume", "close", "low", "high", "open", "time"]
    check(folder, {"instruments": {"X": {"names": names, "header": 0, "separator": "|"}}})
    assert re.search(r"X.csv:1: .* fits no known format .*no header line.*X.columns or .names", refusal(folder))


def test_a_file_that_fits_two_formats(tmp_path):
    """Both are named, with what they mean; the option decides."""
    folder = write(tmp_path, "{t};{o};{h};{l};{c};{v}", time="%Y%m%d %H%M%S")
    assert re.search(
        r"fits 2 formats, histdata \(.*Etc/GMT\+5\), ninjatrader \(.*end, UTC\).*X.format", refusal(folder)
    )
    first = bars_of(folder, {"instruments": {"X": {"format": "histdata"}}})[0].time[0]
    assert str(first.astype("datetime64[ns]"))[:16] == "2024-03-04T05:00"
    first = bars_of(folder, {"instruments": {"X": {"format": "ninjatrader"}}})[0].time[0]
    assert str(first.astype("datetime64[ns]"))[:16] == "2024-03-03T23:55"


def test_a_file_is_told_in_one_line(tmp_path, caplog):
    for name in ("A", "B"):
        write(tmp_path, "{t}\t{o}\t{h}\t{l}\t{c}\t0\t{v}\t6", METATRADER, f"{name}.csv", "%Y.%m.%d\t%H:%M:%S")
    with caplog.at_level(logging.INFO):
        _, values = bars_of(tmp_path)
    (record,) = caplog.records
    assert record.getMessage() == "A.csv and 1 more: read as metatrader5, the clock is that of the broker's server"
    assert values[:N, 4].tolist() == [row[4] for row in VALUES]


METATRADER = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"


def test_ticks_for_a_volume_where_nothing_else_is_there(tmp_path):
    folder = write(tmp_path, "{t}\t{o}\t{h}\t{l}\t{c}\t{v}\t0\t6", METATRADER, time="%Y.%m.%d\t%H:%M:%S")
    check(folder)
    folder = write(tmp_path, "{t}\t{o}\t{h}\t{l}\t{c}\t{v}\t7\t6", METATRADER, time="%Y.%m.%d\t%H:%M:%S")
    assert set(bars_of(folder)[1][:, 4]) == {7}
    check(folder, {"instruments": {"X": {"volume": "tick"}}})


def test_the_clock_of_a_server(tmp_path):
    """Seven hours before a server's clock it is New York's, summer time included."""
    folder = write(tmp_path, "{t},{o},{h},{l},{c},{v}", time="%Y.%m.%d,%H:%M")
    options = {"instruments": {"X": {"time_zone": "America/New_York", "shift_minutes": -420}}}
    assert str(bars_of(folder, options)[0].time[0].astype("datetime64[ns]"))[:16] == "2024-03-03T22:00"


def test_prices_scaled_by_the_adjusted_close(tmp_path):
    lines = [f"2024-03-{i + 1:02},100,120,90,110,55,7" for i in range(20)]
    folder = write_bars(tmp_path, lines, header="Date,Open,High,Low,Close,Adj Close,Volume")
    assert bars_of(folder)[1][0].tolist() == [100, 120, 90, 110, 7]
    assert bars_of(folder, {"instruments": {"NQ": {"adjusted": True}}})[1][0].tolist() == [50, 60, 45, 55, 7]


@pytest.mark.parametrize("template", ["{t},{o},{h},{l},{c}", "{t},{o},{h},{l},{c},", "{t},{o},{h},{l},{c},-1"])
def test_no_volume_is_refused_until_it_is_said(tmp_path, template):
    """Then the volume is 0, and features of it say nothing."""
    header = ENGLISH if template.count(",") == 5 else ENGLISH.removesuffix(",Volume")
    folder = write(tmp_path, template, header)
    try:
        reason = refusal(folder)
    except AssertionError:
        with pytest.raises(BadUnit) as caught:
            read_bars(folder, find(folder, {}), {})
        reason = str(caught.value)
    assert "volume: none" in reason
    options = {"instruments": {"X": {"volume": "none"}}}
    check(folder, options, volume=False)
    units = find(folder, options)
    found = encode.encode(encode.read(folder, units, options), options)
    assert np.isfinite(found["strategic"]).all()


LOTS = {
    "eastmoney": ("日期,股票代码,开盘,收盘,最高,最低,成交量", "{t},600001,{o},{c},{h},{l},{v}", "%Y-%m-%d"),
    "tushare": ("ts_code,trade_date,open,high,low,close,vol", "600001.SH,{t},{o},{h},{l},{c},{v}.0", "%Y%m%d"),
}


@pytest.mark.parametrize(("setting", "lot"), [({}, 100), ({"lot": 1}, 1), ({"lot": 10}, 10)])
@pytest.mark.parametrize("kind", LOTS)
def test_volume_in_lots(tmp_path, caplog, kind, setting, lot):
    """Of 100 shares where the writer is known for it, which is told; a setting says it otherwise."""
    header, template, time = LOTS[kind]
    text = template.format(t="{t}", o="100", h="120", l="90", c="110", v="{v}")
    days = [(np.datetime64("2024-03-04") + i).item().strftime(time) for i in range(5)]
    lines = [text.format(t=day, v=12003 + i) for i, day in enumerate(days)]
    folder = write_bars(tmp_path, lines, header=header)
    with caplog.at_level(logging.INFO):
        _, values = bars_of(folder, {"instruments": {"NQ": setting}})
    assert values[:, 4].tolist() == [(12003 + i) * lot for i in range(5)]
    told = {100: ", volume in lots of 100", 1: "", 10: ", volume in lots of 10"}[lot]
    assert f"NQ.csv: read as {kind}{told}\n" in f"{caplog.messages[0]}\n"


RAW = {
    "UTC": ("20240304-{t}", "00:00"),
    "two blanks": ("20240304  {t}", "00:00"),
    "a zone": ("20240304 {t} US/Eastern", "05:00"),
}


@pytest.mark.parametrize("kind", RAW)
def test_raw_text_of_interactive_brokers(tmp_path, kind):
    """A dash before the clock is UTC, whatever zone is set; the volume is taken as it stands."""
    template, first = RAW[kind]
    lines = [f"{template.format(t=f'00:{i:02}:00')},100,120,90,110,88{i:02},105,7" for i in range(9)]
    folder = write_bars(tmp_path, lines[1:], header=lines[0])
    table, values = bars_of(folder, {"time_zone": "UTC"})
    assert str(table.time[0].astype("datetime64[ns]"))[:16] == f"2024-03-04T{first}"
    assert values[:, 4].tolist() == [8800 + i for i in range(9)]
    if kind == "UTC":
        table, _ = bars_of(folder, {"time_zone": "Asia/Tokyo"})
        assert str(table.time[0].astype("datetime64[ns]"))[:16] == f"2024-03-04T{first}"


def test_raw_days_of_interactive_brokers(tmp_path):
    """Eight digits are a date, also where others of the file are epochs of ten."""
    stamps = ["20240304", "20240305", "1709683200", "20240307", "20240308"]
    lines = [f"{stamp},100,120,90,110,5,105,7" for stamp in stamps]
    table, _ = bars_of(write_bars(tmp_path, lines[1:], header=lines[0]))
    days = table.time.astype("datetime64[ns]").astype("datetime64[D]").astype(str).tolist()
    assert days == [f"2024-03-0{day}" for day in range(4, 9)]


NO_TABLES = {
    "web": (b"<!DOCTYPE html>\n<html></html>\n", "a page of HTML or XML"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of git-lfs"),
    "utf-16": ("Timestamp,Open\n2024".encode("utf-16"), "UTF-16"),
    "gzip": (gzip.compress(b"Timestamp\n"), "compressed with gzip"),
    "returns": (b"Timestamp,Open,High,Low,Close,Volume\r2024-01-01,1,1,1,1,1\r", "carriage returns alone"),
    "json": (b'{"Note": "slow down"}', "JSON"),
    "orders": (b"Order,Side,Qty\n1,buy,2\n", "fits no known format"),
}


@pytest.mark.parametrize("kind", NO_TABLES)
def test_what_is_no_file_of_bars_is_one_bad_unit(tmp_path, kind):
    """It is named for what it is, and the other files are read."""
    content, message = NO_TABLES[kind]
    write(tmp_path, "{t},{o},{h},{l},{c},{v}", ENGLISH)
    (tmp_path / "orders.csv").write_bytes(content)
    units = find(tmp_path, {})
    assert [unit.key for unit in units] == ["X/2024-03", "orders.csv"]
    assert units[1].digest == ""
    assert message in units[1].context["bad"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"instruments": {"x": {}}}, r"instruments.x: no file holds it, expected one of X; did you mean 'X'\?"),
        ({"instruments": {"X_5": {}}}, r"instruments.X_5: no file holds it, expected one of X"),
        ({"instruments": {"X": {"format": "metatrader"}}}, "expected one of .*did you mean 'metatrader[45]'"),
        ({"instruments": {"X": {"time_format": "%Q"}}}, "time_format: '%Q', expected a format such as"),
        ({"instruments": {"X": {"columns": {"opening": "o"}}}}, "columns: 'opening', expected date, time, open"),
        ({"instruments": {"X": {"keep": "all"}}}, "keep: 'all', expected first or last or error"),
        ({"instruments": {False: {}}}, "False"),
        ({"formats": {"kraken": {}}}, "formats.kraken: a known layout has this name"),
        ({"instrument": "{year}"}, "instrument: '{year}', expected {name} once"),
        ({"volume_bars": 1001}, "volume_bars: 1001, expected 1 to 1000"),
        ({"scale": "none"}, "scale: 'none', expected auto or original"),
    ],
)
def test_settings_that_match_nothing(tmp_path, options, message):
    """Nothing in params.yaml is ignored."""
    with pytest.raises(ExpectedError, match=message):
        find(write(tmp_path, "{t},{o},{h},{l},{c},{v}", ENGLISH), options)


def test_prices_of_nothing_and_less(tmp_path):
    """Refused by default; by option they are bars, and features that look back on them are not valid."""
    rng = np.random.default_rng(3)
    close = 20 + np.cumsum(rng.normal(0, 0.3, 400))
    close[200] = -37.63
    stamps = (np.datetime64("2020-04-20T00:00") + np.arange(400)).astype(str)
    lines = [
        f"{t.replace('T', ' ')}:00,{c:.2f},{c + 1:.2f},{c - 1:.2f},{c:.2f},5"
        for t, c in zip(stamps, close, strict=True)
    ]
    folder = write_bars(tmp_path, lines)
    assert "price not above 0" in {f.reason for f in read_bars(folder, find(folder, {}), {}).findings}
    options = {"negative_prices": True}
    found = encode.encode(encode.read(folder, find(folder, options), options), options)
    assert len(found["time"]) == 400
    assert found["close"][200] == -37.63
    for name in ("strategic", "tactical"):
        is_valid = found[f"valid_{name}"].astype(bool)
        assert not is_valid[200:260].any()
        assert is_valid[260:].all()
        assert np.isfinite(found[name]).all()
