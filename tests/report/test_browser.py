"""The report page in a real browser: charts are drawn, figures are right, nothing is fetched, it fits a phone."""

import itertools
import json
import shutil

import numpy as np
import pytest

from stages.datasets.hex.report import duplicates
from stages.datasets.hex.report.tally import Tally
from stages.report import __main__ as command
from stages.report import facts, lock, logs
from stages.report.figure import Figure
from stages.report.page import page
from tests.helpers.model_files import write_model_files
from tests.helpers.report_logs import write_run

pytestmark = pytest.mark.slow

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE, DESK = 375, 1280
ALL_DRAWN = """
const done = arguments[0], places = [...document.querySelectorAll(".chart")];
const wait = () => places.every((place) => place.dataset.state) ? done(places.length) : setTimeout(wait, 20);
wait();
"""
MARKS = """
const visible = (mark) => { const box = mark.getBoundingClientRect(); return box.width + box.height > 0.5; };
const label = (place) => place.getAttribute("role") === "img" ? place.getAttribute("aria-label") : place.id;
return Object.fromEntries([...document.querySelectorAll(".chart")].map((place) => [
  label(place), [...place.querySelectorAll(".role-mark path, .role-mark line")].filter(visible).length]));
"""
FIGURES = """
return [...document.querySelectorAll("data[data-figure]")].map((found) => [found.dataset.figure, found.value]);
"""
COLOURS = """
const colour = (element) => element && (getComputedStyle(element).fill + getComputedStyle(element).stroke);
return [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,
  colour(document.querySelector(".chart .mark-rect path")), colour(document.querySelector(".chart .mark-text text"))];
"""
LINKS = 'return [...document.querySelectorAll("nav a")].map((link) => link.getAttribute("href"))'
DISTANCE = """
const top = document.getElementById(arguments[0].slice(1)).getBoundingClientRect().top;
return Math.min(Math.abs(top), innerHeight + scrollY - document.documentElement.scrollHeight + 1);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Give a real headless Chromium."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium and chromedriver on this machine")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # A driver that is given is not looked for on the network.
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def workspace(finished, tmp_path_factory):
    """Give the page of splendor, with the logs of a long run, beside a dataset that has nothing yet."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for i, batch in enumerate(run.batch for run in logs.read_runs(folder / "data/logs", "splendor") if run.batch):
            write_run(f"splendor-{batch}", 30.0 + i, 4, 60, at=2e9 + 100 * i)
        write_model_files(folder / "data")
        command.report(["splendor", "toy"])
    return folder


def show(browser, folder, width=DESK, scheme="light"):
    """Open the page with all charts drawn; return the number of charts."""
    for log in ("browser", "performance"):
        browser.get_log(log)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((folder / "data/reports/index.html").as_uri())
    return browser.execute_async_script(ALL_DRAWN)


def test_charts_are_drawn_without_error_or_request(browser, workspace):
    """Every chart has visible marks, the console is clean, and the file itself is all that is loaded."""
    n_charts = show(browser, workspace)
    marks = browser.execute_script(MARKS)
    assert len(marks) == n_charts > 15
    assert [label for label, count in marks.items() if not count] == []
    assert browser.get_log("browser") == []
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {entry["params"]["request"]["url"] for entry in sent if entry["method"] == "Network.requestWillBeSent"}
    assert {url for url in urls if not url.startswith(("file:", "data:"))} == set()
    assert len({url for url in urls if url.startswith("file:")}) == 1


def test_policy_stops_what_is_not_ours(browser, workspace):
    """The page may neither fetch nor run code that was put into it."""
    show(browser, workspace)
    tried = browser.execute_async_script(
        """const done = arguments[0], script = document.createElement("script");
        script.textContent = "window.intruder = 1"; document.body.append(script);
        fetch("http://127.0.0.1:9/x").then(() => done("fetched"), () => done(window.intruder ? "ran" : "stopped"));"""
    )
    assert tried == "stopped"
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


def test_figures_in_the_page_equal_stats_json(browser, workspace):
    """What the browser holds is what split counted."""
    show(browser, workspace)
    stats = json.loads((workspace / "data/processed/splendor/stats.json").read_text(encoding="utf-8"))
    found = browser.execute_script(FIGURES)
    assert len(found) > 300
    for key, value in found:
        assert json.loads(value) == _at(stats, key.removeprefix("splendor.")), key


