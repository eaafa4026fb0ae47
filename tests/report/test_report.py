"""The report page: what it reads from logs, locks and arrays, and that its figures are those of stats.json."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from stages import merge, split
from stages.core import arrays, paths
from stages.core.errors import ExpectedError
from stages.core.fields import NamedField
from stages.core.params import SplitParams
from stages.core.part_files import PARTS
from stages.differences.compare import ClassShift, ColumnShift, Difference
from stages.differences.drift import Drifted, PartDrift
from stages.differences.units import GroupChanges, UnitChanges
from stages.pipeline.lock import STATES, StageState, differences
from stages.report import __main__ as command
from stages.report import bundle, columns, data_charts, drift_charts, facts, figure, lock, logs, markup, run_charts
from stages.report.figure import Figure, own_figures
from stages.report.page import page, section
from stages.runtime.memory_log import LogEntry
from tests.helpers.places import REPOSITORY
from tests.helpers.report_logs import START, append, write_run

BUDGET = 4096.0


class Reader(HTMLParser):
    """Collect the figures of a page, what it loads, and its scripts."""

    def __init__(self, text):
        super().__init__()
        self.figures, self.loads, self.scripts, self._key, self._is_script = {}, [], [], None, False
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, tuple(found)))
        self.loads += [found[name] for name in ("src", "href", "srcset") if name in found]
        self._is_script = tag == "script" and "type" not in found
        if self._is_script:
            self.scripts.append("")
        if "data-figure" in found:
            self.figures.setdefault(found["data-figure"], []).append((json.loads(found["value"]), None))
            self._key = found["data-figure"]

    def handle_endtag(self, tag):
        self._key, self._is_script = None, False

    def handle_data(self, data):
        self.text.append(data)
        if self._is_script:
            self.scripts[-1] += data
        if self._key:
            self.figures[self._key][-1] = (self.figures[self._key][-1][0], data)


def leaves(value, key):
    """Yield every number below a value with its dotted key."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from leaves(below, f"{key}.{name}")
    elif isinstance(value, int | float):
        yield key, value


@pytest.fixture(scope="session")
def finished_page(finished, tmp_path_factory):
    """Give the page of a finished run of splendor, what a reader finds in it, and its stats.json."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        text = command.report(["splendor"]).read_text(encoding="utf-8")
    stats = json.loads((folder / "data/processed/splendor/stats.json").read_text(encoding="utf-8"))
    return text, Reader(text), stats


def test_every_count_of_stats_json_is_on_the_page_and_equal(finished_page):
    """Rows, groups, classes, legal actions: each number stands on the page with its exact value."""
    _, found, stats = finished_page
    expected = dict(leaves(stats, "splendor"))
    shown = {key: {value for value, _ in values} for key, values in found.figures.items()}
    assert shown == {key: {expected[key]} for key in shown}
    counted = ("rows", "groups", "labels", "legal_actions", "duplicates", "bad_units", "units", "batches")
    assert {key for key in expected if key.split(".")[1] in counted} <= set(shown)


def test_numbers_read_as_their_values(finished_page):
    """What a reader sees is the exact value, or its first digits."""
    for values in finished_page[1].figures.values():
        for value, seen in values:
            assert float(seen.replace(",", "")) == pytest.approx(value, rel=1e-3, abs=0)


def test_page_loads_nothing_and_its_policy_names_its_scripts(finished_page):
    """Links lead into the page only; the security policy allows just the scripts that are there."""
    text, found, _ = finished_page
    assert found.loads
    assert all(target.startswith("#") for target in found.loads)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in found.scripts]
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy


def test_each_entry_of_the_contents_leads_to_a_section(finished_page):
    """No link of the table of contents is dead, and no id is there twice."""
    ids = re.findall(r'\bid="([^"]+)"', finished_page[0].partition('<script type="application/json"')[0])
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', finished_page[0])) <= set(ids)


def test_each_chart_has_a_place_and_words(finished_page):
    """Specifications and places match; each place has a name and a description that exists."""
    text = finished_page[0]
    specs = json.loads(re.search(r'id="charts">(.*?)</script>', text, re.DOTALL)[1])
    places = re.findall(r'id="(chart-\d+)" role="img" aria-label="Chart: [^"]+" aria-describedby="([^"]+)"', text)
    assert [place for place, _ in places] == list(specs)
    assert all(re.search(rf'id="{alt}">[^<]+<', text) for _, alt in places)


def test_page_without_any_output_says_what_is_missing(here, write_params, run):
    """In a fresh clone the command still writes a page, which names each missing file, and exits with 0."""
    write_params(here)
    done = run("report", "splendor")
    assert done.returncode == 0, done.stderr
    text = (here / "data/reports/index.html").read_text(encoding="utf-8")
    for what in (
        "stats.json is not here",
        "splendor.json is not here",
        "fields.json: not found",
        "no run of splendor",
    ):
        assert what in text
    assert "There is no dvc.lock" in text


def test_page_after_slim_lacks_the_fields_only(finished, here):
    """Without data/merged all else is there."""
    shutil.copytree(finished, here, dirs_exist_ok=True)
    shutil.rmtree("data/merged")
    gathered = facts.gather("splendor", [])
    assert [note for note in gathered.missing if "fields.json" in note] == gathered.missing[:1]
    assert gathered.stats
    assert gathered.columns
    assert gathered.figures


def test_damaged_outputs_are_named_and_do_not_stop_the_page(finished, here):
    """Half a stats.json and half an array are notes on the page."""
    shutil.copytree(finished, here, dirs_exist_ok=True)
    (paths.processed_dir("splendor") / "stats.json").write_text('{"rows": {', encoding="utf-8")
    array = paths.processed_dir("splendor") / "X_train.npy"
    array.write_bytes(array.read_bytes()[:-1])
    notes = " ".join(facts.gather("splendor", []).missing)
    assert re.search(r"stats\.json: .*expected JSON", notes)
    assert re.search(r"X_train\.npy: \d+ bytes, expected", notes)


def test_dataset_with_two_feature_fields_and_no_report_module(write_toy):
    """A dataset like any later one: several fields, one of them not standardised, no figures of its own."""
    write_toy({"b": {f"u{i}": [(i, 40)] for i in range(60)}})
    merge.merge("toy", 0)
    split.split("toy", SplitParams())
    gathered = facts.gather("toy", [])
    assert [(c.field, c.name) for c in gathered.columns][:4] == [("X", "a"), ("X", "b"), ("X", "c"), ("board", "nw")]
    assert gathered.figures == []
    text = page([gathered], lock.Comparison(why_not="none"))
    stats = json.loads((paths.processed_dir("toy") / "stats.json").read_text(encoding="utf-8"))
    assert {key: values[0][0] for key, values in Reader(text).figures.items()} == dict(leaves(stats, "toy"))


def test_dataset_without_labels_and_masks_says_so():
    """There are no empty charts, and no warnings."""
    sizes = {"rows": {"train": 8, "val": 1, "test": 1}, "groups": {"train": 4, "val": 1, "test": 1}}
    bare, charts = facts.Facts("bars", stats={**sizes, "labels": {}, "legal_actions": {}}), markup.Charts()
    assert "no labels" in section("classes", facts=bare, charts=charts)
    assert "no masks" in section("legal", facts=bare, charts=charts)
    assert "note" not in section("classes", facts=bare, charts=charts) + section("legal", facts=bare, charts=charts)
    assert charts.specs == {}


EVIL = """"'></script></style><img src=x onerror=alert(1)><script>alert(2)</script>{{ 7 * 7 }}{% raise %}"""


