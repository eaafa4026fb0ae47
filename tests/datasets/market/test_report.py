"""The market's figures: what they say is what the arrays hold, bounded, and drawn by Vega-Lite."""

import json
import re

import numpy as np
import pytest

from stages.core import arrays
from stages.datasets.market import report
from stages.report.figure import own_figures
from stages.report.markup import Charts

PARTS = ("train", "val", "test")
STEP_NS = 1800 * 10**9
START = 1_704_675_600 * 10**9


def series(name, n_rows, rng, gap_every=100):
    """Make bars of one instrument: a walk with a gap of two days after every so many bars."""
    row = np.arange(n_rows)
    segment_first = row // gap_every * gap_every
    time = START + row * STEP_NS + row // gap_every * 96 * STEP_NS
    close = 1000 + np.cumsum(rng.normal(0, 1, n_rows))
    opened = np.concatenate([[1000.0], close[:-1]])
    return {
        "time": time,
        "segment": time[segment_first],
        "instrument": np.full(n_rows, name, "S16"),
        "open": opened,
        "close": close,
        "high": np.maximum(opened, close) + 1,
        "low": np.minimum(opened, close) - 1,
        "valid_strategic": (row % gap_every >= 40).astype(np.uint8),
    }


def write(folder, found, features, borders):
    """Write what split writes of the rows of some instruments, cut at the same rows of each."""
    for part, start, stop in zip(PARTS, borders[:-1], borders[1:], strict=True):
        rows = [{key: values[start:stop] for key, values in one.items()} for one in found]
        arrays.save_npz(folder / f"keys_{part}.npz", {key: [one[key] for one in rows] for key in rows[0]})
        arrays.save_npz(folder / f"labels_{part}.npz", {})
        own = np.concatenate([one[start:stop] for one in features])
        with arrays.npy_sink(folder / f"strategic_{part}.npy", own.dtype, own.shape) as sink:
            sink.append(own)
    (folder / "feature_names.json").write_text(json.dumps({"strategic": ["a", "b", "c"]}), encoding="utf-8")


@pytest.fixture
def processed(here, monkeypatch):
    """Give a folder with two instruments of 1,000 bars; ES rolls by 5 % at row 350; arrays are read in small chunks."""
    monkeypatch.setattr(report, "CHUNK_ROWS", 50)  # a gap and the roll stand at its borders
    rng = np.random.default_rng(1)
    found = [series(b"ES", 1000, rng), series(b"NQ", 1000, rng)]
    for key in ("open", "high", "low", "close"):
        found[0][key][350:] *= 1.05
    features = [rng.normal([0, 2, 0], [1, 1, 0.1], (1000, 3)).astype(np.float32) for _ in found]
    write(here, found, features, [0, 600, 800, 1000])
    return here, found, features


def test_bins_hold_the_extremes_and_every_bar_once(processed, monkeypatch):
    """The bars of an instrument and part, some together, keep lowest and highest price, and first and last time."""
    folder, found, _ = processed
    monkeypatch.setattr(report, "MAX_BINS", 100)
    result = report.read_series(folder)
    assert list(result) == ["ES", "NQ"]
    for own, one in zip(result.values(), found, strict=True):
        bins = own.bins
        assert 50 <= len(bins["from"]) <= 50 + 2000 // 50 + 6
        for part, (start, stop) in enumerate([(0, 600), (600, 800), (800, 1000)]):
            chosen = bins["part"] == part
            assert bins["from"][chosen][0] == one["time"][start]
            assert bins["to"][chosen][-1] == one["time"][stop - 1]
            assert bins["low"][chosen].min() == one["low"][start:stop].min()
            assert bins["high"][chosen].max() == one["high"][start:stop].max()
        assert (bins["from"][1:] > bins["to"][:-1]).all()
        first = np.searchsorted(one["time"], bins["from"])
        last = np.searchsorted(one["time"], bins["to"])
        assert (first[1:] == last[:-1] + 1).all()
        np.testing.assert_array_equal(bins["close"], one["close"][last])


def test_gaps_and_jumps_are_those_of_the_bars(processed):
    """Each new segment within a part is a gap, also between two chunks; the roll is the only jump."""
    folder, found, _ = processed
    result = report.read_series(folder)
    new = [row for row in range(100, 1000, 100) if row not in (600, 800)]
    for own, one in zip(result.values(), found, strict=True):
        np.testing.assert_array_equal(own.gaps, np.stack([one["time"][np.array(new) - 1], one["time"][new]], axis=1))
    assert len(result["NQ"].jumps) == 0
    ((time, price, size),) = result["ES"].jumps
    assert (time, price) == (found[0]["time"][350], found[0]["open"][350])
    assert size == pytest.approx(0.05, abs=1e-3)


