"""Events of crash games -> steps of reinforcement learning; see `stages.datasets.base` for the interface.

One row is one step, the state right after the first frame of a tick; a group is an episode, a unit is one episode. The
rows of an episode are its observations in order, the last one included: row i and row i+1 of an episode are a
transition, and the last row begins none (its label is -1, its reward 0).

- `reader`: the rows of a chunk of units; `columns`: their payloads -> numbers; `events`: the table of events.
- `steps`: which frames are steps; `carry`, `state`: what was known at each; `formulas`: what follows from that;
  `observe`: the 36 numbers.
- `matches`: which press an own trade answers; `actions`: presses -> labels and masks; `rewards`: rewards and ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from stages.datasets.base import Field, Finding, Unit, group_id
from stages.datasets.rugs import schema
from stages.datasets.rugs.encode import actions, formulas, observe, rewards
from stages.datasets.rugs.encode.actions import Presses
from stages.datasets.rugs.encode.events import Events, read_events
from stages.datasets.rugs.encode.matches import match, own_trades, recognised
from stages.datasets.rugs.encode.reader import content, locate
from stages.datasets.rugs.encode.steps import Steps, steps
from stages.datasets.rugs.schema import ACTIONS, FEATURE_COUNT, FEATURE_NAMES, GAME_BYTES, Options

__all__ = ["CHUNK_UNITS", "FIELDS", "Table", "content", "encode", "findings", "line", "locate", "read"]

CHUNK_UNITS = 4  # episodes read 8 at a time take the same CPU and more memory, 40 at a time twice the CPU, measured

NOT_SCALED = {"game_phase", "allow_pre_round_buys", "active", "rugged", "game_id"}
SCALED = tuple(name not in NOT_SCALED for name in FEATURE_NAMES)
OBSERVATION_DOC = "state right after the step's frame, from events up to it; encode/formulas.py and state.py say how"
ACTION_DOC = "what the human pressed at the step; HOLD for nothing; -1 at the last step of an episode"
MASK_DOC = "1 for the actions that were legal by what was known at the step, whatever was pressed"
REFUSED_DOC = "1 if the action of the step is one that its mask forbids"
FIELDS = {
    "observation": Field("float32", (FEATURE_COUNT,), "feature", OBSERVATION_DOC, FEATURE_NAMES, SCALED),
    "label_action": Field("int16", (), "label", ACTION_DOC, ACTIONS),
    "mask_action": Field("uint8", (len(ACTIONS),), "mask", MASK_DOC, ACTIONS),
    "reward": Field("float32", (), "key", "change of equity to the next step, SOL; 0 where the player is not known"),
    "terminated": Field("uint8", (), "key", "1 if the next step is the rug, and the last of the episode"),
    "truncated": Field("uint8", (), "key", "1 if the next step is the last one recorded, and no rug"),
    "player_known": Field("uint8", (), "key", "1 if the player's balance was known at the step"),
    "tick": Field("int32", (), "key", "tick of the step, 250 ms nominal, from 0"),
    "executed": Field("uint8", (), "key", "1 if an own trade answered the BUY or SELL of the step within 3 s"),
    "refused": Field("uint8", (), "key", REFUSED_DOC),
    "kept": Field("uint8", (), "key", "0 for the HOLDs that the option hold_keep leaves out, else 1"),
    "line": Field("int32", (), "key", "number, from 1, of the step's frame among all rows of its episode"),
    "player": Field("uint64", (), "key", "pseudonym of the player; 0 without a key"),
    "time": Field("int64", (), "time", "when the first row of the EPISODE was recorded, ns since 1970 UTC"),
    "game": Field(f"S{GAME_BYTES}", (), "series", "game id: each episode is a series of its own"),
    "lookback": Field("int32", (), "lookback", "0: a step holds all that it looks back on"),
}


@dataclass(frozen=True)
class Table:
    """The events of a chunk of episodes, and what both `encode` and `findings` need of them."""

    events: Events
    settings: Options

    @cached_property
    def steps(self) -> Steps:
        """The steps."""
        return steps(self.events)

    @cached_property
    def presses(self) -> Presses:
        """The presses, with their steps."""
        return actions.align(self.events, self.steps, self.settings.tolerance_ticks)

    @cached_property
    def action(self) -> np.ndarray:
        """The action of each step, int16 (S,)."""
        return actions.labels(self.steps, self.presses)

    @cached_property
    def mask(self) -> np.ndarray:
        """Which actions were legal at each step, uint8 (S, 4)."""
        return actions.mask(self.events, self.steps, self.presses)

    @cached_property
    def refused(self) -> np.ndarray:
        """Which steps have a press that the mask forbids, uint8 (S,)."""
        return actions.refused(self.mask, self.action)

    @cached_property
    def why_dropped(self) -> tuple[str, ...]:
        """Why each episode has no arrays; empty if it has."""
        is_short = self.steps.n_ticks < self.settings.min_ticks
        is_cut = ~self.steps.is_terminal & self.settings.drop_incomplete
        reasons = np.select([is_short, is_cut], ["dropped:min_ticks", "dropped:incomplete"], "")
        return tuple(reasons.tolist())


def read(raw_dir: Path, units: Sequence[Unit], options: Mapping[str, Any]) -> Table:
    """Read and check the events of some episodes.

    Raises
    ------
    BadUnit
        When too many rows of an episode are bad.
    ExpectedError
        When an option is wrong, or an episode's rows changed since discover.
    """
    settings = schema.parse_options(options)
    return Table(read_events(raw_dir, units, options), settings)


def findings(table: Table) -> list[Finding]:
    """Return rows left out, episodes dropped, and presses of two kinds.

    `unmatched:` and why are those that belong to no step; `refused:` and the action are those that the mask of their
    step forbids, which are in the arrays, marked.
    """
    return [*table.events.findings, *_dropped(table), *_unmatched(table), *_refused(table)]


def encode(table: Table, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays of some episodes.

    Parameters
    ----------
    table
        What `read` returned.
    options
        See `schema.Options`.

    Returns
    -------
    dict
        Every field of `FIELDS` with N rows, and the group arrays.
    """
    events, found = table.events, _rows(table, schema.parse_options(options))
    is_kept = np.array([not reason for reason in table.why_dropped], bool)
    n_steps = np.diff(table.steps.offsets)[is_kept]
    rows = slice(None) if is_kept.all() else is_kept[table.steps.episode]  # a mask copies
    source = np.flatnonzero(is_kept)
    return {name: array[rows] for name, array in found.items()} | {
        "group_id": np.array([group_id(f"rugs {events.game_ids[episode]}") for episode in source], np.uint64),
        "group_offsets": np.concatenate(([0], np.cumsum(n_steps))).astype(np.int64),
        "source": source.astype(np.int32),
    }


