"""Raw files as people have them: compressed, in upper case, beside files of others, and some that cannot be used."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from stages import discover, merge, process
from stages.commands.preprocess import left_out
from stages.core import manifests, paths
from stages.core.errors import BadUnit
from stages.core.params import DatasetParams
from stages.datasets import base
from stages.datasets.base import simulator
from tests.helpers.samples import SETTINGS, write_alone

DATASETS = ["hex", "market", "rugs", "splendor"]
NAMES = {
    "hex": "worker_0/x.trmph",
    "market": "orders.csv",
    "rugs": "events_parquet/x.parquet",
    "splendor": "2_games/9.csv",
}
PAGE = b"<!DOCTYPE html>\n<html><title>503 Service Unavailable</title></html>\n"
OPTIONS = {dataset: {} for dataset in DATASETS}
OPTIONS["market"] = {"instruments": {"NQ": {"date_order": "month_first"}}}
PACKERS = {"gz": gzip.compress, "zst": lambda content: pa.compress(content, "zstd", asbytes=True)}

each_dataset = pytest.mark.parametrize("dataset", DATASETS)


@pytest.fixture
def raw(tmp_path, monkeypatch, dataset):
    """Give the small sample of a dataset, in a folder that is the repository."""
    monkeypatch.chdir(tmp_path)
    write_alone(simulator(dataset), tmp_path / "raw", SETTINGS[dataset])
    return tmp_path / "raw"


def files(raw):
    return sorted(path for path in raw.rglob("*") if path.is_file())


def arrays(dataset, raw):
    """Return the arrays of all units together, and the keys."""
    units, encoder, options = found(dataset, raw), base.encoder(dataset), OPTIONS[dataset]
    return encoder.encode(encoder.read(raw, units, options), options), [unit.key for unit in units]


def found(dataset, raw):
    return base.finder(dataset).find(raw, OPTIONS[dataset])


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("dataset", ["hex", "market", "splendor"])
def test_compressed_files_give_the_same_arrays(raw, dataset, kind):
    """Also where a name is in upper case; each row is found again in its file."""
    before, keys = arrays(dataset, raw)
    for path in files(raw):
        path.with_name(f"{path.stem}{path.suffix.upper()}.{kind}").write_bytes(PACKERS[kind](path.read_bytes()))
        path.unlink()
    after, keys_after = arrays(dataset, raw)
    assert len(keys) == len(keys_after)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    for unit in found(dataset, raw):
        base.check_unit(dataset, raw, unit)
        [(path, line)] = base.locate(dataset, raw, unit, [2])
        assert path in files(raw)
        assert line >= 2


@each_dataset
def test_names_in_upper_case_count(raw, dataset):
    before, keys = arrays(dataset, raw)
    for path in files(raw):
        path.rename(path.with_name(f"{path.stem}{path.suffix.upper()}"))
    after, keys_after = arrays(dataset, raw)
    assert len(keys) == len(keys_after)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)


def test_the_short_ending_of_parquet_counts(tmp_path):
    write_alone(simulator("rugs"), tmp_path, SETTINGS["rugs"])
    before = base.finder("rugs").find(tmp_path, {})
    for path in files(tmp_path):
        path.rename(path.with_suffix(".pq"))
    after = base.finder("rugs").find(tmp_path, {})
    assert [unit.digest for unit in after] == [unit.digest for unit in before]


@each_dataset
def test_what_others_leave_in_the_folder_changes_nothing(raw, dataset, caplog):
    """Names of the dataset's own kind, but hidden, temporary or of macOS and Jupyter."""
    before = found(dataset, raw)
    for path in files(raw)[:1]:
        for name in (f"._{path.name}", f".{path.name}", f"{path.name}.tmp", "Thumbs.db"):
            path.with_name(name).write_bytes(b"\x00\x05\x16\x07")
        for folder in (".ipynb_checkpoints", "__MACOSX"):
            path.with_name(folder).mkdir()
            (path.parent / folder / path.name).write_bytes(path.read_bytes())
    assert found(dataset, raw) == before
    assert "not read" not in caplog.text


