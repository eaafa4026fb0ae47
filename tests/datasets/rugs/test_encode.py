"""Rugs: steps, carried state, presses, masks, rewards, and what is left out, each from a few events."""

import numpy as np
import pytest

from stages.datasets.rugs.encode import FIELDS, encode, findings, formulas
from stages.datasets.rugs.schema import BUY, BUY_SIDE, HOLD, SELL, SELL_SIDE, SIDEBET
from stages.processing.chunks import _check
from tests.helpers.rugs_events import (
    arrays,
    events,
    feature,
    frame,
    identity,
    press,
    rug,
    table,
    trade,
    update,
    waiting,
)


def reasons(found):
    """Return reason and line of each finding."""
    return [(finding.reason, finding.line) for finding in findings(found)]


def test_arrays_are_as_declared_and_source_names_the_episode():
    """Also of a chunk of which nothing is left."""
    found = arrays([frame(0)], [frame(0), rug(1)], min_ticks=2)
    _check(FIELDS, found)
    assert found["source"].tolist() == [1]
    assert found["group_offsets"].tolist() == [0, 2]
    assert found["game"].tolist() == [b"g1", b"g1"]
    empty = arrays([frame(0)], min_ticks=2)
    _check(FIELDS, empty)
    assert len(empty["observation"]) == 0


def test_waiting_stale_and_repeated_frames_make_no_step():
    """A stale frame changes players only, a repeated one all but the price, and what comes after the rug nothing."""
    rows = [
        waiting(100, presale=1),
        {**frame(0), "active": 0},  # explicitly not active
        frame(5, 2.0, connected=7),
        frame(4, 9.0, connected=8, active=0),  # waits, and so has a price that holds
        frame(4, 7.0, connected=8, presale=1),  # stale
        frame(5, 8.0, connected=9, presale=1),  # repeats
        frame(6, np.nan),
        rug(6),
        rug(7),
        frame(8),
    ]
    found = arrays(rows)
    assert found["tick"].tolist() == [5, 6, 6]
    assert found["line"].tolist() == [3, 7, 8]
    assert feature(found, "price") == [2, 9, 0.01]
    assert feature(found, "connected_players") == [7, 9, 9]
    assert feature(found, "allow_pre_round_buys") == [0, 0, 0]
    assert found["terminated"].tolist() == [0, 1, 0]


def test_a_stale_frame_does_not_change_the_state():
    found = arrays([frame(5, 2.0), frame(4, 9.0, rugged=1, connected=8), {**frame(6, np.nan), "rugged": np.nan}])
    assert feature(found, "price") == [2, 2]
    assert feature(found, "rugged") == [0, 0]
    assert feature(found, "connected_players") == [0, 8]


@pytest.mark.parametrize("tick", [np.nan, 1.5, -1, 2**31])
def test_a_frame_without_a_tick_changes_the_state_and_is_no_step(tick):
    found = arrays([frame(0), frame(tick, 3.0), frame(1, np.nan)])
    assert found["tick"].tolist() == [0, 1]
    assert feature(found, "price") == [1, 3]


def test_a_price_is_taken_from_the_candle_or_the_last_frame():
    found = arrays([frame(0, np.nan), frame(1, np.nan, price_partial=1.5), frame(2, np.nan), frame(3, 2.0)])
    assert feature(found, "price") == [1, 1.5, 1.5, 2]


def test_velocity_and_acceleration_are_for_each_tick_of_a_gap():
    """And an episode knows nothing of the one before it."""
    found = arrays([frame(0, 1.0), frame(2, 2.0), frame(3, 2.5), rug(3, 0.5)], [frame(0, 9.0), frame(1, 9.5)])
    assert feature(found, "price_velocity") == [0, 0.5, 0.5, -2, 0, 0.5]
    assert feature(found, "price_acceleration") == [0, 0, 0, -2.5, 0, 0]


def test_state_is_carried_within_an_episode_only():
    """Missing keys keep their value; the balance begins with what the session carried, or is not known."""
    found = arrays([update(1.0, 2.0, 0.5), frame(0), update(0.5), frame(1)], [frame(0)])
    assert feature(found, "balance") == [1, 0.5, 0]
    assert feature(found, "position_qty") == [2, 2, 0]
    assert found["player_known"].tolist() == [1, 1, 0]
    carried = arrays([frame(0)], cash=0.25)
    assert feature(carried, "balance") == [0.25]
    assert carried["player_known"].tolist() == [1]


