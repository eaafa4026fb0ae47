"""The folder that split fills: every file goes through here, so that its CRC-32 is known when it is written.

stats.json lists them, and so can whoever reads the arrays tell that they are what split wrote. They are taken while the
bytes are in memory: reading them again would cost 0.4 s a GB.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stages.core import arrays
from stages.core.files import json_text


@dataclass(frozen=True)
class WrittenFolder:
    """A folder and the CRC-32 of each file in it, by name."""

    path: Path
    crcs: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def npy(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> Iterator[arrays.ArraySink]:
        """Open a .npy file of a known shape, to which all rows are appended in order."""
        with arrays.npy_sink(self.path / name, dtype, shape) as sink:
            yield sink
        self.crcs[name] = sink.crc

    @contextmanager
    def npz(self, name: str) -> Iterator[arrays.NpzWriter]:
        """Open an NPZ; give its members in sorted order."""
        with arrays.NpzWriter(self.path / name) as writer:
            yield writer
        self.crcs[name] = writer.crc

    def json(self, name: str, content: object) -> None:
        """Write a JSON file."""
        text = json_text(content).encode()
        (self.path / name).write_bytes(text)
        self.crcs[name] = zlib.crc32(text)
