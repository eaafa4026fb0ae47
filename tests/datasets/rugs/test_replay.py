"""Replay: holding earns nothing, the human what was recorded, and the books are those of the simulated server."""

import numpy as np
import pytest

from stages.datasets.rugs import simulate
from stages.datasets.rugs.encode import encode, read
from stages.datasets.rugs.find import find
from stages.datasets.rugs.schema import FEATURE_NAMES
from stages.datasets.rugs.simulate.account import Account as Books
from stages.datasets.rugs.training import replay
from stages.datasets.rugs.training.accounts import Orders, ReplayAccount, own_features
from stages.datasets.rugs.training.replay import Holder, ModelPlayer, RecordedHuman, Recording, ReplayOptions
from stages.datasets.rugs.training.transitions import Transitions
from tests.helpers.rugs_rows import unpack_store
from tests.helpers.samples import write_alone
from tests.helpers.shared import made_once

TOLERANCE = 1e-6  # SOL
SAMPLE = {"games": 24, "sessions": 3, "seed": 19, "start": "2025-12-27T23:56:00"}


def recording_of(store):
    units = find(store, {})
    steps = encode(read(store, units, {}), {})
    return replay.of_transitions(Transitions(steps, steps["group_offsets"]))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The sample of the repository."""
    return recording_of(
        made_once(tmp_path_factory, "rugs-sample", lambda folder: write_alone(simulate, folder, SAMPLE))
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return recording_of(made_once(tmp_path_factory, "rugs-reference", unpack_store))


@pytest.fixture(params=["sample", "reference"])
def recording(request):
    return request.getfixturevalue(request.param)


def test_holding_earns_exactly_nothing(recording):
    assert len(recording.starts) >= 20
    assert (recording.play(Holder()) == 0.0).all()


def test_the_human_earns_what_was_recorded(recording):
    """Also where frames, liquidations and settlements were late or lost; a payout that never came is told."""
    human = RecordedHuman(recording)
    earned, recorded = recording.play(human), recording.recorded()
    assert np.count_nonzero(np.abs(recorded) > TOLERANCE) >= 15
    assert np.abs(earned - human.unpaid - recorded).max() <= TOLERANCE
    assert (human.unexplained == 0).all()
    assert np.count_nonzero(human.unpaid) <= 1


def test_orders_are_filled_at_the_price_of_their_step(recording):
    """Or at that of the frame before, where the answer came late, or at the rug's where it liquidates."""
    human = RecordedHuman(recording)
    rows = np.flatnonzero(human.is_trade)
    prices = np.stack([recording.column("price", rows + k) for k in (-1, 0, 1)])
    is_near = (np.abs(human.fill[rows] / prices - 1) < 1e-3).any(0)
    assert len(rows) >= 30
    assert is_near.mean() > 0.95


class Watched:
    """The human, with what a policy in its place would see of its own account at each step."""

    keeps_tokens = False

    def __init__(self, recording):
        self.human, self.recording, self.seen = RecordedHuman(recording), recording, []

    def __call__(self, rows, account):
        features = {name: self.recording.column(name, rows) for name in FEATURE_NAMES}
        self.seen.append((rows, own_features(features, account), features))
        return self.human(rows, account)


def test_a_policy_sees_the_account_as_it_was_recorded(sample):
    """Every feature of the account, with the human's own orders, in episodes that begin without tokens.

    The profit is told as of the moment of the order, at a price that may be that of the frame before.
    """
    watched = Watched(sample)
    sample.play(watched)
    begins_empty = sample.column("position_qty", sample.starts) == 0
    n_compared = 0
    for rows, own, recorded in watched.seen:
        is_on = (rows < sample.stops - 1) & begins_empty
        n_compared += is_on.sum()
        for name in own.keys() - {"time_in_position", "cumulative_pnl"}:
            assert own[name][is_on] == pytest.approx(recorded[name][is_on], abs=2e-4, rel=1e-3), name
        assert np.abs(own["time_in_position"] - recorded["time_in_position"])[is_on].max(initial=0) <= 1
        assert np.abs(own["cumulative_pnl"] - recorded["cumulative_pnl"])[is_on].max(initial=0) < 3e-4
    assert n_compared > 1000


