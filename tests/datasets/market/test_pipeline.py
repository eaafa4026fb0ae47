"""Market through all verbs: the same arrays for any batch size, windows within their part, only what changed."""

import json

import numpy as np
import pytest
import yaml

from stages import discover
from stages.core import manifests, paths
from stages.core.params import load
from stages.datasets.market import simulate
from stages.loader import batches
from stages.processed.windows import gather
from tests.helpers.market_bars import write_bars
from tests.helpers.verbs import FROM_RAW

SPLIT = {
    "by": "time",
    "horizon": 1,
    "embargo": 5,
    "windows": {"strategic": {"window": 48, "step": 1, "ahead": 4}, "tactical": {"window": 60, "step": 45}},
}
INSTRUMENTS = {
    "NQ": {"bars": 2900, "start": "2024-02-01", "dialect": "excel", "roll": 0.05},
    "ES": {"bars": 3000, "start": "2024-02-01", "dialect": "two_columns"},
}


BAD_LINES = ["2024-03-01,00:01:00,x,1,1,1,1\n"] * 2


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Folder of simulated bars, with two bad lines near the beginning of a month of ES; not to be changed."""
    folder = tmp_path_factory.mktemp("bars")
    simulate.write(folder, {"seed": 1, "instruments": INSTRUMENTS})
    lines = (folder / "ES.csv").read_text().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if line.startswith("2024-03-"))
    lines[first + 1 : first + 1] = BAD_LINES
    (folder / "ES.csv").write_text("".join(lines))
    return folder


def write_params(folder, raw, batch_size):
    entry = {"raw": str(raw), "batch_size": batch_size, "split": SPLIT}
    entry["options"] = {"volume_bars": 100, "instruments": {"NQ": {"time_zone": "Asia/Jerusalem"}}}
    (folder / "params.yaml").write_text(yaml.safe_dump({"datasets": {"market": entry}}))


@pytest.fixture(scope="module")
def market(raw, run, tmp_path_factory):
    """Folders in which all verbs have run on the bars, by batch size; not to be changed."""
    folders = {}
    for batch_size, jobs in ((2, "1"), (50, "4")):
        folders[batch_size] = folder = tmp_path_factory.mktemp("market")
        write_params(folder, raw, batch_size)
        for verb in FROM_RAW:
            finished = run(verb, "market", cwd=folder, JOBS=jobs)
            assert finished.returncode == 0, finished.stderr
    return folders


@pytest.fixture(params=[2, 50])
def in_market(market, monkeypatch, request):
    """Make one of these folders the working directory."""
    monkeypatch.chdir(market[request.param])


def of_part(part, name):
    return np.load(paths.processed_dir("market") / f"{name}_{part}.npy")


def keys(part):
    return np.load(paths.processed_dir("market") / f"keys_{part}.npz", allow_pickle=False)


@pytest.mark.slow
def test_arrays_do_not_depend_on_batch_size_and_workers(market, snapshot):
    merged = [snapshot(folder / paths.merged_dir("market")) for folder in market.values()]
    assert merged[0] == merged[1]
    first, second = (snapshot(folder / paths.processed_dir("market")) for folder in market.values())
    assert {name for name in first if first[name] != second[name]} == {"stats.json"}  # the number of batches
    n_batches = [len(list((folder / paths.manifest_dir("market")).iterdir())) for folder in market.values()]
    assert n_batches[0] > n_batches[1] == 1


def test_rows_come_by_instrument_and_time_and_windows_stay_in_one_segment(in_market):
    for part in ("train", "val", "test"):
        table = keys(part)
        instrument, time = table["instrument"], table["time"]
        assert sorted(set(instrument.tolist())) == [b"ES", b"NQ"]
        same = instrument[1:] == instrument[:-1]
        assert (np.diff(time)[same] > 0).all()
        assert (instrument[1:][~same] > instrument[:-1][~same]).all()
        for field, window in (("strategic", 48), ("tactical", 60)):
            first = of_part(part, f"starts_{field}")
            assert len(first)
            assert (gather(table["segment"], first, window) == table["segment"][first][:, None]).all()
            assert (gather(instrument, first, window) == instrument[first][:, None]).all()
            assert (gather(table[f"valid_{field}"], first, window) == 1).all()
            assert (np.diff(gather(time, first, window), axis=1) <= 90 * 60 * 10**9).all()


def test_the_bars_behind_a_window_are_there_for_its_label(in_market):
    """Strategic windows keep 4: of the same segment, instrument and part, the last of them no window's own."""
    folder = paths.processed_dir("market")
    fields = ("strategic", "close", "segment", "instrument", "row_in_unit", "time")
    for part in ("train", "val", "test"):
        first = of_part(part, "starts_strategic")
        with batches(folder, part, batch_size=len(first), window="strategic", ahead=True, fields=fields) as stream:
            batch = next(stream)
        assert batch["strategic"].shape == (len(first), 52, 13)
        assert (batch["segment"] == batch["segment"][:, :1]).all()
        assert (batch["instrument"] == batch["instrument"][:, :1]).all()
        assert (np.diff(batch["time"], axis=1) > 0).all()
        assert np.array_equal(batch["close"], gather(keys(part)["close"], first, 52))
        # Every window of the grid that has them is there: rows before and behind the starts belong to another run.
        is_last = ~np.isin(first + 1, first)
        segment, is_valid = keys(part)["segment"], keys(part)["valid_strategic"]
        behind = first[is_last] + 52
        is_end = behind >= len(segment)
        behind = np.minimum(behind, len(segment) - 1)
        assert (is_end | (segment[behind] != segment[first[is_last]]) | (is_valid[behind] == 0)).all()


