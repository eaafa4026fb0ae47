"""Simulated bars: consistent, on ticks, in exchange hours, in clusters, and the same in every dialect."""

import csv
import doctest
import io
import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.datasets.market import simulate
from stages.datasets.market.simulate import sessions
from stages.datasets.market.simulate.dialects import DIALECTS, csv_text
from stages.datasets.market.simulate.walk import Walk
from stages.datasets.market.simulate.walk import simulate as simulate_bars
from tests.helpers.pace import slowness

NEW_YORK, JERUSALEM = ZoneInfo("America/New_York"), ZoneInfo("Asia/Jerusalem")
YEAR = Walk("NQ", 42, date(2023, 1, 3), 30, 13_000, 15_000.0, 4, 0.0)
ENTRY = {"bars": 500, "start": "2024-03-04"}


@pytest.fixture(scope="module")
def bars():
    """Give about 14 months of 30-minute bars."""
    return simulate_bars(YEAR)


def moments(bars):
    return [datetime.fromtimestamp(second, UTC) for second in bars["time"].tolist()]


def test_prices_of_a_bar_are_consistent_and_volume_is_not_negative(bars):
    """Low <= open, close <= high in every bar, of a low-priced instrument too."""
    penny = Walk("P", 1, date(2023, 1, 3), 60, 20_000, 0.02, 100, 0.3)
    for found in (bars, simulate_bars(penny)):
        assert (found["low"] <= np.minimum(found["open"], found["close"])).all()
        assert (found["high"] >= np.maximum(found["open"], found["close"])).all()
        assert found["low"].min() >= 1
        assert found["volume"].min() >= 0
        assert (np.diff(found["time"]) > 0).all()


@pytest.mark.parametrize(("minutes", "n_bars"), [(30, 13_000), (5, 60_000), (60, 7)])
def test_number_of_bars_is_what_was_asked_for(minutes, n_bars):
    """Holidays, early closes and missing bars are made up for."""
    walk = Walk("NQ", 42, date(2023, 1, 3), minutes, n_bars, 15_000.0, 4, 0.0)
    assert {len(values) for values in simulate_bars(walk).values()} == {n_bars}


def test_bars_lie_in_exchange_hours(bars):
    """No bar from 17:00 to 18:00 in New York, on a Saturday, on a holiday or after an early close, in any season."""
    local = [moment.astimezone(NEW_YORK) for moment in moments(bars)]
    days = {(moment + timedelta(hours=6)).date() for moment in local}
    assert all(moment.hour != 17 for moment in local)
    assert all(day.weekday() < 5 for day in days)
    assert not {date(2023, 12, 25), date(2024, 1, 1)} & days
    assert {date(2023, 1, 3), date(2023, 7, 4), date(2023, 11, 23)} <= days
    assert max(m.hour for m in local if m.date() == date(2023, 11, 23) and m.hour < 18) == 12