def test_histograms_count_every_valid_row_once(processed):
    """Per part and column, in the slot NumPy gives it; what lies beyond is in the outermost slots."""
    folder, found, features = processed
    counts = report.count(folder, "strategic")
    edges = np.linspace(-4, 4, report.N_SLOTS + 1)
    for part, (start, stop) in enumerate([(0, 600), (600, 800), (800, 1000)]):
        valid = [one["valid_strategic"][start:stop] == 1 for one in found]
        rows = np.concatenate([own[start:stop][v] for own, v in zip(features, valid, strict=True)])
        for column in range(3):
            expected = np.histogram(np.clip(rows[:, column].astype(np.float64), -4, 4), edges)[0]
            np.testing.assert_array_equal(counts[part, column], expected)


def test_figures_say_what_they_show(processed):
    """A price chart for each instrument and the histograms, found by the report's hook, as plain JSON."""
    folder, _, _ = processed
    drawn = own_figures("market", folder)
    assert [figure.title for figure in drawn] == ["Price of ES", "Price of NQ", "Distribution of strategic"]
    assert "7 gaps, the longest of 48.5 hours" in drawn[0].alt
    assert "1 jumps beyond 4%; +5.0% at 2024-01-21T08:00Z" in drawn[0].alt
    charts = Charts()
    for figure in drawn:
        charts.add(figure)
    parts = [row["part"] for row in drawn[0].spec["data"]["values"]]
    assert sorted(set(parts)) == sorted(PARTS)


def test_many_segments_and_instruments_stay_bounded(here, monkeypatch):
    """A line is broken at the longest gaps only, and only the first instruments are drawn."""
    monkeypatch.setattr(report, "MAX_GAPS", 5)
    monkeypatch.setattr(report, "MAX_INSTRUMENTS", 2)
    rng = np.random.default_rng(2)
    found = [series(name, 400, rng, gap_every=5) for name in (b"A", b"B", b"C")]
    write(here, found, [np.zeros((400, 3), np.float32)] * 3, [0, 200, 300, 400])
    drawn = report.figures(here)
    assert [figure.title for figure in drawn] == ["Price of A", "Price of B", "Distribution of strategic"]
    rows = drawn[0].spec["data"]["values"]
    assert len({row["run"] for row in rows}) == 5 + 3
    assert len(drawn[0].spec["layer"][3]["data"]["values"]) == 5


@pytest.mark.parametrize("days", [0.5, 20, 300, 900, 8 * 365])
def test_every_label_of_a_time_axis_has_its_year(days):
    """Of a day and of eight years, as Vega draws it; no label is there twice."""
    vl_convert = pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    start = np.datetime64("2016-03-07T10:00", "ns").astype(np.int64)
    ends = [report._text(start), report._text(start + days * report.NS_PER_DAY)]
    spec = {"data": {"values": [{"time": end} for end in ends]}, "mark": "point", "width": 900}
    spec["encoding"] = {"x": report._time("time", axis=report._axis(days))}
    drawn = vl_convert.vegalite_to_svg({**spec, "$schema": "https://vega.github.io/schema/vega-lite/v6.json"})
    labels = re.findall(r"<text[^>]*>([^<]+)</text>", drawn.partition("role-axis-label")[2])
    assert len(labels) == len(set(labels)) >= 3
    assert all(re.search(r"\b20[12]\d\b", label) for label in labels), labels


def test_the_axis_of_a_price_chart_is_that_of_its_span(processed):
    """Of the weeks of this sample: day, month and year."""
    folder, _, _ = processed
    axis = report.figures(folder)[0].spec["encoding"]["x"]["axis"]
    assert axis["format"] == "%d %b %Y"


def test_vega_lite_draws_the_figures_without_a_warning(processed):
    """Compiled as the page does, every layer leaves its marks."""
    vl_convert = pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    folder, _, _ = processed
    schema = "https://vega.github.io/schema/vega-lite/v6.json"
    drawn = [vl_convert.vegalite_to_svg({**figure.spec, "$schema": schema}) for figure in report.figures(folder)]
    assert drawn[0].count('aria-roledescription="point"') == 1
    assert drawn[0].count('aria-roledescription="rule mark"') == 7
    assert drawn[0].count('aria-roledescription="rect mark"') == 3
    assert drawn[2].count('aria-roledescription="line mark"') == 9
    assert drawn[2].count('aria-roledescription="text mark"') == 3
