"""Shuffled parts: the rows of the plain ones, well spread, in an order that the data alone decide."""

import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import merge, split
from stages.commands import verify_parts
from stages.core import arrays, paths
from stages.core.errors import ExpectedError
from stages.core.fields import NamedField
from stages.core.params import ParamsError, SplitParams, load
from stages.processed import Processed
from stages.splitting import parts, shuffle
from tests.helpers.merged_fields import write_fields
from tests.helpers.places import REPOSITORY

PARTS = ("train", "val", "test")
FOLDER, MERGED = paths.processed_dir("toy"), paths.merged_dir("toy")
PLAIN = SplitParams(0.5, 0.25, 0.25)
SHUFFLED = replace(PLAIN, shuffle=True)
GROUPS = [(group * 0x9E3779B97F4A7C15 % 2**64, 1 + group * 37 % 80) for group in range(1, 91)]
MORE_FIELDS = [
    {"name": "packed", "dtype": "uint8", "shape": [2], "role": "feature", "bits": [3, 3]},
    {"name": "label_byte", "dtype": "uint8", "shape": [], "role": "label", "names": ["a", "b", "c"]},
    {"name": "valid_X", "dtype": "uint8", "shape": [], "role": "valid"},
]


def table(path):
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def merge_toy():
    """Merge the batches, and add a packed feature, a label of bytes and a validity by hand."""
    merge.merge("toy", 0)
    fields = json.loads((MERGED / "fields.json").read_text())
    step, group_id = np.load(MERGED / "step.npy"), table(MERGED / "groups.npz")
    seeds = np.repeat(group_id["group_id"], np.diff(group_id["group_offsets"])) + step.astype(np.uint64)
    np.save(MERGED / "packed.npy", np.packbits(np.arange(9) < (seeds % 10)[:, None], axis=1))
    np.save(MERGED / "label_byte.npy", (seeds % 3).astype(np.uint8))
    np.save(MERGED / "valid_X.npy", (seeds % 7 > 0).astype(np.uint8))
    defaults = {"doc": "", "names": None, "normalise": None, "bits": None}
    write_fields(MERGED, [*fields, *(defaults | field for field in MORE_FIELDS)])


@pytest.fixture
def toy(write_toy):
    """Merge 90 groups of 1 to 80 rows in two units."""
    write_toy({"b0": {"a": GROUPS[:50]}, "b1": {"b": GROUPS[50:]}})
    merge_toy()


def rows_of(part):
    """Return all arrays of a part, by name, units by their text."""
    found = {path.name.removesuffix(f"_{part}.npy"): np.load(path) for path in FOLDER.glob(f"*_{part}.npy")}
    for kind in ("labels", "masks", "keys"):
        found |= {f"{kind}.{name}": rows for name, rows in table(FOLDER / f"{kind}_{part}.npz").items()}
    found["unit"] = found.pop("keys.units")[found.pop("keys.unit")]
    return found


def by_row(found):
    """Sort the rows by group and row of the group."""
    order = np.lexsort((found["keys.step"], found["keys.group_id"]))
    return {name: rows[order] for name, rows in found.items()}


def test_every_row_is_there_once_with_its_own_values(toy):
    split.split("toy", PLAIN)
    plain = {part: rows_of(part) for part in PARTS}
    split.split("toy", SHUFFLED)
    for part in PARTS:
        found = rows_of(part)
        assert found.keys() == plain[part].keys()
        assert {"X", "board", "packed", "labels.byte", "masks.kind", "keys.row_in_unit", "unit"} <= found.keys()
        expected, again = by_row(plain[part]), by_row(found)
        for name, rows in again.items():
            assert rows.dtype == expected[name].dtype
            np.testing.assert_array_equal(rows, expected[name], name)
        assert (found["keys.group_id"] != plain[part]["keys.group_id"]).mean() > 0.8


