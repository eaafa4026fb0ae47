"""Presses among the events of the feed, where the two come apart."""

from collections.abc import Iterable

import numpy as np

from stages.datasets.rugs.schema import GSU
from stages.datasets.rugs.training.live.messages import Message


def merged(feed: Iterable[Message], presses: Iterable[Message]) -> list[Message]:
    """Return both as one list.

    If all have `seq`, or else all have a time, that orders them. Otherwise a press comes right after the frame with its
    tick, or with the last tick below, and before the last frame: then only ticks decide which step it belongs to.
    """
    feed, presses = list(feed), list(presses)
    every = [*feed, *presses]
    if all(event.seq is not None for event in every):
        return every
    if all(event.ts_ns for event in every):
        return sorted(every, key=lambda event: event.ts_ns)
    places = [*((row, 0) for row in range(len(feed))), *((_place(press, feed), 1) for press in presses)]
    return [every[i] for i in sorted(range(len(every)), key=lambda i: places[i])]


def _place(press: Message, feed: list[Message]) -> int:
    """Return the index of the event that a press comes after; -1 for none, which no step takes."""
    tick = press.numbers.get("press_tick", np.nan)
    frames = [row for row, event in enumerate(feed) if event.kind == GSU and "tick" in event.numbers]
    own = [row for row in frames if press.game_id in ("", feed[row].game_id)]
    if np.isnan(tick) or not own:
        return -1
    seen = [row for row in own[:-1] if feed[row].numbers["tick"] <= tick]
    return seen[-1] if seen else own[0]
