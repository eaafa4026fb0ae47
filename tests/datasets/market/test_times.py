"""The text of times -> nanoseconds, and wall clocks -> UTC."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.datasets.market.reading import times, zones

EPOCH = datetime(1970, 1, 1)
LAYOUTS = {
    "iso": "%Y-%m-%d %H:%M:%S",
    "t": "%Y-%m-%dT%H:%M",
    "offset": "%Y-%m-%d %H:%M:%S+02:30",
    "long": "%d/%m/%Y %H:%M:%S",
    "excel": "{0.day}/{0.month}/{0.year} {0.hour}:{0.minute:02}",
}


def ns(moment):
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def parse(*texts, **options):
    return times.parse(pa.array([text.encode() for text in texts], pa.binary()), times.Manner(**options))


@pytest.mark.parametrize(
    ("text", "expected", "is_utc"),
    [
        ("2024-01-08 01:30:00", "2024-01-08T01:30", False),
        ("2024-01-08T01:30", "2024-01-08T01:30", False),
        ("2024-01-08", "2024-01-08T00:00", False),
        ("2024-01-08 01:30:00.25", "2024-01-08T01:30:00.25", False),
        ("2024-01-08T01:30:00.123456789Z", "2024-01-08T01:30:00.123456789", True),
        ("2024-01-08 01:30:00+00:00", "2024-01-08T01:30", True),
        ("2024-01-08 01:30:00-0530", "2024-01-08T07:00", True),
        ("2024-01-08 01:30+02", "2024-01-07T23:30", True),
        ("8/1/2024 1:30", "2024-01-08T01:30", False),
        ("29/02/2024 23:30:00", "2024-02-29T23:30", False),
        ("2024-01-08 24:00", "2024-01-09T00:00", False),
        ("31/12/2024 24:00:00", "2025-01-01T00:00", False),
        (" 2024-01-08  01:30:00 ", "2024-01-08T01:30", False),
        ("2024.01.08 01:30", "2024-01-08T01:30", False),
        ("2024/1/8 01:30:00", "2024-01-08T01:30", False),
        ("08.01.2024 01:30:00.000", "2024-01-08T01:30", False),
        ("08.01.2024 01:30:00.000 GMT+0200", "2024-01-07T23:30", True),
        ("20240108", "2024-01-08T00:00", False),
        ("20240108T", "2024-01-08T00:00", False),
        ("20240108 013000", "2024-01-08T01:30", False),
        ("20240108  01:30:00", "2024-01-08T01:30", False),
        ("20240108-01:30:00", "2024-01-08T01:30", True),
        ("08-Jan-2024", "2024-01-08T00:00", False),
        ("Jan 08, 2024", "2024-01-08T00:00", False),
        ("8/1/2024 1:30 PM", "2024-01-08T13:30", False),
        ("2024-01-08 12:05 am", "2024-01-08T00:05", False),
        ("1704677400", "2024-01-08T01:30", True),
        ("1704677400.0", "2024-01-08T01:30", True),
        ("1704677400000", "2024-01-08T01:30", True),
        ("1704677400000000", "2024-01-08T01:30", True),
        ("1704677400000000001", "2024-01-08T01:30:00.000000001", True),
    ],
)
def test_layouts(text, expected, is_utc):
    """Each layout that is promised is read, alone and beside one of another width."""
    want = np.datetime64(expected, "ns").astype(np.int64)
    for stamps in (parse(text), parse("0", text, "2020-01-01 00:00")):
        row = stamps.ns.tolist().index(want)
        assert stamps.is_time[row]
        assert stamps.is_utc[row] == is_utc


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "nan", "2024-13-01 00:00", "2024-02-30", "30/2/2023 1:00", "2024-01-08 01:60"),
        *(
            "1/13/2024 1:00",
            "2024-01-08 01:30:60",
            "1899-12-31",
            "2024-1-8",
            "202401080",
            "x" * 40,
            "2024-01-08 13:30 PM",
            "2024-01-08 24:01",
            "24-01-2024",
            "08-Foo-2024",
            "20240108-01:30",
            "20240108-25:30:00",
        ),
    ],
)
def test_unreadable(text):
    """What is no time is said to be none."""
    assert not parse(text).is_time[0]


def test_month_first():
    """The order of day and month is a choice, for both slash layouts."""
    stamps = parse("8/1/2024 1:30", "08/13/2024 01:30:00", is_month_first=True)
    assert stamps.ns.tolist() == [ns(datetime(2024, 8, 1, 1, 30)), ns(datetime(2024, 8, 13, 1, 30))]
    assert stamps.is_time.all()
    assert stamps.is_slash.all()


def test_milliseconds_since_midnight():
    """Of a day that is told: on the wall, and none of the next day."""
    day = ns(datetime(2024, 1, 8))
    stamps = parse("0", "5400000", " 86399999", "86400000", "-1", "", pattern=times.SINCE_MIDNIGHT, day_ns=day)
    assert stamps.is_time.tolist() == [True, True, True, False, False, False]
    assert (stamps.ns[:3] - day).tolist() == [0, 5_400_000_000_000, 86_399_999_000_000]
    assert not stamps.is_utc.any()


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.datetimes(datetime(1900, 1, 2), datetime(2199, 12, 30)), st.sampled_from([*LAYOUTS, "none", "junk"])
        ),
        max_size=30,
    )
)
def test_mixed_layouts(rows):
    """Any mix of layouts and of garbage of the same widths is read as Python reads it."""
    texts, expected = [], []
    for number, (moment, layout) in enumerate(rows):
        moment = moment.replace(microsecond=0, second=0 if layout in ("t", "excel") else moment.second)
        if layout in ("none", "junk"):
            texts.append("" if layout == "none" else chr(97 + number % 26) * 5 + f":{number:<13}")
            expected.append(None)
        else:
            texts.append(moment.strftime(LAYOUTS[layout].format(moment)))
            expected.append(ns(moment - timedelta(minutes=150 * (layout == "offset"))))
    stamps = parse(*texts)
    assert [value if ok else None for value, ok in zip(stamps.ns.tolist(), stamps.is_time, strict=True)] == expected


def test_many_layouts_of_one_width():
    """A time among more layouts than a clean file has is still read."""
    garbage = [f"{'x' * i:o<16}" for i in range(1, 16)] + [f"{'y' * i:o<16}" for i in range(1, 16)]
    stamps = parse(*garbage, "2024-01-08T01:30", *garbage)
    assert np.flatnonzero(stamps.is_time).tolist() == [len(garbage)]
    assert stamps.ns[len(garbage)] == ns(datetime(2024, 1, 8, 1, 30))


@settings(max_examples=60)
@given(
    st.sampled_from(["Asia/Jerusalem", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Europe/Dublin"]),
    st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)), min_size=1, max_size=5),
)
def test_wall_clock_to_utc(zone, moments):
    """A wall clock is read as the zone database says, and the hours that it skips or shows twice are known."""
    utc, exists, is_twice = zones.to_utc(np.array([ns(moment) for moment in sorted(moments)]), zone)
    for row, moment in enumerate(sorted(moments)):
        first, second = (moment.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1))
        is_real = first.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == moment
        assert exists[row] == is_real
        assert is_twice[row] == (is_real and first != second)
        if is_real:
            assert utc[row] == ns(first.replace(tzinfo=None))


def test_hour_shown_twice():
    """Rows that step back within the repeated hour are of its second pass; so is a repeated hourly bar."""
    fall = datetime(2024, 11, 3)
    minutes = [30, 60, 90, 60, 90, 120]
    wall = np.array([ns(fall + timedelta(minutes=m)) for m in minutes])
    utc, exists, is_twice = zones.to_utc(wall, "America/New_York")
    assert exists.all()
    assert is_twice.tolist() == [False, True, True, True, True, False]
    assert (np.diff(utc) == 30 * 60 * 10**9).all()
    hourly = np.array([ns(fall + timedelta(hours=h)) for h in (0, 1, 1, 2)])
    assert (np.diff(zones.to_utc(hourly, "America/New_York")[0]) == 3600 * 10**9).all()


def test_hour_that_is_skipped():
    """Times that the clocks skip do not exist; they are not taken for repeated ones."""
    spring = datetime(2021, 3, 26, 1, 30)
    wall = np.array([ns(spring + timedelta(minutes=m)) for m in (0, 29, 30, 60, 45, 89, 90)])
    utc, exists, is_twice = zones.to_utc(wall, "Asia/Jerusalem")
    assert exists.tolist() == [True, True, False, False, False, False, True]
    assert not is_twice.any()
    assert utc[-1] - utc[0] == 30 * 60 * 10**9


def test_month_of():
    """A month begins at its first nanosecond."""
    start = times.month_start(648)
    assert np.datetime64(start, "ns") == np.datetime64("2024-01-01")
    assert times.month_of(np.array([start - 1, start])).tolist() == [647, 648]
