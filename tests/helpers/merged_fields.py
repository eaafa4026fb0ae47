"""fields.json for merged arrays that a test wrote by hand, with checksums as merge takes them."""

from dataclasses import replace

from stages.core import checksum, fields


def sealed(folder, entries):
    """Return the text of fields.json for some entries, as they stand in it, and the arrays that lie in the folder."""
    found = fields.from_json(entries)
    return fields.fields_text(replace(field, crc=checksum.of_file(folder / f"{field.name}.npy")) for field in found)


def write_fields(folder, entries):
    """Write fields.json."""
    (folder / fields.FIELDS_FILE).write_text(sealed(folder, entries), encoding="utf-8")
