"""Events in memory, or files of the store, -> transitions and batches, without the stages.

    generator = TrainingDataGenerator(seed=7)
    dataset = generator.from_parquet("events_parquet", limit=10_000)
    batch = generator.get_batch(dataset, 256)

The numbers are those of `encode`: the same code makes them. All events are in memory at once, without their payloads;
for more than that there are the stages.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import ExpectedError
from stages.datasets.rugs import encode
from stages.datasets.rugs.schema import ACTIONS, Options
from stages.datasets.rugs.training.live.episodes import Episode, EpisodeSegmenter, Given, canonical
from stages.datasets.rugs.training.live.files import read_files
from stages.datasets.rugs.training.live.messages import Message, messages
from stages.datasets.rugs.training.live.presses import merged
from stages.datasets.rugs.training.live.table import table
from stages.datasets.rugs.training.transitions import Batch, Transitions, get_batch


class TrainingDataGenerator:
    """Makes transitions of events.

    Parameters
    ----------
    options
        See `schema.Options`.
    seed
        Of the random numbers of `get_batch`: they go on from batch to batch of a dataset.
    """

    def __init__(self, options: Options | None = None, seed: int = 0) -> None:
        self._options = options or Options()
        self._seed = seed

    def align_events(self, ws: Iterable[Given], buttons: Iterable[Given]) -> list[dict[str, Any]]:
        """Return the presses of BUY, SELL and SIDEBET that belong to a step.

        Parameters
        ----------
        ws, buttons
            The events of the feed, and the presses. If all have `seq`, or else all have a time, that orders them;
            otherwise a press comes right after the frame of its tick.

        Returns
        -------
        list of dict
            `game_id`; `tick` of the step; `action`, its name; `action_id`; `press_tick`, None if the press told none.
        """
        episodes = EpisodeSegmenter().segment(merged(messages(ws), messages(buttons)))
        found = encode.Table(table(episodes), self._options)
        events, presses = found.events, found.presses
        return [
            {
                "game_id": events.game_ids[events.episode[row]],
                "tick": int(found.steps.tick[step]),
                "action": ACTIONS[action],
                "action_id": int(action),
                "press_tick": None if np.isnan(events.press_tick[row]) else int(events.press_tick[row]),
            }
            for row, action, step in zip(presses.row, presses.action, presses.step, strict=True)
            if step >= 0
        ]

    def process_episode(self, episode: Episode | Iterable[Given], buttons: Iterable[Given] = ()) -> Transitions:
        """Return the transitions of one episode, with presses that are not among its events.

        Raises
        ------
        ExpectedError
            When the events are of no game, or of several.
        """
        own = messages(episode.messages if isinstance(episode, Episode) else episode)
        found = EpisodeSegmenter().segment(merged(own, messages(buttons)))
        if isinstance(episode, Episode):
            mine = [one for one in found if one.game_id == episode.game_id]
            found = [replace(one, cash_carried=episode.cash_carried) for one in mine]
        if len(found) != 1:
            names = ", ".join(repr(one.game_id) for one in found) or "none"
            raise ExpectedError(f"process_episode: events of {names}, expected one game; segment them first")
        return self.process(found)

    def process(self, episodes: Sequence[Episode]) -> Transitions:
        """Return the transitions of some episodes."""
        arrays = encode.encode(encode.Table(table(episodes), self._options), asdict(self._options))
        return Transitions(arrays, arrays["group_offsets"], seed=self._seed)

    def from_parquet(self, ws: str | Path, buttons: str | Path | None = None, limit: int | None = None) -> Transitions:
        """Return the transitions of files of the store.

        Parameters
        ----------
        ws, buttons
            Folders: of the whole store, or of its two doc types. Without `buttons` the presses below `ws` count.
        limit
            How many ws_event rows to take, the first ones in canonical order, and the presses before the last of them.

        Raises
        ------
        ExpectedError
            When a folder has no files, or one cannot be read.
        """
        read = read_files(ws) + (read_files(buttons) if buttons else [])
        taken = [read[i] for i in canonical(read).tolist()]
        return self.process(EpisodeSegmenter().segment(_first(taken, limit)))

    def get_batch(self, dataset: Transitions, batch_size: int) -> Batch:
        """Return random transitions; see `transitions.Transitions.batch`."""
        return get_batch(dataset, batch_size)


def _first(events: list[Message], limit: int | None) -> list[Message]:
    """Return the events up to the last of the first `limit` of the feed."""
    feed = [i for i, event in enumerate(events) if event.doc_type == "ws_event"]
    return events if limit is None or limit >= len(feed) else events[: feed[limit - 1] + 1 if limit else 0]
