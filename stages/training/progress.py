"""What the live display shows of a training: step, loss, samples a second, time left; memory is the display's own."""

from collections.abc import Mapping

from stages.runtime.display import Counts


class TrainProgress:
    """How far a training is; samples that were done before this process began do not count for its speed.

    Parameters
    ----------
    title
        What is done.
    step, n_steps, batch_size
        The step that it begins at, all steps, and the samples of each.
    """

    noun = "samples"

    def __init__(self, title: str, step: int, n_steps: int, batch_size: int) -> None:
        self.title, self._first, self._step, self._n_steps, self._batch_size = title, step, step, n_steps, batch_size
        self._loss: float | None = None
        self.evaluated = ""

    def advance(self, step: int, loss: float) -> None:
        """Note that a step is done."""
        self._step, self._loss = step, loss

    def busy(self) -> Mapping[str, str]:
        """Return step, loss and what the last evaluation said."""
        loss = "" if self._loss is None else f", loss {self._loss:.4f}"
        return {"now": f"step {self._step:,} of {self._n_steps:,}{loss}{self.evaluated}"}

    def counts(self) -> Counts:
        """Return how many samples this process has done and how many it has to do."""
        done, left = self._step - self._first, self._n_steps - self._first
        return Counts(done * self._batch_size, left * self._batch_size, None)