def test_the_books_are_those_of_the_server():
    """Random orders, carried out by both."""
    rng = np.random.default_rng(3)
    one = np.ones(1)
    for _ in range(20):
        books, account = Books(1.0), ReplayAccount.of(one, one * 0, one * 0)
        for tick in range(30):
            price, kind = float(rng.uniform(0.2, 4)), rng.integers(4)
            amount, share = round(float(rng.uniform(0.001, 0.02)), 9), float(rng.choice([0.1, 0.5, 1.0]))
            share *= books.quantity > 0
            orders = [0.0, amount, 0.0, 0.0][kind], [0.0, 0.0, share, 0.0][kind], [0.0, 0.0, 0.0, amount][kind]
            account.order(Orders(*(one * value for value in orders), one * price), one * price, one * tick)
            if kind == 1:
                books.buy(amount, price)
            elif kind == 2 and share:
                books.sell(share, price)
            elif kind == 3:
                books.stake(amount)
            state = books.state(price)
            found = {"cash": account.cash, "positionQty": account.quantity, "totalInvested": account.invested}
            for name, value in found.items():
                assert value[0] == pytest.approx(state[name], abs=1e-7)


def made(prices, ticks=None, terminated=True, balance=1.0):
    """Return a recording of one episode with these prices."""
    n = len(prices)
    observation = np.zeros((n, len(FEATURE_NAMES)))
    tick = np.arange(n) if ticks is None else np.array(ticks)
    columns = {"tick": tick, "price": prices, "active": 1, "balance": balance}
    for name, values in columns.items():
        observation[:, FEATURE_NAMES.index(name)] = values
    ends = np.arange(n) == n - 2
    steps = {"reward": np.zeros(n), "terminated": ends & terminated, "tick": tick, "label_action": np.zeros(n)}
    return Recording(observation, steps, np.array([0]), np.array([n]), 0)


def plays(recording, actions, **options):
    """Return what a policy earns that wants these actions, one a step, when it may."""
    step = iter(actions)

    def logits(x):
        return np.where(np.arange(4) == next(step), 9.0, np.array([1.0, 0, 0, 0]))[None].repeat(len(x), 0)

    return recording.play(ModelPlayer(recording, logits, ReplayOptions(act="greedy", **options)))[0]


def test_a_game_worked_by_hand():
    """Buys 0.002 at 1, sells all at 1.5; buys again at 2 and is liquidated at 0.01."""
    prices = [1.0, 1.5, 2.0, 0.01]
    assert plays(made(prices), [1, 2, 0]) == pytest.approx(0.001)
    assert plays(made(prices), [1, 2, 1]) == pytest.approx(0.001 - 0.002 + 0.001 * 0.01)
    assert plays(made(prices), [2, 2, 2]) == 0.0  # nothing to sell
    assert plays(made(prices, balance=0.0005), [1, 1, 1]) == 0.0  # nothing to buy with
    assert plays(made(prices, balance=0.0015), [1, 2, 0]) == pytest.approx(0.00075)  # less than 0.002


@pytest.mark.parametrize(("last", "won"), [(40, True), (41, False)])
def test_a_sidebet_is_paid_if_the_rug_comes_within_40_ticks(last, won):
    recording = made([1.0, 1.0, 1.0, 0.01], ticks=[0, 1, 2, last])
    assert plays(recording, [3, 0, 0]) == pytest.approx(0.004 if won else -0.001)
    assert plays(recording, [3, 3, 3]) == pytest.approx(0.004 if won else -0.001)  # one at a time
    cut = made([1.0, 1.0, 1.0, 1.0], ticks=[0, 1, 2, last], terminated=False)
    assert plays(cut, [3, 0, 0]) == pytest.approx(-0.001)


def test_draws_follow_the_probabilities_and_the_seed():
    recording = made(np.ones(2))
    logits = np.log([[0.7, 0.3, 1e-9, 1e-9]])
    player = ModelPlayer(recording, lambda x: logits, ReplayOptions(seed=1))
    drawn = [int(player._decide(logits, np.array([[True, True, False, True]]))[0]) for _ in range(4000)]
    assert np.mean(np.array(drawn) == 1) == pytest.approx(0.3, abs=0.03)
    assert set(drawn) == {0, 1}
