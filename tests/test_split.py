"""Groups to train, val and test: no leak, stable when data grow, standardised on train only, back to the raw file."""

import csv
import json
import os
import re
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import merge, split
from stages.commands import verify_parts
from stages.core import paths
from stages.core.arrays import DamagedFile
from stages.core.errors import ExpectedError
from stages.core.fields import NamedField
from stages.core.params import SplitParams
from stages.loader.part_arrays import PartArrays
from stages.processed import Processed
from stages.splitting import parts, stats
from tests.helpers.verbs import FROM_RAW

PARTS = ("train", "val", "test")
FOLDER = paths.processed_dir("toy")
N_IDS = 100_000


def table(path):
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def x(folder, part, name="X"):
    return np.load(folder / f"{name}_{part}.npy", mmap_mode="r", allow_pickle=False)


@pytest.fixture(scope="module")
def out(finished):
    return finished / paths.processed_dir("splendor")


@pytest.fixture(scope="module")
def source(finished):
    """Give the merged arrays, the part of every row and the standardised columns."""
    folder = finished / paths.merged_dir("splendor")
    found = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
    groups = table(folder / "groups.npz")
    part = parts.assign(groups["group_id"], SplitParams())
    return found, np.repeat(part, np.diff(groups["group_offsets"])), groups


def test_parts_are_disjoint_by_group_and_complete(out, source):
    ids = [set(table(out / f"keys_{part}.npz")["group_id"].tolist()) for part in PARTS]
    assert all(ids)
    assert sum(map(len, ids)) == len(set.union(*ids)) == 60
    assert sum(len(x(out, part)) for part in PARTS) == len(source[0]["X"])


def test_rows_of_a_part_keep_the_merged_order(out, source):
    merged, row_part, _ = source
    for index, part in enumerate(PARTS):
        keys, labels, masks = (table(out / f"{kind}_{part}.npz") for kind in ("keys", "labels", "masks"))
        for name in ("game_id", "turn_number", "current_player", "row_in_game"):
            np.testing.assert_array_equal(keys[name], merged[name][row_part == index])
        assert len(labels) == len(masks) == 7
        for head in labels:
            np.testing.assert_array_equal(labels[head], merged[f"label_{head}"][row_part == index])
            np.testing.assert_array_equal(masks[head], merged[f"mask_{head}"][row_part == index])


def test_dtypes_are_what_a_trainer_expects(out):
    for part in PARTS:
        assert x(out, part).dtype == np.float32
        assert x(out, part).flags["C_CONTIGUOUS"]
        n_rows = len(x(out, part))
        for label in table(out / f"labels_{part}.npz").values():
            assert (label.dtype, label.shape) == (np.int16, (n_rows,))
        for mask in table(out / f"masks_{part}.npz").values():
            assert (mask.dtype, len(mask)) == (np.uint8, n_rows)
            assert set(np.unique(mask)) <= {0, 1}
        keys = table(out / f"keys_{part}.npz")
        dtypes = (keys["group_id"].dtype, keys["unit"].dtype, keys["row_in_unit"].dtype, keys["units"].dtype.kind)
        assert dtypes == (np.uint64, np.int32, np.int64, "U")
        assert {len(array) for name, array in keys.items() if name != "units"} == {n_rows}


def test_every_file_of_the_split_is_one_that_is_documented(out):
    per_part = {
        f"{kind}_{part}.{end}"
        for part in PARTS
        for kind, end in (("X", "npy"), ("labels", "npz"), ("masks", "npz"), ("keys", "npz"))
    }
    others = {"feature_names.json", "label_mappings.json", "normalizer.npz", "stats.json"}
    assert {path.name for path in out.iterdir()} == per_part | others


