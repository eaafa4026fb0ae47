"""Names of generations, the list of them, and what each depends on."""

from dataclasses import fields

import pytest
import yaml

from stages.commands.iterate import chosen
from stages.core.complete import OF_ITERATE
from stages.core.errors import ExpectedError
from stages.core.params import load
from stages.generations.places import LIST, Generation, lengthen, listed, of_key
from stages.generations.settings import IterateSettings


def test_a_key_says_dataset_and_number():
    assert of_key("hex-g012") == Generation("hex", 12)
    assert Generation("hex", 12).key == "hex-g012"


@pytest.mark.parametrize("key", ["hex", "hex-g0", "hex-g000", "hex-g1", "-g001", "hex-gx", "hex-g001 "])
def test_other_keys_are_refused(key):
    with pytest.raises(ExpectedError, match="no generation, expected a name such as hex-g001"):
        of_key(key)


def test_the_list_grows_and_what_is_there_stays(here):
    LIST.parent.mkdir(parents=True)
    lengthen("hex", 2)
    before = LIST.read_bytes()
    lengthen("hex", 1)
    assert LIST.read_bytes() == before
    lengthen("hex", 3)
    assert [one.key for one in listed()] == ["hex-g001", "hex-g002", "hex-g003"]
    content = yaml.safe_load(LIST.read_bytes())["generations"]
    assert content["hex-g001"]["best_before"] == "data/models/hex"
    assert content["hex-g003"] == {
        "dataset": "hex",
        "best_before": "data/generations/hex-g002/best",
        "pool_before": "data/generations/hex-g002/pool.json",
    }


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("generations: {hex-g002: {}}", "hex-g002 without hex-g001"),
        ("generations: {hex-g001: 3}", "hex-g001 is 3, expected {'dataset': 'hex', "),
        ("", "no mapping `generations`"),
        ("generations: [hex-g001]", "no mapping `generations`"),
        ("generations: {hex: {}}", "'hex': no generation"),
        ("generations: {", "line 2"),
    ],
)
def test_a_damaged_list_is_an_error(here, text, error):
    LIST.parent.mkdir(parents=True)
    LIST.write_text(text)
    with pytest.raises(ExpectedError, match=rf"list.yaml: .*{error}.*; restore it with `git checkout"):
        listed()


def test_a_damaged_list_is_told_before_anything_runs(here):
    (here / "params.yaml").write_text("datasets: {hex: {raw: data/games}}\niterate: {hex: {}}\n")
    assert chosen(load(), ["hex"]) == ["hex"]
    LIST.parent.mkdir(parents=True)
    LIST.write_text("")
    with pytest.raises(ExpectedError, match="no mapping `generations`"):
        chosen(load(), ["hex"])


def test_without_a_list_there_are_none(here):
    assert listed() == []


def test_params_are_completed_with_each_section_of_an_entry():
    assert set(OF_ITERATE) == {field.name for field in fields(IterateSettings)}
