"""What lies in data/processed/<dataset>/, by what it means and not by the name of a file.

In: the folder that split writes (its files are described in stages/split.py). Out: small arrays whole, each checked
against its checksum; features, which may be large, as path and header, so that nobody has to load them::

    data = Processed(Path("data/processed/splendor"))
    data.stats()["rows"]["train"]
    data.keys("train", ["game_id"])["game_id"]
    for rows in data.feature("X", "train").chunks(1024): ...

A JSON file that is missing is a FileNotFoundError; one that is no JSON, and an array that is missing or not complete,
is a DamagedFile.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import arrays, checksum, part_files
from stages.core.errors import ExpectedError
from stages.core.part_files import PARTS, MemberRole
from stages.core.standardise import Standard
from stages.processed.features import Feature, Place


@dataclass(frozen=True)
class Processed:
    """The processed arrays of one dataset, in `folder`; nothing is opened before it is asked for."""

    folder: Path

    def stats(self) -> dict[str, Any]:
        """Return the content of stats.json: rows, groups and classes per part, and how the data were split."""
        stats: dict[str, Any] = read_json(self.folder / part_files.STATS)
        return stats

    def crcs(self) -> dict[str, int]:
        """Return the CRC-32 of each file but stats.json as split wrote it, by name.

        Raises
        ------
        DamagedFile
            When stats.json does not say it.
        """
        try:
            return {str(name): checksum.of_text(crc) for name, crc in self.stats()["files"].items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            where = self.folder / part_files.STATS
            raise arrays.DamagedFile(f"{where}: no checksums of the files ({error!r}); run `dvc repro`") from None

    def label_mappings(self) -> dict[str, dict[str, int]]:
        """Return the index of each class, by head and class name."""
        mappings: dict[str, dict[str, int]] = read_json(self.folder / part_files.LABEL_MAPPINGS)
        return mappings

    def label_classes(self, head: str) -> list[str]:
        """Return the class names of a label head, by index."""
        return list(self.label_mappings()[head])

    def column_names(self, field: str, part: str = PARTS[0]) -> list[str]:
        """Return the names of a feature's columns; its name and numbers where it has none."""
        path = self.folder / part_files.FEATURE_NAMES
        content = read_json(path) if path.is_file() else {}
        names = content.get(field) if isinstance(content, dict) else content  # a list: those of the only feature
        n_columns = math.prod(self.feature_header(field, part).shape[1:])
        if not isinstance(names, list) or len(names) != n_columns:
            return [f"{field} {index}" for index in range(n_columns)]
        return [str(name) for name in names]

    def normalizer(self) -> dict[str, np.ndarray]:
        """Return ``names``, ``mean``, ``scale`` and ``is_normalised`` of the standardised features; nothing without."""
        path = self.folder / part_files.NORMALIZER
        return arrays.read_npz(path) if path.is_file() else {}

    def fit(self, field: str, part: str = PARTS[0]) -> tuple[np.ndarray, np.ndarray] | None:
        """Return mean and scale of a feature's columns, float64 (columns,) each; None where none is standardised."""
        normalizer, names = self.normalizer(), self.column_names(field, part)
        known = normalizer.get("names", np.empty(0, np.str_)).tolist()
        for start in range(len(known) - len(names) + 1):
            if known[start] == names[0] and known[start : start + len(names)] == names:
                stop = start + len(names)
                return normalizer["mean"][start:stop], normalizer["scale"][start:stop]
        return None

    def standard(self, field: str, header: arrays.Header) -> Standard | None:
        """Return what standardises a feature that is stored as it was merged; None where nothing is left to be done.

        Parameters
        ----------
        field, header
            The feature, and dtype and shape of its file.

        Raises
        ------
        DamagedFile
            When file, stats.json and normalizer.npz do not fit together.
        """
        path = self.folder / part_files.STATS
        try:
            entry = read_json(path).get("stored", {}).get(field) if path.is_file() else None
            if entry is None:
                return None
            normalizer = self.normalizer()
            shape, columns = tuple(entry["shape"]), slice(entry["first"], entry["first"] + math.prod(entry["shape"]))
            fits = header.dtype == np.dtype(entry["dtype"]) and header.shape[1:] == shape
            mean, scale = (normalizer[name][columns].reshape(shape) for name in ("mean", "scale"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise arrays.DamagedFile(f"{path}: {field} is not described as expected ({error!r}); `dvc repro`") from None
        if not fits:
            found, expected = f"{header.dtype} {header.shape[1:]}", f"{entry['dtype']} {shape} as in {part_files.STATS}"
            raise arrays.DamagedFile(f"{self.folder}: rows of {field} are {found}, expected {expected}; `dvc repro`")
        return Standard.of(mean, scale)

    def packed_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of an unpacked row of each field that is stored as bits, by name.

        Raises
        ------
        DamagedFile
            When packed.json is not what split writes.
        """
        path = self.folder / part_files.PACKED
        if not path.is_file():
            return {}
        try:
            return {name: tuple(map(int, shape)) for name, shape in json.loads(path.read_bytes()).items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise arrays.DamagedFile(f"{path}: no shapes of fields ({error}); run `dvc repro`") from None

    def feature_path(self, field: str, part: str) -> Path:
        """Return where a feature lies."""
        return self.folder / part_files.feature(field, part)

    def feature_header(self, field: str, part: str) -> arrays.Header:
        """Return dtype and shape of a feature."""
        return arrays.npy_header(self.feature_path(field, part))

    def feature(self, field: str, part: str) -> Feature:
        """Return a feature as a trainer reads it, standardised where that is its due.

        Raises
        ------
        DamagedFile
            When the file is missing or not complete, or does not fit to stats.json and normalizer.npz.
        """
        path, header = self.feature_path(field, part), self.feature_header(field, part)
        standard = self.standard(field, header)
        if standard is None:
            return Feature(path, header)
        keys = self.members_path("key", part)
        valid = arrays.npz_headers(keys).get(part_files.valid(field))
        return Feature(path, header, standard, (keys, valid) if valid else None)

    def features(self, part: str) -> dict[str, Path]:
        """Return where each feature of a part lies, by name."""
        paths = sorted(self.folder.glob(part_files.feature("*", part)))
        named = ((part_files.feature_of(path.name, part), path) for path in paths)
        return {field: path for field, path in named if field is not None}

    def members_path(self, role: MemberRole, part: str) -> Path:
        """Return where the labels, masks or keys of a part lie."""
        return self.folder / part_files.members(role, part)

    def keys(self, part: str, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return the keys of a part, or some of them, and among them ``units``, the names that ``unit`` points to."""
        return arrays.read_npz(self.members_path("key", part), names)

    def labels(self, part: str, heads: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return the labels of a part by head, or some of them; -1 where a head does not apply to a row."""
        return arrays.read_npz(self.members_path("label", part), heads)

    def masks(self, part: str, heads: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return the masks of a part by head, or some of them: uint8, 1 for a legal action."""
        return arrays.read_npz(self.members_path("mask", part), heads)

    def units(self) -> list[str]:
        """Return the keys of the units that the rows of all parts come from."""
        table = self.keys(PARTS[0], [part_files.UNIT_TABLE])[part_files.UNIT_TABLE]
        return [str(key) for key in table.tolist()]

    def chunks(
        self, part: str, chunk_rows: int, keys: Sequence[str] = (), heads: Sequence[str] = ()
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yield some keys and labels of a part by name, `chunk_rows` rows at a time, in buffers that are used again."""
        columns: dict[str, Iterator[np.ndarray]] = {}
        for path, names in ((self.members_path("key", part), keys), (self.members_path("label", part), heads)):
            headers = arrays.npz_headers(path)
            columns |= {name: arrays.member_chunks(path, headers[name], chunk_rows) for name in names}
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))

    def places(self, part: str) -> dict[str, Place]:
        """Return where every array of a part lies, by the name of its field: ``X``, ``label_noble``, ``turn_number``.

        Features come first, then labels, masks and keys.

        Raises
        ------
        ExpectedError
            When there is no such part.
        """
        found = {name: (path, arrays.npy_header(path)) for name, path in self.features(part).items()}
        for role in part_files.MEMBER_ROLES:
            path = self.members_path(role, part)
            headers = arrays.npz_headers(path) if path.is_file() else {}
            for name, header in headers.items():
                if (role, name) != ("key", part_files.UNIT_TABLE):
                    found[part_files.field_of(name, role)] = path, header
        if not found:
            raise ExpectedError(f"{self.folder}: no arrays of part {part!r}; run `dvc repro` or correct the part")
        return found

    def window_starts_path(self, field: str, part: str) -> Path:
        """Return where the first rows of a feature's windows lie, if `split.windows` asks for them."""
        return self.folder / part_files.window_starts(field, part)

    def window_rows(self, field: str) -> int:
        """Return the rows of one window of a feature.

        Raises
        ------
        DamagedFile
            When stats.json does not say it.
        """
        return self._window_fact(field, "window")

    def rows_ahead(self, field: str) -> int:
        """Return how many rows at least follow each window of a feature in its segment and part.

        Raises
        ------
        DamagedFile
            When stats.json does not say it.
        """
        return self._window_fact(field, "ahead")

    def _window_fact(self, field: str, name: str) -> int:
        path = self.folder / part_files.STATS
        try:
            return int(json.loads(path.read_bytes())["windows"][field][name])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise arrays.DamagedFile(f"{path}: no size of the windows of {field!r} ({error}); `dvc repro`") from None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    DamagedFile
        When it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise arrays.DamagedFile(f"{path}: {error}, expected JSON; remove it and run `dvc repro`") from None
