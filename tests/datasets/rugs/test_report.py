"""Rugs' figures and card: what they say is what the steps hold, bounded, and drawn by Vega-Lite; the examples run."""

import json
import re

import numpy as np
import pytest

from stages.core import arrays, paths
from stages.datasets.rugs import report, simulate
from stages.datasets.rugs.report import prices, tally
from stages.datasets.rugs.schema import ACTIONS
from stages.datasets.rugs.training.transitions import class_weights
from stages.report import cards
from stages.report.figure import own_figures
from stages.report.markup import Charts
from tests.helpers.verbs import FROM_RAW

PARTS = ("train", "val", "test")
MEAN, SCALE = 3.0, 2.0
REASONS = {
    "unmatched:pre_round": 2,
    "refused:SELL": 5,
    "unmatched:conflict": 1,
    "dropped:min_ticks": 3,
    "the payload is not JSON": 4,
}


def episode(rng, number, n_steps):
    """Make the steps of an episode: every third is cut, prices in raw units, an action now and then."""
    action = rng.choice(4, n_steps, p=[0.8, 0.1, 0.05, 0.05])
    action[-1] = -1
    last = np.arange(n_steps) == n_steps - 2
    return {
        "game": np.full(n_steps, f"game {number}", "S25"),
        "group_id": np.full(n_steps, number, np.uint64),
        "tick": np.arange(5, 5 + n_steps, dtype=np.int32),
        "reward": (rng.choice([0, 1], n_steps) * rng.normal(0, 10.0 ** rng.integers(-8, 4, n_steps))).astype("f4"),
        "terminated": (last & (number % 3 > 0)).astype("u1"),
        "truncated": (last & (number % 3 == 0)).astype("u1"),
        "player_known": np.full(n_steps, number % 4 > 0, "u1"),
        "executed": ((action > 0) & (action < 3) & (rng.random(n_steps) < 0.6)).astype("u1"),
        "kept": ((action != 0) | (rng.random(n_steps) < 0.9)).astype("u1"),
        "action": action.astype("i2"),
        "price": np.exp(rng.normal(0, 1, n_steps)),
    }


def write(folder, parts):
    """Write what split writes of the episodes of each part."""
    for part, episodes in parts.items():
        steps = {name: [one[name] for one in episodes] for name in episode(np.random.default_rng(0), 0, 2)}
        if not episodes:
            steps = {name: [values[:0]] for name, values in episode(np.random.default_rng(0), 0, 2).items()}
        observation = np.zeros((sum(map(len, steps["tick"])), 36), np.float32)
        observation[:, 1] = (np.concatenate(steps.pop("price")) - MEAN) / SCALE
        with arrays.npy_sink(folder / f"observation_{part}.npy", observation.dtype, observation.shape) as sink:
            sink.append(observation)
        arrays.save_npz(folder / f"labels_{part}.npz", {"action": steps.pop("action")})
        arrays.save_npz(folder / f"keys_{part}.npz", steps)
    scaled = {name: [np.full(36, value)] for name, value in (("mean", MEAN), ("scale", SCALE))}
    arrays.save_npz(folder / "normalizer.npz", scaled)


@pytest.fixture
def parts():
    """Give 20 episodes of train, 5 of val and none of test, of 2 to 199 steps."""
    rng = np.random.default_rng(1)
    made = [episode(rng, number, int(n)) for number, n in enumerate(rng.integers(2, 200, 25))]
    return {"train": made[:20], "val": made[20:], "test": []}