def reference_mix(value):
    """Mix 64 bits as SplitMix64 does, in Python's own whole numbers."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ (value >> shift)) * factor % 2**64
    return value ^ (value >> 31)


def reference_order(groups, seed):
    """Return (group id, row) of all rows in the documented order."""
    golden = 0x9E3779B97F4A7C15
    rows = []
    for group, n_rows in groups:
        state = reference_mix((reference_mix(group ^ (seed * golden % 2**64)) + golden) % 2**64)
        rows += [(reference_mix((state + row * golden) % 2**64), group, row) for row in range(n_rows)]
    return [(group, row) for _, group, row in sorted(rows)]


@pytest.mark.parametrize("seed", [42, -3])
def test_the_order_is_that_of_the_documented_hash(toy, seed):
    split.split("toy", replace(SHUFFLED, seed=seed))
    part = parts.assign(np.array([group for group, _ in GROUPS], np.uint64), replace(SHUFFLED, seed=seed))
    for index, name in enumerate(PARTS):
        keys = table(FOLDER / f"keys_{name}.npz")
        expected = reference_order([group for group, p in zip(GROUPS, part, strict=True) if p == index], seed)
        assert list(zip(keys["group_id"].tolist(), keys["step"].tolist(), strict=True)) == expected


def test_budget_buckets_chunks_and_jobs_leave_the_bytes(toy, snapshot, monkeypatch):
    found, n_buckets = [], []
    count = shuffle._bits
    monkeypatch.setattr(shuffle, "_bits", lambda *given: n_buckets.append(count(*given)) or n_buckets[-1])
    for most, jobs, budget in ((64 << 20, "1", "9"), (50_000, "8", "5"), (1_500, "2", "4")):
        monkeypatch.setattr(shuffle, "MOST_BYTES", most)
        monkeypatch.setenv("JOBS", jobs)
        monkeypatch.setenv("MEMORY_GB", budget)
        split.split("toy", SHUFFLED)
        found.append(snapshot(FOLDER))
    assert n_buckets == [0, 1, 6]
    assert found[0] == found[1] == found[2]


class Short(io.FileIO):
    """A real file that takes and gives at most 100 bytes at a time."""

    def write(self, data):
        return super().write(memoryview(data)[:100])

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[:100])


def test_short_writes_of_its_own_files_leave_no_hole(toy, tmp_path, snapshot, monkeypatch):
    """As on a network's file system, or where a signal comes."""
    split.split("toy", SHUFFLED)
    before, number = snapshot(FOLDER), itertools.count()

    def short(dir):
        return Short(tmp_path / f"short {next(number)}", "w+b")

    monkeypatch.setattr(tempfile, "TemporaryFile", short)
    split.split("toy", SHUFFLED)
    assert next(number) > 5
    assert snapshot(FOLDER) == before


def test_the_size_of_the_batches_leaves_the_bytes(write_toy, snapshot):
    found = []
    units = {name: GROUPS[start : start + 30] for name, start in (("a", 0), ("b", 30), ("c", 60))}
    for batches in ([["a", "b", "c"]], [["c"], ["a", "b"]], [["b"], ["c"], ["a"]]):
        shutil.rmtree("data", ignore_errors=True)
        write_toy({f"b{i:02b}": {name: units[name] for name in names} for i, names in enumerate(batches)})
        merge_toy()
        split.split("toy", SHUFFLED)
        files = snapshot(FOLDER)
        stats = json.loads(files.pop("stats.json"))
        found.append((files, {name: count for name, count in stats.items() if name not in ("batches", "files")}))
    for files, stats in found[1:]:
        assert stats == found[0][1]
        differs = {name for name in files if files[name] != found[0][0][name]}
        assert differs <= {"normalizer.npz", *(f"X_{part}.npy" for part in PARTS)}  # a float mean's last digit


def merged_by_hand(folder, groups):
    """Give a merged dataset of one field, the row of each group, all of it in train."""
    sizes = np.array([n_rows for _, n_rows in groups], np.int64)
    np.save(folder / "step.npy", np.concatenate([np.arange(n_rows, dtype=np.int32) for n_rows in sizes]))
    return parts.Merged(
        folder=folder,
        fields=[NamedField("step", np.dtype(np.int32), (), "key")],
        group_id=np.array([group for group, _ in groups], np.uint64),
        offsets=np.append(0, np.cumsum(sizes)),
        source=np.zeros(len(groups), np.int32),
        row_in_unit=np.cumsum(sizes) - sizes,
        units=np.array(["a"]),
        part=np.zeros(len(groups), np.uint8),
        rule={},
    )


