"""A model of positions: one view for both colours, metrics and baselines that a plain recount gives, games it wins."""

import hashlib
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")

from stages.core import arrays  # noqa: E402
from stages.core.errors import ExpectedError  # noqa: E402
from stages.datasets.hex import simulate  # noqa: E402
from stages.datasets.hex.schema import RED  # noqa: E402
from stages.datasets.hex.simulate.evaluate import DistanceEvaluator  # noqa: E402
from stages.datasets.hex.training.arena import (  # noqa: E402
    RANDOM_PLAYER,
    ArenaPlayer,
    Score,
    arena,
)
from stages.datasets.hex.training.augment import augment  # noqa: E402
from stages.datasets.hex.training.canonical import cells, over_cells, planes  # noqa: E402
from stages.datasets.hex.training.network import NetworkEvaluator, load  # noqa: E402
from stages.loader import batches  # noqa: E402
from stages.loader.torch_adapter.batches import tensors  # noqa: E402
from stages.processed import Processed  # noqa: E402
from stages.training.weights import write_model  # noqa: E402
from tests.helpers.learning import first_batch, task_of, train  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

IDENTITY, ROTATION, LONG_DIAGONAL, SHORT_DIAGONAL = range(4)


@pytest.fixture
def folder(arrays_of):
    return arrays_of("hex")


@pytest.fixture
def task(folder):
    return task_of("hex", folder, model={"channels": 8, "blocks": 1}, policy_weight=0.5)


def seen_as(batch, symmetry):
    """Return a batch with each sample under one symmetry."""
    arrays = {name: values.numpy() for name, values in batch.items()}
    return tensors(augment(arrays, np.full(len(arrays["board"]), symmetry, np.uint64)))


def test_the_mover_joins_the_rows():
    """Red to move: his stone on b1 (row 0, column 1) lies at row 1, column 0 of his view, and his planes come first."""
    board = torch.zeros(2, 2, 13, 13, dtype=torch.uint8)
    board[:, 1, 0, 1] = 1
    board[:, 0, 5, 2] = 1
    blue, red = planes(board, torch.tensor([0, 1], dtype=torch.uint8))
    assert (blue[0, 5, 2], blue[1, 0, 1]) == (1, 1)
    assert (red[0, 1, 0], red[1, 2, 5]) == (1, 1)
    assert [float(values[:2].sum()) for values in (blue, red)] == [2, 2]
    for values in (blue, red):
        assert torch.equal(values[2], 1 - values[0] - values[1])
        assert values[3].sum(1).tolist() == [13, *[0] * 11, 13]
        assert bool((values[4] == 1).all())
    assert cells(torch.tensor([1, 1, -1, -1]), torch.tensor([0, 1, 0, 1])).tolist() == [1, 13, -1, -1]


def test_a_symmetry_leaves_the_loss_as_it_is(folder, task):
    """Mirrored with the colours swapped, a position is the same to its mover; turned, it is so twice mirrored."""
    model, batch = task.build().eval(), first_batch(task, folder, "test", 64)
    found = []
    with torch.no_grad():
        for symmetry in range(4):
            given = seen_as(batch, symmetry)
            found.append((planes(given["board"], given["player_to_move"]), *task.loss(model, given)))
    for one, other in ((IDENTITY, LONG_DIAGONAL), (ROTATION, SHORT_DIAGONAL)):
        assert torch.equal(found[one][0], found[other][0])
        assert found[one][1:] == found[other][1:]
    assert torch.equal(found[ROTATION][0], found[IDENTITY][0].flip(2, 3))


def test_the_answers_lie_on_the_board_as_it_is(folder, task):
    """A mirrored board has the mirrored policy, and red wins there as blue does here."""
    model, batch = task.build().eval(), first_batch(task, folder, "test", 64)
    with torch.no_grad():
        here, there = task.outputs(model, batch), task.outputs(model, seen_as(batch, LONG_DIAGONAL))
    turned = over_cells(there["policy"], torch.full_like(batch["player_to_move"], RED))
    assert torch.equal(here["policy"], turned)
    assert torch.allclose(here["value"], 1 - there["value"], atol=1e-6)
    assert torch.equal(torch.isneginf(here["policy"]), batch["board"].sum(1).flatten(1) > 0)


def plain(folder, part="test"):
    """Return the arrays of a part, boards unpacked."""
    data = Processed(folder)
    packed = np.load(folder / f"board_{part}.npy")
    boards = np.unpackbits(packed, axis=1, count=338).reshape(-1, 2, 13, 13)
    keys, labels = data.keys(part), data.labels(part)
    return boards, np.load(folder / f"player_to_move_{part}.npy"), labels["policy"], labels["value"], keys["ply"]