def record(time, event, **content):
    return LogEntry(time, "process", "x", event, content)


def facts_named(name):
    """Make facts in which this is every text that data, logs, git or a dataset's package give."""
    counts = {"classes": {name: 3, f"{name} 2": 1}, "not_applicable": 1}
    legal = {name: {name: {"mean": 1, "min": 1, "max": 1}}}
    row = {"unit": name, "reason": name, "line": 1, "where": name, "count": 2}
    sizes = {"units": 1, "groups": 1, "rows": 1}
    stats = {"rows": {name: 4}, "groups": {name: 2}, "split": {name: 0.5, "by": name, "seed": {name: name}}}
    run = logs.Run("process", f"x-{name}", name, START, START + 2, is_finished=True, n_units=1, n_rows=1)
    run.add(record(START + 1, "chunk", pss_mb=1.0, worker=name, started=START, seconds=1.0))
    simulated = logs.Run("simulate", name, "", START, START + 1, is_finished=True, counts={name: 1.0})
    return facts.Facts(
        name,
        stats={
            **stats,
            "labels": {name: {name: counts}},
            "legal_actions": legal,
        },
        report={
            "bad_units": {"count": 1, "list": [row]},
            "findings": {"by_reason": {name: 2}, "list": [row]},
            "duplicates": {"groups": 1, "rows": 1, "list": [{"group_id": 1, "kept": name, "dropped": name, "rows": 1}]},
            "by_batch": {name: sizes},
        },
        fields=[NamedField(name, np.dtype(np.uint8), (1,), "feature", name, bits=(2, 3))],
        runs=[run, simulated],
        columns=[columns.ColumnRange(name, name, i, 0, i, 0, 1, 0, i, 0, 0.5) for i in range(16)],
        packed={name: (2, 3)},
        figures=[Figure(name, name, {"data": {"values": [{name: name}]}}, name)],
        stages=[StageState(name, state, (name,)) for state in STATES],
        drift=[
            PartDrift(
                name,
                (1, 1),
                (1, 1),
                (9, 9),
                can_tell=True,
                found=[
                    Drifted("feature", name, 0.3, 0.001, (0.0, 1.0), (1.0, 1.0)),
                    Drifted("label", name, 0.3, 0.001, (0.1,), (0.2,), name),
                ],
            )
        ],
        changes=Difference(
            name,
            name,
            name,
            UnitChanges(1, 1, [name], [name], [name]),
            dict.fromkeys(PARTS, (1, 2)),
            dict.fromkeys(PARTS, (1, 2)),
            GroupChanges(moved={"train -> val": 1}, examples=["1"]),
            settings={name: (name, 1)},
            classes=[ClassShift(name, 1, 2, 0.1, name, (0.1, 0.2), [name], [name])],
            new_columns=[name],
            columns=[ColumnShift(name, name, 0.3, (0.0, 1.0), (1.0, 1.0))],
            notes=[name],
        ),
        missing=[name],
    )


