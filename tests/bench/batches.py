"""Measure what DVC costs per batch, of 16 batches and of 269: CPU seconds of the process that runs the stages.

Run from the repository's root: ``python tests/bench/batches.py``. It clones the last commit into a temporary folder,
simulates 1,280 games there, and runs `make preprocess` for them in batches of at most 128 and of at most 7 games: with
nothing built, with one game removed, and with nothing changed. Commands of stages are other processes and not counted.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from where import run

N_GAMES = 1280
BATCH_SIZES = (128, 7)
COUNTED = """
import resource, sys
from stages.commands import preprocess
sys.argv[1:] = ["splendor"]
code = preprocess.main()
used = resource.getrusage(resource.RUSAGE_SELF)
open("used", "w").write(str(used.ru_utime + used.ru_stime))
sys.exit(code)
"""


def make_clone(folder: Path) -> None:
    """Make a clone with a raw folder of simulated games."""
    subprocess.run(["git", "clone", "--quiet", str(Path.cwd()), str(folder)], check=True)
    code = "from pathlib import Path; from stages.datasets.splendor.simulate import write; "
    run(folder, sys.executable, "-c", f"{code}write(Path('data/raw/games'), {{'games': {N_GAMES}, 'seed': 42}})")
    run(folder, sys.executable, "-m", "dvc", "config", "--local", "cache.type", "hardlink,copy")


def begin_anew(folder: Path, batch_size: int) -> None:
    """Forget all that was built, and set the size of batches."""
    run(folder, "git", "checkout", "--quiet", ".")
    run(folder, "rm", "-rf", "data/intermediate", "data/merged", "data/processed", ".dvc/cache", ".dvc/tmp")
    text = (folder / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("raw: data/sample/splendor", "raw: data/raw/games")
    text = re.sub(r"batch_size: \d+", f"batch_size: {batch_size}", text, count=1)
    (folder / "params.yaml").write_text(text, encoding="utf-8")


def used(folder: Path) -> float:
    """Run `make preprocess`; return the CPU seconds of its own process."""
    run(folder, sys.executable, "-c", COUNTED, SIMULATE="no")
    return float((folder / "used").read_text(encoding="utf-8"))


def n_batches(folder: Path) -> int:
    """Return how many batches there are."""
    return len(list((folder / "data/manifests/splendor/batches").iterdir()))


def measured(folder: Path, batch_size: int) -> tuple[float, float, float]:
    """Return the CPU seconds with nothing built, with one game removed, and with nothing changed."""
    begin_anew(folder, batch_size)
    first = used(folder)
    game = next((folder / "data/raw/games").rglob("*.csv"))
    content = game.read_bytes()
    game.unlink()
    one = used(folder)
    nothing = used(folder)
    game.write_bytes(content)
    return first, one, nothing


def main() -> None:
    """Measure and print."""
    each = {}
    with tempfile.TemporaryDirectory(prefix="batches.") as parent:
        folder = Path(parent, "clone")
        make_clone(folder)
        for batch_size in BATCH_SIZES:
            first, one, nothing = measured(folder, batch_size)
            count = n_batches(folder)
            each[count] = (first - nothing) / count * 1e3
            print(f"{count} batches: {first:.2f} CPU s, one game removed {one:.2f}, nothing changed {nothing:.2f}")
            print(f"  first run less one with nothing changed: {each[count]:.1f} ms a batch")
    few, many = sorted(each)
    print(f"{many} batches cost {each[many] / each[few]:.2f} times as much each as {few}")


if __name__ == "__main__":
    main()