@each_dataset
def test_files_that_are_not_read_are_named(raw, dataset, caplog):
    before = found(dataset, raw)
    (raw / "notes.md").write_text("x")
    (raw / "more").mkdir()
    (raw / "more/data.csv.bak").write_text("x")
    assert found(dataset, raw) == before
    assert f"{raw}: 2 files are not read: more/data.csv.bak, notes.md; expected names like" in caplog.text


UNUSABLE = {
    "page": (PAGE, "a page of HTML or XML"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n", "a pointer of git-lfs"),
    "UTF-16": ("time,open\n1,2\n".encode("utf-16"), "text in UTF-16"),
    "gzip": (gzip.compress(b"time,open\n"), "compressed with gzip, which its name does not say"),
    "returns": (b"time,open\r1,2\r3,4\r", "carriage returns alone"),
}


@each_dataset
@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_file_that_is_something_else_is_one_bad_unit_that_says_what(raw, dataset, kind):
    content, expected = UNUSABLE[kind]
    before = found(dataset, raw)
    (raw / NAMES[dataset]).parent.mkdir(exist_ok=True)
    (raw / NAMES[dataset]).write_bytes(content)
    *good, bad = sorted(found(dataset, raw), key=lambda unit: not unit.digest)
    assert {unit.key: unit.digest for unit in good} == {unit.key: unit.digest for unit in before}
    assert (bad.key, bad.digest) == (NAMES[dataset], "")
    assert bad.context["bad"].startswith(f"{NAMES[dataset]}: ")
    assert expected in bad.context["bad"]
    with pytest.raises(BadUnit, match=expected):
        base.encoder(dataset).read(raw, [bad], OPTIONS[dataset])


TORN = {
    "hex": (b"x" * 70_000, "a line of more than 65,536 bytes"),
    "market": (b"id,side,qty\n1,buy,2\n", "orders.csv:1: "),
    "rugs": (b"PAR1\x15\x04", "expected a Parquet file of events"),
    "splendor": (b"a,b\n1,2\n", "column 1 is 'a', expected 'game_id'"),
}


@each_dataset
def test_a_file_that_cannot_be_used_is_left_out_listed_and_told(raw, dataset, caplog):
    """Through all stages: refused as it stands, and with max_bad_units all others are made, the same as without it."""
    params = DatasetParams(raw=str(raw), options=OPTIONS[dataset])
    rows = []
    for name in (None, NAMES[dataset]):
        if name:
            (raw / name).parent.mkdir(exist_ok=True)
            (raw / name).write_bytes(TORN[dataset][0])
            with pytest.raises(BadUnit, match=TORN[dataset][1]):
                run(dataset, params)
            params = replace(params, max_bad_units=1)
        run(dataset, params)
        rows.append(json.loads(paths.report(dataset).read_text())["rows"])
    assert rows[0] == rows[1] > 0
    report = json.loads(paths.report(dataset).read_text())["bad_units"]
    assert report["count"] == 1
    assert report["list"][0]["unit"] == NAMES[dataset]
    assert TORN[dataset][1] in report["list"][0]["reason"]
    for batch in manifests.read_batch_list(dataset):
        for unit in manifests.read_manifest(dataset, batch):
            base.check_unit(dataset, raw, unit)  # as `make verify` does
    count, reason = left_out(dataset)
    assert count == f"{dataset}: 1 unit is left out, see data/reports/{dataset}.json:\n"
    assert reason.startswith(f"  {NAMES[dataset]}: ")
    assert TORN[dataset][1] in reason


def run(dataset, params):
    discover.discover(dataset, params)
    for batch in manifests.read_batch_list(dataset):
        process.process(dataset, batch, params)
    merge.merge(dataset, params.max_bad_units)
