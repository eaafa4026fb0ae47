"""Rugs: no observation depends on a later event, and rewards add up, whatever the events are."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.datasets.rugs.encode import Table, encode
from stages.datasets.rugs.encode.events import Events
from stages.datasets.rugs.schema import BUTTONS, PLAYER, Options
from tests.helpers.rugs_events import events, frame, identity, press, trade, update, waiting

PER_EPISODE = {"game_ids", "cash_carried", "start_ns", "players", "offsets", "findings"}
CAUSAL = ("observation", "player_known", "tick", "line")
ticks, prices = st.integers(0, 8), st.sampled_from([np.nan, 0.5, 1.0, 2.25])
frames = st.builds(frame, ticks, prices, rugged=st.sampled_from([0, 0, 0, 0, 0, 1]), connected=st.integers(0, 9))
updates = st.builds(update, prices, st.sampled_from([np.nan, 0.0, 0.0, 0.3, 2.0]), prices)
rows = st.one_of(
    frames,
    frames,
    updates,
    st.builds(press, st.sampled_from(BUTTONS[:5]), st.one_of(ticks, st.just(np.nan)), prices),
    st.builds(trade, st.integers(0, 3), ticks, prices, st.integers(0, 1)),
    st.builds(waiting, st.sampled_from([0, 100, 5000]), st.integers(0, 1)),
    st.just(identity()),
)
episodes = st.lists(st.lists(rows, min_size=1, max_size=25), min_size=1, max_size=3)


def columns(found: Events) -> dict[str, np.ndarray]:
    """Return what the table has of each row."""
    return {item.name: getattr(found, item.name) for item in fields(found) if item.name not in PER_EPISODE}


def chosen(found: Events, is_kept: np.ndarray) -> Events:
    """Return some rows of the table, of the same episodes."""
    offsets = np.concatenate(([0], np.cumsum(is_kept)))[found.offsets]
    return replace(found, **{name: column[is_kept] for name, column in columns(found).items()}, offsets=offsets)


def changed(found: Events, row: int) -> Events:
    """Return the table with every number of a row and of those after it changed."""
    same = ("episode", "kind", "ts_ms", "line")
    result = {name: column for name, column in columns(found).items() if name not in same}
    for name, column in result.items():
        result[name] = np.concatenate((column[:row], 3 - np.nan_to_num(column[row:])))
    return replace(found, **result)


def arrays(found: Events) -> dict[str, np.ndarray]:
    return encode(Table(found, Options()), {})


def until(found: dict[str, np.ndarray], episode: int, line: int) -> list[bytes]:
    """Return the bytes of what is known at the steps of an episode up to a line, and at those of all before."""
    is_before = np.zeros(len(found["line"]), bool)
    for group, source in enumerate(found["source"].tolist()):
        rows = slice(*found["group_offsets"][group : group + 2])
        is_before[rows] = (found["line"][rows] <= line) if source == episode else source < episode
    return [found[name][is_before].tobytes() for name in CAUSAL]


@given(episodes, st.floats(0, 1, exclude_max=True))
@settings(max_examples=120)
def test_no_later_event_changes_an_observation(drawn, share):
    """An event is removed, or it and all after it are, or are changed: all observations before it keep their bits."""
    whole = events(*drawn, cash=1.0)
    row = int(share * len(whole.kind))
    episode, line = int(whole.episode[row]), int(whole.line[row]) - 1
    expected = until(arrays(whole), episode, line)
    rows = np.arange(len(whole.kind))
    for other in (chosen(whole, rows != row), chosen(whole, rows < row), changed(whole, row)):
        assert until(arrays(other), episode, line) == expected


@given(episodes)
@settings(max_examples=100)
def test_an_episode_does_not_depend_on_its_neighbours(drawn):
    """The arrays of a chunk are those of its episodes one by one."""
    whole = events(*drawn, cash=1.0)
    parts = [chosen(whole, whole.episode == episode) for episode in range(len(drawn))]
    found = [arrays(part) for part in parts]
    for name, array in arrays(whole).items():
        if name not in ("group_offsets", "source"):
            assert array.tobytes() == b"".join(one[name].tobytes() for one in found), name


@given(st.lists(rows, min_size=1, max_size=25))
@settings(max_examples=100)
def test_rewards_add_up_to_the_change_of_equity(drawn):
    """From the first step to the last, or, after a rug, to what was settled last; 0 while flat and unpaid."""
    found = events(drawn, cash=1.0)
    table = Table(found, Options())
    result = encode(table, {})
    if not len(result["reward"]):
        return
    balance, quantity, price = (result["observation"][:, index].astype(float) for index in (9, 10, 1))
    last = (balance[-1], quantity[-1])
    if table.steps.is_terminal[0]:
        late = np.arange(len(found.kind)) > table.steps.terminal_row[0]
        for index, column in enumerate((found.cash, found.qty)):
            told = column[late & (found.kind == PLAYER) & ~np.isnan(column)]
            last = (*last[:index], told[-1] if len(told) else last[index], *last[index + 1 :])
    expected = last[0] + last[1] * price[-1] - balance[0] - quantity[0] * price[0] if len(balance) > 1 else 0
    assert result["reward"].astype(float).sum() == pytest.approx(expected, abs=1e-5)
    is_flat = (quantity[:-1] == 0) & (quantity[1:] == 0) & (balance[:-1] == balance[1:])
    assert not result["reward"][:-1][is_flat & (result["terminated"][:-1] == 0)].any()
