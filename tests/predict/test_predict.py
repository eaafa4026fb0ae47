"""What is said of a raw file is what the model says of the same rows of data/processed."""

import csv
import io
import itertools
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from stages.core.params import load  # noqa: E402
from stages.loader import batches  # noqa: E402
from stages.predict import __main__ as command  # noqa: E402
from stages.predict.answers import answers  # noqa: E402
from stages.processed import Processed  # noqa: E402
from stages.training import load_model  # noqa: E402
from tests.helpers.places import SHIPPED  # noqa: E402

pytestmark = pytest.mark.train

FILES = {"splendor": "2_games/*.csv", "hex": "**/*.trmph", "market": "NQ.csv", "rugs": "events_parquet"}
PARTS = ("train", "val", "test")


@pytest.fixture
def here(models, monkeypatch):
    """Return a folder with raw files, arrays and models, the working directory; not to be changed."""
    monkeypatch.chdir(models)
    return models


def some_file(here, dataset):
    """Return a raw file of a dataset, as it is typed."""
    return sorted((here / "data/sample" / dataset).glob(FILES[dataset]))[0].relative_to(here)


def said_of(dataset, file, top=1):
    """Return all columns of what is said of a file."""
    params = load().dataset(dataset)
    pieces = list(answers(dataset, params, file, load_model(dataset), top))
    return {name: list(itertools.chain(*(piece[name] for piece in pieces))) for name in pieces[0]}


def expected_of(dataset):
    """Yield group, unit's row, and the answers to it, of each sample of data/processed."""
    model, data = load_model(dataset), Processed(load_model(dataset).data.folder)
    window = model.settings.get("window")
    for part in PARTS:
        keys = data.keys(part)
        rows = np.arange(len(keys["unit"]))
        if window:
            n_rows = data.window_rows(window)
            rows = np.load(data.window_starts_path(window, part)) + range(n_rows)[model.task.ANSWERED_ROW]
        start = 0
        with batches(data.folder, part, batch_size=512, **model.settings) as stream:
            for batch in stream:
                found = model(batch)
                stop = start + len(next(iter(found.values())))
                for place, row in enumerate(rows[start:stop].tolist()):
                    group, unit_row = f"{keys['group_id'][row]:016x}", int(keys["row_in_unit"][row])
                    yield (
                        (group, str(keys["units"][keys["unit"][row]]), unit_row),
                        {head: values[place] for head, values in found.items()},
                    )
                start = stop


@pytest.mark.parametrize("dataset", SHIPPED)
def test_answers_are_those_of_the_same_rows_of_the_processed_arrays(here, dataset):
    said = said_of(dataset, some_file(here, dataset))
    place = {key: row for row, key in enumerate(zip(said["group"], said["unit"], said["row"], strict=True))}
    assert len(place) == len(said["row"])
    classes = Processed(here / "data/processed" / dataset).label_mappings()
    n_compared = 0
    for key, expected in expected_of(dataset):
        if key not in place:
            continue
        n_compared += 1
        for head, values in expected.items():
            if values.ndim:
                best = list(classes[head])[int(values.argmax())] if values.max() else ""
                assert said[head][place[key]] == best or said[f"{head}_p"][place[key]] == pytest.approx(values.max())
                assert said[f"{head}_p"][place[key]] == pytest.approx(float(values.max()), abs=1e-6)
            else:
                assert said[head][place[key]] == pytest.approx(float(values), abs=1e-6)
    assert n_compared > 0.3 * len(place)


@pytest.mark.parametrize("dataset", SHIPPED)
def test_lines_are_those_that_trace_names(here, run, dataset):
    said = said_of(dataset, some_file(here, dataset))
    keys = Processed(here / "data/processed" / dataset).keys("train")
    names = zip(keys["group_id"], keys["units"][keys["unit"]], keys["row_in_unit"], strict=True)
    row_of = {(f"{group:016x}", str(unit), int(row)): number for number, (group, unit, row) in enumerate(names)}
    chosen = [key for key in zip(said["group"], said["unit"], said["row"], strict=True) if key in row_of]
    assert chosen or dataset in ("splendor", "hex")
    for key in [*chosen[:1], *chosen[-1:]]:
        number = list(zip(said["group"], said["unit"], said["row"], strict=True)).index(key)
        traced = run("commands.trace", dataset, "train", str(row_of[key]), cwd=here).stdout
        assert f"{said['file'][number]}, line {said['line'][number]}\n" in traced


def test_a_file_from_elsewhere_is_answered_alike_and_a_raw_file_is_not_touched(here, tmp_path):
    file = some_file(here, "splendor")
    (tmp_path / "mine/2_games").mkdir(parents=True)
    copy = shutil.copy(file, tmp_path / "mine/2_games/5.csv")
    before = sorted(path for path in here.rglob("*") if path.is_file())
    one, other = said_of("splendor", file), said_of("splendor", copy)
    own = ("file", "unit", "group")
    assert {key: value for key, value in one.items() if key not in own} == {
        key: value for key, value in other.items() if key not in own
    }
    assert set(other["file"]) == {str(copy)}
    assert sorted(path for path in here.rglob("*") if path.is_file()) == before


