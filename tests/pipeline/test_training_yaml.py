"""stages/training/dvc.yaml lists the code that training imports and that can change its outs."""

import pytest
import yaml

from stages.pipeline import verbs
from tests.helpers.places import REPOSITORY
from tests.pipeline.test_dvc_yaml import IMPORTED_AND_NOT_LISTED, imported_files, is_in

STAGE = yaml.safe_load((REPOSITORY / verbs.TRAINING).read_text())["stages"]["train"]["do"]
TRAINED = sorted(yaml.safe_load((REPOSITORY / "params.yaml").read_text())["train"])
SHOWN_AND_USED = ("predictor.py", "progress.py")  # of stages/training: they decide no byte of an out
TASKS = [name for name in TRAINED if (REPOSITORY / "stages/datasets" / name / "training/task.py").exists()]


def listed(dataset):
    return [dep.replace("${key}", dataset) for dep in STAGE["deps"] if dep.startswith("stages/")]


def test_each_module_of_training_is_listed_but_those_that_decide_no_byte():
    folder = REPOSITORY / "stages/training"
    modules = {
        path.relative_to(REPOSITORY).as_posix() for path in folder.rglob("*.py") if path.name not in SHOWN_AND_USED
    }
    assert {dep for dep in STAGE["deps"] if dep.startswith("stages/training/")} == modules


@pytest.mark.parametrize("dataset", TASKS)
def test_all_code_that_a_training_imports_is_listed(dataset):
    files = imported_files("stages.train") | imported_files(f"stages.datasets.{dataset}.training.task")
    shown = [f"stages/training/{name}" for name in SHOWN_AND_USED]
    assert [path for path in files if not is_in(path, [*listed(dataset), *IMPORTED_AND_NOT_LISTED, *shown])] == []


@pytest.mark.parametrize("dataset", TRAINED)
def test_what_is_listed_is_there(dataset):
    assert [dep for dep in listed(dataset) if not (REPOSITORY / dep).exists()] == []


def test_the_pipeline_of_the_arrays_knows_nothing_of_training():
    assert "train" not in yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    assert verbs.train_stage("hex") == "stages/training/dvc.yaml:train@hex"


GENERATIONS = yaml.safe_load((REPOSITORY / "data/generations/dvc.yaml").read_text())["stages"]
OF_DATASET = {  # what a stage loads by name
    "selfplay": ("stages.datasets.hex.training.generation", "stages.datasets.hex.simulate"),
    "ingest": ("stages.discover", "stages.process", "stages.merge", "stages.split", "stages.datasets.hex.encode"),
    "learn": ("stages.train", "stages.datasets.hex.training.task"),
    "gate": ("stages.datasets.hex.training.generation",),
}
# What the package stages.training loads beside weights.py: no game and no match asks it anything.
BESIDE_WEIGHTS = ("stages/loader", "stages/processed", "stages/training")


@pytest.mark.parametrize("stage", GENERATIONS)
def test_all_code_that_a_stage_of_a_generation_imports_is_listed(stage):
    deps = [dep.replace("${item.dataset}", "hex") for dep in GENERATIONS[stage]["do"]["deps"]]
    listed_here = [dep for dep in deps if dep.startswith("stages/")]
    assert [dep for dep in listed_here if not (REPOSITORY / dep).exists()] == []
    modules = (f"stages.generations.{stage}", *OF_DATASET[stage])
    files = set().union(*map(imported_files, modules))
    unused = [f"stages/training/{name}" for name in SHOWN_AND_USED]
    if stage in ("selfplay", "gate"):
        assert "stages/training/weights.py" in listed_here
        unused += BESIDE_WEIGHTS
    assert [path for path in files if not is_in(path, [*listed_here, *IMPORTED_AND_NOT_LISTED, *unused])] == []