def test_the_cooldown_settles_the_position_and_keeps_the_balance():
    """Presale does not: what was bought in it is held when the round begins."""
    late = update(0.5, 2.0, 1.0)
    found = arrays([late, waiting(5000), frame(0)], [late, waiting(5000, presale=1), frame(0)])
    assert feature(found, "balance") == [0.5, 0.5]
    assert feature(found, "position_qty") == [0, 2]
    assert feature(found, "avg_entry_price") == [0, 1]


@pytest.mark.parametrize(("first", "expected"), [(0, [0, 1]), (1, [1, 2]), (60, [0, 1])])
def test_a_position_open_before_the_first_step_counts_from_presale_or_from_there(first, expected):
    found = arrays([update(1, 2, 1), frame(first), frame(first + 1)])
    assert feature(found, "time_in_position") == expected


def test_time_in_position_restarts_when_it_was_closed():
    """It goes on when more is bought or some is sold."""
    rows = [frame(0), update(1, 2), frame(1), update(1, 1), frame(2), update(1, 0), frame(3), update(1, 5), frame(5)]
    assert feature(arrays(rows), "time_in_position") == [0, 1, 2, 0, 2]


def test_presses_show_in_the_next_step():
    """Ticks since the last press of any kind, and its bet; before any the tick itself."""
    rows = [frame(3), press("INC_01", 3, 0.0), press("BUY", 3, 0.01), frame(4), frame(7), press("HALF", 7), frame(8)]
    found = arrays(rows)
    assert feature(found, "ticks_since_last_action") == [3, 1, 4, 1]
    assert feature(found, "bet_amount") == [0, 0.01, 0.01, 0]


def test_a_trade_answers_the_first_press_of_its_kind_of_the_last_three_seconds():
    """Older presses are given up; a trade without a press, like a liquidation, has no time of a press."""
    rows = [
        *[identity(), frame(0), press("BUY", 0), press("SELL", 0), *[frame(1)] * 40, press("BUY", 1), press("BUY", 1)],
        *[trade(BUY_SIDE, 1, 1.1), frame(2), trade(BUY_SIDE, 2, 1.2), frame(3), trade(SELL_SIDE, 3, 1.3), frame(4)],
        *[trade(BUY_SIDE, 9, 9.9, is_own=0), frame(5)],
    ]
    found = arrays(rows)
    assert feature(found, "execution_tick") == [0, 0, 1, 2, 3, 3]
    assert feature(found, "execution_price") == [0, 0, 1.1, 1.2, 1.3, 1.3]
    assert feature(found, "client_timestamp") == [0, 0, 4300, 4400, 0, 0]
    assert feature(found, "latency_ms") == [0, 0, 200, 300, 0, 0]
    assert found["executed"].tolist() == [0, 0, 1, 0, 0, 0]  # SELL moved to tick 1, so the first BUY of it to tick 2


def test_a_server_time_goes_before_the_time_of_arrival():
    rows = [identity(), frame(0), press("BUY", 0, client_ms=1000.0, server_ms=1030.0), trade(BUY_SIDE, 0, 1), frame(1)]
    table_of_rows = events(rows)
    table_of_rows.ts_ms[:] = 1050
    found = table(rows)
    object.__setattr__(found, "events", table_of_rows)
    assert feature(encode(found, {}), "latency_ms") == [0, 30]


def test_a_trade_before_the_player_is_named_confirms_its_press_but_is_not_observed():
    found = arrays([frame(0), press("BUY", 0), trade(BUY_SIDE, 0, 1.0), frame(1), identity(), frame(2)])
    assert feature(found, "execution_price") == [0, 0, 0]
    assert found["executed"].tolist() == [1, 0, 0]


