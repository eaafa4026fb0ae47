"""Ids and random-looking numbers that are functions of the data alone, the same on any machine.

References
----------
`mix` and `numbers` are the finaliser and the stream of SplitMix64 (Steele, Lea and Flood, 2014).
"""

import hashlib

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: the step of a stream


def group_id(identity: str) -> int:
    """Return the 64-bit id of a group: the first 8 bytes of the SHA-256 of its identity."""
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big")


def mix(values: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash of each value, uint64; different values have different ones."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values ^ (values >> np.uint64(31))


def seeded(values: np.ndarray, seed: int) -> np.ndarray:
    """Return what to begin with for each value, uint64, so that another seed gives other numbers."""
    return values ^ np.uint64(seed * GOLDEN % 2**64)


def numbers(states: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return number `count` of the stream that begins with each state, uint64; within a stream all are different."""
    return mix(states + count.astype(np.uint64) * np.uint64(GOLDEN))