@pytest.mark.parametrize("why_not", ["", EVIL])
def test_text_of_others_is_escaped(why_not):
    """Whatever names hold, the page has the tags and attributes of one with harmless names, and shows the text."""
    harmless = "1" * len(EVIL)
    pages = {}
    for name in (EVIL, harmless):
        shown = facts_named(name)
        comparison = lock.Comparison(tuple(shown.stages), name, why_not and name)
        pages[name], _, charts = page([shown], comparison).partition('<script type="application/json" id="charts">')
        assert "<" not in charts.partition("</script>")[0]
    found, expected = Reader(pages[EVIL]), Reader(pages[harmless])
    assert found.tags == expected.tags
    assert "".join(found.text).count(EVIL) == "".join(expected.text).count(harmless) > 40


def test_figure_that_is_not_json_is_named():
    """NaN would break all charts of the page; the error says which figure holds it."""
    with pytest.raises(ExpectedError, match=r"figure 'prices': .*expected plain finite JSON"):
        markup.Charts().add(Figure("prices", "", {"data": {"values": [{"a": float("nan")}]}}))


# Logs


def test_last_run_is_what_follows_the_last_start(here):
    """Of two runs of a batch only the later one counts."""
    write_run("splendor-b0", 10.0, 2, 10)
    write_run("splendor-b0", 4.0, 2, 6, at=START + 100)
    (run,) = logs.read_runs(paths.LOG_DIR, "splendor")
    assert (run.stage, run.batch, run.started, len(run.chunks)) == ("process", "b0", START + 100, 6)
    assert (run.seconds, run.n_units, run.n_rows, run.is_finished) == (4.0, 48, 3600, True)
    assert run.budget_mb == BUDGET


def test_damaged_log_lines_are_left_out(here):
    """Half a line, another type, a missing key and a strange number cost themselves only."""
    write_run("splendor-b0", 4.0, 2, 6)
    start = f'"time": {START + 50}, "stage": "process", "name": "splendor-b1", "event": '
    append("process", "[1]", "{}", f'{{{start}"start"}}', f'{{{start}"sample", "pss_mb": "much", "peak_mb": NaN}}')
    append("process", f'{{{start}"chunk", "worker": "worker 1"}}', f'{{{start}"end", "n_un')
    whole, cut = logs.read_runs(paths.LOG_DIR, "splendor")
    assert whole.is_finished
    assert (cut.is_finished, cut.chunks, cut.samples, cut.seconds) == (False, [], [], 0.0)


def test_log_of_an_older_version_is_read(here):
    """Without pss_mb the older name counts; without workers the page says so."""
    record = {"time": START, "stage": "process", "name": "splendor-b", "event": "start", "tree_mb": 40.0}
    append("process", json.dumps(record), json.dumps({**record, "event": "end", "time": START + 2, "n_rows": 10}))
    gathered = facts.gather("splendor", [])
    assert [sample for run in gathered.runs for sample in run.samples] == [(START, 40.0), (START + 2, 40.0)]
    assert any("which worker did what" in note for note in gathered.missing)


def test_what_the_simulator_counted_is_a_table(here):
    """Every number of the last finished run beside time and memory, whatever its key; none from an older run."""
    line = {"stage": "simulate", "name": "x", "rss_mb": 50.0, "cpu_s": 2.0, "budget_mb": 4096.0}
    first = {"time": START + 1, "event": "end", "n_wins": 7}
    last = {"time": START + 3, "event": "end", "n_games": 1200, "games_per_s": 3.25, "note": "fast", "odd": True}
    starts = [{"time": START + i, "event": "start"} for i in (0, 2)]
    append("simulate", *(json.dumps({**line, **entry}) for entry in (starts[0], first, starts[1], last)))
    (run,) = logs.read_runs(paths.LOG_DIR, "x")
    assert run.counts == {"n_games": 1200, "games_per_s": 3.25}
    shown = section("simulation", facts=facts.Facts("x", runs=[run]))
    assert re.findall(r'<th scope="row">(.*?)</th>.*?<data value="(.*?)"', shown) == [
        ("games", "1200.0"),
        ("games per second", "3.25"),
    ]
    assert section("simulation", facts=facts.Facts("x")) == ""


def test_runs_of_another_dataset_are_not_mine(here):
    """A dataset whose name begins with mine has its own runs."""
    for name in ("splendor-b0", "splendor2-b0", "splendor2"):
        write_run(name, 4.0, 2, 6)
    assert [run.name for run in logs.read_runs(paths.LOG_DIR, "splendor")] == ["splendor-b0"]


def test_runs_of_batches_that_are_no_longer_listed_are_left_out(finished, here):
    """After growth the log still holds the batch that was replaced."""
    shutil.copytree(finished, here, dirs_exist_ok=True)
    before = [run.name for run in facts.gather("splendor", []).runs]
    write_run("splendor-b0110101", 4.0, 2, 6)
    assert [run.name for run in facts.gather("splendor", []).runs] == before


def test_samples_are_bounded_and_keep_the_peak(here):
    """A week of samples takes no more than the bound, and the highest is among them."""
    run = logs.Run("process", "x-b", "b", 0.0, 0.0)
    for i in range(20_000):
        run.add(record(float(i), "sample", pss_mb=9000.0 if i == 11_313 else i % 10))
    assert len(run.samples) < logs.MAX_SAMPLES
    assert max(run.samples, key=lambda sample: sample[1]) == (11_313.0, 9000.0)
    assert run.samples[-1][0] > 19_000


