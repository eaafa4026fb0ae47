"""params.yaml: defaults, and a clear error for everything that is not as it must be."""

import json
from pathlib import Path

import pytest

from stages.core.params import DatasetParams, ParamsError, SplitParams, load
from tests.helpers.places import REPOSITORY

GOOD = "datasets:\n  splendor: {raw: raw}\n"


@pytest.fixture
def load_text(tmp_path):
    """Load a params.yaml with the text given."""

    def load_it(text):
        path = tmp_path / "params.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path)

    return load_it


def test_defaults_fill_what_is_not_given(load_text):
    params = load_text(GOOD)
    assert params.dataset("splendor") == DatasetParams("raw", 500, None, 0, {})
    assert params.split == SplitParams(0.8, 0.1, 0.1, 42)
    assert params.simulate == {}
    assert params.dataset("splendor").raw_dir == Path("raw")


def test_values_given_are_taken(load_text):
    params = load_text(
        "datasets:\n  a: {raw: x/y, batch_size: 7, limit: 3, max_bad_units: 2, options: {k: [1]}}\n"
        "split: {train: 0.5, val: 0.25, test: 0.25, seed: 0}\nsimulate: {a: {games: 5}}\n"
    )
    assert params.datasets == {"a": DatasetParams("x/y", 7, 3, 2, {"k": [1]})}
    assert params.split == SplitParams(0.5, 0.25, 0.25, 0)
    assert params.simulate == {"a": {"games": 5}}


def test_the_repository_s_own_params_are_valid():
    params = load(REPOSITORY / "params.yaml")
    assert set(params.simulate) <= set(params.datasets)


@pytest.mark.parametrize(
    ("text", "where", "nearest"),
    [
        (GOOD + "splits: {}\n", "unknown key 'splits'", "split"),
        (GOOD + "split: {tran: 0.8}\n", "split: unknown key 'tran'", "train"),
        (
            "datasets:\n  splendor: {raw: raw, batchsize: 5}\n",
            "datasets.splendor: unknown key 'batchsize'",
            "batch_size",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(load_text, text, where, nearest):
    with pytest.raises(ParamsError, match=rf"{where}.*did you mean '{nearest}'\?$"):
        load_text(text)


def test_an_unknown_key_unlike_any_names_them_all(load_text):
    with pytest.raises(ParamsError, match=r"split: unknown key 'zzz', expected train, val, test, seed, by, "):
        load_text(GOOD + "split: {zzz: 1}\n")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("batch_size", "true", "True, expected int"),
        ("batch_size", "'5'", "'5', expected int"),
        ("batch_size", "5.0", "5.0, expected int"),
        ("batch_size", "[5]", "[5], expected int"),
        ("batch_size", "null", "None, expected int"),
        ("limit", "many", "'many', expected int or null"),
        ("limit", "false", "False, expected int or null"),
        ("max_bad_units", "1.5", "1.5, expected int"),
        ("options", "[]", "[], expected a section of named keys"),
        ("raw", "7", "7, expected str"),
        ("raw", "null", "None, expected str"),
        ("batch_size", "0", "0, expected a whole number from 1"),
        ("batch_size", "-3", "-3, expected a whole number from 1"),
        ("max_bad_units", "-1", "-1, expected a whole number from 0"),
        ("limit", "0", "0, expected a whole number from 1"),
    ],
)
def test_a_wrong_dataset_value_names_key_found_and_expected(load_text, key, value, expected):
    raw = "" if key == "raw" else "raw: raw, "
    with pytest.raises(ParamsError) as caught:
        load_text(f"datasets:\n  splendor: {{{raw}{key}: {value}}}\n")
    assert str(caught.value).endswith(f"datasets.splendor.{key}: {expected}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train: true", "split.train: True, expected float"),
        ("train: '0.8'", "split.train: '0.8', expected float"),
        ("seed: 1.0", "split.seed: 1.0, expected int"),
        ("train: 0.9", "split: shares sum to 1.1, expected 1"),
        ("train: 0.7", "split: shares sum to 0.9, expected 1"),
        ("train: 1, val: 0, test: 0", "split.train: 1, expected a share between 0 and 1"),
        ("train: -0.8, val: 0.9, test: 0.9", "split.train: -0.8, expected a share"),
        ("train: .nan", "split.train: nan, expected a share"),
        ("train: .inf", "split.train: inf, expected a share"),
        ("store: int8", "split.store: 'int8', expected float32 or stored"),
    ],
)
def test_a_wrong_split_value_names_key_found_and_expected(load_text, split, expected):
    with pytest.raises(ParamsError) as caught:
        load_text(GOOD + f"split: {{{split}}}\n")
    assert expected in str(caught.value)