@pytest.fixture
def processed(here, parts, monkeypatch):
    """Give the folder of their arrays, read in chunks much smaller than a part, and a report of what was left out."""
    monkeypatch.setattr(tally, "CHUNK_ROWS", 37)
    folder = paths.processed_dir("rugs")
    folder.mkdir(parents=True)
    write(folder, parts)
    paths.report("rugs").parent.mkdir(parents=True)
    paths.report("rugs").write_text(json.dumps({"findings": {"by_reason": REASONS}}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("part", PARTS)
def test_every_step_and_episode_is_counted_once(processed, parts, part):
    """Over chunks that end within episodes, all counts are those of the episodes, one by one."""
    found, episodes = tally.count(processed, part), parts[part]
    starts = np.cumsum([0, *(len(one["tick"]) for one in episodes)])
    assert (found.n_steps, found.start.tolist()) == (starts[-1], starts[:-1].tolist())
    assert found.length.tolist() == [len(one["tick"]) for one in episodes]
    assert found.is_rugged.tolist() == [bool(one["terminated"].any()) for one in episodes]
    assert found.presses.tolist() == [int((one["action"] > 0).sum()) for one in episodes]
    np.testing.assert_allclose(found.total, [one["reward"].astype(float).sum() for one in episodes], rtol=1e-12)
    assert found.n_known == sum(int(one["player_known"].sum()) for one in episodes)
    for i, action in enumerate((1, 2)):
        pressed = [(one["action"] == action) for one in episodes]
        done = sum(int(one["executed"][own].sum()) for one, own in zip(episodes, pressed, strict=True))
        assert found.answered[i].tolist() == [sum(int(own.sum()) for own in pressed), done]


def test_rewards_are_in_their_slots(processed, parts):
    """Each non-zero reward is between the edges of its slot; those beyond 100 SOL are in the outermost ones."""
    rewards = np.concatenate([one["reward"] for one in parts["train"]]).astype(float)
    edges, found = tally.EDGES.copy(), tally.count(processed, "train").rewards
    assert (np.abs(rewards) > edges[-1]).any()
    assert edges[len(found) // 2] == -tally.SMALLEST
    edges[[0, -1]] = -np.inf, np.inf
    for low, high, n in zip(edges[:-1], edges[1:], found.tolist(), strict=True):
        assert n == ((rewards >= low) & (rewards < high) & (rewards != 0)).sum()


def test_weights_are_those_of_a_trainer(processed, parts):
    """Actions that are kept are counted, and weighted as `transitions.class_weights` does."""
    taken = [one["action"][(one["kept"] > 0) & (one["action"] >= 0)] for one in parts["train"]]
    found = tally.count(processed, "train")
    assert found.actions.tolist() == np.bincount(np.concatenate(taken), minlength=4).tolist()
    np.testing.assert_allclose(found.weights, class_weights(np.concatenate(taken)), rtol=1e-6)
    assert tally.count(processed, "test").weights.tolist() == [0, 0, 0, 0]
    no_sell = [{**one, "action": np.where(one["action"] == 2, 1, one["action"]).astype("i2")} for one in parts["val"]]
    write(processed, {"val": no_sell})
    taken = [one["action"][(one["kept"] > 0) & (one["action"] >= 0)] for one in no_sell]
    np.testing.assert_allclose(tally.count(processed, "val").weights, class_weights(np.concatenate(taken)), rtol=1e-6)


def test_prices_are_raw_and_presses_stand_at_their_steps(processed, parts, monkeypatch):
    """Of the episodes with most presses: raw prices, thinned but with the last step, and all presses."""
    monkeypatch.setattr(prices, "MAX_POINTS", 50)
    found = tally.paths_of(processed, "train", tally.count(processed, "train"))
    presses = [int((one["action"] > 0).sum()) for one in parts["train"]]
    chosen = sorted(np.argsort([-n for n in presses], kind="stable")[: tally.MAX_PATHS].tolist())
    assert [path.game for path in found] == [f"game {number}" for number in chosen]
    for path, number in zip(found, chosen, strict=True):
        one = parts["train"][number]
        np.testing.assert_allclose(path.price, one["price"], rtol=1e-4, atol=1e-6)
        figure = prices.price_path(path)
        line, marks = (layer["data"]["values"] for layer in figure.spec["layer"])
        assert len(line) <= 51
        assert line[-1]["tick"] == one["tick"][-1]
        expected = [(int(t), ACTIONS[a]) for t, a in zip(one["tick"], one["action"], strict=True) if a > 0]
        assert [(mark["tick"], mark["press"]) for mark in marks] == expected
        assert ("rugs at tick" in figure.alt) == bool(one["terminated"].any())


def test_figures_say_what_they_show(processed, parts, monkeypatch):
    """They are found by the report's hook, are plain JSON, and their words have the main numbers."""
    monkeypatch.setattr(report, "MAX_TICKS", 6)
    drawn = {figure.title: figure for figure in own_figures("rugs", processed)}
    assert [title for title in drawn if not title.startswith("Price of")] == [
        "Length of episodes",
        "Rewards that are not 0",
        "Return of episodes",
        "Actions and their weights",
        "What is known of the player",
        "Presses without a step, refused presses, and what else was left out",
    ]
    ends = {"rug": 0, "recording cut": 0}
    for row in drawn["Length of episodes"].spec["data"]["values"]:
        ends[row["end"]] += row["episodes"]
    cut = sum(number % 3 == 0 for number in range(25))
    assert ends == {"rug": 25 - cut, "recording cut": cut}
    assert f"{25 - cut} were seen to their rug, {cut} were cut" in drawn["Length of episodes"].alt
    bars = drawn["Rewards that are not 0"].spec["data"]["values"]
    n_rewards = sum(np.count_nonzero(one["reward"]) for own in parts.values() for one in own)
    assert sum(row["top"] - row["base"] for row in bars) == n_rewards
    tops = {row["from"]: row["top"] for row in sorted(bars, key=lambda row: row["top"])}
    assert sum(tops.values()) == n_rewards  # parts stand on each other
    ticks = drawn["Return of episodes"].spec["layer"][0]["data"]["values"]
    assert len(ticks) == 6 + 5
    presses = sum(int((one["action"] > 0).sum()) for own in parts.values() for one in own)
    last = drawn["Presses without a step, refused presses, and what else was left out"]
    assert last.alt.startswith(
        f"3 of {presses + 3:,} presses belong to no step, 5 are refused; in all, most often: refused"
    )
    assert {row["what"] for row in last.spec["data"]["values"]} == {"press", "episode", "row"}
    charts = Charts()
    for figure in drawn.values():
        charts.add(figure)


def test_without_steps_or_report_nothing_is_drawn_of_them(here, parts):
    """No figure without any step, no last one without a report, and no reward that is not 0 is no figure."""
    folder = paths.processed_dir("rugs")
    folder.mkdir(parents=True)
    write(folder, {part: [] for part in PARTS})
    assert report.figures(folder) == []
    quiet = [{**one, "reward": one["reward"] * 0} for one in parts["val"]]
    write(folder, {"train": quiet, "val": [], "test": []})
    titles = [figure.title for figure in report.figures(folder)]
    assert "Rewards that are not 0" not in titles
    assert titles[-1] == "What is known of the player"


def test_vega_lite_draws_the_figures_without_a_warning(processed):
    """Compiled as the page does, every layer leaves its marks."""
    vl_convert = pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    schema = "https://vega.github.io/schema/vega-lite/v6.json"
    drawn = {figure.title: figure.spec for figure in report.figures(processed)}
    marks = {"Rewards": "rect mark", "Return": "tick", "Actions": "text mark", "What": "bar", "Presses": "bar"}
    for title, spec in drawn.items():
        svg = vl_convert.vegalite_to_svg({**spec, "$schema": schema})
        mark = marks.get(title.split()[0], "bar" if title.startswith("Length") else "point")
        assert f'aria-roledescription="{mark}"' in svg, title
        assert "NaN" not in svg


@pytest.mark.slow
def test_the_examples_of_the_card_run_on_a_simulated_store(here, run):
    """The card's placeholders are filled, and its Python opens the arrays that the verbs made."""
    simulate.write(here / "raw", {"games": 12, "seed": 42, "sessions": 1, "defects": False})
    entry = {"raw": "raw", "batch_size": 8, "split": {"windows": {"observation": {"window": 2, "step": 1}}}}
    (here / "params.yaml").write_text(json.dumps({"datasets": {"rugs": entry}}), encoding="utf-8")
    for verb in FROM_RAW:
        done = run(verb, "rugs", LOG="warning")
        assert done.returncode == 0, done.stderr
    text = cards.card("rugs")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        names = {}
        exec(example, names)
        batch = names["batch"]
        assert batch["next_observations"].shape[1:] == (36,)
        assert batch["dones"].dtype == bool