def test_peak_between_two_records_is_drawn():
    """A record whose peak has risen stands for the peak, not for what is used when it is written."""
    run = logs.Run("process", "x-b", "b", 0.0, 0.0)
    for time, used, peak in ((0.0, 10.0, 50.0), (1.0, 20.0, 90.0), (2.0, 15.0, 90.0)):
        run.add(record(time, "sample", pss_mb=used, peak_mb=peak))
    assert run.samples == [(0.0, 10.0), (1.0, 90.0), (2.0, 15.0)]


def test_idle_time_is_all_time_without_a_chunk(here):
    """Busy and idle seconds of a worker sum to the time of all runs; worker 10 comes after worker 2."""
    write_run("splendor-b0", 10.0, 11, 40)
    write_run("splendor-b1", 6.0, 1, 4, at=START + 100)
    runs = logs.read_runs(paths.LOG_DIR, "splendor")
    table = run_charts.idle(runs)
    assert [row["worker"] for row in table] == [f"worker {i}" for i in range(1, 12)]
    for row in table:
        own = [c.seconds for run in runs for c in run.chunks if c.worker == row["worker"]]
        assert (row["chunks"], row["busy"]) == (len(own), pytest.approx(sum(own)))
        assert row["busy"] + row["idle"] == pytest.approx(16.0)
        assert row["idle_share"] == pytest.approx(row["idle"] / 16.0)


def test_runs_are_laid_end_to_end(here):
    """A batch of last week does not leave a week of nothing in the chart."""
    write_run("splendor-b0", 10.0, 2, 10)
    write_run("splendor-b1", 6.0, 2, 10, at=START + 604_800)
    runs = logs.read_runs(paths.LOG_DIR, "splendor")
    times = [row["time"] for row in run_charts.memory(runs).spec["data"]["values"]]
    assert (min(times), max(times)) == (0.0, 16.0)
    bars = run_charts.workers(runs).spec["data"]["values"]
    assert max(row["to"] for row in bars) == 16.0
    assert sorted({row["does"] for row in bars}) == ["encodes", "saves"]


@pytest.mark.parametrize(("budget", "height", "is_off"), [(400.0, 400.0, False), (40_000.0, 1.25 * 155, True)])
def test_budget_is_drawn_where_it_is_or_says_that_it_is_off_scale(here, budget, height, is_off):
    """A budget far above the peak would flatten the curve."""
    write_run("splendor-b0", 4.0, 2, 6, budget_mb=budget)
    layers = run_charts.memory(logs.read_runs(paths.LOG_DIR, "splendor")).spec["layer"]
    (drawn,) = layers[1]["data"]["values"]
    assert drawn["budget"] == pytest.approx(height)
    assert ("off scale" in drawn["label"]) == is_off


def test_long_runs_give_bounded_charts(here):
    """The charts of a run of thousands of chunks hold at most as many marks as a browser draws at once."""
    write_run("splendor-b0", 900.0, 8, 4000)
    runs = logs.read_runs(paths.LOG_DIR, "splendor")
    assert len(run_charts.memory(runs).spec["data"]["values"]) <= run_charts.MAX_POINTS
    bars = run_charts.workers(runs).spec["data"]["values"]
    assert len(bars) == 9
    assert sum(bar["units"] for bar in bars) == 32_000
    assert "chunks without a gap that could be seen are one bar" in run_charts.workers(runs).doc


def test_joined_bars_keep_the_gaps_that_can_be_seen():
    """Of a worker that paused between two blocks of short chunks two bars stay."""
    run = logs.Run("process", "x-b", "b", START, START + 450)
    run.chunks = [logs.ChunkRecord("worker 1", START + i + 50 * (i >= 200), 0.9, "u", 1, 2) for i in range(400)]
    bars = run_charts.workers([run]).spec["data"]["values"]
    assert [(bar["from"], bar["to"], bar["units"], bar["rows"]) for bar in bars] == [
        (0.0, 199.9, 200, 400),
        (250.0, 449.9, 200, 400),
    ]


def test_speed_is_per_second_of_the_whole_batch(here):
    """Reading, encoding and saving count; an unfinished batch does not."""
    write_run("splendor-b0", 4.0, 2, 6)
    append("process", json.dumps({"time": START, "stage": "process", "name": "splendor-b1", "event": "start"}))
    (row,) = run_charts.speeds(logs.read_runs(paths.LOG_DIR, "splendor"))
    assert (row["batch"], row["units/s"], row["rows/s"]) == ("b0", 12.0, 900.0)


# dvc.lock


def stage(md5="1", seed=1, out="9"):
    outs = [{"path": "out", "md5": out}]
    return {"cmd": "c", "deps": [{"path": "in", "md5": md5}], "params": {"params.yaml": {"seed": seed}}, "outs": outs}


def test_stages_are_rebuilt_new_gone_or_reused():
    """A stage is reused when all its digests and params are equal; else it says what differs."""
    before = {"split@a": stage(), "merge@a": stage(), "process@a-b0": stage(), "process@a-b1": stage()}
    now = {"split@a": stage(md5="2", out="8"), "merge@a": stage(seed=2), "process@a-b0": stage(), "process@a-b10": {}}
    found = {entry.name: (entry.state, entry.differs) for entry in differences(before, now)}
    assert found == {
        "split@a": ("rebuilt", ("in", "out")),
        "merge@a": ("rebuilt", ("seed",)),
        "process@a-b0": ("reused", ()),
        "process@a-b1": ("gone", ()),
        "process@a-b10": ("new", ()),
    }


