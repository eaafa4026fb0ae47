"""Rows of a part as a pandas DataFrame: ``stages.frame("splendor", "train", rows=1000)``.

Columns have the names of stages/look/columns.py. Labels are categorical, of the classes' names, and missing where a
head does not apply; so is ``unit``, the raw unit of a row. Text keys are text, masks True and False, other keys as they
are stored. A dataset that is split by time has the time of its rows, in UTC, as index; others the number of the row.

pandas is not among the packages that the pipeline needs: ``pip install -e '.[look]'``.
"""

from stages.frames.frame import Frames

__all__ = ["Frames", "frame"]

frame = Frames()