def recount(part, policies, red_wins, policy_weight=0.5):
    """Count as a reader would: probabilities of the cells, (n, 169) on the board as it is, and that red wins, (n,)."""
    rows = []
    for _, mover, move, winner, ply, policy, red in zip(*part, policies, red_wins, strict=True):
        p, won = (red, winner == RED) if mover == RED else (1 - red, winner != RED)
        row = {"ply": ply, "p": p, "won": won, "brier": (p - won) ** 2}
        row["value_accuracy"] = 0.5 if p == 0.5 else float((p > 0.5) == won)
        row["value_nll"] = -math.log(p if won else 1 - p)
        if move >= 0:
            rank = int((policy > policy[move]).sum() + (policy[:move] == policy[move]).sum())
            row |= {"top1": float(rank < 1), "top5": float(rank < 5), "policy_nll": -math.log(policy[move])}
        rows.append(row)

    def mean(name, first=0, last=1000):
        values = [row[name] for row in rows if name in row and first <= row["ply"] < last]
        return float(np.mean(values)) if values else math.nan

    found = {"n": len(rows), "n_moves": sum("top1" in row for row in rows)}
    found |= {name: mean(name) for name in ("top1", "top5", "policy_nll", "value_accuracy", "value_nll", "brier")}
    found["loss"] = policy_weight * sum(row.get("policy_nll", 0) for row in rows) / len(rows) + found["value_nll"]
    bins = [[row for row in rows if int(row["p"] * 10) == index] for index in range(10)]
    gaps = [abs(sum(row["p"] - row["won"] for row in one)) for one in bins]
    found["calibration_error"] = sum(gaps) / len(rows)
    for name, first, last in (("0_19", 0, 20), ("20_39", 20, 40), ("40_59", 40, 60), ("60_on", 60, 1000)):
        found[f"top1_ply_{name}"] = mean("top1", first, last)
        found[f"value_accuracy_ply_{name}"] = mean("value_accuracy", first, last)
    return found


def softmax(logits):
    scores = np.exp(logits.astype(np.float64))
    return scores / scores.sum(1, keepdims=True)


def test_metrics_are_a_plain_recount(folder, task):
    model, meter, policies, red_wins = task.build().eval(), task.meter(), [], []
    with torch.no_grad(), batches(folder, "test", batch_size=100, **task.stream_settings("test")) as stream:
        for batch in map(tensors, stream):
            meter.update(model, batch)
            outputs = task.outputs(model, batch)
            policies.append(softmax(outputs["policy"].numpy()))
            red_wins.append(outputs["value"].double().numpy())
    expected = recount(plain(folder), np.concatenate(policies), np.concatenate(red_wins))
    assert meter.result() == pytest.approx(expected, rel=1e-5, nan_ok=True)
    bins = np.array(meter.figures()[0].bins)
    assert bins[:, 0].sum() == expected["n"]
    assert (bins[:, 0] * np.abs(bins[:, 1] - bins[:, 2])).sum() / expected["n"] == pytest.approx(
        expected["calibration_error"]
    )


def test_the_distance_baseline_is_a_plain_recount(folder, task):
    """Its scores are whole numbers: of equal ones the lower cell comes first, as in the search."""
    part = plain(folder)
    boards, movers = part[:2]
    scores = DistanceEvaluator().policy(boards, movers)
    expected = recount(part, softmax(scores), DistanceEvaluator().value(boards, movers).astype(np.float64))
    assert task.baselines(folder, "test")["distance"] == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_the_random_baseline_is_a_plain_recount(folder, task):
    boards, _, moves, _, _ = plain(folder)
    n_empty = 169 - boards.sum((1, 2, 3), dtype=np.int64)[moves >= 0]
    found = task.baselines(folder, "test")["random"]
    assert found["top1"] == pytest.approx(np.mean(1 / n_empty))
    assert found["top5"] == pytest.approx(np.mean(np.minimum(1, 5 / n_empty)))
    assert found["policy_nll"] == pytest.approx(np.mean(np.log(n_empty)))
    assert (found["value_accuracy"], found["brier"]) == (0.5, 0.25)
    assert found["value_nll"] == pytest.approx(math.log(2))


def test_a_move_to_a_taken_cell_is_refused_with_its_row(folder, task):
    batch = first_batch(task, folder, "train", 64)
    row = int(torch.nonzero((batch["label_policy"] >= 0) & (batch["ply"] > 3))[2])
    batch["label_policy"][row] = int(torch.nonzero(batch["board"][row].sum(0).flatten())[0])
    unit = Processed(folder).units()[int(batch["unit"][row])]
    with pytest.raises(ExpectedError, match=f"{unit}, its row {int(batch['row_in_unit'][row])}: label_policy is"):
        task.loss(task.build(), batch)