@pytest.mark.parametrize(
    ("name", "dataset"),
    [("split@a", "a"), ("process@a-b01", "a"), ("process@a-b", "a"), ("merge@a-bars", "a-bars"), ("one", "")],
)
def test_stage_belongs_to_a_dataset(name, dataset):
    """The batch id is cut off, a name with a hyphen is not."""
    assert StageState(name, "new").dataset == dataset


def test_lock_is_compared_with_the_last_commit(here):
    """In a real git repository: before the first commit, right after one, and after a change."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    assert "no dvc.lock" in lock.compare().why_not
    (here / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"split@a": stage()}}), encoding="utf-8")
    assert "no git commit" in lock.compare().why_not
    for arguments in (["init", "-q"], ["add", "dvc.lock"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    assert [entry.state for entry in lock.compare().of("a")] == ["reused"]
    assert lock.compare().commit.endswith(": first")
    (here / "dvc.lock").write_text(json.dumps({"stages": {"split@a": stage(md5="2")}}), encoding="utf-8")
    assert [(entry.state, entry.differs) for entry in lock.compare().of("a")] == [("rebuilt", ("in",))]


@pytest.mark.slow
def test_what_changed_in_the_data_since_the_commit_is_a_table(here, finished, dvc):
    """Where a stage that makes data was rebuilt; where all are reused nothing is looked at."""
    folders = "data/manifests/splendor/batches", "data/processed/splendor"
    for name in folders:
        shutil.copytree(finished / name, here / name)
    subprocess.run(["git", "init", "-q"], check=True)
    dvc("init", "-q")
    for name, stage_name in zip(folders, ("discover@splendor", "split@splendor"), strict=True):
        dvc("stage", "add", "-q", "-n", stage_name.partition("@")[0], "-o", name, "true")
    dvc("commit", "-q", "-f")
    text = (
        (here / "dvc.lock")
        .read_text()
        .replace("  discover:", "  discover@splendor:")
        .replace("  split:", "  split@splendor:")
    )
    (here / "dvc.lock").write_text(text)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for arguments in (["add", "dvc.lock"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    assert lock.changed_data("splendor", lock.compare().of("splendor")) is None
    assert lock.changed_data("splendor", [StageState("split@splendor", "new")]) is None
    manifest = next(Path(folders[0]).iterdir())
    content = json.loads(manifest.read_text())
    gone = content["units"].pop()["key"]
    manifest.unlink()
    manifest.write_text(json.dumps(content))
    found = lock.changed_data(
        "splendor", [StageState("discover@splendor", "rebuilt"), StageState("split@splendor", "reused")]
    )
    assert found.units.removed == [gone]
    shown = section("changes", changes=[found])
    assert f"1 removed ({gone})" in shown
    assert section("changes", changes=[]) == ""


def test_many_stages_are_listed_up_to_a_bound():
    """A thousand rebuilt batches are counted, and listed up to the bound."""
    stages = [StageState(f"process@a-b{i:b}", "rebuilt", ("in",)) for i in range(1000)]
    text = section("rebuilt", stages=stages, comparison=lock.Comparison(tuple(stages), "1: x"))
    assert text.count("process@a-") == markup.MAX_LISTED
    assert "800 more are not listed" in text


# Feature columns


def test_packed_bytes_have_no_ranges_but_a_shape(here):
    """Of a feature that is stored as bits the page says what they are; the other features keep their columns."""
    folder = paths.processed_dir("x")
    for name, width in (("board", 43), ("y", 2)):
        write_feature(folder, name, np.zeros((5, width), np.uint8))
    (folder / "packed.json").write_text(json.dumps({"board": [2, 13, 13]}), encoding="utf-8")
    found = facts.gather("x", [])
    assert [column.field for column in found.columns] == ["y", "y"]
    charts = markup.Charts()
    shown = section("ranges", facts=found, charts=charts)
    assert "board is stored as bits, 2 x 13 x 13 a row" in shown
    found.columns = []
    assert section("ranges", facts=found, charts=charts) == shown.partition("\n")[0].strip()
    found.fields = [NamedField("board", np.dtype(np.uint8), (43,), "feature", bits=(2, 13, 13))]
    assert "uint8 (43,), bits of (2, 13, 13)" in section("fields", facts=found)


def write_feature(folder, name, rows, names=None, fit=None):
    folder.mkdir(parents=True, exist_ok=True)
    with arrays.npy_sink(folder / f"{name}_train.npy", rows.dtype, rows.shape) as sink:
        sink.append(rows)
    if names:
        (folder / "feature_names.json").write_text(json.dumps(names), encoding="utf-8")
    if fit:
        arrays.save_npz(folder / "normalizer.npz", {key: [np.array(value)] for key, value in fit.items()})


def test_ranges_equal_those_of_the_whole_array(here, monkeypatch):
    """Chunk by chunk gives what NumPy gives at once, in raw units and as stored."""
    monkeypatch.setattr(columns, "CHUNK_BYTES", 1 << 10)
    raw = np.random.default_rng(1).normal(50, [1, 10, 100], (5000, 3))
    mean, scale = raw.mean(axis=0), raw.std(axis=0)
    stored = ((raw - mean) / scale).astype(np.float32)
    names = ["a", "b", "c"]
    write_feature(here / "p", "X", stored, names, {"names": names, "mean": mean, "scale": scale})
    found = columns.read_columns(here / "p")
    assert [(c.stored_low, c.stored_high) for c in found] == [*zip(stored.min(axis=0), stored.max(axis=0), strict=True)]
    np.testing.assert_allclose([c.low for c in found], raw.min(axis=0), rtol=1e-5)
    np.testing.assert_allclose([c.high for c in found], raw.max(axis=0), rtol=1e-5)
    np.testing.assert_allclose([c.mean for c in found], mean, rtol=1e-5)
    assert [c.scale for c in found] == scale.tolist()


@pytest.mark.parametrize(("n_other", "kind"), [(0, "constant"), (10, "near-constant"), (11, "varies")])
def test_near_constant_is_exactly_999_of_1000_rows(here, n_other, kind):
    """Of 10,000 rows ten may differ; the share is counted, not estimated."""
    rows = np.full((10_000, 1), 7, np.int8)
    rows[np.random.default_rng(n_other).permutation(10_000)[:n_other]] = 3
    write_feature(here / "p", "board", rows)
    (found,) = columns.read_columns(here / "p")
    assert (found.kind, found.common, found.share) == (kind, 7.0, 1 - n_other / 10_000)
    assert found.name == "board 0"


def test_zero_that_float32_blurs_is_zero_again(here):
    """What undoing the standardisation leaves of 0 is no minimum of -2e-07."""
    raw = np.array([0.0, 0.0, 3.0, 1.0])
    mean, scale = raw.mean(), raw.std()
    stored = ((raw - np.float32(mean)) / np.float32(scale)).astype(np.float32)[:, None]
    write_feature(here / "p", "X", stored, ["a"], {"names": ["a"], "mean": [mean], "scale": [scale]})
    assert columns.read_columns(here / "p")[0].low == 0.0


def test_values_that_are_not_finite_are_named(here):
    """A NaN or an infinity makes a column not finite; the chart leaves it out."""
    rows = np.ones((100, 3), np.float32)
    rows[50, 0], rows[99, 1] = np.nan, np.inf
    write_feature(here / "p", "X", rows)
    found = columns.read_columns(here / "p")
    assert [c.kind for c in found] == ["not finite", "not finite", "constant"]
    shown = section("ranges", facts=facts.Facts("x", columns=found), charts=markup.Charts())
    assert "2 columns hold a value that is not a finite number: X 0, X 1." in shown


def test_only_the_standardised_field_is_undone(here):
    """Of two fields the normaliser names the columns of one; the other stays as it is."""
    names = {"A": ["x", "y"], "B": ["p", "q"]}
    write_feature(here / "p", "A", np.zeros((10, 2), np.float32), names)
    fit = {"names": ["p", "q"], "mean": [10.0, 20.0], "scale": [2.0, 4.0]}
    write_feature(here / "p", "B", np.ones((10, 1, 2), np.float32), names, fit)
    assert [(c.field, c.name, c.low) for c in columns.read_columns(here / "p")] == [
        ("A", "x", 0.0),
        ("A", "y", 0.0),
        ("B", "p", 12.0),
        ("B", "q", 24.0),
    ]


def test_thousands_of_columns_stay_readable():
    """The chart and the table are bounded; constant ones are named a few, and all of them folded away."""
    many = [columns.ColumnRange("X", f"c{i}", i, 0, i % 3, 0, 1, 0, i % 3, 0, 0.5) for i in range(9000)]
    charts = markup.Charts()
    text = section("ranges", facts=facts.Facts("x", columns=many), charts=charts)
    assert len(charts.specs["chart-1"]["data"]["values"]) <= data_charts.MAX_COLUMNS
    assert "3,000 columns are constant" in text
    assert "c33 and 2,988 more." in text
    assert text.count("<tr>") < 2 * data_charts.MAX_COLUMNS + 100


def test_chart_and_table_of_ranges_name_the_same_column():
    """What is farthest from 0 leads both, though nearly all rows hold another value."""
    rare = columns.ColumnRange("X", "rare", 0, 0, 90, 0, 1, 0, 90, 0, 0.9999)
    usual = columns.ColumnRange("X", "usual", 1, 0, 4, 0, 1, 0, 4, 0, 0.5)
    assert "is in rare: 0 to 90." in data_charts.column_ranges([usual, rare]).alt
    assert [column.name for column in data_charts.widest([usual, rare], 2)] == ["rare", "usual"]


# Drift


def test_drift_is_told_drawn_and_listed():
    """What is more than chance by name, with its index; of the other part that it cannot be told."""
    found = [
        Drifted("feature", "price", 0.31, 0.001, (3.0, 1.0), (4.5, 1.25)),
        Drifted("label", "kind", 0.12, 0.004, (0.2,), (0.4,), "win"),
        Drifted("feature", "other", 0.5, 0.9, (0.0, 1.0), (0.0, 1.0)),
    ]
    val = PartDrift("val", (80, 9), (800, 90), (60, 20), can_tell=True, found=found)
    test = PartDrift("test", (80, 9), (80, 9), (60, 2), can_tell=False)
    charts = markup.Charts()
    shown = section("drift", facts=facts.Facts("x", drift=[val, test]), charts=charts)
    assert "2 of 2 columns and 1 label differ by more than chance, 1 of them with a large PSI" in shown
    assert "a sample of 90 and 800 rows" in shown
    assert "Test, 9 rows of 2 groups beside 80 of 60 in train: too few groups to tell drift from chance." in shown
    names = [row["name"] for row in charts.specs["chart-1"]["data"]["values"]]
    assert names == ["price", "kind"]
    drawn, _, _ = shown.partition("The largest PSI of each part")
    assert "3 ± 1" in drawn
    assert "win 40.0%" in drawn
    assert ">other<" not in drawn
    assert drift_charts.indices([val, test]).alt == "The largest is price of val, PSI 0.310, large."


def test_parts_without_drift_have_no_chart(finished_page):
    """Of the finished run that is said, for each part."""
    text = finished_page[0]
    assert text.count("columns and 7 labels differs by more than chance.") == 2
    assert 'aria-label="Chart: Drift"' not in text


# Charts of the data


def head(*counts):
    return {"classes": {f"c{i}": count for i, count in enumerate(counts)}, "not_applicable": 0}


def test_rare_classes_are_told_and_listed_and_not_drawn():
    """Of 84 classes the chart has the 20 largest, none of which the 64 others squash; the table has all."""
    parts = {"train": head(*range(84)), "val": head(*[1] * 84)}
    drawn = data_charts.class_balance("x", parts)
    rows = drawn.spec["data"]["values"]
    assert [row["class"] for row in rows if row["part"] == "train"] == [f"c{i}" for i in range(83, 63, -1)]
    assert max(row["share"] for row in rows) == pytest.approx(83 / sum(range(84)), abs=1e-6)
    rest = [100 * sum(range(64)) / sum(range(84)), 100 * 64 / 84]
    assert f"The 64 that are not drawn hold {rest[0]:.1f}% of train, {rest[1]:.1f}% of val." in drawn.alt
    stats = {"rows": {"train": 1, "val": 1}, "labels": {"x": parts}}
    listed = section("classes", facts=facts.Facts("d", stats=stats), charts=markup.Charts())
    assert listed.count("data-figure=") == 2 * 84 + 2


@pytest.mark.parametrize(
    ("counts", "shown"), [([5, 5], "1"), ([9, 0], "0"), ([3, 1], "0.811"), ([7], "&ndash;"), ([0, 0], "&ndash;")]
)
def test_evenness(counts, shown):
    """1 for equal classes, 0 for one class only, the entropy in bits for two; nothing for one class or no rows."""
    stats = {"rows": {"train": 1}, "labels": {"x": {"train": head(*counts)}}}
    text = section("classes", facts=facts.Facts("d", stats=stats), charts=markup.Charts())
    cells = re.findall(r'<td class="number">(?:<data [^>]*>)?([^<]*)', text.partition("</table>")[0])
    assert cells[4] == shown


def test_duplicates_and_bad_units_are_listed_with_reasons():
    """Groups by id, where they were kept and dropped; units with what was found."""
    repeats = {"groups": 1, "rows": 70, "list": [{"group_id": 255, "kept": "a.csv", "dropped": "b.csv", "rows": 70}]}
    bad = {"count": 1, "list": [{"unit": "c.csv", "reason": "c.csv:17: gems is -1"}]}
    shown = facts.Facts("x", report={"duplicates": repeats, "bad_units": bad})
    assert all(word in section("duplicates", facts=shown) for word in ("00000000000000ff", "a.csv", "b.csv", "70"))
    assert "c.csv:17: gems is -1" in section("bad", facts=shown)


def test_what_is_not_listed_is_said():
    """The report of merge lists no more than some duplicates either; findings say file and line where they know it."""
    repeats = {"groups": 5000, "rows": 9000, "list": [{"group_id": 1, "kept": "a", "dropped": "b", "rows": 2}] * 1000}
    places = [
        {"unit": "a", "reason": "odd", "count": 2, "line": 3},
        {"unit": "b", "reason": "odd", "count": 1, "line": 4},
    ]
    places[1]["where"] = "c.txt:17"
    found = {"by_reason": {"odd": 300}, "list": places * 150}
    bad = {"count": 0, "list": []}
    shown = facts.Facts("x", report={"duplicates": repeats, "findings": found, "bad_units": bad})
    caption = "5,000 groups with 9,000 rows dropped; 200 of them, the report of merge counts all by unit"
    assert caption in section("duplicates", facts=shown)
    listed = section("bad", facts=shown)
    assert "the first 200, all are in the report of merge" in listed
    assert re.findall(r"<td>(3|c\.txt:17)</td>", listed) == ["3", "c.txt:17"] * 100


# Splendor's own figures


def test_splendor_figures_equal_a_plain_count(finished):
    """Rounds per game and moves per round, counted game by game in Python."""
    folder = finished / "data/processed/splendor"
    lengths, moves = own_figures("splendor", folder)
    rounds, kinds = {}, {}
    names = list(json.loads((folder / "label_mappings.json").read_text(encoding="utf-8"))["action_type"])
    for part in ("train", "val", "test"):
        keys, labels = np.load(folder / f"keys_{part}.npz"), np.load(folder / f"labels_{part}.npz")
        for unit, turn, action in zip(keys["unit"], keys["turn_number"], labels["action_type"], strict=True):
            name = str(keys["units"][unit])
            rounds[name] = max(rounds.get(name, 0), int(turn))
            kinds[int(turn), names[action]] = kinds.get((int(turn), names[action]), 0) + 1
        keys.close()
        labels.close()
    for row in lengths.spec["data"]["values"]:
        same = [name for name in rounds if name[0] == row["players"][0]]
        games = sum(rounds[name] == row["rounds"] for name in same)
        assert (row["games"], row["share"]) == (games, pytest.approx(games / len(same), abs=1e-4))
    assert sum(row["games"] for row in lengths.spec["data"]["values"]) == len(rounds) == 60
    for row in moves.spec["data"]["values"]:
        total = sum(kinds.get((row["round"], name), 0) for name in names)
        assert row["share"] == pytest.approx(kinds.get((row["round"], row["move"]), 0) / total, abs=1e-4)


def test_hook_gives_nothing_for_a_dataset_without_a_report_module():
    """Neither for an unknown dataset."""
    assert own_figures("unknown", Path()) == []


def own(drawn):
    return section("own", facts=facts.Facts("x", figures=[drawn]), charts=markup.Charts())


def test_rows_of_own_figures_are_a_table_too():
    """The table is bounded and says so."""
    values = [{"a": i, "b": "x"} for i in range(500)]
    text = own(Figure("t", "d", {"data": {"values": values}}))
    assert "the first 200 of 500 rows" in text
    assert text.count("<tr>") == 201
    assert "<table>" not in own(Figure("t", "d", {"layer": []}))


def test_names_on_an_axis_keep_what_tells_them_apart():
    """Cut is what all begin or end with, then the middle; a name that would be another's stays whole."""
    names = [f"data/selfplay/worker_{i}/selfplay_20250101_000000.trmph" for i in (1, 7, 20)]
    assert list(figure.short_names(names).values()) == ["…worker_1…", "…worker_7…", "…worker_20…"]
    ends = [f"selfplay_20250101_000000_worker_{i}.trmph" for i in (1, 20)]
    assert list(figure.short_names(ends).values()) == ["selfplay…00000_worker_1…", "selfplay…0000_worker_20…"]
    same_ends = [f"abcdefghijkl{i}{'x' * 30}mnopqrstuvw" for i in range(3)]
    assert len(set(figure.short_names(same_ends).values())) == 3
    assert figure.short_names(["b0", "b10"]) == {"b0": "b0", "b10": "b10"}
    assert figure.short_names([]) == {}


