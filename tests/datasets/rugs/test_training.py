"""Rugs: what is imitated and what not, both algorithms learn, metrics and baselines are what a recount gives."""

import math
from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")

from stages.core.errors import ExpectedError  # noqa: E402
from stages.datasets.rugs.training import iql, steps  # noqa: E402
from stages.datasets.rugs.training.features import select  # noqa: E402
from stages.datasets.rugs.training.model import ActorCritic  # noqa: E402
from stages.datasets.rugs.training.transitions import of_part  # noqa: E402
from stages.loader import PartArrays  # noqa: E402
from tests.helpers.learning import epochs_of, first_batch, measured, task_of, train  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

ALGORITHMS = ("bc", "iql")


@pytest.fixture
def folder(arrays_of):
    return arrays_of("rugs")


@pytest.fixture(params=ALGORITHMS)
def algorithm(request):
    return request.param


def transitions(folder, part):
    """Return all transitions of a part as tensors."""
    source = PartArrays(folder, part, steps.FIELDS, "observation")
    return {
        name: torch.from_numpy(values) for name, values in steps.of_pairs(source.read(np.arange(len(source)))).items()
    }


def test_transitions_are_those_of_the_dataset(folder):
    """In its order, none dropped; those refused do not count."""
    found, expected = transitions(folder, "train"), of_part(folder, "train")
    batch = expected.take(slice(None), extras=("mask_action",))
    assert found["x"].numpy().tolist() == select(batch["observations"]).tolist()
    assert found["next_x"].numpy().tolist() == select(batch["next_observations"]).tolist()
    same = {"label_action": "actions", "done": "dones", "is_known": "player_known", "reward": "rewards"}
    for name, other in same.items() | {("mask_action", "mask_action"), ("is_refused", "refused")}:
        assert (found[name].numpy() == batch[other]).all(), name
    assert (found["is_counted"] == ~found["is_refused"]).all()
    assert found["is_refused"].sum() > 0


def test_other_labels_change_no_input_and_no_output(folder, algorithm):
    """The labels of others tell a policy nothing, nor do their rewards."""
    task = task_of("rugs", folder, algorithm=algorithm)
    model, batch = task.build().eval(), first_batch(task, folder, "train", 256)
    bare = {name: batch[name] for name in ("x", "mask_action")}
    with torch.no_grad():
        assert torch.equal(task.outputs(model, bare)["action"], task.outputs(model, batch)["action"])
    source = PartArrays(folder, "train", steps.FIELDS, "observation")
    raw = source.read(np.arange(len(source)))
    other = steps.of_pairs({**raw, "label_action": np.random.default_rng(0).permutation(raw["label_action"])})
    assert (other["x"] == steps.of_pairs(raw)["x"]).all()
    assert (other["mask_action"] == steps.of_pairs(raw)["mask_action"]).all()


def test_what_is_refused_is_not_imitated_and_what_is_illegal_is_an_error(folder):
    everything = transitions(folder, "train")
    task = task_of("rugs", folder, model={"dropout": 0.0})
    batch = {name: values[everything["is_refused"]] for name, values in everything.items()}
    loss, _ = task.loss(task.build(), batch)
    assert loss.item() == 0.0
    with pytest.raises(ExpectedError, match=r"rugs: tick \d+: \w+ is pressed, which its mask forbids"):
        task.loss(task.build(), {**batch, "is_counted": ~batch["is_counted"]})


