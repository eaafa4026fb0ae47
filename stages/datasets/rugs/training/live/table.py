"""Episodes in memory -> the table that `encode` reads."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from stages.datasets.rugs.encode import columns
from stages.datasets.rugs.encode.events import Events
from stages.datasets.rugs.reading.store import NOT_NEEDED
from stages.datasets.rugs.training.live.messages import NS_PER_MS, Message


class OwnEpisode(Protocol):
    """What the table needs of an episode."""

    @property
    def game_id(self) -> str:
        """Its game."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """Its events in canonical order."""

    @property
    def cash_carried(self) -> float:
        """Balance carried in; NaN for none."""


def table(episodes: Sequence[OwnEpisode]) -> Events:
    """Return the events of some episodes as one table; players have no pseudonyms."""
    needed = [[message for message in episode.messages if message.kind != NOT_NEEDED] for episode in episodes]
    messages = [message for own in needed for message in own]
    n_rows = np.array([len(own) for own in needed], np.int64)
    offsets = np.concatenate(([0], np.cumsum(n_rows))).astype(np.int64)
    episode = np.repeat(np.arange(len(episodes), dtype=np.int32), n_rows)
    ts_ns = np.array([message.ts_ns for message in messages], np.int64)
    return Events(
        episode=episode,
        kind=np.array([message.kind for message in messages], np.int8),
        ts_ms=ts_ns // NS_PER_MS,
        line=(np.arange(len(messages)) - offsets[episode] + 1).astype(np.int32),
        **_numbers(messages),
        game_ids=tuple(episode.game_id for episode in episodes),
        cash_carried=np.array([episode.cash_carried for episode in episodes], np.float64),
        start_ns=ts_ns[offsets[:-1]],
        players=np.zeros(len(episodes), np.uint64),
        offsets=offsets,
        findings=(),
    )


def _numbers(messages: Sequence[Message]) -> dict[str, np.ndarray]:
    found = columns.missing(len(messages)) | {"is_own": np.full(len(messages), np.nan)}
    for row, message in enumerate(messages):
        for name, number in message.numbers.items():
            found[name][row] = number
    return found
