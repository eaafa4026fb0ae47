"""What a training leaves in data/models/<dataset>/: the weights, and what is to be known of them.

``weights.npz``: an array for each tensor of the model's ``state_dict``, by its name; a number is an array of one. It is
written as all NPZ here are, since the bytes of `torch.save` change with the file's name.

``model.json``: ``dataset``; ``step``, ``samples`` and ``epoch`` of the weights, the best ones; ``n_steps`` of the
training; ``params``, the recipe with all defaults; ``n_parameters``; ``headlines``, the metrics to show; ``weights``,
the CRC-32 of weights.npz; and what the bytes depend on: ``identity``, ``data``, ``code``, ``versions``, ``threads`` and
``cpu``.
"""

# mypy: disable-error-code="import-not-found, misc"

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stages.core import arrays, checksum
from stages.core.arrays import DamagedFile
from stages.core.errors import ExpectedError
from stages.core.files import json_text, write_text

WEIGHTS, ABOUT = "weights.npz", "model.json"


def write_model(folder: Path, weights: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> None:
    """Write a model; `about` is all of model.json but ``weights``."""
    arrays.save_npz(folder / WEIGHTS, {name: [_stored(values)] for name, values in weights.items()})
    crc = checksum.text(checksum.of_file(folder / WEIGHTS))
    write_text(folder / ABOUT, json_text({**about, "weights": crc}))


def read_about(folder: Path) -> dict[str, Any]:
    """Return model.json.

    Raises
    ------
    DamagedFile
        When there is none, or the weights are not those that it is of.
    """
    path = folder / ABOUT
    try:
        about: dict[str, Any] = json.loads(path.read_bytes())
        found, expected = checksum.text(checksum.of_file(folder / WEIGHTS)), about["weights"]
    except FileNotFoundError as error:
        raise DamagedFile(f"{error.filename}: not found, expected a trained model; run `make train`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFile(f"{path}: not what a training writes ({error!r}); remove it and run `make train`") from None
    if found != expected:
        raise DamagedFile(f"{folder / WEIGHTS}: checksum {found}, expected {expected}; remove it, `make train`")
    return about


def load_weights(model: nn.Module, path: Path) -> None:
    """Give a model the weights of a file.

    Parameters
    ----------
    model
        What gets them.
    path
        A weights.npz, or the folder that it is in.

    Raises
    ------
    DamagedFile
        When the file is missing or damaged.
    ExpectedError
        When it is of another model; the first tensor that differs is named.
    """
    path = path / WEIGHTS if path.is_dir() else path
    stored, state = arrays.read_npz(path), model.state_dict()
    for name in sorted({*stored, *state}):
        found = _described(stored[name]) if name in stored else "no tensor"
        expected = _described(_stored(state[name])) if name in state else "no tensor"
        if found != expected:
            raise ExpectedError(f"{path}: {name} is {found}, expected {expected}; take weights of the same model")
    model.load_state_dict({name: torch.from_numpy(stored[name]).view_as(state[name]) for name in state})


def _stored(values: torch.Tensor) -> np.ndarray:
    """Return a tensor as an array of at least one axis."""
    return np.atleast_1d(values.detach().cpu().numpy())


def _described(values: np.ndarray) -> str:
    return f"{values.dtype}{values.shape}"