def test_the_normaliser_is_numpy_s_over_train_rows_only(out, source):
    merged, row_part, _ = source
    train = merged["X"][row_part == 0].astype(np.float64)
    normaliser = table(out / "normalizer.npz")
    chosen = normaliser["is_normalised"]
    std = train.std(0)
    np.testing.assert_allclose(normaliser["mean"], np.where(chosen, train.mean(0), 0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(normaliser["scale"], np.where(chosen & (std > 0), std, 1), rtol=1e-12)
    assert 0 < chosen.sum() < len(chosen)
    assert (chosen & (std == 0)).any()
    everything = merged["X"].astype(np.float64)
    assert not np.allclose(normaliser["mean"], np.where(chosen, everything.mean(0), 0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("part", PARTS)
def test_features_are_standardised_and_the_others_copied_exactly(out, source, part):
    merged, row_part, _ = source
    rows = merged["X"][row_part == PARTS.index(part)].astype(np.float64)
    normaliser, found = table(out / "normalizer.npz"), x(out, part)
    expected = (rows - normaliser["mean"]) / normaliser["scale"]
    # One float32 rounding each of mean, scale, difference and quotient.
    room = 4 * np.finfo(np.float32).eps * (np.abs(expected) + np.abs(normaliser["mean"] / normaliser["scale"]))
    assert (np.abs(found - expected) <= room).all()
    chosen = normaliser["is_normalised"]
    np.testing.assert_array_equal(found[:, ~chosen], rows[:, ~chosen])


def test_keys_lead_back_to_the_line_of_the_raw_file(out, finished):
    rng = np.random.default_rng(1)
    for part in PARTS:
        keys = table(out / f"keys_{part}.npz")
        for row in rng.integers(0, len(keys["unit"]), 40):
            path = finished / "raw" / keys["units"][keys["unit"][row]]
            with path.open(newline="") as file:
                line = list(csv.DictReader(file))[keys["row_in_unit"][row]]
            for name in ("game_id", "turn_number", "current_player"):
                assert int(line[name]) == keys[name][row]


def test_stats_are_those_of_the_arrays(out, source):
    merged, row_part, groups = source
    stats = json.loads((out / "stats.json").read_text())
    part = parts.assign(groups["group_id"], SplitParams())
    assert stats["rows"] == {name: int((row_part == i).sum()) for i, name in enumerate(PARTS)}
    assert stats["groups"] == {name: int((part == i).sum()) for i, name in enumerate(PARTS)}
    assert stats["input_dim"] == merged["X"].shape[1]
    assert stats["split"] == {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 42}
    assert stats["duplicates"] == {"groups": 0, "rows": 0}
    assert (stats["bad_units"], stats["units"], stats["batches"]) == (0, 60, 5)
    names = json.loads((out / "label_mappings.json").read_text())
    for i, name in enumerate(PARTS):
        for head, counts in stats["labels"].items():
            label = merged[f"label_{head}"][row_part == i]
            assert counts[name]["not_applicable"] == (label < 0).sum()
            assert counts[name]["classes"] == {c: int((label == k).sum()) for c, k in names[head].items()}
            legal = merged[f"mask_{head}"][row_part == i].sum(1)
            found = stats["legal_actions"][head][name]
            assert found == {"mean": pytest.approx(legal.mean()), "min": legal.min(), "max": legal.max()}


def test_names_are_those_of_the_fields(out, finished):
    fields = json.loads((finished / paths.merged_dir("splendor") / "fields.json").read_text())
    by_name = {field["name"]: field for field in fields}
    assert json.loads((out / "feature_names.json").read_text()) == by_name["X"]["names"]
    assert table(out / "normalizer.npz")["names"].tolist() == by_name["X"]["names"]
    assert table(out / "normalizer.npz")["is_normalised"].tolist() == by_name["X"]["normalise"]
    mappings = json.loads((out / "label_mappings.json").read_text())
    labels = {name: field for name, field in by_name.items() if field["role"] == "label"}
    assert {f"label_{head}": list(classes) for head, classes in mappings.items()} == {
        name: field["names"] for name, field in labels.items()
    }
    assert all(list(classes.values()) == list(range(len(classes))) for classes in mappings.values())


def test_no_time_or_path_enters_an_output(out, finished):
    for path in out.iterdir():
        assert str(finished).encode() not in path.read_bytes()
        if path.suffix == ".json":
            assert not re.search(r"20\d\d-\d\d|\b1[7-9]\d{8}\b|seconds", path.read_text())


def test_split_again_gives_the_same_bytes(merged, finished, snapshot, run):
    for _ in range(2):
        result = run("split", "splendor")
        assert result.returncode == 0, result.stderr
        for folder in ("data/processed", "data/metrics", "data/plots"):
            assert snapshot(folder) == snapshot(finished / folder)


def test_a_game_keeps_its_part_when_games_are_added(workspace, write_params, run):
    found = []
    for limit in (30, 60):
        write_params(workspace, limit=limit, split="train: 0.6, val: 0.2, test: 0.2")
        for verb in FROM_RAW:
            result = run(verb, "splendor")
            assert result.returncode == 0, result.stderr
        folder = paths.processed_dir("splendor")
        found.append({g: p for p in PARTS for g in table(folder / f"keys_{p}.npz")["game_id"].tolist()})
    assert (len(found[0]), len(found[1])) == (30, 60)
    assert found[0].items() <= found[1].items()


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(-(2**40), 2**70))
def test_the_part_of_a_group_depends_on_seed_and_id_alone(ids, seed):
    params = SplitParams(0.5, 0.25, 0.25, seed)
    together = parts.assign(np.array(ids, np.uint64), params)
    alone = [parts.assign(np.array([i], np.uint64), params)[0] for i in ids]
    assert (together.dtype, together.tolist()) == (np.uint8, alone)


@pytest.mark.parametrize("ids", [np.random.default_rng(2).integers(0, 2**64, N_IDS, np.uint64), np.arange(N_IDS)])
def test_shares_are_about_right_and_another_seed_deals_anew(ids):
    shares = (0.7, 0.2, 0.1)
    first, second = (parts.assign(ids.astype(np.uint64), SplitParams(*shares, seed)) for seed in (1, 2))
    for part in (first, second):
        np.testing.assert_allclose(np.bincount(part, minlength=3) / N_IDS, shares, atol=0.005)
    # Independent parts agree with probability 0.7**2 + 0.2**2 + 0.1**2.
    assert (first == second).mean() == pytest.approx(0.54, abs=0.01)


def test_another_seed_changes_the_parts(merged, finished, write_params, run):
    write_params(merged, split="seed: 1")
    assert run("split", "splendor").returncode == 0
    ids = [set(table(f / "data/processed/splendor/keys_val.npz")["game_id"].tolist()) for f in (merged, finished)]
    assert ids[0] != ids[1]


def test_an_empty_train_part_is_an_error_that_names_counts_and_cure(merged, finished, snapshot, write_params, run):
    assert run("split", "splendor").returncode == 0
    write_params(merged, split="train: 0.0001, val: 0.0001, test: 0.9998")
    result = run("split", "splendor")
    assert result.returncode == 1
    error = result.stderr.splitlines()[-1]
    assert error.startswith("error: splendor: 60 groups give train 0, val 0, test 60, expected some in each part; add")
    assert "change split (train 0.0001, val 0.0001, test 0.9998, seed 42) in params.yaml" in error
    assert snapshot("data/processed") == snapshot(finished / "data/processed")


def test_val_and_test_without_a_group_are_a_warning_and_arrays_of_no_rows(merged, finished, write_params, run):
    """All that reads them goes on, or says in one line that there is nothing to read."""
    write_params(merged, split="train: 0.9998, val: 0.0001, test: 0.0001")
    result = run("split", "splendor")
    assert result.returncode == 0
    [warning] = [line for line in result.stderr.splitlines() if "expected some in each part" in line]
    assert warning.startswith("splendor: 60 groups give train 60, val 0, test 0, expected some in each part; add data")
    assert "for this dataset alone under datasets.splendor.split" in warning
    assert warning.endswith("until then the arrays of val and test have no rows")
    folder, full = paths.processed_dir("splendor"), finished / paths.processed_dir("splendor")
    for part in ("val", "test"):
        assert x(folder, part).shape == (0, 1308)
        assert x(folder, part).dtype == np.float32
        for kind in ("labels", "masks", "keys"):
            found, known = table(folder / f"{kind}_{part}.npz"), table(full / f"{kind}_{part}.npz")
            per_row = {name: values for name, values in known.items() if name != "units"}
            assert found.keys() == known.keys()
            assert all(found[name].shape == (0, *rows.shape[1:]) for name, rows in per_row.items())
            assert all(found[name].dtype == known[name].dtype for name in known)
    data = Processed(folder)
    assert data.stats()["rows"] == {"train": len(x(folder, "train")), "val": 0, "test": 0}
    assert not list(data.feature("X", "val").chunks(16))
    assert not [*verify_parts.file_faults(data), *verify_parts.part_faults(data, "val", 0, {})]
    with pytest.raises(ExpectedError, match=r"part 'val' has no rows, expected some; add data or change split"):
        PartArrays(folder, "val")
    traced = run("commands.trace", "splendor", "val", "0")
    assert traced.stderr == "error: splendor val: no rows, expected some; add data or change split in params.yaml\n"


@pytest.mark.parametrize("shuffle", [False, True])
def test_with_several_chunks_and_shuffled_too_only_the_empty_parts_have_no_rows(toy, shuffle, caplog):
    split.split("toy", SplitParams(0.9998, 0.0001, 0.0001, shuffle=shuffle))
    assert "the arrays of val and test have no rows" in caplog.text
    n_rows = sum(n for groups in toy.values() for _, n in groups)
    for name in ("X", "board"):
        assert [len(x(FOLDER, part, name)) for part in PARTS] == [n_rows, 0, 0]


@pytest.mark.parametrize("name", ["fields.json", "groups.npz", "X.npy", "label_noble.npy"])
def test_a_missing_merged_file_is_named_and_the_old_output_stays(merged, snapshot, name):
    split.split("splendor", SplitParams())
    before = snapshot("data/processed")
    (paths.merged_dir("splendor") / name).unlink()
    with pytest.raises(DamagedFile, match=rf"data/merged/splendor/{name}: not found.*dvc repro"):
        split.split("splendor", SplitParams())
    assert snapshot("data/processed") == before
    assert [path.name for path in paths.processed_dir("splendor").parent.iterdir()] == ["splendor"]


def flip(path):
    """Change one bit of the last byte in place; the time of change stays, as when a disk fails."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_flipped_bit_in_any_merged_field_stops_split_and_the_old_output_stays(toy, snapshot, shuffle):
    """Features, normalised or not, labels, masks and keys, in both ways of reading."""
    params = SplitParams(0.5, 0.25, 0.25, shuffle=shuffle)
    split.split("toy", params)
    before = snapshot("data/processed")
    for name in ("X", "board", "label_kind", "mask_kind", "step"):
        path = paths.merged_dir("toy") / f"{name}.npy"
        flip(path)
        with pytest.raises(DamagedFile, match=rf"^{path}: checksum does not match .*; `make verify` says"):
            split.split("toy", params)
        flip(path)
    assert snapshot("data/processed") == before


def test_a_flipped_bit_in_a_header_or_before_the_last_chunk_is_found_too(toy):
    path = paths.merged_dir("toy") / "board.npy"
    content = path.read_bytes()
    for offset in (100, 128, len(content) // 2):  # blanks of the header; the first byte of the rows
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 128]) + content[offset + 1 :])
        with pytest.raises(DamagedFile, match=r"board\.npy: "):
            split.split("toy", SplitParams(0.5, 0.25, 0.25))


def test_stats_list_the_checksum_of_every_other_file(out, toy):
    for folder in (out, FOLDER):
        listed = json.loads((folder / "stats.json").read_text())["files"]
        assert list(listed) == sorted(path.name for path in folder.iterdir() if path.name != "stats.json")
        assert listed == {name: f"{zlib.crc32((folder / name).read_bytes()):08x}" for name in listed}


@pytest.fixture
def toy(write_toy, toy_rows):
    """Merge and split 40 groups of 1 to 80 rows, more than two chunks; give the parts' groups."""
    groups = [(group, 1 + group * 37 % 80) for group in range(1, 91)]
    write_toy({"b0": {"a": groups[:50]}, "b1": {"b": groups[50:]}})
    merge.merge("toy", 0)
    split.split("toy", SplitParams(0.5, 0.25, 0.25))
    part = parts.assign(np.array([group for group, _ in groups], np.uint64), SplitParams(0.5, 0.25, 0.25))
    return {name: [g for g, p in zip(groups, part, strict=True) if p == i] for i, name in enumerate(PARTS)}


def expected_rows(toy_rows, name, groups):
    return np.concatenate([toy_rows(name, group, n) for group, n in groups])


def test_a_dataset_with_several_features_is_split_too(toy, toy_rows):
    for part, groups in toy.items():
        np.testing.assert_array_equal(x(FOLDER, part, "board"), expected_rows(toy_rows, "board", groups))
        assert x(FOLDER, part, "board").dtype == np.int8
        keys = table(FOLDER / f"keys_{part}.npz")
        np.testing.assert_array_equal(keys["step"], expected_rows(toy_rows, "step", groups))
        np.testing.assert_array_equal(keys["group_id"], np.repeat(*np.array(groups).T))
    names = json.loads((FOLDER / "feature_names.json").read_text())
    assert names == {"X": ["a", "b", "c"], "board": ["nw", "ne", "sw", "se"]}


def test_floats_are_standardised_on_train_only(toy, toy_rows):
    train = expected_rows(toy_rows, "X", toy["train"])
    mean, scale = train.mean(0) * [1, 0, 1], np.where([1, 0, 1], train.std(0), 1)
    normaliser = table(FOLDER / "normalizer.npz")
    np.testing.assert_allclose(normaliser["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(normaliser["scale"], scale, rtol=1e-12)
    for part, groups in toy.items():
        rows = expected_rows(toy_rows, "X", groups)
        np.testing.assert_allclose(x(FOLDER, part), (rows - mean) / scale, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(x(FOLDER, part)[:, 1], rows[:, 1].astype(np.float32))


def test_rows_in_unit_count_through_the_groups_of_a_unit(toy):
    start, where = {}, {"a": 0, "b": 0}
    for group in range(1, 91):
        unit = "a" if group <= 50 else "b"
        start[group] = (unit, where[unit])
        where[unit] += 1 + group * 37 % 80
    for part, groups in toy.items():
        keys = table(FOLDER / f"keys_{part}.npz")
        expected = [(start[group][0], start[group][1] + i) for group, n in groups for i in range(n)]
        found = zip(keys["units"][keys["unit"]].tolist(), keys["row_in_unit"].tolist(), strict=True)
        assert list(found) == expected


def test_a_split_needs_a_merge(workspace, run):
    result = run("split", "splendor")
    assert result.returncode == 1
    assert "error: data/merged/splendor/fields.json: not found" in result.stderr
    with pytest.raises(ExpectedError, match="expected the merged arrays"):
        split.split("splendor", SplitParams())


@pytest.mark.parametrize(("dtype", "last"), [("uint8", 255), ("int16", 32767)])
def test_the_last_class_that_a_label_s_type_can_hold_is_counted(dtype, last):
    names = tuple(str(index) for index in range(last + 1))
    counter = stats.ClassCounter(NamedField("label_end", np.dtype(dtype), (), "label", names=names))
    counter.add(np.array([0, last, last], dtype))
    found = counter.result()
    assert (found["not_applicable"], found["classes"]["0"], found["classes"][str(last)]) == (0, 1, 2)
