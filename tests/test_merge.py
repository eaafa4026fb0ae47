"""All batches to one array per field: order, duplicates, damage, memory."""

import json
import re
import shutil

import numpy as np
import pytest

from stages import merge
from stages.core import arrays, paths
from stages.core.arrays import DamagedFile
from stages.core.errors import BadUnit, ExpectedError

FOLDER = paths.merged_dir("toy")
# Unit b of batch b1 repeats group 1, and unit e repeats 1 and 4.
TOY = {
    "b0": {"a": [(1, 3), (2, 1)], "c": [(3, 4)]},
    "b1": {"b": [(1, 3)], "d": [(4, 2), (5, 5)], "e": [(4, 2), (6, 1), (1, 3)]},
}
KEPT = [(1, 3, "a", 0), (2, 1, "a", 3), (3, 4, "c", 0), (4, 2, "d", 0), (5, 5, "d", 2), (6, 1, "e", 2)]


def load_all(folder):
    return {path.stem: np.load(path, allow_pickle=False) for path in folder.glob("*.npy")}


def table(path):
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def assert_refused(result, reason):
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if " | memory " not in line]
    assert len(errors) == 1
    assert re.match(f"error: .*{reason}", errors[0]), errors[0]


def test_merge_is_a_concatenation_of_the_batches(finished):
    batches = [table(path) for path in sorted((finished / paths.intermediate_dir("splendor")).glob("*.npz"))]
    found = load_all(finished / paths.merged_dir("splendor"))
    fields = set(batches[0]) - {"group_id", "group_offsets", "source", "meta"}
    assert set(found) == fields
    for name in fields:
        expected = np.concatenate([batch[name] for batch in batches])
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)


def test_groups_tell_unit_and_rows_of_every_group(finished):
    groups = table(finished / paths.merged_dir("splendor") / "groups.npz")
    game_ids = np.load(finished / paths.merged_dir("splendor") / "game_id.npy")
    assert {name: array.dtype.str for name, array in groups.items() if name != "units"} == {
        "group_id": "<u8",
        "group_offsets": "<i8",
        "source": "<i4",
        "row_in_unit": "<i8",
    }
    assert len(set(groups["group_id"].tolist())) == 60
    assert groups["row_in_unit"].tolist() == [0] * 60
    starts, stops = groups["group_offsets"][:-1], groups["group_offsets"][1:]
    for start, stop, unit in zip(starts, stops, groups["units"][groups["source"]], strict=True):
        assert set(game_ids[start:stop]) == {int(unit.split("/")[1].removesuffix(".csv"))}
        assert stop - start == len((finished / "raw" / unit).read_text().splitlines()) - 1


def test_rows_are_ordered_by_batch_unit_and_row(finished):
    groups = table(finished / paths.merged_dir("splendor") / "groups.npz")
    place = {
        unit["key"]: batch
        for batch in ("b00", "b01", "b10", "b110", "b111")
        for unit in json.loads((finished / paths.manifest("splendor", batch)).read_text())["units"]
    }
    order = [(place[unit], unit) for unit in groups["units"][groups["source"]]]
    assert order == sorted(order)
    rows = np.load(finished / paths.merged_dir("splendor") / "row_in_game.npy")
    sizes = np.diff(groups["group_offsets"])
    np.testing.assert_array_equal(rows, np.concatenate([np.arange(size) for size in sizes]))


def test_the_merged_folder_holds_the_fields_and_nothing_else(finished):
    folder = finished / paths.merged_dir("splendor")
    fields = json.loads((folder / "fields.json").read_text())
    expected = {f"{field['name']}.npy" for field in fields} | {"fields.json", "groups.npz"}
    assert {path.name for path in folder.iterdir()} == expected
    assert len(fields) == 1 + 7 + 7 + 4


def test_fields_tell_name_type_role_and_names(finished):
    folder = finished / paths.merged_dir("splendor")
    fields = json.loads((folder / "fields.json").read_text())
    assert [field["name"] for field in fields] == sorted(field["name"] for field in fields)
    for field in fields:
        array = np.load(folder / f"{field['name']}.npy", mmap_mode="r", allow_pickle=False)
        assert (array.dtype, list(array.shape[1:])) == (field["dtype"], field["shape"])
        assert field["doc"]
        assert field["role"] in ("feature", "label", "mask", "key")
        if field["role"] == "feature":
            assert len(field["names"]) == len(field["normalise"]) == array.shape[1]
        if field["role"] == "mask":
            assert len(field["names"]) == array.shape[1]


