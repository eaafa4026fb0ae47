"""The greatest memory of a process that finds the units of a raw folder."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIND = """
import pathlib, re, sys
from stages.datasets.{dataset}.find import find
raw_dir = pathlib.Path(sys.argv[1])
units = find(raw_dir, {{}})
"""
REFUSAL = """
import pathlib, re, sys
from stages.core.errors import BadUnit, ExpectedError
from stages.datasets.{dataset}.find import find
try:
    print([unit.context["bad"] for unit in find(pathlib.Path(sys.argv[1]), {{}}) if not unit.digest][0])
except (BadUnit, ExpectedError) as error:
    print(error)
"""
PEAK = """
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


def peak_of_find_mb(dataset: str, raw_dir: Path) -> float:
    """Return the greatest resident size in MB of a process that finds units."""
    return _peak_mb(FIND + PEAK, dataset, raw_dir)


def _peak_mb(program: str, dataset: str, raw_dir: Path) -> float:
    """Return the greatest resident size of a program, as the kernel saw it: samples may miss it."""
    command = [sys.executable, "-c", program.format(dataset=dataset), str(raw_dir)]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout) / 1024


def peak_of_refusal_mb(dataset: str, raw_dir: Path) -> tuple[float, str]:
    """Return the greatest resident size in MB of a process that finds something to refuse, and what it says of it."""
    command = [sys.executable, "-c", REFUSAL.format(dataset=dataset) + PEAK, str(raw_dir)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    *said, peak = done.stdout.splitlines()
    return int(peak) / 1024, "\n".join(said)
