"""Rows of several arrays, gathered piece by piece until all are there, in bounded memory.

Pieces stay in memory up to a limit; beyond it they go to a file that has no name, so that nothing is left of it
however the process ends.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core import arrays
from stages.core.files import atomic, write_all


@dataclass(frozen=True)
class _OnDisk:
    """Place and type of a piece in the file."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]


class Spool:
    """The pieces of several arrays, in the order they came; use it in a ``with`` statement.

    Parameters
    ----------
    path
        The .npz file that `save` will write; the file without a name lies in its folder.
    limit_mb
        Most memory that the pieces take.
    """

    def __init__(self, path: Path, limit_mb: float) -> None:
        self._path, self.limit_mb = path, limit_mb
        self._pieces: dict[str, list[np.ndarray | _OnDisk]] = {}
        self._n_bytes = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed on exit

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def memory_mb(self) -> float:
        """Memory that the pieces take."""
        return self._n_bytes / 2**20

    def append(self, name: str, piece: np.ndarray) -> None:
        """Add rows to the array `name`."""
        pieces = self._pieces.setdefault(name, [])
        if self._n_bytes + piece.nbytes <= self.limit_mb * 2**20:
            self._n_bytes += piece.nbytes
            pieces.append(piece)
            return
        pieces.append(_OnDisk(self._file.seek(0, 2), piece.dtype, piece.shape))
        write_all(self._file, np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)

    def save(self) -> None:
        """Write the arrays as one NPZ, atomically."""
        with atomic(self._path) as temporary, arrays.NpzWriter(temporary) as writer:
            for name, pieces in sorted(self._pieces.items()):
                shape = (sum(piece.shape[0] for piece in pieces), *pieces[0].shape[1:])
                with writer.member(name, pieces[0].dtype, shape) as sink:
                    for piece in self._read(pieces):
                        sink.append(piece)

    def _read(self, pieces: "list[np.ndarray | _OnDisk]") -> Iterator[np.ndarray]:
        for piece in pieces:
            if isinstance(piece, np.ndarray):
                yield piece
            else:
                self._file.seek(piece.offset)
                yield np.fromfile(self._file, piece.dtype, int(np.prod(piece.shape))).reshape(piece.shape)