def test_duplicate_groups_are_dropped_and_the_first_stays(write_toy, toy_rows):
    write_toy(TOY)
    merge.merge("toy", 0)
    for name, array in load_all(FOLDER).items():
        np.testing.assert_array_equal(array, np.concatenate([toy_rows(name, group, n) for group, n, _, _ in KEPT]))
    groups = table(FOLDER / "groups.npz")
    units_found = groups["units"][groups["source"]].tolist()
    sizes = np.diff(groups["group_offsets"]).tolist()
    assert list(zip(groups["group_id"], sizes, units_found, groups["row_in_unit"], strict=True)) == KEPT


def test_duplicate_groups_are_counted_and_listed(write_toy):
    write_toy(TOY)
    merge.merge("toy", 0)
    report = json.loads(paths.report("toy").read_text())
    assert {name: report[name] for name in ("batches", "units", "groups", "rows")} == {
        "batches": 2,
        "units": 5,
        "groups": 6,
        "rows": 16,
    }
    assert report["duplicates"] == {
        "groups": 3,
        "rows": 8,
        "by_unit": {"b": 1, "e": 2},
        "list": [
            {"group_id": 1, "kept": "a", "dropped": "b", "rows": 3},
            {"group_id": 4, "kept": "d", "dropped": "e", "rows": 2},
            {"group_id": 1, "kept": "a", "dropped": "e", "rows": 3},
        ],
    }
    assert report["bad_units"] == {"count": 0, "list": []}
    assert report["by_batch"] == {
        "b0": {"units": 2, "groups": 3, "rows": 8},
        "b1": {"units": 3, "groups": 3, "rows": 8},
    }


def test_a_copy_of_a_game_under_another_name_is_dropped(processed, finished, run):
    for number in (2, 9):
        copy = processed / f"raw/2_games/000{number}.csv"
        shutil.copy(next((processed / "raw").glob(f"*_games/{number}.csv")), copy)
    for verb in ("discover", "process", "merge"):
        assert run(verb, "splendor").returncode == 0
    listed = json.loads(paths.report("splendor").read_text())["duplicates"]["list"]
    assert len(listed) == 2
    for entry in listed:
        assert entry["kept"] < entry["dropped"]
        assert {entry["kept"], entry["dropped"]} & {"2_games/0002.csv", "2_games/0009.csv"}
    before, after = (np.load(f / "data/merged/splendor/game_id.npy") for f in (finished, processed))
    np.testing.assert_array_equal(np.sort(after), np.sort(before))


def test_a_missing_batch_is_named_and_the_old_result_stays(merged, snapshot, run):
    before = snapshot("data/merged")
    paths.intermediate("splendor", "b10").unlink()
    assert_refused(run("merge", "splendor"), r"data/intermediate/splendor/b10\.npz: not found")
    assert snapshot("data/merged") == before


def test_an_empty_placeholder_among_the_listed_batches_is_an_error(merged, snapshot, run):
    before = snapshot("data/merged")
    paths.intermediate("splendor", "b10").write_bytes(b"")
    assert_refused(run("merge", "splendor"), r"data/intermediate/splendor/b10\.npz: not a complete NPZ")
    assert snapshot("data/merged") == before


def test_a_batch_that_is_not_listed_is_removed_and_not_merged(write_toy):
    write_toy({**TOY, "b10": {"z": [(9, 9)]}})
    write_toy(TOY)
    merge.merge("toy", 0)
    assert sorted(path.name for path in paths.intermediate_dir("toy").iterdir()) == ["b0.npz", "b1.npz"]
    assert 9 not in table(FOLDER / "groups.npz")["group_id"]


def test_without_a_batch_list_merge_says_to_run_discover(workspace, run):
    assert_refused(run("merge", "splendor"), r"data/manifests/splendor/batches\.yaml: no batches.*run discover")


def test_a_flipped_byte_in_any_member_of_a_batch_is_found(write_toy):
    write_toy(TOY)
    merge.merge("toy", 0)
    before = load_all(FOLDER)
    path = paths.intermediate("toy", "b1")
    content = path.read_bytes()
    for name, header in arrays.npz_headers(path).items():
        for offset in (header.offset, header.offset + header.n_bytes - 1):
            path.write_bytes(content[:offset] + bytes([content[offset] ^ 4]) + content[offset + 1 :])
            with pytest.raises(DamagedFile, match=r"b1\.npz: checksum") as caught:
                merge.merge("toy", 0)
            assert "b1.npz" in str(caught.value), name
    assert [path.name for path in paths.merged_dir("toy").parent.iterdir()] == ["toy"]
    for name, array in load_all(FOLDER).items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.slow
