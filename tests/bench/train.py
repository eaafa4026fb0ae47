"""Measure what training is demanded to reach: ``python tests/bench/train.py [SECTION ...]``; behind `make bench-train`.

Each line is a check, what it requires and what was found; `MISS` marks what is not reached, and the exit is 1 then.
Needs torch, and the sample's arrays (`make preprocess`). All sections take a quarter of an hour, the 3,000 games of hex
most of it. What a sample costs on its way into the loop is measured by loader_paths.py.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tables import table  # noqa: E402
from train_checks import SECTIONS, Line  # noqa: E402

VERDICTS = {True: "PASS", False: "MISS", None: ""}


def main() -> int:
    parser = argparse.ArgumentParser("train.py", description="Measure what training is demanded to reach.")
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], help="all of them if none is named")
    lines: list[Line] = []
    for name in parser.parse_args().sections or SECTIONS:
        for line in SECTIONS[name]():
            print(f"{line.check}: {line.measured} {VERDICTS[line.is_met]}", file=sys.stderr, flush=True)
            lines.append(line)
    rows = [(line.check, line.required, line.measured, VERDICTS[line.is_met]) for line in lines]
    print(table([("check", "required", "measured", ""), *rows]))
    return int(any(line.is_met is False for line in lines))


if __name__ == "__main__":
    sys.exit(main())
