"""Which frames are steps, and what each frame may change.

A frame that is *waiting* (before the round) changes the state and is no step. Of the others, one with a tick above that
of all steps so far is a step; one with the tick of the last step *repeats* it and changes all of the state but the
price; one with a lower tick is *stale* and changes only what is not of its moment (players, statistics, rug pool). One
without a tick changes the state. The first frame that is rugged, and not stale, is the last step: what frames the game
sends afterwards is ignored.
"""

from dataclasses import dataclass

import numpy as np

from stages.datasets.rugs.encode import formulas
from stages.datasets.rugs.encode.events import Events
from stages.datasets.rugs.schema import GSU

EPISODE_STRIDE = 1 << 32  # above all ticks: a running maximum of episode * stride + tick begins anew in each episode


@dataclass(frozen=True)
class Steps:
    """The steps of E episodes, S of them, and what the R rows mean to them.

    Attributes
    ----------
    row
        int64 (S,): the row of the step's frame.
    episode
        int32 (S,): its episode.
    offsets
        int64 (E+1,): first step of each episode, and S.
    tick
        float64 (S,): strictly rising within an episode, but for a rug that repeats the last tick.
    terminal_row
        int64 (E,): the row of the rugged step; R where there is none.
    top
        float64 (R,): largest step tick up to the row, with it; NaN before the first step.
    sets_state, sets_price, sets_statistics
        bool (R,): frames that change these.
    settles
        bool (R,): frames of the cooldown, in which the last round's position is no more.
    """

    row: np.ndarray
    episode: np.ndarray
    offsets: np.ndarray
    tick: np.ndarray
    terminal_row: np.ndarray
    top: np.ndarray
    sets_state: np.ndarray
    sets_price: np.ndarray
    sets_statistics: np.ndarray
    settles: np.ndarray

    @property
    def is_terminal(self) -> np.ndarray:
        """Whether each episode was seen to its rug, bool (E,)."""
        return self.terminal_row < len(self.top)

    @property
    def n_ticks(self) -> np.ndarray:
        """Distinct ticks of the steps of each episode, int64 (E,)."""
        is_again = np.zeros(len(self.row), np.int64)
        is_again[1:] = (self.tick[1:] == self.tick[:-1]) & (self.episode[1:] == self.episode[:-1])
        counted = np.concatenate(([0], np.cumsum(1 - is_again)))
        return counted[self.offsets[1:]] - counted[self.offsets[:-1]]


def steps(events: Events) -> Steps:
    """Return the steps of some episodes."""
    n_rows, episode = len(events.kind), events.episode

    # Frames in play that have a tick; -1 stands for no tick.
    is_frame = events.kind == GSU
    is_waiting = is_frame & formulas.is_waiting(events.timer, events.active, events.rugged)
    is_timed = is_frame & ~is_waiting & formulas.is_tick(events.tick)
    tick = np.where(is_timed, events.tick, -1).astype(np.int64)

    # The largest tick up to each row, and the one before it.
    top = _running_top(tick, episode)
    before = np.full(n_rows, -1)
    before[1:] = np.where(episode[1:] == episode[:-1], top[:-1], -1)

    # The first rug ends the episode; what comes after it is not heard.
    is_rug = is_timed & (events.rugged == 1) & (tick >= before)
    terminal_row = _first_rows(np.flatnonzero(is_rug), events)
    is_heard = is_frame & (np.arange(n_rows) <= terminal_row[episode])

    is_stale = is_timed & (tick < before)
    is_current = is_heard & ~is_stale
    is_step = is_heard & is_timed & ((tick > before) | is_rug)
    row = np.flatnonzero(is_step)
    return Steps(
        row=row,
        episode=episode[row],
        offsets=np.searchsorted(row, events.offsets),
        tick=events.tick[row],
        terminal_row=terminal_row,
        top=np.where(top >= 0, top, np.nan),
        sets_state=is_current,
        sets_price=is_current & (is_step | ~is_timed),
        sets_statistics=is_heard,
        settles=is_heard & formulas.is_settling(events.timer, events.presale),
    )


def _running_top(tick: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """Return the largest tick, -1 for none, up to each row of its episode, int64 (R,)."""
    floor = episode.astype(np.int64) * EPISODE_STRIDE
    return np.maximum.accumulate(floor + tick + 1) - floor - 1


def _first_rows(rows: np.ndarray, events: Events) -> np.ndarray:
    """Return the first of some rows in each episode, R where there is none, int64 (E,)."""
    first = np.full(len(events.game_ids), len(events.kind))
    episodes, index = np.unique(events.episode[rows], return_index=True)
    first[episodes] = rows[index]
    return first
