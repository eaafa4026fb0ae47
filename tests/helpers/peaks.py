"""The greatest memory of a process that finds the units of a raw folder."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import pathlib, re, sys
from stages.datasets.{dataset}.find import find
find(pathlib.Path(sys.argv[1]), {{}})
print(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


def peak_of_find_mb(dataset: str, raw_dir: Path) -> float:
    """Return the greatest resident size of such a process in MB, as the kernel saw it: samples may miss it."""
    command = [sys.executable, "-c", PROGRAM.format(dataset=dataset), str(raw_dir)]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout) / 1024
