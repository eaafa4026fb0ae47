"""Market through all verbs: the same arrays for any batch size, windows within their part, only what changed."""

import json

import numpy as np
import pytest
import yaml

from stages.core import manifests, paths
from stages.datasets.market import simulate
from stages.processed.windows import gather

SPLIT = {
    "by": "time",
    "horizon": 1,
    "embargo": 5,
    "windows": {"strategic": {"window": 48, "step": 36}, "tactical": {"window": 60, "step": 45}},
}
INSTRUMENTS = {
    "NQ": {"bars": 2900, "start": "2024-02-01", "dialect": "excel", "roll": 0.05},
    "ES": {"bars": 3000, "start": "2024-02-01", "dialect": "two_columns"},
}


@pytest.fixture
def market(here, run):
    """Give a function that runs the verbs on simulated bars with some batch size and environment."""

    def verbs(batch_size, **environment):
        entry = {"raw": "raw", "batch_size": batch_size, "split": SPLIT}
        entry["options"] = {"instruments": {"NQ": {"time_zone": "Asia/Jerusalem"}}}
        (here / "params.yaml").write_text(yaml.safe_dump({"datasets": {"market": entry}}))
        for verb in ("discover", "process", "merge", "split"):
            finished = run(verb, "market", **environment)
            assert finished.returncode == 0, finished.stderr

    simulate.write(here / "raw", {"seed": 1, "instruments": INSTRUMENTS})
    return verbs


def of_part(part, name):
    return np.load(paths.processed_dir("market") / f"{name}_{part}.npy")


def keys(part):
    return np.load(paths.processed_dir("market") / f"keys_{part}.npz", allow_pickle=False)


def test_arrays_do_not_depend_on_batch_size_and_workers(market, snapshot):
    market(2, JOBS="1")
    first = snapshot(paths.merged_dir("market")), snapshot(paths.processed_dir("market"))
    market(50, JOBS="4")
    second = snapshot(paths.merged_dir("market")), snapshot(paths.processed_dir("market"))
    assert len(manifests.read_batch_list("market")) == 1
    assert first[0] == second[0]
    assert {name for name in first[1] if first[1][name] != second[1][name]} == {"stats.json"}  # the number of batches


def test_rows_come_by_instrument_and_time_and_windows_stay_in_one_segment(market):
    market(2)
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


def test_no_window_lies_on_disk_and_the_normaliser_knows_train_only(market):
    market(50)
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


def test_new_bars_change_the_last_month_alone(market, here):
    market(50)
    before = {unit.key: unit.digest for unit in manifests.read_manifest("market", "b")}
    longer = INSTRUMENTS | {"ES": INSTRUMENTS["ES"] | {"bars": 3010}}
    simulate.write(here / "raw", {"seed": 1, "instruments": longer})
    market(50)
    after = {unit.key: unit.digest for unit in manifests.read_manifest("market", "b")}
    last = max(key for key in before if key.startswith("ES/"))
    assert {key for key in after if after[key] != before.get(key)} == {last}


def test_a_row_is_traced_to_its_line_past_lines_left_out(market, here, run):
    """Two bad lines at the beginning of a month shift the lines after them."""
    path = here / "raw/ES.csv"
    lines = path.read_text().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if line.startswith("2024-03-"))
    lines[first + 1 : first + 1] = ["2024-03-01,00:01:00,x,1,1,1,1\n"] * 2
    path.write_text("".join(lines))
    market(50)
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
    assert "raw/ES.csv, line " in where
    assert lines[number - 1].startswith(stamp)
    assert "instrument ES," in traced.stdout
