"""A small sample of each dataset that is shipped, with its arrays, and models that have learnt from it for an epoch."""

import json
import shutil

import yaml

from tests.helpers.places import REPOSITORY, SHIPPED
from tests.helpers.shared import made_once
from tests.helpers.verbs import WITHOUT_DVC

GAMES = {"hex": 40, "rugs": 10, "splendor": 40}
BARS = 6000  # of each instrument of market


def small_sample(tmp_path_factory, nursery):
    """Return a folder in which all verbs have run; not to be changed."""

    def make(folder):
        params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
        for dataset, n_games in GAMES.items():
            params["simulate"][dataset]["games"] = n_games
        for instrument in params["simulate"]["market"]["instruments"].values():
            instrument["bars"] = BARS
        for entry in params["train"].values():
            entry["epochs"] = 1
        (folder / "params.yaml").write_text(json.dumps(params))
        for dataset in SHIPPED:
            for verb in WITHOUT_DVC:
                _run(nursery, verb, dataset, folder)

    return made_once(tmp_path_factory, "small_sample", make)


def small_models(tmp_path_factory, nursery):
    """Return a folder like `small_sample` with a model of each dataset; not to be changed."""

    def make(folder):
        shutil.copytree(small_sample(tmp_path_factory, nursery), folder, dirs_exist_ok=True)
        for dataset in SHIPPED:
            _run(nursery, "train", dataset, folder)

    return made_once(tmp_path_factory, "small_models", make)


def _run(nursery, verb, dataset, folder):
    finished = nursery(
        f"stages.{verb}", dataset, cwd=folder, JOBS="1", LOG="warning"
    )  # processes take a second to start
    assert finished.returncode == 0, finished.stderr
