"""fields.json for merged arrays that a test wrote by hand, with checksums as merge takes them."""

from dataclasses import replace

from stages.core import checksum, fields


def write_fields(folder, entries):
    """Write fields.json for some entries, as they stand in it."""
    found = fields.from_json(entries)
    sealed = [replace(field, crc=checksum.of_file(folder / f"{field.name}.npy")) for field in found]
    (folder / fields.FIELDS_FILE).write_text(fields.fields_text(sealed), encoding="utf-8")
