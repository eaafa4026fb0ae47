"""Types in the words of Hugging Face are those that `datasets` means by them."""

import doctest

import pytest

from stages.report import hub


def test_examples_are_right():
    assert doctest.testmod(hub).failed == 0


@pytest.mark.slow
def test_datasets_reads_both_forms_as_the_same_types():
    datasets = pytest.importorskip("datasets", reason="datasets is not installed; `pip install -e '.[export]'` does it")
    kinds = {
        "one": hub.array("int16"),
        "list": hub.array("bool", (4,)),
        "window": hub.array("float", (48, 13)),
        "board": hub.array("uint8", (2, 13, 13)),
        "deep": hub.array("uint8", (2,) * 6),
        "label": hub.class_label(["", "build", "7"]),
    }
    of_card = datasets.Features._from_yaml_list([hub.entry(name, kind) for name, kind in kinds.items()])
    assert of_card == datasets.Features.from_dict({name: hub.in_schema(kind) for name, kind in kinds.items()})
    assert of_card["board"] == datasets.Array3D((2, 13, 13), "uint8")
    assert of_card["label"].names == ["", "build", "7"]