def _rows(table: Table, settings: Options) -> dict[str, np.ndarray]:
    """Return all fields of all steps, those of dropped episodes too."""
    events, taken = table.events, table.steps
    features = observe.features(events, taken, match(events, recognised(events)), settings)
    reward = rewards.rewards(events, taken, features)
    return rewards.ends(taken) | {
        "observation": observe.vectors(features),
        "label_action": table.action,
        "mask_action": table.mask,
        "reward": formulas.float32(reward),
        "player_known": features["player_known"].astype(np.uint8),
        "tick": taken.tick.astype(np.int32),
        "executed": _executed(table),
        "refused": table.refused,
        "kept": rewards.kept(events, taken, table.action, settings.hold_keep),
        "line": events.line[taken.row],
        "player": events.players[taken.episode],
        "time": events.start_ns[taken.episode],
        "game": np.array([name.encode() for name in events.game_ids], f"S{GAME_BYTES}")[taken.episode],
        "lookback": np.zeros(len(taken.row), np.int32),
    }


def _executed(table: Table) -> np.ndarray:
    """Return whether a trade answered the press of each step, uint8 (S,)."""
    executed = np.zeros(len(table.steps.row), np.uint8)
    presses, matches = table.presses, match(table.events, own_trades(table.events))
    is_done = (presses.step >= 0) & matches.is_executed[presses.row]
    executed[presses.step[is_done]] = 1
    return executed


def _dropped(table: Table) -> Iterator[Finding]:
    for episode, reason in enumerate(table.why_dropped):
        if reason:
            yield Finding(episode, reason, 1, 1)


def _unmatched(table: Table) -> Iterator[Finding]:
    """Yield the unmatched presses of the episodes that are not dropped, by episode and reason."""
    unmatched = [f"unmatched:{reason}" if reason else "" for reason in table.presses.reason]
    yield from _presses(table, unmatched)


def _refused(table: Table) -> Iterator[Finding]:
    """Yield the refused presses of the episodes that are not dropped, by episode and action."""
    presses = table.presses
    is_refused = (presses.step >= 0) & (np.append(table.refused, 0)[presses.step] == 1)
    names = [f"refused:{ACTIONS[action]}" for action in presses.action]
    yield from _presses(table, [name if is_in else "" for name, is_in in zip(names, is_refused, strict=True)])


def _presses(table: Table, reasons: Sequence[str]) -> Iterator[Finding]:
    """Yield the presses that have a reason, of the episodes that are not dropped, by episode and reason."""
    events = table.events
    found = [
        (int(events.episode[row]), reason, int(events.line[row]))
        for row, reason in zip(table.presses.row, reasons, strict=True)
        if reason and not table.why_dropped[events.episode[row]]
    ]
    for (episode, reason), same in groupby(sorted(found), key=lambda press: press[:2]):
        lines = [line for _, _, line in same]
        yield Finding(episode, reason, len(lines), lines[0])


def line(row: int) -> int:
    """Return the number of the step's frame among the rows of its episode, if each is a step; else see `line`."""
    return row + 1
