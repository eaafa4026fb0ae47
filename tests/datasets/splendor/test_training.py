"""A model of moves: legal classes alone, metrics and baselines that a plain recount gives, and something learnt."""

import math
from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")

from stages.core.errors import ExpectedError  # noqa: E402
from stages.datasets.splendor.schema import HEADS  # noqa: E402
from stages.loader import batches  # noqa: E402
from stages.loader.torch_adapter.batches import tensors  # noqa: E402
from stages.processed import Processed  # noqa: E402
from tests.helpers.learning import first_batch, task_of, train  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]


@pytest.fixture
def folder(arrays_of):
    return arrays_of("splendor")


@pytest.fixture
def task(folder):
    return task_of("splendor", folder, model={"widths": [64]})


def plain_rows(folder, part):
    """Return for each row the heads that count: label and legal classes, by name."""
    data = Processed(folder)
    labels, masks = data.labels(part), data.masks(part)
    rows = []
    for row in range(len(labels["action_type"])):
        legal = {head: np.flatnonzero(masks[head][row]).tolist() for head in HEADS}
        counting = [head for head in HEADS if labels[head][row] >= 0]
        if len(legal["gems_removed"]) == 1 and "gems_removed" in counting:
            counting.remove("gems_removed")
        rows.append({head: (int(labels[head][row]), legal[head]) for head in counting})
    return rows


def recount(rows, answers):
    """Count as a reader would: `answers` are for each row by head the chance to be right and the NLL."""
    found = {"n": len(rows), "nll": 0.0, "move_accuracy": 0.0}
    sums = {name: Counter() for head in HEADS for name in (head, f"{head}_choice")}
    for row, answer in zip(rows, answers, strict=True):
        found["nll"] += sum(answer[head][1] for head in row) / len(rows)
        found["move_accuracy"] += math.prod(answer[head][0] for head in row) / len(rows)
        for head, (_, legal) in row.items():
            for name in (head, f"{head}_choice") if len(legal) > 1 else (head,):
                sums[name].update({"n": 1, "accuracy": answer[head][0], "nll": answer[head][1]})
    for name, counted in sums.items():
        n = counted["n"]
        found[f"{name}_n"] = n
        found |= {f"{name}_{what}": counted[what] / n if n else math.nan for what in ("accuracy", "nll")}
    return found


def of_scores(row, scores, known=None):
    """Return what an answer is whose scores are probabilities before they are divided by their sum over classes."""
    answers = {}
    for head, (label, legal) in row.items():
        classes = legal if known is None else range(HEADS[head])
        total = sum(scores[head][one] for one in classes)
        best = max(classes, key=lambda one: (scores[head][one], -one))
        answers[head] = float(best == label), -math.log(scores[head][label] / total)
    return answers


def test_metrics_are_a_plain_recount(folder, task):
    model, meter = task.build().eval(), task.meter()
    rows, answers = plain_rows(folder, "test"), []
    with torch.no_grad(), batches(folder, "test", batch_size=100, **task.stream_settings("test")) as stream:
        for batch in map(tensors, stream):
            meter.update(model, batch)
            logits = {head: values.double().numpy() for head, values in model(batch["X"]).items()}
            for i in range(len(batch["X"])):
                scores = {head: np.exp(values[i]) for head, values in logits.items()}
                answers.append(of_scores(rows[len(answers)], scores))
    found = meter.result()
    assert found == pytest.approx(recount(rows, answers), rel=1e-5, nan_ok=True)
    counts = np.array(meter.figures()[0].counts)
    played = Counter(row["action_type"][0] for row in rows)
    assert counts.sum(1).tolist() == [played[label] for label in range(len(counts))]
    assert counts.trace() / len(rows) == pytest.approx(found["action_type_accuracy"])


def test_baselines_are_a_plain_recount(folder, task):
    seen = {head: Counter(range(n_classes)) for head, n_classes in HEADS.items()}  # each class once more
    for row in plain_rows(folder, "train"):
        for head, (label, _) in row.items():
            seen[head][label] += 1
    rows = plain_rows(folder, "test")
    random = [{head: (1 / len(legal), math.log(len(legal))) for head, (_, legal) in row.items()} for row in rows]
    expected = {
        "majority": recount(rows, [of_scores(row, seen, known="all") for row in rows]),
        "legal majority": recount(rows, [of_scores(row, seen) for row in rows]),
        "random legal": recount(rows, random),
    }
    found = task.baselines(folder, "test")
    assert found.keys() == expected.keys()
    for name, metrics in expected.items():
        assert found[name] == pytest.approx(metrics, rel=1e-9, nan_ok=True), name


def test_an_illegal_label_is_refused_with_its_row(folder, task):
    """The original would have learnt it at a cost of 1e9."""
    batch = first_batch(task, folder, "train", 64)
    row = int(torch.nonzero((batch["label_card_selection"] >= 0) & (batch["mask_card_selection"].sum(1) < 15))[3])
    wrong = int(torch.nonzero(batch["mask_card_selection"][row] == 0)[0])
    batch["label_card_selection"][row] = wrong
    unit = Processed(folder).units()[int(batch["unit"][row])]
    where = f"{unit}, its row {int(batch['row_in_unit'][row])}: label_card_selection is {wrong}, expected one of"
    with pytest.raises(ExpectedError, match=where):
        task.loss(task.build(), batch)


def test_no_gradient_reaches_an_illegal_class(folder, task):
    """And none a class of a head that counts in no row."""
    batch = first_batch(task, folder, "train", 8)
    model = task.build()
    task.loss(model, batch)[0].backward()
    for head in HEADS:
        counts = batch[f"label_{head}"] >= 0
        is_legal = batch[f"mask_{head}"][counts].any(0) if counts.any() else torch.zeros(HEADS[head], dtype=torch.bool)
        gradient = model.heads[head].bias.grad
        assert torch.equal(gradient != 0, (gradient != 0) & is_legal), head
    assert (model.heads["action_type"].bias.grad != 0).any()


def test_a_few_games_teach_more_than_frequencies_and_masks(folder, task):
    """On games that the model has not seen."""
    model = task.build()
    settings = {**task.stream_settings("train"), "batch_size": 64, "shuffle_seed": 1, "epochs": 3}
    with batches(folder, "train", **settings) as stream:
        train(task, model, map(tensors, stream))
    meter = task.meter()
    with torch.no_grad(), batches(folder, "test", batch_size=512, **task.stream_settings("test")) as stream:
        for batch in map(tensors, stream):
            meter.update(model.eval(), batch)
    legal = task.baselines(folder, "test")["legal majority"]
    assert meter.result()["nll"] < 0.95 * legal["nll"]
    assert meter.result()["move_accuracy"] > legal["move_accuracy"]
