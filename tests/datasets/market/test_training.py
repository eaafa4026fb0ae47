"""Market: labels are the next bars', a model learns them, metrics are what a recount gives, returns stay a secret."""

import math
from itertools import pairwise

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")

from stages.core.errors import ExpectedError  # noqa: E402
from stages.datasets.market import simulate  # noqa: E402
from stages.datasets.market.training import baselines, labels  # noqa: E402
from stages.datasets.market.training.meter import ForecastMeter  # noqa: E402
from stages.datasets.market.training.task import TaskMarket  # noqa: E402
from stages.processed import Processed  # noqa: E402
from tests.helpers.learning import train  # noqa: E402
from tests.helpers.lessons import epochs_of, measured, some_batch, task_for  # noqa: E402
from tests.helpers.shared import made_once  # noqa: E402
from tests.helpers.verbs import FROM_RAW  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

BARS = {"bars": 9000, "start": "2024-01-02"}
WINDOWS = {"strategic": {"window": 48, "step": 1, "ahead": 4}, "tactical": {"window": 60, "step": 1, "ahead": 6}}
ENTRY = {
    "raw": "raw",
    "options": {"volume_bars": 200},
    "split": {"by": "time", "horizon": 1, "embargo": 12, "windows": WINDOWS},
}


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    """data/processed/market of two simulated instruments; not to be changed."""

    def make(folder):
        simulate.write(folder / "raw", {"seed": 42, "instruments": {"NQ": BARS, "ES": BARS}})
        (folder / "params.yaml").write_text(yaml.safe_dump({"datasets": {"market": ENTRY}}))
        for verb in FROM_RAW:
            finished = run(verb, "market", cwd=folder, JOBS="1")
            assert finished.returncode == 0, finished.stderr

    return made_once(tmp_path_factory, "market-training", make) / "data/processed/market"


@pytest.mark.parametrize("field", ["strategic", "tactical"])
def test_labels_are_of_the_bars_behind_the_window(folder, field):
    """Counted again bar by bar from the keys; all of them lie in the segment of the window."""
    data, task = Processed(folder), task_for(TaskMarket, folder, model={"field": field})
    keys = data.keys("test", ["close", "segment", "instrument"])
    first = np.load(data.window_starts_path(field, "test"))
    window = WINDOWS[field]["window"]
    found = {name: np.concatenate([chunk[name] for chunk in labels.chunks(folder, "test", task._forecast)])
             for name in ("label_return", "label_volatility", "past")}  # fmt: skip
    assert len(first) == len(found["past"])
    for sample in range(0, len(first), 37):
        last = int(first[sample]) + window - 1
        rows = slice(last - 46, last + 5)
        assert len(set(keys["segment"][rows])) == len(set(keys["instrument"][rows])) == 1
        price = [math.log(close) for close in keys["close"][rows]]
        moves = [after - before for before, after in pairwise(price)]
        assert found["label_return"][sample] == pytest.approx(sum(moves[46:]), abs=1e-12)
        assert found["label_volatility"][sample] == pytest.approx(
            math.log(sum(move**2 for move in moves[46:]) / 4 + 1e-9)
        )
        past = [math.log(sum(move**2 for move in moves[46 - n : 46]) / n + 1e-9) for n in labels.PASTS]
        assert found["past"][sample] == pytest.approx(past)


def test_other_prices_behind_the_window_change_no_input(folder):
    """What the model sees ends with the window."""
    task = task_for(TaskMarket, folder)
    rng = np.random.default_rng(0)
    batch = {"strategic": rng.normal(size=(3, 52, 13)).astype("f4"), "close": rng.uniform(1, 2, (3, 52))}
    batch["time"] = np.broadcast_to(np.arange(52) * 10**9, (3, 52))
    other = {name: np.where(np.arange(52)[None, :, None] < 48, values.reshape(3, 52, -1), 9).reshape(values.shape)
             for name, values in batch.items()}  # fmt: skip
    one, two = task._forecast(batch), task._forecast(other | {"time": batch["time"]})
    assert (one["x"] == two["x"]).all()
    assert (one["label_return"] != two["label_return"]).all()
    model = task.build().eval()
    bare = {"x": torch.from_numpy(one["x"])}
    assert set(task.outputs(model, bare)) == {"return", "volatility"}


def test_64_windows_are_learnt_by_heart(folder):
    task = task_for(TaskMarket, folder)
    batch = some_batch(task, folder, "train", 64)
    losses = train(task, task.build(), [batch] * 400, 1e-2)
    assert losses[-1] < 0.02 * losses[0]


def test_the_first_loss_is_that_of_the_mean(folder):
    """A network that has seen nothing forecasts nearly the mean of train."""
    task = task_for(TaskMarket, folder)
    batch = some_batch(task, folder, "train", 512)
    with torch.no_grad():
        first, parts = task.loss(task.build().eval(), batch)
    meter = task.meter()
    meter.add(task._mean.expand(512, 2), batch)
    assert float(first) == pytest.approx(meter.result()["loss"], rel=0.15)
    assert float(first) == pytest.approx(sum(parts.values()))


