"""Attack the pipeline for real, in clones of this working tree in a scratch folder: the command behind `make torture`.

- kills: `make preprocess` is killed with all it started, 100 times or ``KILLS`` times; one more gives the same bytes.
- disks: the disk is full in the middle of `make preprocess`; with more space, one more gives the same bytes.
- flips: one bit of a file in the workspace, the cache or the remote flips; `make verify` finds it, its cure mends it.
- folder, ssh, s3: `make push` to such a remote is killed; one more, and a cold clone's `make pull` brings everything.

It ends with a table of what was tried and held, and not with 0 when anything was lost. What cannot be tried here (disks
without root, ssh without sshd) is skipped, and told. Disks and pushes are tried a fifth as often as kills, flips half.
"""

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.helpers.servers import SERVERS
from tests.torture import cut_pushes, flips, full_disks, group_kills
from tests.torture.places import Scratch
from tests.torture.verdict import endure, exit_code, table

KILLS = 100
SEED = 20240613
# Per attack its attempts, and how many kills stand for one of them.
ATTACKS = {
    "kills": (group_kills.attempts, 1),
    "disks": (full_disks.attempts, 5),
    "flips": (flips.attempts, 2),
    **{kind: (partial(cut_pushes.attempts, kind), 5) for kind in SERVERS},
}


def count(text):
    """Return the number of kills that was typed, or `KILLS`."""
    if text and not (text.isdecimal() and int(text) > 0):
        sys.exit(f"error: KILLS: {text!r}, expected a number from 1; correct it")
    return int(text or KILLS)


def main():
    parser = argparse.ArgumentParser("tests.torture", description="Attack the pipeline for real, in clones of it.")
    parser.add_argument("attacks", nargs="*", choices=[[], *ATTACKS], help="all of them if none is named")
    parser.add_argument("--seed", type=int, default=SEED, help="of all that is drawn")
    typed = parser.parse_args()
    n_kills = count(os.environ.get("KILLS", ""))
    tallies = []
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        scratch = Scratch(Path(folder), typed.seed)
        for name in typed.attacks or ATTACKS:
            attempts, share = ATTACKS[name]
            n_attempts = -(-n_kills // share)
            tallies.append(endure(name, attempts(scratch, n_attempts), n_attempts))
    print("", *table(tallies), sep="\n")
    return exit_code(tallies)


if __name__ == "__main__":
    sys.exit(main())
