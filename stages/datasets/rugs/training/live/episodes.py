"""Events of any number of games -> episodes, one a game.

    for episode in EpisodeSegmenter(min_ticks=2).segment(events):
        episode.game_id, episode.is_terminal, episode.terminal_tick, len(episode.events)

Events with `seq` are put in the canonical order, and of repeated ones the first is kept; others stay as they are given.
See `reading.order` for that order and for which game an event belongs to.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from stages.core.errors import ExpectedError
from stages.datasets.rugs.encode.steps import steps
from stages.datasets.rugs.reading import order
from stages.datasets.rugs.schema import GSU
from stages.datasets.rugs.training.live.messages import Message, messages, with_owner
from stages.datasets.rugs.training.live.table import table

Given = Mapping[str, Any] | Message


@dataclass(frozen=True)
class Episode:
    """The events of one game.

    Attributes
    ----------
    game_id
        Its game.
    events
        Its events in canonical order, as they were given.
    messages
        The same events, read; trades have the number `is_own`.
    cash_carried
        The player's last balance (SOL) of the session before the first frame; NaN for none.
    ticks
        The distinct ticks of its steps, rising.
    is_terminal
        Whether its rug was seen.
    """

    game_id: str
    events: tuple[Given, ...]
    messages: tuple[Message, ...]
    cash_carried: float
    ticks: tuple[int, ...] = ()
    is_terminal: bool = False

    @property
    def n_ticks(self) -> int:
        """Distinct ticks of its steps."""
        return len(self.ticks)

    @property
    def terminal_tick(self) -> int | None:
        """Tick of the rug; None if that was not seen."""
        return self.ticks[-1] if self.is_terminal else None

    @property
    def has_start(self) -> bool:
        """Whether it was seen from tick 0 or 1 on."""
        return bool(self.ticks) and self.ticks[0] <= 1

    @property
    def n_missing(self) -> int:
        """Ticks between the first and the last one of which there was no frame."""
        return self.ticks[-1] - self.ticks[0] + 1 - self.n_ticks if self.ticks else 0


class EpisodeSegmenter:
    """Cuts events into episodes.

    Parameters
    ----------
    min_ticks
        Fewest distinct ticks of an episode, at least 1.
    drop_incomplete
        Whether episodes without their rug are left out.
    """

    def __init__(self, min_ticks: int = 1, drop_incomplete: bool = False) -> None:
        if min_ticks < 1:
            raise ExpectedError(f"min_ticks: {min_ticks}, expected a whole number from 1; raise it")
        self.min_ticks = min_ticks
        self.drop_incomplete = drop_incomplete

    def segment(self, events: Iterable[Given]) -> list[Episode]:
        """Return the episodes in the order of their first events; events of sessions without a frame have none."""
        episodes = _with_ticks(_episodes(events))
        return [
            episode
            for episode in episodes
            if episode.n_ticks >= self.min_ticks and (episode.is_terminal or not self.drop_incomplete)
        ]


def canonical(events: Sequence[Message]) -> np.ndarray:
    """Return which of some events to take, in which order: int64 indices."""
    if any(event.seq is None for event in events):
        return np.arange(len(events))
    session, names = _codes([event.session for event in events])
    ts_ns = np.array([event.ts_ns for event in events], np.int64)
    first_ns = order.first_times(len(names), [(session, ts_ns)])
    place = order.ranks(first_ns, names)[session]
    seq = np.array([event.seq for event in events], np.int64)
    doc_type, game = (np.array([getattr(event, name) for event in events]) for name in ("doc_type", "game_id"))
    return order.ordered(place, seq, doc_type, game)[0]


def _codes(texts: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return the code of each text, int32, from 0 in the order in which they occur, and the texts by code."""
    codes: dict[str, int] = {}
    return np.array([codes.setdefault(text, len(codes)) for text in texts], np.int32), list(codes)


def _episodes(events: Iterable[Given]) -> list[Episode]:
    """Return the events of each game; `ticks` and `is_terminal` are not known yet."""
    given = list(events)
    read = messages(given)
    taken = canonical(read).tolist()
    given, read = [given[i] for i in taken], [read[i] for i in taken]
    session, _ = _codes([message.session for message in read])
    is_frame = np.array([message.kind == GSU for message in read], bool)

    # The game of each row; the code of no game is -1.
    code, names = _codes(["", *(message.game_id for message in read)])
    owner = order.owners(session, code[1:] - 1, is_frame)

    # What a session carries from game to game: the player's balance, and who that is.
    cash = np.array([message.numbers.get("cash", np.nan) for message in read])
    last_cash = order.last_seen(~np.isnan(cash), session)
    read = _with_owners(read, session)

    result = []
    for own in order.by_owner(owner):
        if not is_frame[own].any():
            continue
        last = last_cash[own[is_frame[own].argmax()]]  # at the first frame
        carried = float(cash[last]) if last >= 0 else np.nan
        parts = tuple(given[row] for row in own), tuple(read[row] for row in own)
        result.append(Episode(names[owner[own[0]] + 1], *parts, carried))
    return result


def _with_owners(read: list[Message], session: np.ndarray) -> list[Message]:
    """Tell of each trade whether it is an own one, by what the session told before it."""
    last = order.last_seen(np.array([bool(message.own_id) for message in read], bool), session)
    own_ids = [read[at].own_id if at >= 0 else "" for at in last.tolist()]
    return [with_owner(event, own_id) for event, own_id in zip(read, own_ids, strict=True)]


def _with_ticks(episodes: Sequence[Episode]) -> list[Episode]:
    taken = steps(table(episodes))
    spans = pairwise(taken.offsets.tolist())
    ticks = [tuple(np.unique(taken.tick[start:stop]).astype(int).tolist()) for start, stop in spans]
    flags = taken.is_terminal.tolist()
    found = zip(episodes, ticks, flags, strict=True)
    return [replace(episode, ticks=own, is_terminal=is_terminal) for episode, own, is_terminal in found]