def recounted(logits, batch, log_prior):
    """Return metrics with loops over rows and no bins."""
    rows = [row for row in range(len(logits)) if batch["is_counted"][row]]
    probabilities, pairs, nll = [], Counter(), 0.0
    for row in rows:
        legal = batch["mask_action"][row].numpy() != 0
        weights = np.where(legal, np.exp(logits[row] - logits[row][legal].max()), 0.0)
        probabilities.append(weights / weights.sum())
        action = int(batch["label_action"][row])
        nll -= math.log(probabilities[-1][action])
        adjusted = np.where(legal, logits[row] - log_prior, -np.inf)
        pairs[action, int(adjusted.argmax())] += 1
    actions = [int(batch["label_action"][row]) for row in rows]
    recalls, f1 = [], []
    for action in sorted(set(actions)):
        n_told = sum(n for (_, told), n in pairs.items() if told == action)
        recalls.append(pairs[action, action] / actions.count(action))
        f1.append(2 * pairs[action, action] / (actions.count(action) + n_told))
    holds = [round(float(one[0]), 12) for one in probabilities]
    n_pressed, area = sum(action > 0 for action in actions), 0.0
    for hold in set(holds):
        taken = [action > 0 for action, other in zip(actions, holds, strict=True) if other <= hold]
        here = [action > 0 for action, other in zip(actions, holds, strict=True) if other == hold]
        area += sum(here) * sum(taken) / len(taken)
    return {
        "nll": nll / len(rows),
        "balanced_accuracy_adjusted": np.mean(recalls),
        "macro_f1_adjusted": np.mean(f1),
        "pr_auc_press": area / n_pressed,
        "base_rate_press": n_pressed / len(rows),
        "refused": int(batch["is_refused"].sum()),
    }


def test_the_meter_is_a_plain_recount_in_any_batches(folder, algorithm):
    task, batch = task_of("rugs", folder, algorithm=algorithm), transitions(folder, "train")
    model = task.build()
    train(task, model, epochs_of(task, folder, 3), 1e-3)
    with torch.no_grad():
        logits = model.eval()(batch["x"]).double().numpy()
    expected = recounted(logits, batch, task._log_prior.numpy())
    for size in (100, 5000):
        found = measured(task, model, folder, "train", size).result()
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=2e-3)
        (figure,) = measured(task, model, folder, "train", size).figures()
        assert np.sum(figure.counts) == batch["is_counted"].sum()
        assert np.sum(figure.counts, axis=1).tolist() == [
            int((batch["label_action"][batch["is_counted"]] == action).sum()) for action in range(4)
        ]
    with torch.no_grad():
        assert found[task.LOSS] == pytest.approx(float(task.loss(model.eval(), batch)[0]), rel=1e-4)


def test_baselines_are_a_plain_recount(folder):
    """Always HOLD has a balanced accuracy of 1 over the actions; the marginal counts rows with the same mask."""
    task, train, test = task_of("rugs", folder), transitions(folder, "train"), transitions(folder, "test")
    found = task.baselines(folder, "test")
    counts = Counter()
    for row in range(len(train["x"])):
        if train["is_counted"][row]:
            counts[tuple(train["mask_action"][row].tolist()), int(train["label_action"][row])] += 1
    rows = [tuple(mask) for mask in test["mask_action"].tolist()]
    logits = np.log([[counts[mask, action] + 0.5 for action in range(4)] for mask in rows])
    expected = recounted(logits, test, task._log_prior.numpy())
    marginal = found["legal marginal"]
    assert {name: marginal[name] for name in expected} == pytest.approx(expected, rel=2e-3)
    assert marginal["nll"] == pytest.approx(expected["nll"], rel=1e-6)
    n_classes = len(set(test["label_action"][test["is_counted"]].tolist()))
    assert found["hold"]["balanced_accuracy"] == pytest.approx(1 / n_classes)
    assert found["hold"]["press_lift"] == pytest.approx(1.0)
    assert "nll" not in found["hold"]


def test_the_value_goes_on_at_the_end_of_a_recording_and_not_at_the_rug():
    """The critic's target is the reward plus the value of the next state, but the reward alone at the rug."""
    model = ActorCritic(29, [8], 0.0)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    model.value[-1].bias.data.fill_(10.0)
    batch = {
        "x": torch.zeros(3, 29), "next_x": torch.zeros(3, 29), "label_action": torch.zeros(3, dtype=torch.long),
        "mask_action": torch.ones(3, 4), "reward": torch.ones(3), "done": torch.tensor([False, True, False]),
        "is_counted": torch.tensor([True, True, True]), "is_known": torch.tensor([True, True, False]),
    }  # fmt: skip
    found = iql.losses(model, batch, iql.IqlOptions(discount=0.5), reward_scale=0.1)
    assert found["critic"].tolist() == [2 * 15.0**2, 2 * 10.0**2, 0.0]  # two critics that say 0
    assert found["value"].tolist() == pytest.approx([0.3 * 100, 0.3 * 100, 0.0])  # 10 above what the targets say
    assert found["policy"].tolist() == pytest.approx([math.exp(-30) * math.log(4)] * 2 + [0.0])


