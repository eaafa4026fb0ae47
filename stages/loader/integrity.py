"""Whether the files of a stream are what split wrote, by the checksums in stats.json."""

from collections.abc import Iterable

from stages.core import checksum, part_files
from stages.core.arrays import DamagedFile
from stages.loader.mapped_file import MappedFile
from stages.processed import Processed

SHARED = (part_files.FEATURE_NAMES, part_files.LABEL_MAPPINGS, part_files.NORMALIZER, part_files.PACKED)


def require_as_written(files: Iterable[MappedFile]) -> None:
    """Read some files of one or more folders, and what all parts of these folders share, and compare checksums.

    Raises
    ------
    DamagedFile
        At the first file that is not what split wrote.
    """
    crcs = {}
    for file in files:
        folder = file.path.parent
        if folder not in crcs:
            crcs[folder] = Processed(folder).crcs()
        _require_same(f"{file.path}", file.crc32(), crcs[folder].get(file.path.name))
    for folder, expected in crcs.items():
        for name in SHARED:
            path = folder / name
            _require_same(f"{path}", checksum.of_file(path) if path.is_file() else None, expected.get(name))


def _require_same(where: str, found: int | None, expected: int | None) -> None:
    if found != expected:
        stats = f"found {_text(found)}, expected {_text(expected)} as in {part_files.STATS}"
        raise DamagedFile(f"{where}: checksum: {stats}; copy the folder again, or `make verify` where it was made")


def _text(crc: int | None) -> str:
    return "none" if crc is None else checksum.text(crc)