def order_of(groups, working_bytes=1 << 20, seed=1):
    """Return group id and row of the rows in their final order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        merged = merged_by_hand(folder, groups)
        with shuffle.shuffled(merged, seed, folder, working_bytes) as found:
            ids, steps = [], []
            chunks = zip(found.derived("group_id", 999), found.chunks("step", 999), strict=True)
            for (group_id, parts_of), (step, _) in chunks:
                assert [path.name for path in folder.iterdir()] == ["step.npy"]  # the files between have no name
                assert not parts_of.any()
                ids.append(group_id.copy())
                steps.append(step.copy())
    return np.concatenate(ids), np.concatenate(steps)


@settings(max_examples=25)
@given(
    st.dictionaries(st.integers(0, 2**64 - 1), st.integers(1, 50), min_size=1, max_size=20),
    st.integers(0, 2**32),
    st.sampled_from([1 << 20, 2_000, 300]),
)
def test_any_groups_come_in_the_documented_order(sizes, seed, working_bytes):
    ids, steps = order_of(list(sizes.items()), working_bytes, seed)
    expected = reference_order(sizes.items(), seed)
    assert list(zip(ids.tolist(), steps.tolist(), strict=True)) == expected
    assert shuffle.first_out_of_order(ids, steps.astype(np.int64), seed) is None


def unmixed(value):
    """Invert `reference_mix`."""
    for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
        result = value
        for _ in range(64 // shift):
            result = value ^ (result >> shift)
        value = result * pow(factor, -1, 2**64) % 2**64
    return value


@pytest.mark.parametrize("is_turned", [False, True])
def test_rows_of_one_hash_come_by_group_and_row(is_turned):
    """Two group ids whose streams of hashes are the same, one row apart."""
    golden, seed_bits = 0x9E3779B97F4A7C15, 0x9E3779B97F4A7C15
    first = 2**63 + 5
    state = reference_mix((reference_mix(first ^ seed_bits) + golden) % 2**64)
    second = unmixed((unmixed((state + golden) % 2**64) - golden) % 2**64) ^ seed_bits
    groups = [(first, 40), (second, 40)]
    order = reference_order(groups, 1)
    hashes = {pair: shuffle.row_hashes(shuffle.group_states(np.array([pair[0]], np.uint64), 1), np.array([pair[1]]))[0]
              for pair in order}  # fmt: skip
    assert len(set(hashes.values())) == 41
    ids, steps = order_of(groups[::-1] if is_turned else groups)
    assert list(zip(ids.tolist(), steps.tolist(), strict=True)) == order
    assert shuffle.first_out_of_order(ids, steps.astype(np.int64), 1) is None
    tied = next(i for i in range(79) if hashes[order[i]] == hashes[order[i + 1]])
    ids[[tied, tied + 1]], steps[[tied, tied + 1]] = ids[[tied + 1, tied]], steps[[tied + 1, tied]]
    assert shuffle.first_out_of_order(ids, steps.astype(np.int64), 1) == tied + 1


def test_the_rows_of_a_group_are_spread_over_the_file():
    """Chi-square over the hundredths of the file: 99 expected, with a standard deviation of 14."""
    games = [(group * 7919, 60) for group in range(1, 2001)]
    long = [(group, 5000) for group in (3, 4, 2**63)]
    ids, _ = order_of(long[:1] + games + long[1:])
    hundredth = np.arange(len(ids)) * 100 // len(ids)
    for group, _ in long:
        counts = np.bincount(hundredth[ids == group], minlength=100)
        assert 50 < ((counts - 50) ** 2 / 50).sum() < 150
        assert counts.max() <= 80
    of_game = np.array([np.bincount(hundredth[ids == group], minlength=100).max() for group, _ in games[:500]])
    assert of_game.max() <= 7
    # Of 500 games, as binomial variables of (60, 0.01) would: 1 in 32,000 hundredths holds more than 5.
    assert (of_game > 5).sum() <= 6
    assert 1.5 < of_game.mean() < 4.5


def test_another_group_leaves_the_others_in_their_order():
    groups = [(group, 20) for group in range(50)]
    ids, steps = order_of(groups)
    more_ids, more_steps = order_of([*groups[:20], (777, 300), *groups[20:]], working_bytes=3_000)
    kept = more_ids != 777
    np.testing.assert_array_equal(more_ids[kept], ids)
    np.testing.assert_array_equal(more_steps[kept], steps)


def test_stats_say_that_rows_are_shuffled_and_only_then(toy):
    split.split("toy", SHUFFLED)
    stats = json.loads((FOLDER / "stats.json").read_text())
    assert stats["split"] == {"train": 0.5, "val": 0.25, "test": 0.25, "seed": 42, "shuffle": True}
    split.split("toy", PLAIN)
    plain = json.loads((FOLDER / "stats.json").read_text())
    assert "shuffle" not in plain["split"]
    stats["split"].pop("shuffle")
    assert plain.pop("files") != stats.pop("files")
    assert plain == stats


@pytest.mark.parametrize("params", [PLAIN, SHUFFLED])
def test_packed_rows_are_copied_and_their_shape_told(toy, params):
    split.split("toy", params)
    assert json.loads((FOLDER / "packed.json").read_text()) == {"packed": [3, 3]}
    stats = json.loads((FOLDER / "stats.json").read_text())
    assert stats["input_dim"] == 3 + 4 + 9
    assert json.loads((FOLDER / "feature_names.json").read_text())["packed"] is None
    assert {np.load(FOLDER / f"packed_{part}.npy").dtype for part in PARTS} == {np.dtype(np.uint8)}
    labels = table(FOLDER / "labels_train.npz")["byte"]
    counts = dict(zip("abc", np.bincount(labels).tolist(), strict=True))
    assert stats["labels"]["byte"]["train"] == {"not_applicable": 0, "classes": counts}


def test_shuffled_rows_in_need_of_order_are_refused(tmp_path):
    path = tmp_path / "params.yaml"
    entries = {
        "by: time": "{by: time, shuffle: true}",
        "windows": "{shuffle: true, windows: {X: {window: 2, step: 1}}}",
    }
    for reason, entry in entries.items():
        path.write_text(f"datasets:\n  toy: {{raw: raw, split: {entry}}}\n")
        with pytest.raises(ParamsError, match=rf"toy\.split\.shuffle: True, expected False with {reason}, which needs"):
            load(path)
    path.write_text("datasets:\n  toy: {raw: raw, split: {shuffle: 1}}\n")
    with pytest.raises(ParamsError, match=r"toy\.split\.shuffle: 1, expected bool"):
        load(path)
    path.write_text("datasets:\n  toy: {raw: raw}\nsplit: {shuffle: true}\n")
    assert load(path).split_of("toy").shuffle


def test_a_field_of_too_few_rows_is_named_and_the_old_output_stays(toy, snapshot):
    split.split("toy", SHUFFLED)
    before = snapshot(FOLDER.parent)
    np.save(MERGED / "board.npy", np.load(MERGED / "board.npy")[:-1])
    with pytest.raises(ExpectedError, match=r"toy/board\.npy: 3,\d+ rows, expected 3,\d+ as in groups\.npz; remove it"):
        split.split("toy", SHUFFLED)
    assert snapshot(FOLDER.parent) == before


KILLED = """
import os, signal
from pathlib import Path
from stages import split
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
split.main()
"""


def test_a_killed_run_leaves_nothing_that_the_next_one_keeps(toy, here, snapshot, run):
    (here / "params.yaml").write_text("datasets:\n  toy: {raw: raw, split: {shuffle: true}}\n")
    assert run("split", "toy").returncode == 0
    before = snapshot("data/processed")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    killed = subprocess.run([sys.executable, "-c", KILLED, "toy"], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(FOLDER.parent.glob(".toy.*.tmp"))
    assert {name: rows for name, rows in snapshot("data/processed").items() if not name.startswith(".")} == before
    assert run("split", "toy").returncode == 0
    assert snapshot("data/processed") == before
    assert [path.name for path in FOLDER.parent.iterdir()] == ["toy"]


def faults():
    """Return what verify finds in the train part."""
    groups = arrays.read_npz(MERGED / "groups.npz")
    n_rows = len(np.load(FOLDER / "X_train.npy"))
    found = [*verify_parts.part_faults(Processed(FOLDER), "train", n_rows, {})]
    found += verify_parts.order_faults(Processed(FOLDER), "train", groups, 42)
    return [fault for fault in found if "refuses its label" not in fault]  # the toy's masks are drawn at random


IDS = ("group_id", "row_in_unit")


@pytest.mark.parametrize(
    ("names", "change", "expected"),
    [
        (IDS, lambda rows: rows, None),
        (IDS, lambda rows: rows[[*range(100), 101, 100, *range(102, len(rows))]], "row 101 does not come after"),
        (IDS, lambda rows: rows[[*range(100), 99, *range(101, len(rows))]], "row 100 does not come after"),
        (IDS[:1], lambda rows: np.where(np.arange(len(rows)) == 7, rows[7] + 1, rows), "row 7 is of no merged group"),
        (IDS[1:], lambda rows: np.where(np.arange(len(rows)) == 8, 9_999, rows), "row 8 is of no merged group"),
        (IDS[1:], lambda rows: np.where(np.arange(len(rows)) == 9, -1, rows), "row 9 is of no merged group"),
    ],
)
def test_verify_names_a_row_out_of_order(toy, names, change, expected):
    split.split("toy", SHUFFLED)
    keys = table(FOLDER / "keys_train.npz")
    changed = {name: change(rows) if name in names else rows for name, rows in keys.items()}
    arrays.save_npz(FOLDER / "keys_train.npz", {name: [rows] for name, rows in changed.items()})
    found = faults()
    assert [expected in fault for fault in found] == [True] if expected else found == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda rows: rows | (np.arange(len(rows)) == 5).astype(np.uint8)[:, None],
            "row 5 has bits behind its 9 cells",
        ),
        (lambda rows: rows[:, :1], "rows are uint8(1,), expected uint8(2,) for bits (3, 3)"),
    ],
)
def test_verify_names_packed_rows_that_are_none(toy, change, expected):
    split.split("toy", SHUFFLED)
    np.save(FOLDER / "packed_train.npy", change(np.load(FOLDER / "packed_train.npy")))
    (found,) = faults()
    assert expected in found
