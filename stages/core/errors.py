"""The failures a user is expected to meet; everything else is a defect and keeps its traceback."""


class ExpectedError(ValueError):
    """A failure that is explained in one line: where, found, expected, what to do.

    Where several lines are meant, each is an argument of its own: what comes from a file may hold line breaks, too.
    """

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines, mostly one."""
        return tuple(map(str, self.args))

    def __str__(self) -> str:
        return "\n".join(self.lines)


class BadUnit(ExpectedError):
    """A unit whose raw bytes are not as its format says; up to `max_bad_units` of them may be left out."""
