"""The names of the files below data/merged/<dataset>/, besides `fields.FIELDS_FILE`.

Who writes a file (stages/merge.py) and who reads it take its name from here.
"""

GROUPS = "groups.npz"


def array(field: str) -> str:
    """Return the name of a field's file: ``X.npy``."""
    return f"{field}.npy"