def test_the_last_bar_of_a_file_is_answered_too(here, tmp_path):
    """A trainer needs bars behind a window, who asks does not have them yet; those behind change no answer."""
    whole = said_of("market", some_file(here, "market"))
    last = whole["line"][-1]
    lines = (here / "data/sample/market/NQ.csv").read_text().splitlines(keepends=True)
    (tmp_path / "bars").mkdir()
    (tmp_path / "bars/NQ.csv").write_text("".join(lines[:last]))
    cut = said_of("market", tmp_path / "bars/NQ.csv")
    assert cut["line"][-1] == last
    for name in ("time", "return", "volatility"):
        assert cut[name] == whole[name]
    assert whole["time"] == sorted(whole["time"])


def test_only_legal_classes_are_named_the_likeliest_first(here):
    said = said_of("splendor", some_file(here, "splendor"), top=3)
    probabilities = np.array([said["action_type_p"], said["action_type_2_p"], said["action_type_3_p"]])
    assert (np.diff(probabilities, axis=0) <= 0).all()
    named = np.array([said["action_type"], said["action_type_2"], said["action_type_3"]])
    assert ((named == "") == (probabilities == 0)).all()


@pytest.mark.parametrize("dataset", SHIPPED)
def test_a_bad_file_is_refused_with_the_line_of_the_pipeline(here, run, tmp_path, dataset):
    own, name = tmp_path / "own", Path("data/sample", dataset)
    shutil.copytree(here / name, own / name)
    shutil.copy(here / "params.yaml", own)
    for folder in ("models", "processed"):
        shutil.copytree(here / "data" / folder / dataset, own / "data" / folder / dataset)
    file = some_file(own, dataset)
    if dataset == "rugs":
        file = sorted((own / name).rglob("doc_type=ws_event/**/*.parquet"))[0].relative_to(own)
        (own / file).write_bytes((own / file).read_bytes()[:200])
    else:
        first, *lines = (own / file).read_bytes().splitlines(keepends=True)
        n_bad = len(lines) // 2
        (own / file).write_bytes(b"".join([first, *[b"nonsense,1\n"] * n_bad, *lines[n_bad:]]))
    told = [run(verb, dataset, cwd=own, LOG="warning", JOBS="1").stderr for verb in ("discover", "process")]
    error = next(line for line in "".join(told).splitlines() if line.startswith("error: "))
    found = run("predict", dataset, str(file), cwd=own)
    assert (found.returncode, found.stdout) == (1, "")
    assert error in found.stderr.splitlines()
    assert list((own / "data").glob(".predict*")) == []


def test_files_that_are_not_there_or_without_windows_are_told(here, run, tmp_path):
    found = run("predict", "splendor", "none.csv", cwd=here)
    assert found.stderr == "error: none.csv: not found, expected a raw file, or a folder of them; correct the name\n"
    lines = (here / "data/sample/market/NQ.csv").read_text().splitlines(keepends=True)
    (tmp_path / "few").mkdir()
    (tmp_path / "few/NQ.csv").write_text("".join([lines[0], *lines[1000:1029]]))
    found = run("predict", "market", str(tmp_path / "few/NQ.csv"), cwd=here)
    assert found.stderr.endswith("29 rows, expected a window of 48 without a gap; add rows\n")
    found = run("predict", "market", "data/sample/market/NQ.csv", "--out", str(tmp_path), cwd=here)
    assert found.stderr == f"error: --out: {tmp_path} is a folder, expected the name of a CSV file; correct it\n"


def test_parts_that_a_file_does_not_have_are_not_told_of(here, run):
    for name in ("market/NQ.csv", "rugs"):
        found = run("predict", name.partition("/")[0], f"data/sample/{name}", cwd=here)
        assert found.returncode == 0
        assert "no window of" not in found.stderr
        assert "split" not in found.stderr


def test_a_terminal_gets_a_table_and_all_else_csv(here, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    file = str(some_file(here, "splendor"))
    assert command.main(["splendor", file]) == 0
    piped = capsys.readouterr().out
    assert command.main(["splendor", file, "--out", str(tmp_path / "said.csv")]) == 0
    assert (tmp_path / "said.csv").read_text() == piped
    rows = list(csv.DictReader(io.StringIO(piped)))
    assert (rows[0]["row"], rows[0]["file"], rows[0]["line"]) == ("0", file, "2")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert command.main(["splendor", file]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:5] == ["unit", "row", "group", "file", "line"]
    assert len(table) == len(rows) + 1
