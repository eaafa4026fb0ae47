"""What merge tells of a run, data/reports/<dataset>.json: written with a checksum of its own, which readers compare.

The object holds rows, groups and units, in all and by batch, duplicate groups and bad units with reasons, and the
CRC-32 of all that, ``check``. Split takes counts from it into stats.json, the metrics and the plots.
"""

import json
from collections.abc import Mapping
from typing import Any

from stages.core import checksum, paths
from stages.core.arrays import DamagedFile
from stages.core.files import json_text


def report_text(report: Mapping[str, Any]) -> str:
    """Return the text of the file."""
    return json_text({**report, "check": checksum.of_json(report)})


def read_report(dataset: str) -> dict[str, Any]:
    """Return what merge reported of a dataset, without the checksum.

    Raises
    ------
    DamagedFile
        When the file is missing or not what merge wrote.
    """
    path = paths.report(dataset)
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedFile(f"{path}: not found, expected what merge reports; run merge or `dvc repro`") from None
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{path}: not what merge writes ({error}); remove it, `dvc repro`") from None
    check = report.pop("check", None) if isinstance(report, dict) else None
    if check != checksum.of_json(report):
        raise DamagedFile(f"{path}: checksum does not match what was written; `make verify` says what to type")
    return report
