"""One batch of raw units to one NPZ: the same bytes whatever the workers, and nothing silent about bad input."""

import json
import os
import re
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from stages import process
from stages.core import arrays, manifests, paths, units
from stages.core.errors import ExpectedError
from stages.core.params import DatasetParams, load
from stages.datasets.splendor import encode, find
from stages.processing.batch import PlannedBatch
from stages.processing.chunks import Chunk
from tests.helpers.scripts import Workspace
from tests.helpers.verbs import FROM_RAW

BATCH = paths.intermediate("splendor", "b")
WORKERS = [("1", "threading"), ("2", "threading"), ("4", "threading"), ("2", "loky")]


def meta(path):
    with np.load(path, allow_pickle=False) as archive:
        return json.loads(archive["meta"].tobytes())


def discover(run):
    result = run("discover", "splendor")
    assert result.returncode == 0, result.stderr


def in_process(batch="b"):
    process.process("splendor", batch, load().dataset("splendor"))
    return paths.intermediate("splendor", batch).read_bytes()


def assert_refused(result, reason):
    """Check for exit code 1, one line that says why, and no left-over file."""
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if not re.match(r"Processing batch |.* \| memory ", line)]
    assert len(errors) == 1
    assert re.match(f"error: .*{reason}", errors[0]), errors[0]
    assert not [path for path in paths.intermediate_dir("splendor").rglob("*") if path.name.startswith(".")]


def spoil(path, column="gems_board_white", row=1):
    """Put a value out of range into one column of one row, the header being row 0; return the line's number."""
    lines = path.read_text().splitlines()
    fields = lines[row].split(",")
    fields[lines[0].split(",").index(column)] = "9"
    path.write_text("\n".join([*lines[:row], ",".join(fields), *lines[row + 1 :], ""]))
    return row + 1


def batch_of(key):
    """Return the batch whose manifest lists a unit."""
    batches = manifests.read_batch_list("splendor")
    return next(b for b in batches if any(unit.key == key for unit in manifests.read_manifest("splendor", b)))


@pytest.fixture
def one_batch(workspace, write_params, run):
    """Give all games in one batch of several chunks, and two of them in folders of their own."""
    write_params(workspace, batch_size=200)
    for number, path in enumerate(sorted((workspace / "raw").rglob("*.csv"))):
        shutil.copy(path, path.with_name(f"{1000 + number}.csv"))
    discover(run)
    return workspace


def test_workers_and_backends_give_the_same_bytes(one_batch, run):
    found = set()
    for jobs, backend in WORKERS:
        assert run("process", "splendor", "b", JOBS=jobs, BACKEND=backend).returncode == 0
        found.add(BATCH.read_bytes())
        BATCH.unlink()
    assert len(found) == 1


@pytest.mark.slow
def test_bad_units_give_the_same_bytes_for_all_workers(one_batch, write_params, run):
    write_params(one_batch, batch_size=200, max_bad_units=3)
    for path in sorted(one_batch.rglob("*.csv"))[::40]:
        spoil(path)
    discover(run)
    found = set()
    for jobs, backend in WORKERS:
        assert run("process", "splendor", "b", JOBS=jobs, BACKEND=backend).returncode == 0
        found.add(BATCH.read_bytes())
    assert len(found) == 1
    assert len(meta(BATCH)["bad_units"]) == 3


def test_the_order_of_files_on_disk_does_not_matter(workspace, finished, snapshot, monkeypatch):
    walk = os.walk
    for order in (lambda names: sorted(names, reverse=True), lambda names: sorted(names, key=hash)):
        shuffled = [(folder, order(below), order(names)) for folder, below, names in walk(workspace / "raw")]
        monkeypatch.setattr(os, "walk", lambda folder, shuffled=shuffled, **_: iter(shuffled))
        found = find.find(workspace / "raw", {})
        batches = units.deal([unit.key for unit in found], 16)
        by_key = {unit.key: unit for unit in found}
        texts = {
            f"{b}.json": manifests.manifest_text("splendor", b, [by_key[k] for k in keys])
            for b, keys in batches.items()
        }
        expected = snapshot(finished / paths.manifest_dir("splendor"))
        assert {name: text.encode() for name, text in texts.items()} == expected


