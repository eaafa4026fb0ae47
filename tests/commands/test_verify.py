"""`make verify` names every fault and a command, and typing that command repairs it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages import split
from stages.commands import trace, verify
from stages.core import arrays, manifests
from stages.core.errors import ExpectedError
from stages.core.merge_report import report_text
from stages.core.params import SplitParams, load
from stages.processed import Processed
from tests.helpers.clones import (
    flip,
    in_order_of_a_first_run,
    linked_copy_of,
    recorded,
    rewrite,
    small_clone,
    type_cures,
)
from tests.helpers.merged_fields import sealed
from tests.helpers.places import REPOSITORY
from tests.helpers.stores import STORES

DATASET = "splendor"


@pytest.fixture(scope="module")
def by_link(tmp_path_factory):
    """A finished clone per link type, made when it is asked for; that of copies is run, the others are linked anew."""

    class Clones(dict):
        def __missing__(self, link):
            folder = tmp_path_factory.mktemp(link)
            if link == "copy":
                clone = small_clone(folder, link)
            else:
                clone = linked_copy_of(self["copy"], folder)
                clone.run("dvc", "config", "cache.type", link)
                clone.run("dvc", "checkout", "--relink")
            run_verify(clone)  # which puts dvc.lock into order
            self[link] = clone
            return clone

    return Clones()


@pytest.fixture
def clone_of(by_link, tmp_path):
    """Give a copy of the finished clone with a link type, which a test may change."""

    def copy(link):
        clone = linked_copy_of(by_link[link], tmp_path)
        if link == "symlink":
            shutil.rmtree(clone.folder / "data/intermediate")
            clone.run("dvc", "checkout", "--relink")
        return clone

    return copy


def run_verify(clone):
    return clone.run(sys.executable, "-m", "stages.commands.verify", check=False)


def outputs(clone):
    files = [path for path in (clone.folder / "data").rglob("*") if path.is_file() and "logs" not in path.parts]
    return {str(path.relative_to(clone.folder)): path.read_bytes() for path in sorted(files)}


def cache_object(clone, path):
    lock = (clone.folder / "dvc.lock").read_text()
    listed = re.search(rf"path: {re.escape(path)}\n\s+hash: md5\n\s+md5: (\S+)", lock)
    md5 = listed.group(1) if listed else _md5(clone.folder / path)
    return clone.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def _md5(path):
    return subprocess.run(["md5sum", path], capture_output=True, text=True, check=True).stdout.split()[0]


def assert_named_and_repaired(clone, name, before):
    """Verify names the file; each command it gives is typed; then all is as before."""
    done = run_verify(clone)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert name in done.stdout
    type_cures(clone, done)
    again = run_verify(clone)
    assert again.returncode == 0, again.stdout
    assert outputs(clone) == before
    assert recorded(clone) == in_order_of_a_first_run(clone)


MERGED_FIELD = "data/merged/splendor/game_id.npy"
DAMAGED = [
    "data/intermediate/splendor/b0.npz",
    "data/merged/splendor/game_id.npy",
    "data/processed/splendor/normalizer.npz",
    "data/manifests/splendor/batches/b0.json",
    "data/manifests/splendor/expanded.yaml",
    "data/reports/splendor.json",
]


@pytest.mark.slow
@pytest.mark.parametrize("link", ["hardlink", "copy", "symlink"])
def test_verify_is_content_with_a_finished_run(by_link, link):
    done = run_verify(by_link[link])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "splendor: every file is as written; rows, groups, values and masks agree\n"


@pytest.mark.slow
@pytest.mark.parametrize("path", DAMAGED)
def test_a_flipped_byte_in_a_file_and_its_hard_linked_object_is_repaired(clone_of, path):
    clone = clone_of("hardlink")
    before, recorded = outputs(clone), lock_of(clone)
    assert not path.startswith("data/intermediate") or (clone.folder / path).samefile(cache_object(clone, path))
    if not (clone.folder / path).samefile(cache_object(clone, path)):
        flip(cache_object(clone, path))
    flip(clone.folder / path)
    assert_named_and_repaired(clone, path, before)
    assert lock_of(clone) == recorded


@pytest.mark.slow
@pytest.mark.parametrize("path", DAMAGED[:2])
@pytest.mark.parametrize("where", ["workspace", "cache"])
def test_a_flipped_byte_in_one_of_two_copies_is_repaired(clone_of, path, where):
    clone = clone_of("copy")
    before, cached = outputs(clone), cache_object(clone, path)
    flip(clone.folder / path if where == "workspace" else cached)
    assert_named_and_repaired(clone, path if where == "workspace" else str(cached.relative_to(clone.folder)), before)


@pytest.mark.slow
def test_a_flipped_byte_behind_a_symbolic_link_is_repaired(clone_of):
    clone = clone_of("symlink")
    path = "data/intermediate/splendor/b0.npz"
    before = outputs(clone)
    assert (clone.folder / path).is_symlink()
    flip((clone.folder / path).resolve())
    assert_named_and_repaired(clone, path, before)


@pytest.mark.slow
def test_two_damaged_files_of_one_stage_are_repaired_one_after_the_other(clone_of):
    clone = clone_of("copy")
    before = outputs(clone)
    for name in ("game_id", "turn_number"):
        flip(clone.folder / f"data/merged/splendor/{name}.npy")
    assert_named_and_repaired(clone, "data/merged/splendor/turn_number.npy", before)


@pytest.mark.slow
@pytest.mark.parametrize("link", ["hardlink", "copy"])
def test_damage_in_three_stages_at_once_is_repaired_by_one_command(clone_of, link):
    """A run that mends one of them would read, or be given from the cache, what is still damaged of another."""
    clone = clone_of(link)
    before = outputs(clone)
    damaged = ("data/intermediate/splendor/b0.npz", MERGED_FIELD, "data/merged/splendor/X.npy")
    for path in (*damaged, "data/processed/splendor/X_train.npy"):
        if not (clone.folder / path).samefile(cache_object(clone, path)):
            flip(cache_object(clone, path))
        flip(clone.folder / path)
    (clone.folder / "data/manifests/splendor/expanded.yaml").unlink()
    stdout = run_verify(clone).stdout
    assert len(re.findall("`.*`", stdout)) == 1
    assert stdout.count("; the last such line mends it too\n") == 3
    assert_named_and_repaired(clone, "X_train.npy" if link == "hardlink" else "damaged", before)


def reseeded(clone):
    """Change the seed of the split, so that its parts are made again."""
    path = clone.folder / "params.yaml"
    text = path.read_text()
    assert "seed: 42" in text
    path.write_text(text.replace("seed: 42", "seed: 7"))
    return clone.run("dvc", "repro", check=False)


@pytest.fixture
def expected(by_link, tmp_path):
    """Give the outputs of an undamaged run with the other seed."""
    clone = linked_copy_of(by_link["hardlink"], tmp_path / "sound")
    assert reseeded(clone).returncode == 0
    return outputs(clone)


@pytest.mark.slow
def test_split_does_not_take_in_a_flipped_bit_of_merged(clone_of, expected):
    clone = clone_of("hardlink")
    path = "data/merged/splendor/X.npy"
    flip(clone.folder / path)
    done = reseeded(clone)
    assert done.returncode != 0
    assert f"error: {path}: checksum does not match what was written; `make verify` says what to type" in done.stderr
    assert_named_and_repaired(clone, path, expected)


def flip_x(folder):
    """Flip a bit of X and give it the checksum of the damaged bytes, as if none had been compared."""
    merged = folder / "data/merged/splendor"
    flip(merged / "X.npy")
    rewrite(merged / "fields.json", sealed(merged, json.loads((merged / "fields.json").read_text())).encode())


def flip_report(folder):
    path = folder / "data/reports/splendor.json"
    report = {key: value for key, value in json.loads(path.read_text()).items() if key != "check"}
    rewrite(path, report_text({**report, "units": report["units"] + 9}).encode())


@pytest.mark.slow
def test_split_does_not_take_in_a_flipped_bit_of_what_merge_reports(clone_of, expected):
    clone = clone_of("hardlink")
    path = clone.folder / "data/reports/splendor.json"
    rewrite(path, re.sub(rb'"units": \d', b'"units": 9', path.read_bytes(), count=1))
    done = reseeded(clone)
    assert done.returncode != 0
    where = "data/reports/splendor.json"
    assert f"error: {where}: checksum does not match what was written; `make verify` says what to type" in done.stderr
    assert_named_and_repaired(clone, where, expected)


@pytest.mark.slow
@pytest.mark.parametrize(("harm", "path"), [(flip_x, "data/merged/splendor/X.npy"), (flip_report, "data/reports/")])
def test_parts_made_from_a_damaged_file_are_made_anew(clone_of, expected, harm, path):
    """The command mends the file and what was made of it, also in the run cache."""
    clone = clone_of("hardlink")
    harm(clone.folder)
    assert reseeded(clone).returncode == 0
    assert outputs(clone) != expected
    assert_named_and_repaired(clone, path, expected)
    shutil.rmtree(clone.folder / "data/processed")
    (clone.folder / "dvc.lock").write_text(re.sub(r"  split@splendor:\n(?:    .*\n)+", "", lock_of(clone)))
    clone.run("dvc", "repro")  # from the run cache
    assert outputs(clone) == expected


@pytest.mark.slow
def test_a_repair_that_was_interrupted_is_asked_for_again(clone_of, expected):
    clone = clone_of("hardlink")
    flip_x(clone.folder)
    assert reseeded(clone).returncode == 0
    commands = re.findall("`(.*)`", run_verify(clone).stdout)
    for command in commands:  # the files are mended, and what follows is never run
        clone.run("bash", "-c", command.rpartition(" && ")[0])
    clone.run("dvc", "repro", "merge@splendor")
    assert_named_and_repaired(clone, "dvc.lock: no split@splendor", expected)


def lock_of(clone):
    return (clone.folder / "dvc.lock").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("path", "harm"), [("data/merged/splendor", flip), ("data/processed/splendor", Path.unlink)])
def test_a_damaged_or_lost_list_of_a_folder_is_repaired(clone_of, path, harm):
    clone = clone_of("copy")
    before = outputs(clone)
    listing = cache_object(clone, path)
    assert listing.suffix == ".dir"
    harm(listing)
    assert_named_and_repaired(clone, str(listing.relative_to(clone.folder)), before)


@pytest.mark.slow
@pytest.mark.parametrize("is_pushed", [True, False])
def test_with_a_remote_the_command_pulls_what_it_holds_and_makes_what_it_does_not(clone_of, tmp_path, is_pushed):
    clone = clone_of("hardlink")
    before = outputs(clone)
    clone.run("dvc", "remote", "add", "-d", "store", str(tmp_path / "remote"))
    if is_pushed:
        clone.run("dvc", "push", "--run-cache")
    path = "data/intermediate/splendor/b0.npz"
    flip(clone.folder / path)
    done = run_verify(clone)
    assert "dvc repro --pull --no-run-cache`" in done.stdout
    repaired = clone.run("bash", "-c", re.search("`(.*)`", done.stdout).group(1))
    made = ["merge@splendor"] if is_pushed else ["process@splendor-b0", "merge@splendor"]
    assert clone.ran(repaired) == made  # what was read from the damaged file runs again; split's input is as it was
    assert run_verify(clone).returncode == 0
    assert outputs(clone) == before


@pytest.mark.slow
@pytest.mark.parametrize("path", ["data/merged/splendor/game_id.npy", "data/intermediate/splendor/b0.npz"])
def test_a_missing_file_is_checked_out_again(clone_of, path):
    clone = clone_of("hardlink")
    before = outputs(clone)
    (clone.folder / path).unlink()
    assert_named_and_repaired(clone, path, before)


@pytest.mark.slow
def test_an_edited_batch_list_is_written_again(clone_of):
    clone = clone_of("hardlink")
    before = outputs(clone)
    path = clone.folder / "data/manifests/splendor/batches.yaml"
    path.write_text(path.read_text() + "# edited\n")
    assert_named_and_repaired(clone, "data/manifests/splendor/batches.yaml", before)


@pytest.mark.slow
def test_a_changed_raw_file_is_named_and_repro_takes_it_in(clone_of):
    clone = clone_of("hardlink")
    game = sorted((clone.folder / "data/games").rglob("*.csv"))[0]
    game.write_bytes(b"".join(game.read_bytes().splitlines(keepends=True)[:-2]))
    done = run_verify(clone)
    assert done.returncode == 1
    assert str(game.relative_to(clone.folder)) in done.stdout
    assert "run `dvc repro` again, or put back the file it was" in done.stdout
    clone.run("dvc", "repro")
    assert run_verify(clone).returncode == 0


@pytest.mark.slow
def test_a_cache_in_another_place_is_read_there(clone_of, tmp_path):
    clone = clone_of("copy")
    (clone.folder / ".dvc/cache").rename(tmp_path / "cache")
    clone.run("dvc", "cache", "dir", str(tmp_path / "cache"))
    assert run_verify(clone).returncode == 0
    path = "data/merged/splendor/game_id.npy"
    md5 = _md5(clone.folder / path)
    flip(tmp_path / "cache/files/md5" / md5[:2] / md5[2:])
    assert_named_and_repaired(clone, f"{tmp_path}/cache/files/md5/{md5[:2]}/{md5[2:]}", outputs(clone))


@pytest.mark.slow
def test_wrong_arrays_that_dvc_took_in_are_named_and_made_again(clone_of):
    """The digests agree after `dvc commit`, so the values alone tell."""
    clone = clone_of("copy")
    before = outputs(clone)
    path = clone.folder / "data/processed/splendor/X_val.npy"
    rows = np.load(path)
    rows[7, 3] = np.nan
    np.save(path, rows)
    clone.run("dvc", "commit", "--force", "split@splendor")
    assert_named_and_repaired(clone, "X_val.npy: row 7 is not finite", before)


@pytest.mark.slow
def test_a_run_that_was_never_recorded_is_refused(clone_of):
    clone = clone_of("copy")
    (clone.folder / "dvc.lock").unlink()
    done = run_verify(clone)
    assert (done.returncode, done.stderr) == (
        1,
        "error: dvc.lock: not found, expected the record of a run; `dvc repro`\n",
    )


def test_a_fresh_clone_is_one_line_and_not_a_fault_for_each_output(tmp_path, run):
    for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
        shutil.copy(REPOSITORY / name, tmp_path)
    done = run("commands.verify", "hex", "rugs", cwd=tmp_path)
    expected = (
        "hex, rugs: nothing is here, expected arrays to verify; `make preprocess` makes them, `make pull` brings them"
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {expected}\n")


# In process, on a part made by hand.


@pytest.fixture
def part(tmp_path):
    """Write a part of 6 rows in 3 groups; a test gives what differs."""

    def write(
        rows=None, group_id=(1, 1, 2, 2, 3, 3), label=(0, 1, -1, 2, 0, 1), mask=None, refused=None, folder=tmp_path
    ):
        np.save(folder / "X_val.npy", np.zeros((6, 2), np.float32) if rows is None else rows)
        keys = {"group_id": [np.array(group_id, np.uint64)]}
        keys |= {} if refused is None else {"refused": [np.array(refused, np.uint8)]}
        arrays.save_npz(folder / "keys_val.npz", keys)
        arrays.save_npz(folder / "labels_val.npz", {"move": [np.array(label, np.int16)]})
        arrays.save_npz(folder / "masks_val.npz", {"move": [np.ones((6, 3), np.uint8) if mask is None else mask]})
        return folder

    return write


def faults(folder, seen=None, n_rows=6):
    return list(verify.part_faults(Processed(folder), "val", n_rows, {} if seen is None else seen))


def masked(row, column, value):
    mask = np.ones((6, 3), np.uint8)
    mask[row, column] = value
    return mask


def test_a_sound_part_has_no_fault(part):
    assert faults(part()) == []


def test_a_part_without_rows_lies_on_no_wrong_side_of_a_boundary(tmp_path):
    times = {"train": ["2024-01-01", "2024-02-01"], "val": [], "test": ["2024-02-28"]}
    for name, days in times.items():
        ns = np.array(days, "datetime64[ns]").astype(np.int64)
        arrays.save_npz(tmp_path / f"keys_{name}.npz", {"time": [ns]})
    boundaries = {"val": "2024-02-02T00:00:00Z", "test": "2024-03-01T00:00:00Z"}
    (found,) = verify.time_faults(Processed(tmp_path), boundaries)
    assert found.startswith(f"{tmp_path}/keys_test.npz: a row lies beyond")


def test_a_group_in_two_parts_is_named(part):
    found = faults(part(), {2: "train"})
    assert found == [f"{part()}/keys_val.npz: group 0000000000000002 is in train and val, expected one part"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_row(part, value):
    rows = np.zeros((6, 2), np.float32)
    rows[4, 1] = value
    (found,) = faults(part(rows))
    assert "X_val.npy: row 4 is not finite" in found


def test_a_mask_that_refuses_its_label_is_named(part):
    (found,) = faults(part(mask=masked(3, 2, 0)))
    assert "masks_val.npz: move of row 3 refuses its label (1 such rows)" in found


def test_a_mask_may_refuse_the_labels_of_rows_that_are_marked_and_no_others(part):
    """The key `refused` is as right as the masks: what it marks is refused by one of them."""
    assert faults(part(mask=masked(3, 2, 0), refused=(0, 0, 0, 1, 0, 0))) == []
    (found,) = faults(part(mask=masked([1, 3], [1, 2], 0), refused=(0, 0, 0, 1, 0, 0)))
    assert "masks_val.npz: move of row 1 refuses its label (1 such rows)" in found
    (found,) = faults(part(mask=masked(3, 2, 0), refused=(0, 0, 1, 1, 1, 0)))
    assert "masks_val.npz: row 2 is marked as refused, expected a label that a mask forbids (2 such rows)" in found


def test_a_mask_may_refuse_anything_where_the_head_does_not_apply(part):
    assert faults(part(mask=masked(2, slice(None), 0))) == []


def test_a_mask_value_that_is_not_0_or_1_is_named(part):
    (found,) = faults(part(mask=masked(3, 2, 7)))
    assert "move has a value 7, expected 0 or 1" in found


@pytest.mark.parametrize("label", [3, -2])
def test_a_label_out_of_range_is_named(part, label):
    (found,) = faults(part(label=(0, 1, -1, 2, 0, label)))
    assert "expected -1..2" in found


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"rows": np.zeros((5, 2), np.float32)}, "X_val.npy"),
        ({"group_id": (1, 1, 2, 2, 3)}, "keys_val.npz"),
        ({"label": (0, 1, -1, 2, 0)}, "labels_val.npz"),
        ({"mask": np.ones((5, 3), np.uint8)}, "masks_val.npz"),
    ],
)
def test_a_wrong_number_of_rows_is_named(part, change, name):
    (found,) = faults(part(**change))
    assert name in found
    assert "5" in found
    assert "expected 6" in found


def test_a_part_without_features_is_named(part):
    folder = part()
    (folder / "X_val.npy").unlink()
    (found,) = faults(folder)
    assert "no arrays *_val.npy" in found


# In process, on the arrays of a small run.


@pytest.fixture
def complete(merged, finished):
    """Give a working directory in which every verb ran, and its settings."""
    shutil.copytree(finished / "data/processed", merged / "data/processed")
    return load()


@pytest.mark.parametrize("store", STORES)
def test_the_checks_have_nothing_to_say_of_a_sound_run(complete, store):
    split.split(DATASET, SplitParams(store=store))
    for check in (verify._raw, verify._batches, verify._merged, verify._parts):
        assert list(check(DATASET, complete.dataset(DATASET))) == []


def test_a_merged_array_with_a_row_too_few_is_named(complete):
    path = Path("data/merged/splendor/game_id.npy")
    np.save(path, np.load(path)[:-1])
    (found,) = verify._merged(DATASET, complete.dataset(DATASET))
    assert found.startswith(f"{path}: ")
    assert "as in the batches; `dvc repro --force --single-item merge@splendor && dvc repro`" in found


def test_a_file_of_the_parts_or_of_merged_that_is_not_as_written_is_named(complete):
    """Also where DVC took it in, as with `dvc commit`, and its values look sound."""
    for path, check in (("data/processed/splendor/X_val.npy", verify._parts), (MERGED_FIELD, verify._merged)):
        flip(Path(path))
        found = list(check(DATASET, complete.dataset(DATASET)))
        assert f"{path}: checksum does not match" in found[0]
        assert "`dvc repro --force --single-item" in found[0]


@pytest.mark.parametrize(("name", "value"), [("scale", 0), ("scale", np.nan), ("mean", np.inf)])
def test_a_normaliser_that_standardises_nothing_is_named(complete, name, value):
    """Where it is left to the reader."""
    split.split(DATASET, SplitParams(store="stored"))
    path = Path("data/processed/splendor/normalizer.npz")
    found = arrays.read_npz(path)
    found[name][3] = value
    arrays.save_npz(path, {key: [values] for key, values in found.items()})
    told = list(verify._parts(DATASET, complete.dataset(DATASET)))
    assert told[0].startswith(f"{path}: checksum does not match")
    assert [line.split(";")[0] for line in told[1:]] == 3 * [
        f"{path}: X cannot be standardised, expected finite means and scales above 0"
    ]


def test_parts_of_another_form_than_their_counts_are_one_line(complete):
    split.split(DATASET, SplitParams(store="stored"))
    path = Path("data/processed/splendor/X_train.npy")
    np.save(path, np.load(path).astype(np.float32))
    with pytest.raises(ExpectedError, match=r"rows of X are float32 \(1308,\), expected int8 \(1308,\).*`dvc repro`"):
        list(verify._parts(DATASET, complete.dataset(DATASET)))


@pytest.mark.parametrize("store", STORES)
def test_a_row_is_traced_however_its_part_is_stored(complete, store):
    split.split(DATASET, SplitParams(store="float32"))
    expected = trace.trace(DATASET, complete.dataset(DATASET), "val", 17)
    split.split(DATASET, SplitParams(store=store))
    assert trace.trace(DATASET, complete.dataset(DATASET), "val", 17) == expected
    assert "raw     raw/" in expected


def test_a_report_of_merge_that_is_not_as_written_is_named(complete):
    """Also where DVC took it in."""
    path = Path("data/reports/splendor.json")
    text = path.read_text()
    flipped = re.sub(r'"units": \d', '"units": 9', text, count=1)
    assert flipped != text
    path.write_text(flipped)
    with pytest.raises(ExpectedError, match=r"^data/reports/splendor\.json: checksum does not match .*`make verify`"):
        list(verify._merged(DATASET, complete.dataset(DATASET)))


def test_a_group_that_merged_holds_twice_is_named(complete):
    path = Path("data/merged/splendor/groups.npz")
    groups = verify.read_npz(path)
    groups["group_id"][1] = groups["group_id"][0]
    arrays.save_npz(path, {name: [rows] for name, rows in groups.items()})
    (found,) = verify._merged(DATASET, complete.dataset(DATASET))
    assert found.startswith(f"{path}: 59 groups")


def test_a_batch_of_other_units_is_named(complete):
    batch = manifests.read_batch_list(DATASET)[0]
    manifest = Path(f"data/manifests/splendor/batches/{batch}.json")
    content = json.loads(manifest.read_text())
    manifest.write_text(manifests.manifest_text(DATASET, batch, manifests.read_manifest(DATASET, batch)[1:]))
    assert len(content["units"]) > 1
    (found,) = verify._batches(DATASET, complete.dataset(DATASET))
    assert f"{batch}.npz: its units are not those of {manifest}" in found


def test_parts_that_lost_a_row_are_named(complete):
    stats = Path("data/processed/splendor/stats.json")
    content = json.loads(stats.read_text())
    content["rows"]["val"] -= 1
    stats.write_text(json.dumps(content))
    found = list(verify._parts(DATASET, complete.dataset(DATASET)))
    assert found[0].startswith(f"{stats}: ")
    assert "as merged" in found[0]


def test_a_damaged_batch_is_one_line(complete):
    flip(Path("data/intermediate/splendor/b01.npz"))
    with pytest.raises(ExpectedError, match=r"b01\.npz: checksum does not match .*`make verify`"):
        list(verify._batches(DATASET, complete.dataset(DATASET)))