@pytest.mark.parametrize(("rows", "label", "why"), [
    ([frame(0), press("BUY", 0), frame(1), frame(2)], [BUY, HOLD, -1], []),
    ([frame(0), frame(1), press("BUY"), frame(2)], [HOLD, BUY, -1], []),  # no label: the last step seen
    ([frame(0), frame(2), press("BUY", 1), frame(3)], [BUY, HOLD, -1], []),  # lost tick: the earlier one
    ([frame(0), press("BUY", 0), press("SELL", 0), frame(1), frame(2)], [BUY, SELL, -1], []),
    ([frame(0), press("BUY", 0), press("SELL", 0), frame(1)], [BUY, -1], [("unmatched:conflict", 3)]),
    ([frame(0), press("BUY", 9), frame(1)], [HOLD, -1], [("unmatched:no_step_within_tolerance", 2)]),
    ([frame(0), frame(1), press("BUY", 1)], [HOLD, -1], [("unmatched:no_next_observation", 3)]),
    ([frame(0), rug(1), press("BUY", 0)], [HOLD, -1], [("unmatched:post_terminal", 3)]),
    ([waiting(9000), press("BUY", 0), frame(0), frame(1)], [HOLD, -1], [("unmatched:pre_round", 2)]),
    ([waiting(900, 1), press("BUY", 9), frame(1), frame(2)], [BUY, -1], []),  # presale, with a tick of the last round
    ([waiting(900, 1), press("BUY", 0), frame(2), frame(3)], [HOLD, -1], [("unmatched:pre_round", 2)]),
    ([frame(0), frame(1), press("BUY", 1), rug(1)], [HOLD, BUY, -1], []),  # the rug repeats the tick
    ([frame(0), press("DOUBLE", 0), press("SELL_50", 0), frame(1)], [HOLD, -1], []),  # no actions
])  # fmt: skip
def test_a_press_belongs_to_the_step_it_was_seen_at_or_has_a_reason(rows, label, why):
    found = table(rows)
    assert encode(found, {})["label_action"].tolist() == label
    assert [reason for reason in reasons(found) if not reason[0].startswith("refused:")] == why


def test_presses_move_as_far_as_the_tolerance():
    """Earlier steps first, for ticks that are no steps; of two episodes each keeps its own."""
    rows = [frame(0), frame(5), press("BUY", 3), press("SELL", 3), frame(6)]
    assert arrays(rows, rows, tolerance_ticks=2)["label_action"].tolist() == [HOLD, BUY, -1] * 2
    assert arrays(rows, tolerance_ticks=3)["label_action"].tolist() == [SELL, BUY, -1]


def test_the_mask_is_what_was_known_to_be_legal():
    """And a sidebet runs for 40 ticks."""
    rows = [update(0.0005, 0), frame(0), update(0.001, 1), frame(1), press("SIDEBET", 1), frame(2), frame(40)]
    found = arrays([*rows, frame(41), rug(42)])
    assert found["mask_action"][:3].tolist() == [[1, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 0]]
    assert found["mask_action"][3:].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]]


def test_the_mask_is_silent_on_what_is_pressed_and_refused_marks_what_it_forbids():
    """The human may press what the server refuses; nobody may see in the mask that they did."""
    pressed = table([frame(0), press("SELL", 0), frame(1), press("SIDEBET", 1), frame(2)])
    quiet = arrays([frame(0), frame(1), frame(2)])
    found = encode(pressed, {})
    assert found["mask_action"][:2].tolist() == quiet["mask_action"][:2].tolist() == [[1, 0, 0, 1]] * 2
    assert found["refused"].tolist() == [1, 0, 0]
    assert quiet["refused"].tolist() == [0, 0, 0]
    assert reasons(pressed) == [("refused:SELL", 2)]


def test_a_sidebet_counts_from_the_step_after_its_own():
    """Recorded before the frame of its tick, or in presale, it is of that step, whose mask may not know of it yet."""
    early = arrays([frame(0), press("SIDEBET", 1), frame(1), frame(2)])
    assert early["label_action"].tolist() == [HOLD, SIDEBET, -1]
    assert early["mask_action"][:, SIDEBET].tolist() == [1, 1, 0]
    presale = arrays([waiting(900, 1), press("SIDEBET", 0), frame(0), frame(1)])
    assert presale["label_action"].tolist() == [SIDEBET, -1]
    assert presale["mask_action"][:, SIDEBET].tolist() == [1, 0]
    assert not early["refused"].any()
    assert not presale["refused"].any()


def test_rewards_are_changes_of_equity_and_zero_while_the_player_is_not_known():
    rows = [frame(0), update(1, 0), frame(1), update(0.9, 0.1), frame(2, 2.0), update(1.2, 0), frame(3)]
    assert arrays(rows)["reward"] == pytest.approx([0, 0.1, 0.1, 0])