# The command


def test_the_heading_says_of_what_the_report_is(finished_page):
    """And so does the title of the browser's tab."""
    assert "<h1>batchwise: splendor</h1>" in finished_page[0]
    assert "<title>batchwise: splendor</title>" in finished_page[0]


@pytest.mark.parametrize(("raw", "is_shown"), [("data/sample/splendor", True), ("raw", False)])
def test_the_simulation_is_shown_while_its_sample_is_the_data(here, raw, is_shown):
    """With games of one's own the old sample's last run is none of this data, in no section."""
    (here / "params.yaml").write_text(
        f"datasets: {{splendor: {{raw: {raw}, batch_size: 16}}}}\nsplit: {{}}\n"
        "simulate: {splendor: {games: 4, seed: 1}}\n"
    )
    line = {"stage": "simulate", "name": "splendor", "rss_mb": 50.0}
    append(
        "simulate",
        *(
            json.dumps({**line, "time": START + i, "event": event, "n_games": 4})
            for i, event in enumerate(("start", "end"))
        ),
    )
    text = command.report(["splendor"]).read_text(encoding="utf-8")
    assert ("Last run of the simulator" in text) == is_shown
    assert ("simulate splendor" in text) == is_shown


def test_unknown_dataset_is_refused(here, write_params, run):
    """One line, exit code 1."""
    write_params(here)
    done = run("report", "chess")
    assert (done.returncode, done.stderr.startswith("error: params.yaml: no dataset 'chess'")) == (1, True)


def test_other_commands_do_not_load_the_chart_library():
    """The JavaScript engine is loaded when a page is made, not before."""
    code = "import sys, stages.report.__main__, stages.split, stages.process; sys.exit('vl_convert' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_the_bundle_is_made_once_a_version(tmp_path, monkeypatch):
    """A later run takes it from the cache; one that a crash cut short, or that a home cannot hold, is made again."""
    made = []
    monkeypatch.setattr(bundle, "_bundled", lambda: made.append(1) or "window.vega = 1;\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load = bundle.javascript.__wrapped__
    assert {load(), load()} == {"window.vega = 1;\n"}
    (path,) = tmp_path.glob("batchwise/*.js")
    assert len(made) == 1
    for damage in (path.read_bytes()[:-1], b""):
        path.write_bytes(damage)
        assert load() == "window.vega = 1;\n"
    assert len(made) == 3
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    assert load() == "window.vega = 1;\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [(15227, "15,227"), (0, "0"), (2.0, "2"), (1234.567, "1,235"), (0.123456, "0.1235"), (-1e-7, "-1e-07")],
)
def test_numbers_for_readers(value, text):
    """Thousands are separated, fractions have four digits."""
    assert figure.readable(value) == text
