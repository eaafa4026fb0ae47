"""Make arrays of the games of a generation, by the verbs that make those of any raw folder.

Out: data/generations/<generation>/arrays, and pool.json: the folders of arrays of all generations up to this one, with
a digest of each, so that who learns from them depends on all of them and DVC need only look at the newest.
"""

import dataclasses
import json
import shutil
import sys

from stages.core import paths
from stages.core.files import json_text, write_text
from stages.core.params import Params
from stages.core.part_files import STATS
from stages.generations.command import begin_place, run_stage, run_verb
from stages.generations.places import Generation, digest
from stages.runtime.memory_log import MemoryLog

VERBS = ("discover", "process", "merge", "split")


def ingest(params: Params, generation: Generation) -> None:
    """Make the arrays of a generation."""
    dataset, place = generation.dataset, generation.work / "ingest"
    with MemoryLog("ingest", generation.key) as log:
        log.record("start")
        shutil.rmtree(place, ignore_errors=True)
        entry = {**dataclasses.asdict(params.dataset(dataset)), "raw": "../../raw", "limit": None}
        begin_place(place, dataset, entry, split=dataclasses.asdict(params.split))
        for verb in VERBS:
            run_verb(verb, dataset, place)
        shutil.rmtree(generation.arrays, ignore_errors=True)
        (place / paths.processed_dir(dataset)).rename(generation.arrays)
        shutil.rmtree(place)
        log.record("end")
    before = json.loads(generation.before.pool.read_bytes()) if generation.before else {}
    write_text(generation.pool, json_text({**before, str(generation.arrays): digest(generation.arrays / STATS)}))


if __name__ == "__main__":
    sys.exit(run_stage("ingest", "Make arrays of the games of a generation.", ingest))
