"""The failures a user is expected to meet; everything else is a defect and keeps its traceback."""


class ExpectedError(ValueError):
    """A failure that is explained in one line: where, found, expected, what to do."""


class BadUnit(ExpectedError):
    """A unit whose raw bytes are not as its format says; up to `max_bad_units` of them may be left out."""