@pytest.mark.parametrize("chunk_units", [1, 5, 15, 1000])
def test_the_chunk_size_does_not_matter(processed, finished, monkeypatch, chunk_units):
    monkeypatch.setenv("JOBS", "1")
    monkeypatch.setattr(encode, "CHUNK_UNITS", chunk_units)
    for batch in manifests.read_batch_list("splendor"):
        assert in_process(batch) == (finished / paths.intermediate("splendor", batch)).read_bytes()


def test_process_of_all_batches_is_process_of_each(processed, finished, snapshot, run):
    for path in paths.intermediate_dir("splendor").iterdir():
        path.unlink()
    for batch in manifests.read_batch_list("splendor"):
        assert run("process", "splendor", batch).returncode == 0
    folder = paths.intermediate_dir("splendor")
    assert snapshot(folder) == snapshot(finished / folder)


def test_an_npz_holds_the_rows_of_its_units_in_order(finished):
    seen = []
    for path in sorted((finished / paths.intermediate_dir("splendor")).iterdir()):
        with np.load(path, allow_pickle=False) as archive:
            content = dict(archive)
        about = json.loads(content["meta"].tobytes())
        assert about["units"] == sorted(about["units"])
        n_rows = [len((finished / "raw" / key).read_text().splitlines()) - 1 for key in about["units"]]
        assert np.diff(content["group_offsets"]).tolist() == n_rows
        assert content["source"].tolist() == list(range(len(n_rows)))
        expected_ids = np.repeat([int(key.split("/")[1].removesuffix(".csv")) for key in about["units"]], n_rows)
        np.testing.assert_array_equal(content["game_id"], expected_ids)
        seen += about["units"]
    assert len(seen) == len(set(seen)) == 60


def test_meta_tells_units_and_fields(finished):
    path = finished / paths.intermediate("splendor", "b00")
    about = meta(path)
    assert set(about) == {"batch", "dataset", "units", "bad_units", "findings", "fields"}
    assert (about["batch"], about["dataset"], about["bad_units"]) == ("b00", "splendor", [])
    manifest = json.loads((finished / paths.manifest("splendor", "b00")).read_text())
    assert about["units"] == [unit["key"] for unit in manifest["units"]]
    assert [field["name"] for field in about["fields"]] == sorted(encode.FIELDS)
    headers = arrays.npz_headers(path)
    assert set(headers) == {*encode.FIELDS, "group_id", "group_offsets", "source", "meta"}
    for field in about["fields"]:
        assert headers[field["name"]].dtype == field["dtype"]
        assert list(headers[field["name"]].shape[1:]) == field["shape"]


@pytest.mark.parametrize("place", ["elsewhere/raw", "games"])
def test_the_place_of_the_raw_folder_does_not_enter_the_bytes(workspace, write_params, run, place):
    """Also not the reasons of bad units, whatever the folder's name has in common with theirs."""
    spoil(workspace / "raw/2_games/2.csv")
    (workspace / "raw/4_games/dangling.csv").symlink_to("nowhere")
    found = []
    for raw in ("raw", place, str(workspace / place)):
        write_params(workspace, batch_size=64, raw=raw, max_bad_units=2)
        if not (workspace / raw).exists():
            (workspace / raw).parent.mkdir(exist_ok=True)
            (workspace / "raw").rename(workspace / raw)
        discover(run)
        assert run("process", "splendor").returncode == 0
        found.append(BATCH.read_bytes())
    assert len(set(found)) == 1
    assert [entry["unit"] for entry in meta(BATCH)["bad_units"]] == ["2_games/2.csv", "4_games/dangling.csv"]
    assert meta(BATCH)["bad_units"][0]["reason"].startswith("2_games/2.csv:2: gems_board_white is 9")
    for text in (str(workspace), socket.gethostname()):
        assert text.encode() not in found[0]


