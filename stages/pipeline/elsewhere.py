"""Process stages whose batches are made elsewhere, on a cluster: what the pipeline knows of it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Protocol

from stages.core.errors import ExpectedError
from stages.pipeline import verbs
from stages.pipeline.verbs import StageName

LOOK_S = 1.0  # between two looks at the cluster


class Promised(Protocol):
    """A batch that is made elsewhere."""

    def is_done(self) -> bool:
        """Say whether it is made, or failed."""

    def cancel(self) -> object:
        """Wait for it no more."""

    def take(self) -> str:
        """Put the batch in its place; return the MD5 that the file has, or raise an `ExpectedError`."""


class Makers(Protocol):
    """Those who make batches elsewhere."""

    def begin(self, dataset: str, batch: str) -> Promised:
        """Have a batch made."""

    def busy(self) -> Mapping[str, str]:
        """Return what each of them is working on."""

    def look(self) -> None:
        """See what became of them; raise an `ExpectedError` when they are gone."""

    def fileno(self) -> int:
        """Return what can be read from when a batch is done."""


Opens = Callable[[], AbstractContextManager[Makers]]


class Elsewhere:
    """The process stages of a run that are at work elsewhere, all of them at once; nobody is asked before there is one.

    Parameters
    ----------
    opens
        Reaches those who make batches; None when there are none.
    """

    def __init__(self, opens: Opens | None) -> None:
        self._opens, self._opened = opens, ExitStack()
        self._makers: Makers | None = None
        self._promised: dict[str, Promised] = {}

    def __bool__(self) -> bool:
        return bool(self._promised)

    def takes(self, name: str, command: str) -> bool:
        """Say whether a stage with a command goes there: process, if dvc.yaml has its own command for it."""
        return self._opens is not None and verbs.parsed(name).verb == "process" and command == verbs.command(name)

    def begin(self, name: str) -> None:
        """Have the batch of a stage made."""
        if self._makers is None and self._opens is not None:
            self._makers = self._opened.enter_context(self._opens())
        stage: StageName = verbs.parsed(name)
        if self._makers is not None:
            self._promised[name] = self._makers.begin(stage.dataset, stage.batch)

    def has_ended(self) -> bool:
        """Say whether a batch is made or failed."""
        return any(promised.is_done() for promised in self._promised.values())

    def ended(self) -> Iterator[tuple[str, Promised]]:
        """Yield the stages whose batches are made or failed, and forget them."""
        done = [name for name, promised in self._promised.items() if promised.is_done()]
        for name in sorted(done):
            yield name, self._promised.pop(name)

    def watched(self) -> list[Makers]:
        """Return what can be read from when a batch is done."""
        return [self._makers] if self._makers is not None and self._promised else []

    def look(self) -> None:
        """See what became of those who make batches."""
        for makers in self.watched():
            makers.look()

    def busy(self) -> Mapping[str, str]:
        """Return what each of those who make batches works on."""
        return self._makers.busy() if self._makers is not None else {}

    def stop(self) -> None:
        """Wait for nothing more."""
        for promised in self._promised.values():
            promised.cancel()
        self._promised.clear()

    def close(self) -> None:
        """Leave those who make batches."""
        self.stop()
        self._makers = None
        self._opened.close()


def check(name: str, expected: str, found: str) -> None:
    """Compare the MD5 that a batch was made with and that which DVC computed of the file here.

    Raises
    ------
    ExpectedError
        When they differ.
    """
    if found != expected:
        raise ExpectedError(
            f"{name}: the file has MD5 {found}, expected {expected} as a worker wrote it; look after the "
            "shared file system, run again"
        )