def test_iql_prefers_what_paid():
    """Two states; a SELL pays in the first and costs in the second, while the human does either half of the time."""
    generator = torch.Generator().manual_seed(1)
    n = 512
    state = torch.randint(0, 2, (n,), generator=generator)
    action = torch.randint(0, 2, (n,), generator=generator) * 2
    x = torch.zeros(n, 29)
    x[:, 0] = state * 2.0 - 1
    pays = torch.where(action == 2, 1.0 - 2.0 * state, 0.0)
    batch = {
        "x": x, "next_x": x, "label_action": action, "mask_action": torch.ones(n, 4), "reward": pays,
        "done": torch.ones(n, dtype=torch.bool), "is_counted": torch.ones(n, dtype=torch.bool),
        "is_known": torch.ones(n, dtype=torch.bool),
    }  # fmt: skip
    model, options = ActorCritic(29, [32], 0.0), iql.IqlOptions(rate=0.05)
    before = [values.clone() for values in model.targets.parameters()]
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-2)
    for _ in range(300):
        model.follow(options.rate)
        loss = torch.stack(list(iql.losses(model, batch, options, 1.0).values())).sum(0).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        sells = torch.softmax(model(torch.stack([x[state == 0][0], x[state == 1][0]])), 1)[:, 2]
    assert sells[0] > 0.8
    assert sells[1] < 0.2
    assert not torch.equal(before[0], next(iter(model.targets.parameters())))


def test_the_targets_move_in_training_only(folder):
    task = task_of("rugs", folder, algorithm="iql")
    model, batch = task.build(), first_batch(task, folder, "train", 64)
    train(task, model, [batch] * 3, 1e-2)
    frozen = [values.clone() for values in model.targets.parameters()]
    with torch.no_grad():
        task.loss(model.eval(), batch)
    assert all(map(torch.equal, frozen, model.targets.parameters()))
    task.loss(model.train(), batch)
    assert not all(map(torch.equal, frozen, model.targets.parameters()))


def test_a_policy_is_replayed_beside_holding_and_the_human(folder, algorithm):
    task = task_of("rugs", folder, algorithm=algorithm)
    found = [task.replay(task.build().eval(), folder, "test") for _ in range(2)]
    assert found[0]["hold"]["return"] == 0.0
    assert found[0]["human"] == found[1]["human"]
    assert found[0]["model"]["return_low"] <= found[0]["model"]["return"] <= found[0]["model"]["return_high"]
    assert found[0]["model"]["episodes"] == found[0]["human"]["episodes"] > 0


def test_wrong_settings_are_named(folder):
    with pytest.raises(ExpectedError, match=r"train\.rugs\.model.*width'.*did you mean 'widths'"):
        task_of("rugs", folder, model={"width": [3]})
    with pytest.raises(ExpectedError, match=r"algorithm: 'dqn', expected bc or iql"):
        task_of("rugs", folder, algorithm="dqn")


@pytest.mark.slow
def test_presses_of_400_games_are_imitated(arrays_of):
    """Better than frequencies that know the mask, in an order of probability that finds presses."""
    folder = arrays_of("rugs", "rugs_400_games")
    task = task_of("rugs", folder)
    model = task.build().train()
    train(task, model, epochs_of(task, folder, 4), 1e-3)
    found, others = measured(task, model, folder, "test").result(), task.baselines(folder, "test")
    assert found["nll"] <= 0.95 * others["legal marginal"]["nll"]
    assert found["balanced_accuracy_adjusted"] >= 0.45
    assert found["press_lift"] >= 2.0