@pytest.mark.parametrize("max_bad_units", [0, 5])
def test_a_raw_file_changed_since_discover_is_an_error(processed, write_params, run, max_bad_units):
    write_params(processed, max_bad_units=max_bad_units)
    key = meta(paths.intermediate("splendor", "b01"))["units"][3]
    before = paths.intermediate("splendor", "b01").read_bytes()
    with (processed / "raw" / key).open("ab") as file:
        file.write(b"\r\n")
    assert_refused(run("process", "splendor", "b01"), rf"raw/{key}: changed since discover")
    assert paths.intermediate("splendor", "b01").read_bytes() == before


@pytest.mark.parametrize("max_bad_units", [0, 5])
def test_a_raw_file_removed_since_discover_is_an_error(processed, write_params, run, max_bad_units):
    """Left out as a bad unit it would leave an NPZ that is no function of the manifest in DVC's cache."""
    write_params(processed, max_bad_units=max_bad_units)
    key = meta(paths.intermediate("splendor", "b01"))["units"][3]
    before = paths.intermediate("splendor", "b01").read_bytes()
    (processed / "raw" / key).unlink()
    assert_refused(run("process", "splendor", "b01"), rf"raw/{key}: ")
    assert paths.intermediate("splendor", "b01").read_bytes() == before


def test_a_batch_no_longer_listed_is_an_empty_placeholder_under_dvc(processed, run):
    result = run("process", "splendor", "b0101", DVC_STAGE="process@splendor-b0101")
    assert result.returncode == 0, result.stderr
    assert paths.intermediate("splendor", "b0101").read_bytes() == b""


def test_an_unknown_batch_is_a_clear_error(processed, run):
    assert_refused(run("process", "splendor", "b0101"), r"data/manifests/splendor/batches/b0101\.json: not found")
    assert not paths.intermediate("splendor", "b0101").exists()


def test_process_before_discover_says_so(workspace, run):
    assert_refused(run("process", "splendor"), r".*discover")


def test_a_bad_unit_is_an_error_with_file_line_and_column(workspace, run):
    line = spoil(workspace / "raw/2_games/2.csv", row=7)
    discover(run)
    bad = batch_of("2_games/2.csv")
    reason = rf"raw/2_games/2\.csv:{line}: gems_board_white is 9, expected 0\.\.7; correct the file or raise"
    assert_refused(run("process", "splendor", bad), reason)
    assert not paths.intermediate("splendor", bad).exists()


def test_a_bad_unit_leaves_the_old_npz_as_it_was(processed, snapshot, run):
    before = snapshot(paths.intermediate_dir("splendor"))
    spoil(processed / "raw/2_games/2.csv")
    discover(run)
    bad = batch_of("2_games/2.csv")
    assert_refused(run("process", "splendor", bad), r"raw/2_games/2\.csv:2: ")
    assert snapshot(paths.intermediate_dir("splendor")) == before


@pytest.mark.parametrize(("jobs", "backend"), [*WORKERS[:3], pytest.param(*WORKERS[3], marks=pytest.mark.slow)])
def test_a_bad_unit_among_many_chunks_is_one_line_for_all_workers(one_batch, run, jobs, backend):
    """Chunks that are under way when the first bad unit is met are dropped without a word."""
    first = min((one_batch / "raw/2_games").iterdir())
    spoil(first)
    discover(run)
    assert_refused(run("process", "splendor", "b", JOBS=jobs, BACKEND=backend), rf"raw/2_games/{first.name}:2: ")
    assert not BATCH.exists()