def _at(stats, key):
    """Return the value at a dotted key; the names of classes may hold dots and spaces."""
    if not isinstance(stats, dict):
        return stats
    name = next(name for name in sorted(stats, key=len, reverse=True) if key == name or key.startswith(f"{name}."))
    return _at(stats[name], key[len(name) + 1 :])


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_page_fits_its_window(browser, workspace, width):
    """Nothing sticks out at the side, and no chart is wider than its frame."""
    show(browser, workspace, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return innerWidth") == width
    wide = """return [...document.querySelectorAll(".chart svg")]
        .filter((svg) => svg.width.baseVal.value > svg.closest(".chart").clientWidth + 1).length"""
    assert browser.execute_script(wide) == 0


def test_charts_follow_the_width_of_the_window(browser, workspace):
    """A chart that was drawn wide is redrawn narrow."""
    show(browser, workspace)
    width = 'return document.querySelector(".chart svg").width.baseVal.value'
    before = browser.execute_script(width)
    size = {"width": PHONE, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_async_script("setTimeout(arguments[0], 400)")
    assert browser.execute_script(width) < PHONE < before


def test_page_and_charts_follow_the_colour_scheme(browser, workspace):
    """Changing to dark changes background, text and the marks that are drawn already, without a reload."""
    show(browser, workspace)
    light = browser.execute_script(COLOURS)
    media = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.execute_async_script("setTimeout(arguments[0], 400)")
    browser.execute_async_script(ALL_DRAWN)
    dark = browser.execute_script(COLOURS)
    assert all(before != after for before, after in zip(light, dark, strict=True)), (light, dark)
    assert browser.get_log("browser") == []


def test_dataset_that_has_nothing_yet_says_so(browser, workspace):
    """Its part of the page names the missing files and holds no chart."""
    show(browser, workspace)
    assert "stats.json is not here" in browser.execute_script('return document.getElementById("toy").textContent')
    assert browser.execute_script('return document.querySelectorAll("#toy .chart").length') == 0


def test_chart_that_cannot_be_drawn_says_so_and_spares_the_others(browser, workspace):
    """A fault in one dataset's own figure costs that figure."""
    rows = {"data": {"values": [{"a": 1}]}, "height": 40}
    good = Figure("good", "", {**rows, "mark": "bar", "encoding": {"x": {"field": "a", "type": "quantitative"}}})
    faulty = Figure("faulty", "", {**rows, "mark": "no such mark"})
    (workspace / "other/data/reports").mkdir(parents=True)
    text = page([facts.Facts("x", figures=[faulty, good])], lock.Comparison(why_not="none"))
    (workspace / "other/data/reports/index.html").write_text(text, encoding="utf-8")
    assert show(browser, workspace / "other") == 2
    assert browser.execute_script(MARKS)["Chart: good"] == 1
    assert "cannot be drawn" in browser.execute_script('return document.getElementById("chart-1").textContent')


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_files_of_workers_can_be_told_apart(browser, tmp_path, width):
    """On the axis of duplicates by file each worker has its number, as drawn."""
    names = [f"worker_{i}/selfplay_20250101_000000.trmph:000000000" for i in range(14)]
    drawn = duplicates(Tally(None, None, None, np.full(14, 20), names), dict.fromkeys(names, 1))
    (tmp_path / "data/reports").mkdir(parents=True)
    text = page([facts.Facts("hex", figures=[drawn])], lock.Comparison(why_not="none"))
    (tmp_path / "data/reports/index.html").write_text(text, encoding="utf-8")
    show(browser, tmp_path, width)
    labels = browser.execute_script(
        'return [...document.querySelectorAll(".role-axis-label text")].map((text) => text.textContent)'
    )
    assert {f"worker_{i}…" for i in range(14)} <= set(labels)


def test_page_can_be_read_by_keyboard_and_reader(browser, workspace):
    """Headings step by one level, tables have captions, wide tables can be scrolled by keys, links have targets."""
    show(browser, workspace)
    levels = browser.execute_script('return [...document.querySelectorAll("h1,h2,h3,h4")].map((h) => +h.tagName[1])')
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert browser.execute_script('return document.querySelectorAll("table:not(:has(caption))").length') == 0
    assert browser.execute_script('return document.querySelectorAll(".scroll:not([tabindex])").length') == 0
    assert browser.execute_script('return document.querySelectorAll("[role=img]:not([aria-label])").length') == 0


def test_links_of_the_contents_land_where_they_point(browser, workspace):
    """Clicked before the charts are drawn or later, a link has its heading at the top of the window."""
    media = {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    show(browser, workspace)
    for link in browser.execute_script(LINKS)[::5]:
        for is_early in (True, False):
            if is_early:
                browser.get((workspace / "data/reports/index.html").as_uri())
            browser.find_element("css selector", f'nav a[href="{link}"]').click()
            browser.execute_async_script(ALL_DRAWN)
            browser.execute_async_script("setTimeout(arguments[0], 100)")
            assert browser.execute_script(DISTANCE, link) < 40, (link, is_early)
