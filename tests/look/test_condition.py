"""An expression chooses the rows that NumPy says it should, runs nothing, and is told where it means nothing."""

import json

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.look import Condition, PartRows
from tests.helpers.looking import part_arrays


@pytest.fixture(scope="module")
def folder(finished):
    return finished / "data/processed/splendor"


@pytest.fixture(scope="module")
def rows(folder):
    return PartRows(folder, "train")


@pytest.fixture(scope="module")
def known(folder):
    return part_arrays(folder, "train")


def chosen(text, rows):
    return np.concatenate(list(Condition(text, rows).chosen())).tolist()


def of_class(folder, known, head, name):
    return known[f"label_{head}"] == json.loads((folder / "label_mappings.json").read_text())[head][name]


def test_labels_keys_and_masks_are_compared(rows, known, folder):
    build, take = (of_class(folder, known, "action_type", name) for name in ("build", "take 2 tokens"))
    turn = known["turn_number"]
    for text, expected in {
        "action_type == 'build' and turn_number > 5": build & (turn > 5),
        "label_action_type in ['build', 'take 2 tokens']": build | take,
        "not action_type == 'build' or 3 <= turn_number < 5": ~build | ((turn >= 3) & (turn < 5)),
        "(action_type != 'build') & ~(turn_number % 2 == 0)": ~build & (turn % 2 != 0),
        "noble is None": known["label_noble"] == -1,
        "noble != '0'": ~of_class(folder, known, "noble", "0"),
        "card_selection == 2": of_class(folder, known, "card_selection", "2"),
        "mask_action_type.build": known["mask_action_type"][:, 0] == 1,
        "mask_action_type['take 2 tokens'] == 0": known["mask_action_type"][:, 2] == 0,
        "turn_number * 2 - 1 == current_player + 4 // 2": turn * 2 - 1 == known["current_player"] + 2,
        "row < 3 or 7 == row": np.isin(np.arange(len(turn)), [0, 1, 2, 7]),
        "True": np.ones(len(turn), bool),
    }.items():
        assert chosen(text, rows) == np.flatnonzero(expected).tolist(), text


def test_features_have_raw_values_and_units_their_names(rows, known):
    units = known["units"][known["unit"]]
    unit = str(units[0])
    assert chosen(f"unit == {unit!r}", rows) == np.flatnonzero(units == unit).tolist()
    gems = rows.read("X", slice(0, None))[:, rows.fields["X"].columns.index("gems_board_white")]
    assert chosen("X['gems_board_white'] == 4", rows) == np.flatnonzero(gems == 4).tolist()


@pytest.mark.slow
def test_times_are_compared_with_text(arrays_of):
    rows = PartRows(arrays_of("market"), "train")
    time = rows.read("time", slice(0, None)).view("datetime64[ns]")
    middle = np.datetime64("2024-01-15T09:30")
    for text in (
        "time < '2024-01-15 09:30'",
        "time < '2024-01-15T09:30Z'",
        f"time < {middle.astype('M8[ns]').view(int)}",
    ):
        assert chosen(text, rows) == np.flatnonzero(time < middle).tolist()
    instrument = rows.read("instrument", slice(0, None))
    assert chosen("instrument == 'NQ'", rows) == np.flatnonzero(instrument == b"NQ").tolist()
    with pytest.raises(ExpectedError, match="'noon' is no time"):
        Condition("time < 'noon'", rows)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("action_typ == 'build'", "no column 'action_typ'; did you mean 'action_type'"),
        ("action_type == 'biuld'", "'action_type' has no label 'biuld'; did you mean 'build'"),
        ("action_type < 'build'", "has classes, which have no order"),
        ("action_type", "neither true nor false"),
        ("turn_number", "neither true nor false"),
        ("turn_number == 'five'", "'turn_number' is a number, and 'five' is not"),
        ("action_type + 1 == 2", "action_type is a label, expected a number"),
        ("action_type == noble", "have different classes"),
        ("action_type == turn_number", "'action_type' is a label and 'turn_number' a number"),
        ("turn_number in turn_number", "is no list"),
        ("X > 1", "'X' has 1308 columns; name one of them"),
        ("action_type = 'build'", "not an expression .*; == compares"),
        ("turn_number >", "not an expression"),
        ("('a' * 9) == 'a'", "'a' is a text, expected a number"),
        ("2 ** 9 == 1", "not known here, expected one of"),
        ("__import__('os').system('touch f')", "not known here"),
        ("().__class__ == 1", "is no name of a column"),
        ("[x for x in 'ab'] == 1", "not known here"),
        ("(lambda: 1) == 1", "not known here"),
        ("(a := 1) == 1", "not known here"),
        ("f'{turn_number}' == '1'", "not known here"),
        ("1j == turn_number", "is no value of this kind"),
        ("(" * 900 + "1" + ")" * 900, "not an expression"),
        ("1 + " * 600 + "1 == 2", "characters, expected at most"),
    ],
)
def test_what_means_nothing_is_one_clear_line(rows, text, said, here):
    with pytest.raises(ExpectedError, match=said) as failed:
        Condition(text, rows)
    assert len(failed.value.lines) == 1
    assert list(here.iterdir()) == []