@pytest.mark.parametrize(("mask", "shift"), [(0x01, 2), (0x80, 3)])
def test_a_flipped_byte_in_the_table_of_contents_never_changes_the_result(write_toy, snapshot, mask, shift):
    write_toy(TOY)
    merge.merge("toy", 0)
    before = snapshot(FOLDER)
    path, others = paths.intermediate("toy", "b1"), []
    content = path.read_bytes()
    # Every eighth byte of the entries, which meets nearly all places in an entry, and all of the end record.
    begin, end = content.index(b"PK\x01\x02") + shift, len(content) - 22
    for offset in [*range(begin, end, 8), *range(end, len(content))]:
        path.write_bytes(content[:offset] + bytes([content[offset] ^ mask]) + content[offset + 1 :])
        try:
            merge.merge("toy", 0)
        except ExpectedError as error:
            others += [] if "b1.npz" in str(error) else [(offset, str(error))]
        except Exception as error:  # noqa: BLE001  # counted, so that one failure shows them all
            others.append((offset, repr(error)))
        assert snapshot(FOLDER) == before
    assert others == []


def test_batches_with_other_fields_are_refused(write_toy):
    write_toy(TOY)
    path = paths.intermediate("toy", "b1")
    members = {name: [arrays.read_member(path, header)] for name, header in arrays.npz_headers(path).items()}
    about = json.loads(members["meta"][0].tobytes())
    about["fields"][0]["doc"] = "another"
    arrays.save_npz(path, {**members, "meta": [np.frombuffer(json.dumps(about).encode(), np.uint8)]})
    with pytest.raises(ExpectedError, match=r"b1\.npz: fields differ from .*b0\.npz; run `dvc repro`"):
        merge.merge("toy", 0)
    arrays.save_npz(path, {**members, "step": [members["step"][0].astype(np.int64)]})
    with pytest.raises(DamagedFile, match=r"b1\.npz: step is not"):
        merge.merge("toy", 0)
    del members["meta"]
    arrays.save_npz(path, members)
    with pytest.raises(DamagedFile, match=r"b1\.npz: no meta"):
        merge.merge("toy", 0)


def test_bad_units_of_all_batches_are_counted_together(write_toy):
    bad = {batch: [{"unit": f"{batch}-bad", "reason": f"{batch}-bad:1: empty"}] for batch in TOY}
    write_toy(TOY, bad)
    with pytest.raises(BadUnit, match=r"^toy: 2 bad units in all batches, expected at most toy\.max_bad_units = 1"):
        merge.merge("toy", 1)
    merge.merge("toy", 2)
    report = json.loads(paths.report("toy").read_text())["bad_units"]
    assert report == {"count": 2, "list": [bad["b0"][0], bad["b1"][0]]}


def test_batches_without_rows_merge_to_arrays_without_rows(write_toy):
    write_toy({"b0": {}, "b1": {}})
    merge.merge("toy", 0)
    assert {array.shape[0] for array in load_all(FOLDER).values()} == {0}
    assert table(FOLDER / "groups.npz")["group_offsets"].tolist() == [0]


def test_merge_again_gives_the_same_bytes(processed, finished, snapshot, run):
    for _ in range(2):
        assert run("merge", "splendor").returncode == 0
        for folder in ("data/merged", "data/reports"):
            assert snapshot(folder) == snapshot(finished / folder)


def peak_mb(verb):
    lines = (paths.LOG_DIR / f"{verb}.jsonl").read_text().splitlines()
    return json.loads(lines[-1])["peak_mb"]


def test_the_memory_of_merge_and_split_does_not_grow_with_the_number_of_batches(write_toy, run):
    """A batch is 3 MB here, 2 MB of it one field: 12 batches more would be 36 MB, their largest field 23 MB."""
    peaks = {"merge": [], "split": []}
    for n_batches in (4, 16):
        write_toy({f"b{i:04b}": {f"u{i}-{j}": [(i * 100 + j, 4000)] for j in range(20)} for i in range(n_batches)})
        for verb, found in peaks.items():
            result = run(verb, "toy")
            assert result.returncode == 0, result.stderr
            found.append(peak_mb(verb))
    for few, many in peaks.values():
        assert many <= few + 6
