"""The combinations of a sweep, their names, and how DVC is told of them."""

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from stages.commands.sweep_grid import applied, as_yaml, combinations, name_of, overrides, told, varying
from stages.commands.sweep_trials import chosen
from stages.core.params import Params, ParamsError, SweepParams, build

GRID = {"lr": [0.003, 0.01], "model": {"channels": [16, 32, 64]}, "samples": [2000]}
WHERE = "params.yaml: sweep.a"


def of(grid, **settings):
    return combinations(SweepParams(grid, **settings), WHERE)


def test_a_grid_is_each_value_with_each_other_the_last_key_first():
    found = of(GRID)
    assert len(found) == 6
    assert found[0] == {"lr": 0.003, "model.channels": 16, "samples": 2000}
    assert found[1] == {"lr": 0.003, "model.channels": 32, "samples": 2000}
    assert found[5] == {"lr": 0.01, "model.channels": 64, "samples": 2000}
    assert varying(found) == ["lr", "model.channels"]


def test_a_random_choice_is_some_of_the_grid_the_same_for_a_seed():
    some = of(GRID, random=4, seed=1)
    assert some == of(GRID, random=4, seed=1) != of(GRID, random=4, seed=3)
    assert [one for one in of(GRID) if one in some] == some
    assert len(some) == 4
    assert of(GRID, random=100) == of(GRID)


def test_a_large_grid_is_drawn_from_and_not_made():
    values = list(range(1000))
    assert len(of(dict.fromkeys("abcdef", values), random=3)) == 3
    with pytest.raises(ParamsError, match=r"sweep\.a: 1,000,000 combinations, expected at most 1,000; set random"):
        of({"a": values, "b": values})


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"lr": 0.1}, r"sweep\.a\.grid\.lr: 0\.1, expected a list of values to try; write \[0\.1\]"),
        ({"model": {"width": 3}}, r"grid\.model\.width: 3, expected a list of values to try"),
        ({"lr": []}, r"grid\.lr: \[\], expected a list"),
        ({"lr": [0.1, 0.2, 0.1]}, r"grid\.lr: 0\.1 stands there twice; remove one"),
        ({"lr": [1, 1.0]}, r"grid\.lr: 1\.0 stands there twice"),
        ({"model.width": [1]}, r"grid: key 'model\.width', expected the name of a setting"),
    ],
)
def test_what_is_no_grid_is_refused(grid, message):
    with pytest.raises(ParamsError, match=message):
        of(grid)


def test_the_section_of_params_yaml_is_checked():
    def read(sweep):
        return build(Params, {"datasets": {"a": {"raw": "x"}}, "train": {"a": {}}, "sweep": {"a": sweep}}, "p: ")

    assert read({"grid": {"lr": [1]}}).sweep["a"].seed == 42
    with pytest.raises(ParamsError, match=r"p: sweep\.a: unknown key 'gird', expected grid, .*; did you mean 'grid'\?"):
        read({"gird": {"lr": [1]}})
    with pytest.raises(ParamsError, match=r"p: sweep\.a\.grid: \{\}, expected at least one key of train"):
        read({"grid": {}})
    with pytest.raises(ParamsError, match=r"p: sweep\.a\.random: 0, expected a whole number from 1"):
        read({"grid": {"lr": [1]}, "random": 0})


def test_datasets_are_those_that_are_named_or_all_that_have_an_entry():
    sweep = {"a": {"grid": {"lr": [1]}}, "c": {"grid": {"lr": [1]}}}
    datasets = {name: {"raw": "x"} for name in ("a", "b", "c")}
    params = build(Params, {"datasets": datasets, "train": {"a": {}, "b": {}}, "sweep": sweep}, "p: ")
    assert chosen(params, ["a"]) == ["a"]
    with pytest.raises(ParamsError, match="sweep: no entry 'b', expected one of: a, c"):
        chosen(params, ["b"])
    with pytest.raises(ParamsError, match="train: no entry 'c', expected one of: a, b"):
        chosen(params, ["a", "b", "c"])


def test_a_combination_changes_some_keys_of_an_entry():
    entry = {"lr": 1, "model": {"width": 2, "dropout": 0.5}, "early_stop": {"patience": 3}}
    new = {"model.width": 4, "early_stop": {"min_delta": 0.1}, "heads.first": [1], "epochs": None}
    assert applied(entry, new) == {
        "lr": 1,
        "model": {"width": 4, "dropout": 0.5},
        "early_stop": {"patience": 3, "min_delta": 0.1},
        "heads": {"first": [1]},
        "epochs": None,
    }
    assert entry["model"] == {"width": 2, "dropout": 0.5}


def test_a_name_has_what_varies_and_is_a_reference_of_git():
    one = {"lr": 1e-05, "model.widths": [64, 32], "schedule": "one.lock", "samples": 3}
    assert (
        name_of("a", one, ["lr", "model.widths", "schedule"], "0a1b2c")
        == "a-lr1e-05-widths_64_32_-schedule_one_lock_-0a1b2c"
    )
    assert len(name_of("a", {"x": "y" * 1000}, ["x"], "0a1b2c")) < 100
    assert told(one) == 'lr: 1e-05, model.widths: [64, 32], schedule: "one.lock", samples: 3'


WORDS = ("cosine", "a, b: [c]", 'say "no"', "", "1e5")


@pytest.mark.parametrize("value", [1, -2.5, 1e-05, True, None, *WORDS, [64, 32], [], {"patience": 3, "metric": "x"}])
def test_dvc_and_yaml_read_a_value_as_it_was(value):
    """DVC reads ``--set-param`` by hydra's grammar."""
    (override,) = overrides("a", {"model.x": value})
    parsed = OverridesParser.create().parse_override(override)
    assert (parsed.key_or_group, parsed.value(), parsed.is_force_add()) == ("train.a.model.x", value, True)
    if value != 1e-05:  # which YAML 1.1, of this reader, takes for text
        assert yaml.safe_load(as_yaml(value)) == value