def test_bad_units_up_to_the_limit_are_left_out_and_listed(processed, finished, write_params, run):
    write_params(processed, max_bad_units=2)
    spoil(processed / "raw/2_games/2.csv", row=3)
    (processed / "raw/3_games/1.csv").write_text("")
    for verb in ("discover", "process", "merge"):
        result = run(verb, "splendor")
        assert result.returncode == 0, result.stderr
    report = json.loads(paths.report("splendor").read_text())["bad_units"]
    assert report["count"] == 2
    assert [entry["unit"] for entry in report["list"]] == ["2_games/2.csv", "3_games/1.csv"]
    assert report["list"][0]["reason"].startswith("2_games/2.csv:4: gems_board_white is 9, expected 0..7")
    assert report["list"][1]["reason"].startswith("3_games/1.csv:1: empty, expected a header")
    listed = [entry for path in paths.intermediate_dir("splendor").iterdir() for entry in meta(path)["bad_units"]]
    assert sorted(listed, key=lambda entry: entry["unit"]) == report["list"]
    before, after = (np.load(folder / "data/merged/splendor/game_id.npy") for folder in (finished, processed))
    np.testing.assert_array_equal(after, before[~np.isin(before, [1, 2])])


def test_more_bad_units_than_the_limit_are_an_error(workspace, write_params, run):
    write_params(workspace, batch_size=64, max_bad_units=2)
    for path in sorted((workspace / "raw/2_games").iterdir())[:3]:
        spoil(path)
    discover(run)
    assert_refused(
        run("process", "splendor"), r"3 bad units, expected at most splendor\.max_bad_units = 2; the first: raw/2_games"
    )
    assert not BATCH.exists()


def test_merge_refuses_more_bad_units_than_the_limit_over_all_batches(processed, snapshot, write_params, run):
    write_params(processed, max_bad_units=2)
    for batch in ("b00", "b01", "b10"):
        spoil(processed / "raw" / meta(paths.intermediate("splendor", batch))["units"][0])
    for verb in ("discover", "process"):
        assert run(verb, "splendor").returncode == 0
    assert_refused(
        run("merge", "splendor"), r"splendor: 3 bad units in all batches, expected at most .* = 2; the first"
    )
    assert not paths.merged_dir("splendor").exists()


def test_a_batch_of_bad_units_only_is_an_npz_without_rows(processed, finished, write_params, run):
    write_params(processed, max_bad_units=20)
    bad_units = meta(paths.intermediate("splendor", "b110"))["units"]
    for key in bad_units:
        spoil(processed / "raw" / key)
    for verb in FROM_RAW:
        result = run(verb, "splendor")
        assert result.returncode == 0, result.stderr
    empty = arrays.npz_headers(paths.intermediate("splendor", "b110"))
    full = arrays.npz_headers(finished / paths.intermediate("splendor", "b110"))
    assert {name: h.dtype for name, h in empty.items()} == {name: h.dtype for name, h in full.items()}
    assert empty["X"].shape == (0, *full["X"].shape[1:])
    assert empty["group_offsets"].shape == (1,)
    report = json.loads(paths.report("splendor").read_text())
    assert (report["bad_units"]["count"], report["groups"]) == (len(bad_units), 60 - len(bad_units))


def test_the_memory_budget_stops_process_and_leaves_nothing(processed, snapshot, run):
    before = snapshot(paths.intermediate_dir("splendor"))
    assert_refused(run("process", "splendor", "b01", MEMORY_GB="0.01"), r"process splendor-b01: .*raise MEMORY_GB")
    assert snapshot(paths.intermediate_dir("splendor")) == before


def test_an_encoder_that_gives_other_arrays_than_it_declares_is_a_defect(processed, monkeypatch):
    monkeypatch.setenv("JOBS", "1")
    genuine = encode.encode
    for name, change in (("X", lambda x: x.astype(np.int16)), ("game_id", lambda x: x[:-1])):
        monkeypatch.setattr(
            encode, "encode", lambda *a, name=name, change=change: (r := genuine(*a)) | {name: change(r[name])}
        )
        with pytest.raises(ExpectedError, match=f"raw/.*: TypeError: encode gave {name} as .*has a defect") as caught:
            in_process("b00")
        assert isinstance(caught.value.__cause__, TypeError)


