"""Transitions as a policy learns from them, made of the loader's pairs of steps; and the loss that imitates them."""

# mypy: disable-error-code="import-not-found, misc"

from typing import Final

import numpy as np
import torch
from torch import Tensor

from stages.core.errors import ExpectedError
from stages.datasets.rugs.schema import ACTIONS
from stages.datasets.rugs.training.features import select
from stages.datasets.rugs.training.transitions import STEP_FIELDS, Batch
from stages.training.task import TensorBatch

FIELDS: Final = (*STEP_FIELDS, "mask_action")


def of_pairs(batch: Batch, _numbers: np.ndarray | None = None) -> Batch:
    """Return transitions of samples of two steps each; a `Settings.transform`.

    Unlike `transitions.from_pairs` it drops none: a batch keeps its size, and `is_counted` says which transitions are
    imitated, those that `hold_keep` keeps and whose action the mask allows.

    Returns
    -------
    dict
        x and next_x float32 (B, 29), label_action int64 (B,), mask_action uint8 (B, 4), reward float32 (B,), done,
        is_known, is_refused and is_counted bool (B,), tick int64 (B,).
    """
    first = {name: values[:, 0] for name, values in batch.items()}
    is_kept, is_refused = first["kept"] != 0, first["refused"] != 0
    return {
        "x": select(batch["observation"][:, 0]),
        "next_x": select(batch["observation"][:, 1]),
        "label_action": first["label_action"].astype(np.int64),
        "mask_action": first["mask_action"],
        "reward": first["reward"],
        "done": first["terminated"] != 0,
        "is_known": first["player_known"] != 0,
        "is_refused": is_kept & is_refused,
        "is_counted": is_kept & ~is_refused,
        "tick": first["tick"].astype(np.int64),
    }


def legal_log_probabilities(logits: Tensor, mask: Tensor) -> Tensor:
    """Return log probabilities of the legal actions, (B, 4); -inf for the others. HOLD is always legal."""
    return torch.log_softmax(logits.float().masked_fill(mask == 0, -torch.inf), dim=1)


def imitation(logits: Tensor, batch: TensorBatch) -> Tensor:
    """Return the NLL of what the human did in each transition (B,); 0 where it does not count.

    Raises
    ------
    ExpectedError
        When an action counts that its mask forbids.
    """
    is_counted = batch["is_counted"] & (batch["label_action"] >= 0)
    actions = torch.where(is_counted, batch["label_action"], 0)
    is_legal = batch["mask_action"].gather(1, actions[:, None])[:, 0] != 0
    if not is_legal.all():
        row = int(torch.nonzero(~is_legal)[0])
        where = f"rugs: tick {int(batch['tick'][row])}" if "tick" in batch else f"rugs: row {row} of the batch"
        raise ExpectedError(
            f"{where}: {ACTIONS[int(actions[row])]} is pressed, which its mask forbids, expected refused to say so; "
            "run `dvc repro`"
        )
    log_probabilities = legal_log_probabilities(logits, batch["mask_action"])
    nll = -log_probabilities.gather(1, actions[:, None])[:, 0]
    return torch.where(is_counted, nll, 0.0)