def test_all_errors_are_told_at_once(load_text):
    with pytest.raises(ParamsError) as caught:
        load_text(
            "datasets:\n  a: {batchsize: 5, limit: 0}\n  b: {raw: 7}\n"
            "split: {by: times, windows: {X: {window: 0}}}\nsimulate: {c: 1}\n"
        )
    first, *others = str(caught.value).splitlines()
    assert first.endswith("params.yaml: 8 errors, correct each of them:")
    assert [line.partition("params.yaml: ")[2] for line in others] == [
        "datasets.a: unknown key 'batchsize', expected raw, batch_size, limit, max_bad_units, options, split; did you "
        "mean 'batch_size'?",
        "datasets.a: raw is missing; add it",
        "datasets.a.limit: 0, expected a whole number from 1",
        "datasets.b.raw: 7, expected str",
        "split.by: 'times', expected group or time",
        "split.windows.X.window: 0, expected a whole number from 1",
        "split.windows.X: step is missing; add it",
        "simulate.c: 1, expected a section of named keys",
    ]


def test_what_a_dataset_sets_differently_is_checked_with_the_rest_of_split(load_text):
    with pytest.raises(
        ParamsError, match=r"2 errors.*\n.* datasets\.a\.split: unknown key.*\n.*b\.split: shares sum to 1\.1, "
    ):
        load_text("datasets:\n  a: {raw: x, split: {tran: 1}}\n  b: {raw: x, split: {train: 0.9}}\n")


def test_only_raw_is_needed_and_sections_may_be_empty(load_text):
    least = load_text("datasets:\n  a: {raw: x}\n")
    empty = load_text("datasets:\n  a:\n    raw: x\n    options:\n    split:\nsplit:\nsimulate:\n")
    assert least == empty
    assert load_text("datasets: {a: {raw: x}}\nsimulate: {a: }\n").simulate == {"a": {}}


def test_a_dataset_without_raw_is_refused(load_text):
    with pytest.raises(ParamsError, match=r"datasets\.splendor: raw is missing; add it"):
        load_text("datasets:\n  splendor: {batch_size: 5}\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "text",
        "datasets: []",
        "datasets:",
        "datasets: {a: 5}",
        GOOD + "split: 5",
        GOOD + "split: []",
        GOOD + "simulate: 0",
        GOOD + "simulate: {a: 1}",
    ],
)
def test_what_is_no_section_is_refused(load_text, text):
    with pytest.raises(ParamsError, match=r"expected a section of named keys"):
        load_text(text)


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(ParamsError, match=r"params\.yaml: not found.*run from the repository"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "datasets: {",
        "a: b: c",
        b"\xff\xfe\xff",
        "datasets: \x00",
    ],
)
def test_what_is_no_yaml_is_refused_in_one_line(load_text, text):
    with pytest.raises(ParamsError, match=r"params\.yaml: not readable as YAML: ") as caught:
        load_text(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "simulate: !!python/object:os.system {}\n", "line 3: tag "),
        (GOOD + "simulate: !!python/object/apply:os.getcwd []\n", "line 3: tag "),
        (GOOD + "simulate: {a: !mine 5}\n", "line 3: tag '!mine'"),
        (GOOD + "split: {ON: 1}\n", "line 3: key ON is read as bool, expected text; quote it"),
        (GOOD + GOOD, "line 3: key 'datasets' again, first in line 1; remove one of them"),
    ],
)
def test_what_is_more_than_plain_yaml_is_refused_with_its_line(load_text, text, message):
    with pytest.raises(ParamsError, match=rf"params\.yaml: {message}") as caught:
        load_text(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["Hex", "_hex", "2048", "a-b", "a.b", "a/b", "../a", "a b", "a;b", "", "h\u00e9x", "a\n"]
)
def test_a_name_that_no_package_can_have_is_refused(load_text, name):
    named = json.dumps(name)
    with pytest.raises(ParamsError, match=r"params\.yaml: datasets: .*, expected a small letter, then small letters, "):
        load_text(f"datasets:\n  {named}: {{raw: raw}}\n")
    with pytest.raises(ParamsError, match=r"params\.yaml: simulate: .*, expected a small letter, then small letters, "):
        load_text(GOOD + f"simulate:\n  {named}: {{}}\n")


def test_an_unknown_dataset_names_the_known_ones_and_the_nearest(load_text):
    params = load_text("datasets:\n  splendor: {raw: a}\n  hex: {raw: b}\n")
    with pytest.raises(ParamsError, match=r"no dataset 'splendour', expected one of: hex, splendor; did you mean 'spl"):
        params.dataset("splendour")
    with pytest.raises(ParamsError, match=r"no dataset 'a', expected one of: none$"):
        load_text("datasets: {}").dataset("a")
