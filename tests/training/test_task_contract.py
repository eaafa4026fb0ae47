"""What stages/training/task.py asks of a task holds for each dataset's: it learns, and no label leaks."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")

from stages.core.errors import ExpectedError  # noqa: E402
from stages.loader import Settings, batches  # noqa: E402
from stages.loader.torch_adapter.batches import tensors  # noqa: E402
from tests.helpers.learning import first_batch, task_of, train  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

DATASETS = ("splendor", "hex", "market", "rugs")
# With what 64 samples are learnt by heart in seconds: parameters of the task, steps and learning rate.
BY_HEART = {
    "splendor": ({"model": {"widths": [128], "dropout": 0.0}}, 60, 3e-3),
    "hex": ({"model": {"channels": 16, "blocks": 1}}, 120, 1e-2),
    "market": ({}, 400, 1e-2),
    "rugs": ({"model": {"dropout": 0.0}}, 200, 1e-2),
}


def splendor_uniform(_, batch):
    """Return the NLL of a move whose heads are drawn among their legal classes."""
    heads = [name.removeprefix("mask_") for name in batch if name.startswith("mask_")]
    n_legal = {head: batch[f"mask_{head}"].sum(1, dtype=torch.float64).clamp(min=1) for head in heads}
    return sum((n_legal[head].log() * (batch[f"label_{head}"] >= 0)).mean() for head in heads)


def hex_uniform(_, batch):
    """Return the NLL of a move drawn among the empty cells, and of a coin for the winner."""
    n_empty = 169 - batch["board"].sum((1, 2, 3), dtype=torch.float64)
    return (n_empty.log() * (batch["label_policy"] >= 0)).mean() + math.log(2)


def market_mean(task, batch):
    """Return the loss of a forecast of the mean of train."""
    meter = task.meter()
    meter.add(task._mean.expand(len(batch["x"]), 2), batch)
    return meter.result()[task.LOSS]


def rugs_uniform(_, batch):
    """Return the NLL of an action drawn among the legal ones, where it counts."""
    return (batch["mask_action"].sum(1, dtype=torch.float64).log() * batch["is_counted"]).mean()


# The loss of knowing nothing, and how near the first one is: of numbers that are forecast, a network's vary more.
IGNORANT = {
    "splendor": (splendor_uniform, 0.06),
    "hex": (hex_uniform, 0.06),
    "market": (market_mean, 0.15),
    "rugs": (rugs_uniform, 0.1),
}


@pytest.fixture(params=DATASETS)
def dataset(request):
    return request.param


@pytest.fixture
def folder(dataset, arrays_of):
    return arrays_of(dataset)


def test_64_samples_are_learnt_by_heart(dataset, folder):
    params, n_steps, lr = BY_HEART[dataset]
    task = task_of(dataset, folder, **params)
    batch = first_batch(task, folder, "train", 64)
    losses = train(task, task.build(), [batch] * n_steps, lr)
    assert losses[-1] < 0.02 * losses[0]


def test_the_first_loss_is_that_of_knowing_nothing(dataset, folder):
    """Illegal classes have no share in it, and no network is sure of anything before it has seen something."""
    expected, near = IGNORANT[dataset]
    task, losses = task_of(dataset, folder), []
    batch = first_batch(task, folder, "train", 256)
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(5):
            loss, _ = task.loss(task.build().eval(), batch)
            losses.append(float(loss))
    assert sum(losses) / 5 == pytest.approx(float(expected(task, batch)), rel=near)


def heard(task, model, batch):
    """Return what a model is given in `Task.loss`, and what it says of the batch."""
    inputs = []
    with torch.no_grad(), model.register_forward_pre_hook(lambda _, given: inputs.extend(given)):
        task.loss(model, batch)
    with torch.no_grad():
        return inputs, task.outputs(model, batch)


def test_other_labels_change_no_input_and_no_output(dataset, folder):
    """Among the rows that may have them, the labels of others say nothing to the model."""
    task = task_of(dataset, folder)
    model, batch = task.build().eval(), first_batch(task, folder, "train", 64)
    labels = [name for name in batch if name.startswith("label_")]
    other = {**batch, **{name: torch.full_like(batch[name], 0 if name == "label_value" else -1) for name in labels}}
    inputs, outputs = heard(task, model, batch)
    other_inputs, other_outputs = heard(task, model, other)
    assert labels
    assert len(inputs) == len(other_inputs)
    assert all(map(torch.equal, inputs, other_inputs))
    assert outputs.keys() == other_outputs.keys()
    assert all(torch.equal(outputs[name], other_outputs[name]) for name in outputs)


def test_outputs_need_no_labels(dataset, folder):
    """A model is used where nothing is known of what was played."""
    task = task_of(dataset, folder)
    batch = first_batch(task, folder, "test", 8)
    bare = {name: values for name, values in batch.items() if not name.startswith("label_")}
    with torch.no_grad():
        outputs = task.outputs(task.build().eval(), bare)
    assert all(len(values) == len(batch[next(iter(batch))]) for values in outputs.values())


def test_the_losses_of_two_halves_have_that_of_the_whole_as_their_mean(dataset, folder):
    """So micro-batches and ranks learn what one process learns from the whole batch; gradients too."""
    task = task_of(dataset, folder)
    model, batch = task.build().eval(), first_batch(task, folder, "train", 64)
    half = len(batch[next(iter(batch))]) // 2
    pieces = [{name: values[rows] for name, values in batch.items()} for rows in (slice(half), slice(half, 2 * half))]
    whole = {name: values[: 2 * half] for name, values in batch.items()}
    gradients = []
    for given in ([whole], pieces):
        model.zero_grad(set_to_none=True)
        for piece in given:
            (task.loss(model, piece)[0] / len(given)).backward()
        gradients.append(torch.cat([values.grad.flatten() for values in model.parameters() if values.grad is not None]))
    assert torch.allclose(*gradients, atol=1e-6, rtol=1e-4)


def counted(task, model, folder, size):
    meter = task.meter()
    settings = Settings(batch_size=size, **task.stream_settings("test"))
    with torch.no_grad(), batches(folder, "test", settings) as stream:
        for batch in stream:
            meter.update(model, tensors(batch))
    return meter


def test_metrics_are_of_all_samples_whatever_the_batches(dataset, folder):
    """No mean of means: the last, smaller batch weighs what its samples weigh."""
    task = task_of(dataset, folder)
    model = task.build().eval()
    one, other = (counted(task, model, folder, size).result() for size in (37, 1000))
    assert one == pytest.approx(other, rel=1e-5, nan_ok=True)


def test_the_states_of_two_meters_add_up(dataset, folder):
    """As ranks have it: each counts its own batches."""
    task = task_of(dataset, folder)
    model, whole, meters = task.build().eval(), task.meter(), [task.meter(), task.meter()]
    with torch.no_grad(), batches(folder, "test", batch_size=20, **task.stream_settings("test")) as stream:
        for number, batch in enumerate(map(tensors, stream)):
            whole.update(model, batch)
            meters[number % 2].update(model, batch)
    summed = task.meter()
    summed.load(meters[0].state() + meters[1].state())
    assert summed.state().dtype == torch.float64
    assert summed.result() == pytest.approx(whole.result(), rel=1e-12, nan_ok=True)


def test_a_meter_without_samples_knows_nothing(dataset, folder):
    task = task_of(dataset, folder)
    assert all(math.isnan(task.meter().result().get(headline.name, math.nan)) for headline in task.HEADLINES)


def test_loss_and_headlines_are_metrics(dataset, folder):
    """Of the model and, where a baseline has a notion of it, of each baseline."""
    task = task_of(dataset, folder)
    model = task.build().eval()
    found = counted(task, model, folder, 256).result() | task.replay(model, folder, "test").get("model", {})
    assert {task.LOSS, *(headline.name for headline in task.HEADLINES)} <= set(found)
    assert math.isfinite(found[task.LOSS])
    for metrics in task.baselines(folder, "test").values():
        assert metrics
        assert set(metrics) <= set(found)


def test_the_loss_of_training_is_the_metric_that_is_followed(dataset, folder):
    task = task_of(dataset, folder)
    model, batch = task.build().eval(), first_batch(task, folder, "test", 64)
    meter = task.meter()
    with torch.no_grad():
        meter.update(model, batch)
        loss, _ = task.loss(model, batch)
    assert float(loss) == pytest.approx(meter.result()[task.LOSS], rel=1e-5)


def test_half_precision_is_near(dataset, folder):
    """Loss and metrics take care themselves of what needs more than bf16."""
    task = task_of(dataset, folder)
    model, batch = task.build().eval(), first_batch(task, folder, "test", 64)
    found = []
    for is_half in (False, True):
        meter = task.meter()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            meter.update(model, batch)
            loss, _ = task.loss(model, batch)
        found.append((float(loss), meter.result()[task.LOSS]))
        assert loss.dtype in (torch.float32, torch.float64)
    assert found[0] == pytest.approx(found[1], rel=0.02)


def test_equal_seeds_make_equal_models(dataset, folder):
    task, models = task_of(dataset, folder), []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(task.build().state_dict())
    assert all(map(torch.equal, models[0].values(), models[1].values()))


def test_a_misspelt_key_of_the_model_is_named(dataset, folder):
    key = next(iter(task_of(dataset, folder).DEFAULTS["model"]))
    with pytest.raises(ExpectedError, match=rf"train\.{dataset}\.model.*{key}x.*did you mean '{key}'"):
        task_of(dataset, folder, model={f"{key}x": 1})
