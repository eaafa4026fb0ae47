"""What imitation must beat: a policy that always holds, and frequencies that know the mask alone."""

import numpy as np

from stages.datasets.rugs.schema import ACTIONS
from stages.processed import Processed

SMOOTHING = 0.5  # added to each count, so that what never happened in train is unlikely and not impossible


def action_counts(folder_data: Processed) -> np.ndarray:
    """Return how often each action was taken in train with each mask, float64 (16, 4).

    Parameters
    ----------
    folder_data
        data/processed/rugs. Refused presses do not count, nor HOLDs that `hold_keep` leaves out. A mask is a number of
        four bits, that of HOLD the lowest.
    """
    keys = folder_data.keys("train", ["kept", "refused"])
    actions, masks = folder_data.labels("train", ["action"])["action"], folder_data.masks("train", ["action"])["action"]
    is_counted = (keys["kept"] != 0) & (keys["refused"] == 0) & (actions >= 0)
    places = mask_number(masks[is_counted]) * len(ACTIONS) + actions[is_counted]
    return np.bincount(places, minlength=2 ** len(ACTIONS) * len(ACTIONS)).reshape(-1, len(ACTIONS)).astype(np.float64)


def mask_number(masks: np.ndarray) -> np.ndarray:
    """Return masks (n, 4) of 0 and 1 as numbers, int64 (n,)."""
    return (masks != 0) @ (1 << np.arange(len(ACTIONS)))


def legal_marginal(counts: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return log frequencies of the actions in steps with the same mask, float64 (n, 4); a mask is (n, 4)."""
    frequency = counts + SMOOTHING
    return np.log(frequency / frequency.sum(1, keepdims=True))[mask_number(masks)]
