"""Hostile files: nothing in them is executed, nothing leads out of its folder, nothing fills the memory."""

import io
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

from stages.core import arrays, manifests, paths
from stages.core.errors import ExpectedError
from stages.pipeline.verbs import VERBS
from tests.helpers.clones import REPOSITORY, Clone, make_clone, with_few_games

DATASET = "splendor"
BATCH = "b01"
MEMORY = 200 << 20


class Touch:
    """What makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def pickled(trap):
    """Return the bytes of a .npy file that makes the folder `trap` when its pickle is loaded; its size is right."""
    file, n_rows = io.BytesIO(), 100
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (n_rows,)})
    array = np.array([Touch(trap), *[None] * (n_rows - 1)], object)
    return file.getvalue() + pickle.dumps(array).ljust(n_rows * array.itemsize, b"\0")


def write_zip(path, members, compression=zipfile.ZIP_STORED):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def replace_member(path, name, content):
    """Replace one member of an NPZ, or all of them for `name` None."""
    with zipfile.ZipFile(path) as archive:
        members = {info.removesuffix(".npy"): archive.read(info) for info in archive.namelist()}
    names = list(members) if name is None else [name]
    path.unlink()  # it may be a link
    write_zip(path, members | dict.fromkeys(names, content))


def npy(shape, dtype="|i1", data=b""):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def assert_refused(done, name):
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert name in done.stdout + done.stderr


# Pickles.


def test_the_pickle_of_these_tests_works(tmp_path):
    """Else the tests below would prove nothing."""
    (tmp_path / "a.npy").write_bytes(pickled(tmp_path / "trap"))
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert (tmp_path / "trap").exists()


@pytest.mark.parametrize(
    ("verb", "arguments", "path", "member"),
    [
        ("merge", (), f"data/intermediate/splendor/{BATCH}.npz", "X"),
        ("merge", (), f"data/intermediate/splendor/{BATCH}.npz", "meta"),
        ("split", (), "data/merged/splendor/groups.npz", "units"),
        ("trace", ("val", "0"), "data/processed/splendor/keys_val.npz", "units"),
        ("trace", ("val", "0"), "data/processed/splendor/labels_val.npz", None),
    ],
)
def test_a_pickle_in_an_npz_is_refused_and_not_loaded(run, merged, finished, verb, arguments, path, member):
    shutil.copytree(finished / "data/processed", merged / "data/processed")
    replace_member(merged / path, member, pickled(merged / "trap"))
    assert_refused(run(verb, DATASET, *arguments), path)
    assert not (merged / "trap").exists()


def test_a_pickle_in_a_merged_npy_is_refused_and_not_loaded(run, merged):
    path = merged / "data/merged/splendor/game_id.npy"
    path.write_bytes(pickled(merged / "trap"))
    assert_refused(run("split", DATASET), "game_id.npy")
    assert not (merged / "trap").exists()


# Bombs.


def small_memory():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def read_all(path):
    """Read an NPZ in a process of at most 200 MB; return how it ended and the seconds it took."""
    code = (
        "import sys; from pathlib import Path; from stages.core import arrays\n"
        "from stages.core.errors import ExpectedError\n"
        "path = Path(sys.argv[1])\n"
        "try:\n"
        "    [arrays.read_member(path, header) for header in arrays.npz_headers(path).values()]\n"
        "except ExpectedError as error:\n"
        "    sys.exit(str(error))\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        cwd=REPOSITORY,
        preexec_fn=small_memory,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done, time.monotonic() - began


def deflated_zeros(path):
    """Ten gigabytes of zeros in ten megabytes; written by hand, since compressing them takes a minute."""
    write_zip(path, {"X": npy((1 << 26,), data=bytes(1 << 26))}, zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    size = 10_000_000_000 + 128
    old = struct.pack("<I", (1 << 26) + len(npy((1 << 26,))))
    assert content.count(old) == 2
    path.write_bytes(content.replace(old, struct.pack("<I", size % 2**32)))


def a_terabyte_in_the_array_header(path):
    write_zip(path, {"X": npy((10**12,), data=bytes(100))})


def a_terabyte_in_both_headers(path):
    content = npy((3_000_000_000,), data=bytes(100))
    write_zip(path, {"X": content})
    size = struct.pack("<I", len(content))
    claimed = struct.pack("<I", len(content) - 100 + 3_000_000_000)
    path.write_bytes(path.read_bytes().replace(size, claimed))


def an_overflowing_shape(path):
    write_zip(path, {"X": npy((1 << 32, 1 << 32))})


def a_negative_shape(path):
    write_zip(path, {"X": npy((-1, 5))})


def rows_of_no_bytes(path):
    write_zip(path, {"X": npy((10**15,), "|V0")})


def no_rows_at_all(path):
    write_zip(path, {"X": npy((), data=b"a")})


def members_over_each_other(path):
    """One member's megabyte, listed a thousand times."""
    write_zip(path, {"X": npy((1 << 20,), data=bytes(1 << 20))})
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    start = struct.unpack_from("<I", content, end + 16)[0]
    entry, n = content[start:end], 1000
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, n, n, n * len(entry), start, 0)
    path.write_bytes(content[:start] + entry * n + tail)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (deflated_zeros, "is compressed, expected stored"),
        (a_terabyte_in_the_array_header, "which its shape contradicts"),
        (a_terabyte_in_both_headers, "more than the file has"),
        (an_overflowing_shape, "which its shape contradicts"),
        (a_negative_shape, "expected rows of at least a byte"),
        (rows_of_no_bytes, "expected rows of at least a byte"),
        (no_rows_at_all, "expected rows of at least a byte"),
        (members_over_each_other, "lie over each other"),
    ],
)
def test_a_bomb_is_refused_quickly_in_little_memory(tmp_path, make, reason):
    path = tmp_path / "b.npz"
    make(path)
    done, seconds = read_all(path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{path}: not a complete NPZ"), done.stderr
    assert reason in done.stderr
    assert seconds < 60


# Paths and names.


@pytest.mark.parametrize(
    "source", ["/etc/passwd", "../secret.csv", "2_games/../../secret.csv", "2_games/\0.csv", "2_games/\ud800.csv"]
)
def test_a_manifest_that_leads_out_of_the_raw_folder_is_refused_by_process(run, processed, source):
    (processed / "secret.csv").write_text("")
    path = processed / f"data/manifests/splendor/batches/{BATCH}.json"
    content = json.loads(path.read_text())
    content["units"][0]["sources"] = [[source]]
    path.write_text(json.dumps(content))
    assert_refused(run("process", DATASET, BATCH), f"data/manifests/splendor/batches/{BATCH}.json")


@pytest.mark.parametrize("batch", ["../../../../outside", "/tmp/outside", "b0/../../x", "b2", "B0", ""])
def test_a_batch_list_that_leads_out_of_its_folder_is_refused(here, batch):
    path = paths.batch_list(DATASET)
    path.parent.mkdir(parents=True)
    path.write_text(f"batches:\n  splendor-b0: {{dataset: splendor, batch: {json.dumps(batch)}}}\n")
    with pytest.raises(ExpectedError, match=r"batches\.yaml: .* is no batch id"):
        manifests.read_batch_list(DATASET)


@pytest.mark.parametrize("name", ["../../../outside", "{}/outside", "a/b", "a b", ""])
def test_a_field_name_that_leads_out_of_the_merged_folder_is_refused(run, write_toy, here, name):
    name = name.format(here)
    write_toy({"b": {"u": [(1, 3)]}})
    path = paths.intermediate("toy", "b")
    members = {key: [arrays.read_member(path, header)] for key, header in arrays.npz_headers(path).items()}
    meta = json.loads(members["meta"][0].tobytes())
    members[name] = members["step"]
    meta["fields"][-1] |= {"name": name, "dtype": "int32", "shape": [], "role": "key"}
    members["meta"] = [np.frombuffer(json.dumps(meta).encode(), np.uint8)]
    arrays.save_npz(path, members)
    assert_refused(run("merge", "toy"), "b.npz")
    assert not list(here.rglob("outside*"))


@pytest.mark.parametrize("name", ["../../../outside", "/tmp/outside", 5, None])
def test_a_field_name_that_leads_out_of_the_processed_folder_is_refused(run, merged, name):
    path = merged / "data/merged/splendor/fields.json"
    fields = json.loads(path.read_text())
    fields[0]["name"] = name
    path.write_text(json.dumps(fields))
    assert_refused(run("split", DATASET), "fields.json")


@pytest.mark.parametrize(
    "change",
    [
        {"meta": np.frombuffer(b"{", np.uint8)},
        {"meta": np.frombuffer(b"[]", np.uint8)},
        {"meta": np.frombuffer(b"[" * 100_000, np.uint8)},
        {"group_offsets": np.array([0, 5, 3], np.int64)},
        {"group_offsets": np.array([0], np.int64)},
        {"group_offsets": np.array([], np.int64)},
        {"group_id": np.array([[1, 2]], np.uint64)},
        {"source": np.array([0, 99], np.int32)},
        {"source": np.array([0, -1], np.int32)},
    ],
)
def test_a_batch_whose_tables_contradict_each_other_is_refused(run, write_toy, change):
    write_toy({"b": {"u": [(1, 3), (2, 2)]}})
    path = paths.intermediate("toy", "b")
    members = {key: [arrays.read_member(path, header)] for key, header in arrays.npz_headers(path).items()}
    arrays.save_npz(path, members | {key: [array] for key, array in change.items()})
    assert_refused(run("merge", "toy"), "b.npz: its meta or groups are not what process writes")


# Links.


def test_a_linked_file_from_outside_the_raw_folder_is_a_bad_unit(run, workspace):
    (workspace / "secret.csv").write_bytes((workspace / "raw/2_games/2.csv").read_bytes())
    (workspace / "raw/2_games/999.csv").symlink_to(workspace / "secret.csv")
    assert_refused(run("discover", DATASET), "raw/2_games/999.csv: a link to ")


def test_a_linked_folder_from_outside_the_raw_folder_is_refused(run, workspace):
    (workspace / "raw/2_games").rename(workspace / "elsewhere")
    (workspace / "raw/2_games").symlink_to(workspace / "elsewhere")
    assert_refused(run("discover", DATASET), "raw/2_games: a link to a folder, expected a folder")
    assert not (workspace / "data/manifests").exists()


OBJECT = "files/md5/ab/0123456789abcdef0123456789abcd"


@pytest.mark.parametrize("place", ["elsewhere", "elsewhere/.dvc/cache"])
def test_a_link_to_what_only_looks_like_an_object_of_the_cache_is_refused(run, workspace, place):
    """There is no DVC repository here, so no folder is its cache."""
    (workspace / place / OBJECT).parent.mkdir(parents=True)
    (workspace / place / OBJECT).write_bytes((workspace / "raw/2_games/2.csv").read_bytes())
    (workspace / "raw/2_games/999.csv").symlink_to(workspace / place / OBJECT)
    assert_refused(run("discover", DATASET), "raw/2_games/999.csv: a link to ")


@pytest.mark.slow
@pytest.mark.parametrize("outside", [False, True])
def test_links_that_dvc_itself_makes_are_followed_and_no_others(tmp_path, outside):
    (tmp_path / "clone").mkdir()
    clone: Clone = with_few_games(make_clone(tmp_path / "clone"), 24)
    clone.run("dvc", "config", "cache.type", "symlink")
    if outside:
        (tmp_path / "link").symlink_to(tmp_path)
        clone.run("dvc", "cache", "dir", "--local", str(tmp_path / "link/shared cache"))
    clone.run("dvc", "repro", f"discover@{DATASET}")
    game = clone.folder / "data/sample/splendor/2_games/2.csv"
    assert game.is_symlink()
    assert game.resolve().is_relative_to(tmp_path / ("shared cache" if outside else "clone/.dvc/cache"))
    clone.run(sys.executable, "-m", "stages.discover", DATASET)
    clone.run(sys.executable, "-m", "stages.process", DATASET, clone.batches()[0])

    copied = tmp_path / "elsewhere" / OBJECT
    copied.parent.mkdir(parents=True)
    copied.write_bytes(game.read_bytes())
    (game.parent / "999.csv").symlink_to(copied)
    done = clone.run(sys.executable, "-m", "stages.discover", DATASET, check=False)
    assert_refused(done, "2_games/999.csv: a link to ")


# YAML.

TAGS = ["!!python/object/apply:os.system ['touch trap']", "!!python/object/new:os.system [touch trap]", "!trap 5"]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_tag_in_params_is_refused_and_not_executed(run, workspace, tag, verb):
    (workspace / "params.yaml").write_text(f"datasets: {tag}\n")
    assert_refused(run(verb, DATASET), "params.yaml: line 1: tag ")
    assert not (workspace / "trap").exists()


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_in_the_batch_list_is_refused_and_not_executed(run, processed, tag):
    (processed / "data/manifests/splendor/batches.yaml").write_text(f"batches: {tag}\n")
    for verb in ("discover", "process", "merge"):
        assert_refused(run(verb, DATASET), "batches.yaml: not a batch list")
    assert not (processed / "trap").exists()


def anchor_bomb():
    """A few hundred bytes that stand for three to the power of forty values."""
    lines = ["b0: &b0 x", *(f"b{i + 1}: &b{i + 1} [*b{i}, *b{i}, *b{i}]" for i in range(40))]
    return "simulate:\n" + "".join(f"  {line}\n" for line in lines)


def nested_too_deep():
    return "split: " + "[" * 100_000


@pytest.mark.parametrize(("make", "reason"), [(anchor_bomb, "anchor &b0"), (nested_too_deep, "sections 21 deep")])
@pytest.mark.parametrize("name", ["params.yaml", "data/manifests/splendor/batches.yaml"])
def test_a_bomb_of_yaml_is_refused_quickly_in_one_line(run, processed, name, make, reason):
    (processed / name).write_text(f"datasets: {{splendor: {{raw: raw}}}}\n{make()}")
    for verb in ("discover", "merge"):
        began = time.monotonic()
        done = run(verb, DATASET)
        assert time.monotonic() - began < 30
        assert_refused(done, reason)
        assert len(done.stderr.splitlines()) == 1