def test_no_window_lies_on_disk_and_the_normaliser_knows_train_only(in_market):
    stats = json.loads((paths.processed_dir("market") / "stats.json").read_text())
    for part in ("train", "val", "test"):
        rows = stats["rows"][part]
        assert of_part(part, "strategic").shape == (rows, 13)
        assert of_part(part, "tactical").shape == (rows, 7)
        assert of_part(part, "starts_strategic").nbytes == 8 * stats["windows"]["strategic"][part]
    is_valid = keys("train")["valid_strategic"].astype(bool)
    strategic = of_part("train", "strategic").astype(np.float64)
    assert (strategic[~is_valid] == 0).all()
    assert np.abs(strategic[is_valid].mean(0)[:9]).max() < 1e-4
    assert np.isfinite(strategic).all()


def test_new_bars_change_the_last_month_alone(here):
    write_params(here, "raw", 50)
    found = []
    for n_bars in (3000, 3010):
        instruments = INSTRUMENTS | {"ES": INSTRUMENTS["ES"] | {"bars": n_bars}}
        simulate.write(here / "raw", {"seed": 1, "instruments": instruments})
        discover.discover("market", load().dataset("market"))
        found.append({unit.key: unit.digest for unit in manifests.read_manifest("market", "b")})
    before, after = found
    last = max(key for key in before if key.startswith("ES/"))
    assert {key for key in after if after[key] != before.get(key)} == {last}


def test_a_row_is_traced_to_its_line_past_lines_left_out(in_market, raw, run):
    """Two bad lines at the beginning of a month shift the lines after them."""
    lines = (raw / "ES.csv").read_text().splitlines(keepends=True)
    table = keys("train")
    row = int(
        np.flatnonzero(
            (table["instrument"] == b"ES") & (table["time"] >= np.datetime64("2024-03-05", "ns").astype(np.int64))
        )[0]
    )
    traced = run("trace", "market", "train", str(row))
    assert traced.returncode == 0, traced.stderr
    where = next(line for line in traced.stdout.splitlines() if line.startswith("raw "))
    number = int(where.rpartition(" ")[2])
    stamp = str(table["time"][row].astype("datetime64[ns]").astype("datetime64[s]")).replace("T", ",")
    assert f"{raw}/ES.csv, line " in where
    assert lines[number - 1].startswith(stamp)
    assert "instrument ES," in traced.stdout


def split_days(folder, run, n_days, **windows):
    """Run all verbs on daily bars of two instruments, one of them short; return what split said."""
    days = np.arange("2015-01-01", "2024-01-01", dtype="datetime64[D]")
    days = days[np.is_busday(days)][:n_days]
    for name, stamps in (("SPY", days), ("NEW", days[-30:])):
        lines = [f"{day},100,120,90,{100 + i % 3},{i}" for i, day in enumerate(stamps)]
        write_bars(folder / "raw", lines, f"{name}.csv", "Date,Open,High,Low,Close,Volume")
    split = {"by": "time", "windows": {name: {"window": n, "step": 1} for name, n in windows.items()}}
    entry = {"raw": "raw", "batch_size": 500, "split": split}
    (folder / "params.yaml").write_text(yaml.safe_dump({"datasets": {"market": entry}}))
    for verb in FROM_RAW:
        finished = run(verb, "market", cwd=folder, JOBS="1")
    return finished


@pytest.mark.slow
def test_daily_bars_give_windows_and_a_part_without_one_is_told(tmp_path, run):
    """Five years of a stock have windows in all parts; too long ones are named with part, series, reason and knob."""
    finished = split_days(tmp_path, run, 1250, strategic=30)
    assert finished.returncode == 0, finished.stderr
    counts = json.loads((tmp_path / "data/processed/market/stats.json").read_text())["windows"]
    assert min(counts["strategic"][part] for part in ("train", "val", "test")) > 0
    assert "no window of strategic in any part for NEW" in finished.stderr
    assert "no row of NEW in train: its rows lie in other parts" in finished.stderr
    finished = split_days(tmp_path, run, 1250, strategic=90)
    assert finished.returncode == 0, finished.stderr
    assert "no window of strategic in val, test: the longest stretches" in finished.stderr
    finished = split_days(tmp_path, run, 1250, strategic=2000)
    assert finished.returncode == 1
    assert "error: no window of strategic in train, val, test: the longest" in finished.stderr