def test_steps_are_those_of_sessions_breaks_weekends_and_missing_bars(bars):
    """46 bars of 30 minutes, then a step of 90; weekends of 49.5 hours; a bar in some hundreds is missing."""
    steps, counts = np.unique(np.diff(bars["time"]) // 60, return_counts=True)
    found = dict(zip(steps.tolist(), counts.tolist(), strict=True))
    assert found[30] > 12_500
    assert 180 < found[90] < 260
    assert 40 < found[49 * 60 + 30] < 60
    assert 5 < found[60] < 50


def test_volatility_comes_in_clusters_and_follows_the_hours(bars):
    """Days of large moves follow days of large moves; the day trades more than the night."""
    moves = np.abs(np.diff(np.log(bars["close"])))
    daily = moves[: len(moves) // 46 * 46].reshape(-1, 46).mean(axis=1)
    assert np.corrcoef(daily[:-1], daily[1:])[0, 1] > 0.5
    hour = np.array([moment.astimezone(NEW_YORK).hour for moment in moments(bars)])
    assert bars["volume"][(hour >= 10) & (hour < 15)].mean() > 2 * bars["volume"][hour < 6].mean()


def test_rolls_are_the_only_jumps_and_stand_where_contracts_change():
    """With rolls the price jumps by them at the first session from the 8th of a roll month; without, never so far."""
    for roll, expected in ((0.05, [3, 6, 9, 12]), (0.0, [])):
        found = simulate_bars(Walk("NQ", 42, date(2023, 1, 3), 30, 11_700, 15_000.0, 4, roll))
        jumps = np.abs(found["open"][1:] / found["close"][:-1] - 1)
        when = [moments(found)[i + 1].astimezone(NEW_YORK) for i in np.flatnonzero(jumps > 0.04)]
        assert [moment.month for moment in when] == expected
        assert all(moment.hour == 18 and 7 <= moment.day <= 10 for moment in when)


def test_a_longer_file_begins_with_the_shorter_one(here, monkeypatch):
    """More bars are appended, as days pass; nothing before them changes."""
    monkeypatch.setenv("JOBS", "1")
    texts = []
    for n_bars in (3000, 3100):
        simulate.write(here, {"seed": 1, "instruments": {"NQ": {**ENTRY, "bars": n_bars, "dialect": "excel"}}})
        texts.append((here / "NQ.csv").read_bytes())
    assert texts[1].startswith(texts[0])


def test_seed_and_name_decide_the_bars_and_nothing_else(here, monkeypatch):
    """The same bytes with one worker and with two; other bytes for another seed or instrument."""
    options = {"seed": 1, "instruments": {"NQ": ENTRY, "ES": ENTRY}}
    monkeypatch.setenv("JOBS", "2")
    simulate.write(here / "b", options)
    monkeypatch.setenv("JOBS", "1")
    simulate.write(here / "a", options)
    simulate.write(here / "c", {"seed": 2, "instruments": {"NQ": ENTRY}})
    read = {name: (here / name).read_bytes() for name in ("a/NQ.csv", "a/ES.csv", "b/NQ.csv", "c/NQ.csv")}
    assert read["a/NQ.csv"] == read["b/NQ.csv"]
    assert len(set(read.values())) == 3


def test_write_removes_files_of_instruments_that_are_no_longer_asked_for(here, monkeypatch):
    """Left-over files would be units of the dataset."""
    monkeypatch.setenv("JOBS", "1")
    simulate.write(here, {"seed": 1, "instruments": {"NQ": ENTRY, "ES": ENTRY}})
    simulate.write(here, {"seed": 1, "instruments": {"ES": ENTRY}})
    assert [path.name for path in sorted(here.iterdir())] == ["ES.csv"]


def read_stamp(row, dialect):
    """Parse a time as a person would read it, row by row, and return it in UTC."""
    text = f"{row['Date']} {row['Time']}" if dialect == "two_columns" else row.get("Timestamp", row.get(""))
    if not dialect.startswith("excel"):
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    day, clock = text.split(" ")
    d, m, y = (int(part) for part in day.split("/"))
    assert (day, clock.count(":")) == ((f"{d}/{m}/{y}", 1) if d <= 12 else (f"{d}/{m:02}/{y}", 2))
    return datetime(y, m, d, *(int(part) for part in clock.split(":")), tzinfo=JERUSALEM).astimezone(UTC)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_holds_the_same_bars(bars, dialect):
    """Read back row by row, through both changes of the clocks, each dialect gives the bars exactly."""
    text = csv_text(bars, YEAR.ticks, DIALECTS[dialect])
    ends = text.count("\r\n") if dialect.startswith("excel") else text.count("\n") - text.count("\r")
    assert ends == len(bars["time"]) + 1
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [read_stamp(row, dialect) for row in rows] == moments(bars)
    for name in ("open", "high", "low", "close"):
        key = {"indexed": name, "excel_llow": name.replace("low", "llow").capitalize()}.get(dialect, name.capitalize())
        assert [float(row[key]) * YEAR.ticks for row in rows] == bars[name].tolist()
    key = "volume" if dialect == "indexed" else "Volume"
    assert [int(row[key]) for row in rows] == bars["volume"].tolist()


def test_first_lines_of_each_dialect():
    """Headers, stamps and prices as the programs write them, written by hand."""
    one = {"time": [1_704_675_600], "open": [60_000], "high": [60_010], "low": [59_926], "close": [59_936]}
    bars = {name: np.array(value) for name, value in {**one, "volume": [2732]}.items()}
    found = {name: csv_text(bars, 4, dialect) for name, dialect in DIALECTS.items()}
    prices = "15000.0,15002.5,14981.5,14984.0,2732"
    assert found == {
        "iso": f"Timestamp,Open,High,Low,Close,Volume\n2024-01-08 01:00:00,{prices}\n",
        "two_columns": f"Date,Time,Open,High,Low,Close,Volume\n2024-01-08,01:00:00,{prices}\n",
        "indexed": f",open,high,low,close,volume\n2024-01-08 01:00:00+00:00,{prices}\n",
        "excel": "Timestamp,Open,High,Low,Close,Volume\r\n8/1/2024 3:00,15000,15002.5,14981.5,14984,2732\r\n",
        "excel_llow": "Timestamp,Open,High,Llow,Close,Volume\r\n8/1/2024 3:00,15000,15002.5,14981.5,14984,2732\r\n",
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bars": 0}, r"simulate\.market\.instruments\.NQ\.bars: 0, expected a whole number from 1"),
        ({"bar_minutes": 7}, r"NQ\.bar_minutes: 7, expected a divisor of 60"),
        ({"dialect": "exel"}, r"NQ\.dialect: 'exel', expected one of iso, two_columns, indexed, excel, excel_llow"),
        (
            {"start": date(2024, 3, 4)},
            r"NQ\.start: datetime\.date\(2024, 3, 4\), expected text; put the date in quotes",
        ),
        ({"start": "4/3/2024"}, r"NQ\.start: '4/3/2024', expected a date such as"),
        ({"price": 0.01}, r"NQ\.price: 0\.01, expected from one tick to"),
        ({"roll": -0.1}, r"NQ\.roll: -0\.1, expected a share from 0"),
        ({"bar": 5}, r"NQ: unknown key 'bar', expected .*did you mean 'bars'"),
        ({"ticks": "4"}, r"NQ\.ticks: '4', expected int"),
    ],
)
def test_faulty_options_are_named(here, change, reason):
    """The key, what was found, what is expected; nothing is written."""
    with pytest.raises(ExpectedError, match=reason):
        simulate.write(here, {"seed": 1, "instruments": {"NQ": {**ENTRY, **change}}})
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"seed": 1}, "instruments is missing"),
        ({"seed": -1, "instruments": {"NQ": ENTRY}}, r"simulate\.market\.seed: -1, expected a whole number from 0"),
        ({"seed": 1, "instruments": {}}, r"instruments: \{\}, expected at least one"),
        ({"seed": 1, "instruments": {"../NQ": ENTRY}}, r"instruments: '\.\./NQ', expected names of up to 16 letters"),
    ],
)
def test_faulty_sections_are_named(here, options, reason):
    """A name that leads out of the folder is refused as well."""
    with pytest.raises(ExpectedError, match=reason):
        simulate.write(here, options)


@pytest.mark.slow
def test_a_million_bars_take_a_few_seconds():
    """Bars and text together; a loop over rows in Python objects would take a minute."""
    walk = Walk("NQ", 42, date(2010, 1, 4), 5, 1_000_000, 15_000.0, 4, 0.0)
    start = time.process_time()
    text = csv_text(simulate_bars(walk), walk.ticks, DIALECTS["iso"])
    assert time.process_time() - start < 6 * slowness()
    assert text.count("\n") == 1_000_001


def test_the_worked_examples_are_what_the_functions_give():
    """The docstrings' examples run."""
    found = doctest.testmod(sessions)
    assert found.attempted
    assert not found.failed