def test_what_is_settled_after_the_rug_belongs_to_the_last_transition():
    """A late liquidation changes nothing, a late payout counts; in an episode without a rug nothing is late."""
    start = [update(1, 0.5), frame(0, 1.0)]
    liquidated = [*start, rug(1, 0.02), update(1.01, 0)]
    paid = [*start, update(1.01, 0), rug(1, 0.02), update(1.51)]
    cut = [*start, frame(1, 0.02), update(5.0, 0)]
    assert arrays(liquidated, paid, cut)["reward"] == pytest.approx([-0.49, 0, 0.01, 0, -0.49, 0])


def test_a_rug_terminates_and_the_end_of_the_record_truncates():
    found = arrays([frame(0), frame(1), rug(2)], [frame(0), frame(1)], [frame(0)])
    assert found["terminated"].tolist() == [0, 1, 0, 0, 0, 0]
    assert found["truncated"].tolist() == [0, 0, 0, 1, 0, 0]


def test_dropped_episodes_are_findings():
    """Ticks count once, also when the rug repeats one; presses of dropped episodes are not counted as well."""
    short, cut, whole = [frame(0), rug(0), press("BUY", 0)], [frame(0), frame(1)], [frame(0), rug(1)]
    found = table(short, cut, whole, [waiting(100)], min_ticks=2, drop_incomplete=True)
    assert [(finding.unit, finding.reason) for finding in findings(found)] == [
        (0, "dropped:min_ticks"),
        (1, "dropped:incomplete"),
        (3, "dropped:min_ticks"),
    ]
    assert encode(found, {"min_ticks": 2, "drop_incomplete": True})["source"].tolist() == [2]


def test_thinning_marks_holds_and_changes_nothing_else():
    """A draw of game id and tick: about the share, the same in any chunk, and more with a larger share."""
    rows = [frame(0), press("BUY", 0), *(frame(tick) for tick in range(1, 1000))]
    whole, half, tenth = (arrays(rows, rows, hold_keep=share) for share in (1.0, 0.5, 0.1))
    for name in set(FIELDS) - {"kept"}:
        np.testing.assert_array_equal(half[name], whole[name])
    assert whole["kept"].all()
    assert 900 < half["kept"].sum() < 1100
    assert half["kept"][0] == tenth["kept"][0] == 1
    assert (half["kept"] >= tenth["kept"]).all()
    np.testing.assert_array_equal(arrays(rows, hold_keep=0.5)["kept"], half["kept"][:1000])
    assert (half["kept"][:1000] != half["kept"][1000:]).any()


def test_options_choose_phase_rule_and_numerator():
    rows = [update(1.0, 0.5), frame(0, 2.0), rug(1, 2.0)]
    assert feature(arrays(rows), "game_phase") == [2, 3]
    assert feature(arrays(rows, phase_rule="design"), "game_phase") == [2, 2]
    assert feature(arrays(rows), "balance_at_risk_pct") == [0.25, 0.25]
    assert feature(arrays(rows, risk_numerator="value"), "balance_at_risk_pct") == [0.5, 0.5]


@pytest.mark.parametrize(("flags", "evidence", "design"), [
    ((0, 0, 1, 1), 3, 2), ((0, 0, 0, 1), 3, 3), ((9000, 1, 0, 0), 1, 0), ((9000, 0, 0, 0), 0, 0),
    ((0, 1, 0, 0), 1, 1), ((0, 0, 1, 0), 2, 2), ((0, 0, 0, 0), 0, 0),
])  # fmt: skip
def test_phases(flags, evidence, design):
    """Of (timer, presale, active, rugged)."""
    flags = tuple(np.array(flags, float))
    assert (formulas.phase(flags, "evidence"), formulas.phase(flags, "design")) == (evidence, design)


def test_no_number_is_too_large_to_be_stored():
    big = 1.7e308
    rows = [update(big, big, 1e-300), frame(0, big, pool=big, pool_threshold=1e-300), frame(1, -big), rug(2, big)]
    found = arrays(rows)
    assert np.isfinite(found["observation"]).all()
    assert np.isfinite(found["reward"]).all()


def test_a_game_without_id_and_a_slope_within_a_tick_have_their_values():
    assert formulas.slope(np.array(1.5), np.array(1.0), np.array(0.0)) == 0.5
    assert formulas.game_hash("") == 0


def test_sidebets_are_labels_and_have_no_trade():
    found = arrays([identity(), frame(0), press("SIDEBET", 0), frame(1)])
    assert found["label_action"].tolist() == [SIDEBET, -1]
    assert not found["executed"].any()
