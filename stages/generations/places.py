"""Where a generation's things lie, and which generations there are.

``data/generations/<dataset>-g<number>/`` holds ``raw`` (its games), ``arrays`` (made of them), ``pool.json`` (the
arrays of all generations so far, with digests), ``model`` (what it learnt), ``best`` (the network that is kept) and
``gate.json`` (how the match went). ``work`` is where they are made; it is no output, so that a killed run goes on.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.core import paths, plain_yaml
from stages.core.errors import ExpectedError
from stages.core.files import write_text

LIST = paths.GENERATIONS_DIR / "list.yaml"
RESTORE = f"restore it with `git checkout {LIST}`"


@dataclass(frozen=True)
class Generation:
    """A generation of a dataset; `number` counts from 1."""

    dataset: str
    number: int

    @property
    def key(self) -> str:
        """Its name in the list and in DVC's stages."""
        return f"{self.dataset}-g{self.number:03d}"

    @property
    def folder(self) -> Path:
        """Where its things lie."""
        return paths.GENERATIONS_DIR / self.key

    @property
    def raw(self) -> Path:
        """The games that it played."""
        return self.folder / "raw"

    @property
    def arrays(self) -> Path:
        """The processed arrays of these."""
        return self.folder / "arrays"

    @property
    def pool(self) -> Path:
        """What lists the arrays of all generations up to this one."""
        return self.folder / "pool.json"

    @property
    def model(self) -> Path:
        """The candidate."""
        return self.folder / "model"

    @property
    def best(self) -> Path:
        """The network that is kept behind it: the candidate, or the one before."""
        return self.folder / "best"

    @property
    def gate(self) -> Path:
        """How the match went."""
        return self.folder / "gate.json"

    @property
    def work(self) -> Path:
        """Where all this is made."""
        return self.folder / "work"

    @property
    def before(self) -> "Generation | None":
        """The generation before it, None of the first."""
        return Generation(self.dataset, self.number - 1) if self.number > 1 else None

    @property
    def best_before(self) -> Path:
        """The network that it begins with."""
        return self.before.best if self.before else paths.model_dir(self.dataset)

    def entry(self) -> dict[str, str]:
        """Return what the list says of it: the dataset, and what DVC is to look at."""
        pool = self.before.pool if self.before else paths.processed_dir(self.dataset)
        return {"dataset": self.dataset, "best_before": str(self.best_before), "pool_before": str(pool)}


def of_key(key: str) -> Generation:
    """Return the generation of a key such as ``hex-g001``.

    Raises
    ------
    ExpectedError
        When it is none.
    """
    dataset, _, number = key.rpartition("-g")
    if not dataset or not number.isdecimal() or int(number) < 1 or Generation(dataset, int(number)).key != key:
        raise ExpectedError(f"{key!r}: no generation, expected a name such as hex-g001")
    return Generation(dataset, int(number))


def listed() -> list[Generation]:
    """Return the generations of all datasets, in order.

    Raises
    ------
    ExpectedError
        When the list is damaged or has a gap.
    """
    content = _content()
    try:
        found = sorted((of_key(str(key)) for key in content), key=lambda one: (one.dataset, one.number))
    except ExpectedError as error:
        raise ExpectedError(f"{LIST}: {error}; {RESTORE}") from None
    for one in found:
        if one.before is not None and one.before not in found:
            raise ExpectedError(f"{LIST}: {one.key} without {one.before.key}, expected all before it; {RESTORE}")
        if content[one.key] != one.entry():
            raise ExpectedError(f"{LIST}: {one.key} is {content[one.key]}, expected {one.entry()}; {RESTORE}")
    return found


def lengthen(dataset: str, number: int) -> None:
    """See to it that the list has the generations of a dataset up to a number; those that are there stay."""
    content = _content()
    for one in (Generation(dataset, n) for n in range(1, number + 1)):
        content.setdefault(one.key, one.entry())
    text = yaml.safe_dump({"generations": dict(sorted(content.items()))}, sort_keys=False)
    if not LIST.is_file() or LIST.read_text(encoding="utf-8") != text:
        write_text(LIST, text)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content() -> dict[str, Any]:
    try:
        content = plain_yaml.parse(LIST.read_bytes())
    except FileNotFoundError:
        return {}
    except plain_yaml.NotPlainYaml as error:
        raise ExpectedError(f"{LIST}: {error}; {RESTORE}") from None
    generations = content.get("generations") if isinstance(content, dict) else None
    if not isinstance(generations, dict):
        raise ExpectedError(f"{LIST}: no mapping `generations`, expected one; {RESTORE}")
    return generations
