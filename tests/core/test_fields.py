"""Fields: read as they were written, and refused with one error when they are not."""

import json
from dataclasses import replace

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
    found = [replace(field, crc=0xABC) for field in fields.from_json(entries())]
    text = fields.fields_text(found)
    written = json.loads(text)
    assert text == json.dumps(written, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    assert fields.from_json(written) == found
    assert {entry.pop("crc") for entry in written} == {"00000abc"}
    assert all(len(entry.pop("check")) == 8 for entry in written)
    assert written == entries()
    (tmp_path / "fields.json").write_text(text, encoding="utf-8")
    assert fields.read_fields(tmp_path) == found


def test_a_flipped_bit_in_fields_json_never_changes_what_is_read(tmp_path):
    """Names of columns and classes go from here into what a trainer reads, so each byte is under a checksum."""
    found = [replace(field, crc=0xABC) for field in fields.from_json(entries())]
    content = fields.fields_text(found).encode()
    n_refused = 0
    for offset in range(len(content)):
        (tmp_path / "fields.json").write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        try:
            assert fields.read_fields(tmp_path) == found  # white space, or a digit's case
        except DamagedFile:
            n_refused += 1
    assert n_refused > len(content) / 2


def test_a_field_knows_its_head_and_sizes():
    """Dtypes are NumPy's, bits are told unpacked, columns without names are numbered."""
    named = {field.name: field for field in fields.from_json(entries())}
    assert (named["label_end"].head, named["name"].head) == ("end", "name")
    assert (named["X"].n_columns, named["X"].row_bytes, named["name"].row_bytes) == (6, 24, 16)
    assert (named["board"].unpacked_shape, named["X"].unpacked_shape) == ((3, 5), (2, 3))
    assert named["board"].column_names == ("board 0", "board 1")
    assert named["name"].dtype == np.dtype("S16")


def test_a_dataset_cannot_declare_a_role_that_nothing_writes():
    """Split writes fields by role: one of an unknown role would be lost without a word."""
    with pytest.raises(ValueError, match="field 'x' has role 'features', expected one of feature, label"):
        Field("int8", (), "features", "x")


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
