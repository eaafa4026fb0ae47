"""Fields: read as they were written, and refused with one error when they are not."""

import json

import numpy as np
import pytest

from stages.core import fields
from stages.core.arrays import DamagedFile
from stages.core.fields import Field, NamedField

DECLARED = {
    "X": Field("float32", (2, 3), "feature", "x", ("a",) * 6, (True,) * 6),
    "board": Field("uint8", (2,), "feature", "stones", bits=(3, 5)),
    "label_end": Field("int16", (), "label", "who won", ("win", "loss")),
    "name": Field("S16", (), "key", "ä name"),
    "word": Field("U5", (), "key", "text"),
    "is_late": Field("bool", (), "key", "a flag"),
}


def entries():
    """Return the fields as they stand in a batch's meta, after JSON."""
    return json.loads(json.dumps([field.header(name) for name, field in DECLARED.items()]))


def test_fields_json_says_what_the_dataset_declared(tmp_path):
    """The same values, a key a line in sorted order, and the same fields when it is read."""
    found = fields.from_json(entries())
    text = fields.fields_text(found)
    assert json.loads(text) == entries()
    assert text == json.dumps(entries(), sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    (tmp_path / "fields.json").write_text(text, encoding="utf-8")
    assert fields.read_fields(tmp_path) == found


def test_a_field_knows_its_head_and_sizes():
    """Dtypes are NumPy's, bits are told unpacked, columns without names are numbered."""
    named = {field.name: field for field in fields.from_json(entries())}
    assert (named["label_end"].head, named["name"].head) == ("end", "name")
    assert (named["X"].n_columns, named["X"].row_bytes, named["name"].row_bytes) == (6, 24, 16)
    assert (named["board"].unpacked_shape, named["X"].unpacked_shape) == ((3, 5), (2, 3))
    assert named["board"].column_names == ("board 0", "board 1")
    assert named["name"].dtype == np.dtype("S16")


def test_what_older_files_leave_out_is_none():
    """Names, normalise and bits."""
    entry = {"name": "step", "dtype": "int32", "shape": [], "role": "key", "doc": "n"}
    assert fields.from_json([entry]) == [NamedField("step", np.dtype("i4"), (), "key", "n")]


@pytest.mark.parametrize(
    "change",
    [{"name": "../x"}, {"name": 5}, {"dtype": "int33"}, {"shape": None}, {"role": "features"}, {"names": 4}],
)
def test_a_field_that_is_none_is_refused(tmp_path, change):
    """Of whatever kind the fault is; the file is named."""
    (tmp_path / "fields.json").write_text(json.dumps([*entries(), entries()[0] | change]))
    with pytest.raises(DamagedFile, match=r"fields.json: not what merge writes \(.*\); remove it"):
        fields.read_fields(tmp_path)


@pytest.mark.parametrize("text", ["", "{}}", "[4]", '["name"]', "3", '[{"name": "x"}]'])
def test_a_file_of_another_form_is_refused(tmp_path, text):
    """No JSON, no list, no objects."""
    (tmp_path / "fields.json").write_text(text)
    with pytest.raises(DamagedFile, match=r"fields.json: not what merge writes"):
        fields.read_fields(tmp_path)
