"""What DVC computes six times a stage, computed once: the digests of what stages read, and their params.

As in `stages.pipeline.internals`, all of it was tried with one version of DVC.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any


@contextmanager
def params_read_once() -> Iterator[None]:
    """Let DVC read the params of a stage once, unless the file changes: 10 ms each time."""
    from dvc.dependency import param

    read, known = param.read_param_file, dict[tuple[object, ...], Any]()

    def read_param_file(fs: Any, path: str, key_paths: list[str] | None = None, **settings: Any) -> Any:
        names = None if key_paths is None else tuple(key_paths)
        key = (path, names, *settings.items(), *look(Path(path)))
        if key not in known:
            known[key] = read(fs, path, key_paths, **settings)
        return deepcopy(known[key])

    param.read_param_file = read_param_file
    try:
        yield
    finally:
        param.read_param_file = read


class Hashed:
    """The digests of what stages read, computed since the caller last waited for a command.

    All stages of a verb read the same code.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Any] = {}

    def of(self, path: str, algorithm: str, compute: Callable[[], Any]) -> Any:
        """Return what is known of a path, computed if nothing is."""
        if (path, algorithm) not in self._known:
            self._known[path, algorithm] = compute()
        return self._known[path, algorithm]

    def forget(self, written: Iterable[str]) -> None:
        """Forget the paths that were written, what is in them, and the folders that they are in."""
        for path in written:
            for known in [key for key in self._known if _is_within(key[0], path) or _is_within(path, key[0])]:
                del self._known[known]

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)


@contextmanager
def inputs_hashed_once() -> Iterator[Hashed]:
    """Let DVC compute the digest of what a stage reads once, until that is forgotten."""
    from dvc.output import Output

    build, hashed = Output._build, Hashed()

    def of_input(self: Any, *words: Any, **settings: Any) -> Any:
        if not self.IS_DEPENDENCY or self.fs.protocol != "local":
            return build(self, *words, **settings)
        return hashed.of(self.fs_path, self.hash_name, lambda: build(self, *words, **settings))

    Output._build = of_input
    try:
        yield hashed
    finally:
        Output._build = build


def look(path: Path) -> tuple[int, ...]:
    """Return what tells whether a file changed."""
    if not path.is_file():
        return ()
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