def test_options_the_dataset_does_not_know_are_refused(workspace):
    with pytest.raises(ExpectedError, match=r"options: unknown key 'fast', expected none"):
        find.find(workspace / "raw", DatasetParams("raw", options={"fast": 1}).options)


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """Give a workspace of which one unit fails; not to be changed."""
    scripts = {f"u{number}": "rows 3" for number in range(6)} | {"u3": "rows 3\nfail no such thing"}
    here = Workspace(tmp_path_factory.mktemp("failing"), scripts)
    here.discover()
    return here


@pytest.mark.parametrize(
    ("jobs", "backend"), [("1", "threading"), ("2", "threading"), pytest.param("2", "loky", marks=pytest.mark.slow)]
)
def test_a_failing_encoder_is_one_line_with_the_unit_and_a_traceback_at_log_debug(failing, jobs, backend):
    here = failing
    short, long = (here.verb("process", JOBS=jobs, BACKEND=backend, LOG=level) for level in ("warning", "debug"))
    assert short.returncode == long.returncode == 1
    assert short.stderr == (
        "error: raw/u3: u3: RuntimeError: no such thing; the encoder of scripted cannot read it or has a defect; "
        "LOG=debug shows where\n"
    )
    assert 'encode/__init__.py", line' in long.stderr
    assert "in fail" in long.stderr
    assert long.stderr.endswith(short.stderr)
    assert here.left_overs() == here.finished() == []


@pytest.mark.slow
def test_a_killed_worker_process_is_one_line_that_names_the_unit(tmp_path):
    here = Workspace(tmp_path, {f"u{number}": "rows 3" for number in range(6)} | {"u3": "sleep 0.2\nkill"})
    here.discover()
    done = here.verb("process", JOBS="2", BACKEND="loky", LOG="warning")
    assert done.returncode == 1
    assert re.fullmatch(r"error: a worker process was killed, while they worked on .*u3.*; run again\n", done.stderr)
    assert here.left_overs() == here.finished() == []


def test_each_chunk_is_logged_with_worker_time_and_rows(processed, run):
    assert run("process", "splendor", "b01", JOBS="2").returncode == 0
    entries = [json.loads(line) for line in (processed / "data/logs/process.jsonl").read_text().splitlines()]
    chunks = [entry for entry in entries if entry["event"] == "chunk"]
    (end,) = [entry for entry in entries if entry["event"] == "end"]  # a watch's sample may come after it
    assert sum(chunk["n_units"] for chunk in chunks) == end["n_units"] == end["n_files"] > 0
    assert sum(chunk["n_rows"] for chunk in chunks) == end["n_rows"] > 0
    assert {chunk["worker"] for chunk in chunks} <= {"worker 1", "worker 2"}
    assert all(chunk["seconds"] > 0 and chunk["started"] < chunk["time"] for chunk in chunks)


def test_the_title_says_which_batch_of_how_many_and_what_its_units_are(processed):
    batch_units = manifests.read_manifest("splendor", "b01")
    listed = manifests.read_batch_list("splendor")
    place = f"{listed.index('b01') + 1}/{len(listed)}"
    assert title("b01", batch_units) == f"Processing batch {place} (b01, {len(batch_units)} files)"
    assert title("b01", batch_units[:1]).endswith("(b01, 1 file)")
    part = [units.Unit("month", (units.Source("all.csv", 0, 10),), "")] * 2
    assert title("b0000", part) == "Processing batch of splendor (b0000, 2 units)"


def title(name, batch_units):
    return PlannedBatch(name, Chunk("splendor", Path("raw"), {}, batch_units, 0, 0.0), 0).title