def test_the_arena_repeats_itself_and_counts_distinct_games():
    """Both colours of an opening; a player that draws nothing plays the same game against itself from both sides."""
    distance = ArenaPlayer(DistanceEvaluator())
    assert arena(distance, distance, 5) == Score(won=5, distinct=10, games=10)
    assert arena(distance, distance, 70) == Score(won=34, distinct=68, games=140)  # two have no stone
    one, again = (arena(RANDOM_PLAYER, RANDOM_PLAYER, 8, seed=3) for _ in range(2))
    assert one == again
    assert one.games == 16
    assert arena(distance, RANDOM_PLAYER, 6) == Score(won=12, distinct=12, games=12)
    assert arena(RANDOM_PLAYER, distance, 6).won == 0


def test_a_network_answers_alike_whoever_is_beside_a_board(folder, task):
    """So the games of an arena do not depend on which of them are still going on."""
    evaluator = NetworkEvaluator(task.build())
    boards, movers = plain(folder)[:2]
    policy, value = evaluator.policy(boards[:100], movers[:100]), evaluator.value(boards[:100], movers[:100])
    assert (policy.dtype, value.dtype) == (np.float32, np.float32)
    assert np.array_equal(evaluator.both(boards[:100], movers[:100]), np.column_stack([policy, value]))
    for rows in (slice(0, 1), slice(3, 10), slice(20, 85)):
        assert np.array_equal(evaluator.policy(boards[rows], movers[rows]), policy[rows])
        assert np.array_equal(evaluator.value(boards[rows], movers[rows]), value[rows])


def test_a_few_games_teach_a_network_to_beat_random_moves(folder, task):
    model = task.build()
    settings = {**task.stream_settings("train"), "batch_size": 128, "shuffle_seed": 1, "epochs": 6}
    with batches(folder, "train", **settings) as stream:
        losses = train(task, model, map(tensors, stream), lr=1e-2)
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    score = arena(ArenaPlayer(NetworkEvaluator(model)), RANDOM_PLAYER, 10)
    assert score.won >= 18


def test_weights_tell_the_form_of_their_network(folder, task, tmp_path):
    net = task.build()
    write_model(tmp_path, net.state_dict(), {})
    boards, movers = plain(folder)[:2]
    assert np.array_equal(
        load(tmp_path / "weights.npz").both(boards[:9], movers[:9]), NetworkEvaluator(net).both(boards[:9], movers[:9])
    )
    arrays.save_npz(tmp_path / "weights.npz", {"layer": [np.zeros(3)]})
    with pytest.raises(ExpectedError, match="not the weights of a network of hex"):
        load(tmp_path / "weights.npz")


def test_a_network_plays_the_same_games_for_any_number_of_processes(task, tmp_path, monkeypatch):
    """And others once its weights are others; weights that are not those of the settings are refused."""
    write_model(tmp_path, task.build().state_dict(), {})
    weights, found = tmp_path / "weights.npz", []
    for jobs in ("1", "2"):
        monkeypatch.setenv("JOBS", jobs)
        found.append(games_of_network(tmp_path / jobs, weights))
    assert found[0] == found[1]
    text = b"".join(found[0].values())
    assert f"# Weights: sha256 {sha256(weights)}".encode() in text
    assert b"# Search: prior, value weight 2.0, least prior 0.0" in text
    with pytest.raises(ExpectedError, match=r"weights: none, expected the weights\.npz"):
        simulate.write(tmp_path / "none", {**PLAY, "evaluator": "network"})
    write_model(tmp_path, task.build().state_dict(), {})
    others = games_of_network(tmp_path / "1", weights)
    of_both = [
        {line for line in one.splitlines() if line.startswith(b"#13,")} for one in (text, b"".join(others.values()))
    ]
    assert len(of_both[0]) == 6
    assert not of_both[0] & of_both[1]


PLAY = {
    "games": 6, "workers": 3, "seed": 1, "started": "2025-01-01T00:00:00", "search": "prior", "widths": [3],
    "value_weight": 2.0, "temperature": 1.0, "decay": "step", "step_moves": [4], "step_temperatures": [0.0],
}  # fmt: skip


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def games_of_network(folder, weights):
    options = {**PLAY, "evaluator": "network", "weights": {"file": str(weights), "sha256": sha256(weights)}}
    simulate.write(folder, options)
    return {path.parent.name: path.read_bytes() for path in sorted(folder.rglob("*.trmph"))}