def test_the_meter_is_a_plain_recount_in_any_batches(folder):
    task = task_for(TaskMarket, folder)
    model = task.build().eval()
    chunk = next(labels.chunks(folder, "test", task._forecast))
    with torch.no_grad():
        forecast = model(torch.from_numpy(chunk["x"])).double().numpy()
    y_return, y_volatility = chunk["label_return"], chunk["label_volatility"]
    mean = float(task._mean[1])
    moves = (y_return != 0) & (forecast[:, 0] != 0)
    expected = {
        "return_r2": 1 - ((forecast[:, 0] - y_return) ** 2).sum() / (y_return**2).sum(),
        "volatility_r2": 1 - ((forecast[:, 1] - y_volatility) ** 2).sum() / ((y_volatility - mean) ** 2).sum(),
        "direction": ((forecast[:, 0] > 0) == (y_return > 0))[moves].mean(),
        "windows": len(y_return),
    }
    for size in (100, 5000):
        found = measured(task, model, folder, "test", size).result()
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)
        assert found["direction_low"] <= found["direction"] <= found["direction_high"]
    with torch.no_grad():
        loss, _ = task.loss(model, {name: torch.from_numpy(values) for name, values in chunk.items()})
    assert found["loss"] == pytest.approx(float(loss), rel=1e-6)


def test_the_states_of_meters_add_up(folder):
    task = task_for(TaskMarket, folder)
    model = task.build().eval()
    one, two = (measured(task, model, folder, part) for part in ("val", "test"))
    both = task.meter()
    both.load(one.state() + two.state())
    assert both.result()["windows"] == one.result()["windows"] + two.result()["windows"]
    assert both.state().dtype == torch.float64
    assert all(math.isnan(value) for value in task.meter().result().values())


def test_the_interval_is_wider_where_days_move_as_one():
    """A hundred windows of one day, all right or all wrong, say as much as one."""
    rng = np.random.default_rng(0)
    widths = []
    for is_together in (False, True):
        meter = ForecastMeter(torch.zeros(2).double(), torch.ones(2).double(), 1.0, 40)
        day = np.repeat(np.arange(40), 100)
        sign = rng.choice([-1.0, 1.0], 40)[day] if is_together else rng.choice([-1.0, 1.0], 4000)
        returns = torch.from_numpy(sign)
        batch = {"label_return": returns, "label_volatility": returns, "day": torch.from_numpy(day)}
        meter.add(torch.ones(4000, 2), batch)
        found = meter.result()
        widths.append(found["direction_high"] - found["direction_low"])
    assert widths[1] > 5 * widths[0]


def test_baselines_are_a_plain_recount(folder):
    """HAR and ridge solved at once by least squares over all windows of train."""
    task = task_for(TaskMarket, folder)
    found = task.baselines(folder, "test")
    train, test = (list(labels.chunks(folder, part, task._forecast)) for part in ("train", "test"))
    train, test = ({name: np.concatenate([one[name] for one in part]) for name in part[0]} for part in (train, test))
    for name, inputs, target in (("har", baselines.past, 1), ("ridge", baselines.last_bar, 0)):
        x, y = inputs(train).astype(float), baselines.labels(train)
        centre, scale = x.mean(0), x.std(0) + 1e-9
        z = (x - centre) / scale
        weights = np.linalg.solve(z.T @ z + baselines.RIDGE * np.eye(z.shape[1]), z.T @ (y - y.mean(0)))
        forecast = ((inputs(test) - centre) / scale) @ weights + y.mean(0)
        truth, base = baselines.labels(test), [0.0, y[:, 1].mean()]
        r2 = 1 - ((truth - forecast) ** 2).sum(0) / ((truth - base) ** 2).sum(0)
        assert found[name][("return_r2", "volatility_r2")[target]] == pytest.approx(r2[target], rel=1e-5, abs=1e-8)
    assert found["zero"] == {"return_r2": 0.0, "windows": len(test["x"])}
    assert found["mean"]["volatility_r2"] == pytest.approx(0.0, abs=1e-9)
    assert set(found["har"]) == {"volatility_r2", "windows"}


def test_wrong_settings_are_named(folder):
    with pytest.raises(ExpectedError, match=r"train\.market\.model.*fieldx.*did you mean 'field'"):
        task_for(TaskMarket, folder, model={"fieldx": "strategic"})
    with pytest.raises(ExpectedError, match=r"keep 4 rows ahead, expected at least 5; set split\.windows\.strategic"):
        task_for(TaskMarket, folder, horizon=5)


@pytest.mark.slow
@pytest.mark.parametrize("field", ["strategic", "tactical"])
def test_volatility_is_learnt_and_returns_are_not(folder, field):
    """The negative control: on a random walk nobody forecasts returns, unless a label has leaked."""
    task = task_for(TaskMarket, folder, model={"field": field})
    model = task.build()
    train(task, model, epochs_of(task, folder, 8), 1e-3)
    found, others = measured(task, model, folder, "test").result(), task.baselines(folder, "test")
    assert found["volatility_r2"] >= others["har"]["volatility_r2"] + (0.03 if field == "strategic" else 0.0)
    control = TaskMarket.CONTROLS[0]
    assert found[control.name] <= control.threshold
    assert found["direction_low"] <= 0.5 <= found["direction_high"]
