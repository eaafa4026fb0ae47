"""Hex's figures: what they say is what the rows hold, bounded, and drawn by Vega-Lite."""

import json
import re

import numpy as np
import pytest

from stages.core import arrays, bits, paths
from stages.datasets.hex import report
from stages.datasets.hex.report import board, tally
from stages.report.figure import own_figures
from stages.report.markup import Charts

PARTS = ("train", "val", "test")
FILES = ("worker_0/selfplay.trmph", "worker_1/a:b.trmph")
UNITS = (f"{FILES[0]}:000000001", f"{FILES[0]}:000000501", f"{FILES[1]}:000000001")
OPENINGS = ("a1", "g7", "m13")


def cell(name):
    return (int(name[1:]) - 1) * 13 + "abcdefghijklm".index(name[0])


def play(rng, opening, n_moves):
    """Make the cells of a game: after the opening any, each once."""
    others = rng.permutation([c for c in range(169) if c != opening])
    return [opening, *others[: n_moves - 1].tolist()]


def rows_of(game, number, chosen):
    """Make the rows of a game, position by position in plain Python; the last mover wins."""
    for ply in chosen(len(game)):
        stones = np.zeros((2, 13, 13), np.uint8)
        for k, c in enumerate(game[:ply]):
            stones[k % 2, c // 13, c % 13] = 1
        policy = game[ply] if ply < len(game) else -1
        yield stones, ply, len(game), policy, (len(game) - 1) % 2, number, number % len(UNITS)


def write(folder, games, rng, chosen=lambda n: range(n + 1)):
    """Write what split writes of some games, dealt to the parts in turn and shuffled within each."""
    counts = {"rows": {}, "groups": {}}
    for i, part in enumerate(PARTS):
        own = [n for n in range(len(games)) if n % len(PARTS) == i]
        rows = [row for n in own for row in rows_of(games[n], n, chosen)]
        rows = [rows[k] for k in rng.permutation(len(rows))]
        stones, *columns = (np.array(column) for column in zip(*rows, strict=True))
        ply, n_plies, policy, value, group, unit = columns
        packed = bits.pack(stones)
        with arrays.npy_sink(folder / f"board_{part}.npy", packed.dtype, packed.shape) as sink:
            sink.append(packed)
        keys = {"ply": ply.astype("i2"), "n_plies": n_plies.astype("i2"), "unit": unit.astype("i4")}
        keys |= {"group_id": group.astype("u8"), "units": np.array(UNITS)}
        arrays.save_npz(folder / f"keys_{part}.npz", {name: [values] for name, values in keys.items()})
        labels = {"policy": [policy.astype("i2")], "value": [value.astype("u1")]}
        arrays.save_npz(folder / f"labels_{part}.npz", labels)
        counts["rows"][part], counts["groups"][part] = len(rows), len(own)
    (folder / "stats.json").write_text(json.dumps(counts), encoding="utf-8")


@pytest.fixture
def games():
    """Give 60 games of 5 to 44 moves with three openings."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(5, 45, 60).tolist()
    return [play(rng, cell(OPENINGS[min(2, i % 4)]), n) for i, n in enumerate(lengths)]


@pytest.fixture
def processed(here, games, monkeypatch):
    """Give the folder of their arrays, read in chunks much smaller than a part."""
    monkeypatch.setattr(tally, "CHUNK_ROWS", 37)
    folder = paths.processed_dir("hex")
    folder.mkdir(parents=True)
    write(folder, games, np.random.default_rng(4))
    return folder


def winner(game):
    return (len(game) - 1) % 2


def test_every_game_and_move_is_counted_once(processed, games):
    """Lengths, openings, moves and units over shuffled rows are those of the games, counted one by one."""
    found = tally.count(processed)
    lengths, openings, moves = np.zeros((170, 2), int), np.zeros((169, 2), int), np.zeros((2, 169), int)
    units = np.zeros(len(UNITS), int)
    for number, game in enumerate(games):
        lengths[len(game), winner(game)] += 1
        openings[game[0], winner(game)] += 1
        units[number % len(UNITS)] += 1
        for k, c in enumerate(game):
            moves[k % 2, c] += 1
    for name, expected in (("lengths", lengths), ("openings", openings), ("moves", moves), ("units", units)):
        np.testing.assert_array_equal(getattr(found, name), expected, name)
    assert found.names == list(UNITS)


@pytest.mark.parametrize(("back", "titles"), [(0, []), (1, ["Where blue moves", "Where red moves"])])
def test_final_and_penultimate_rows_count_each_game_once(here, games, back, titles):
    """Without empty boards there are no openings, and without next moves no moves; a game of one move is a game."""
    folder = paths.processed_dir("hex")
    folder.mkdir(parents=True)
    write(folder, [*games, [7]], np.random.default_rng(5), chosen=lambda n: [n - back])
    assert tally.count(folder).lengths.sum() == len(games) + 1
    shown = [figure.title for figure in report.figures(folder)]
    assert [title for title in shown if title.startswith("Where")] == titles
    assert sum(title.startswith("Ply") for title in shown) == 1


def test_positions_are_of_one_game_from_early_to_last(processed, games):
    """Stones, next move and winner are those of the game after so many moves."""
    first = int(np.load(processed / "keys_train.npz")["group_id"][0])
    found = tally.positions_of_a_game(processed)
    n = len(games[first])
    nearest = {min(range(n + 1), key=lambda ply: abs(ply - share * n)) for share in (0.15, 0.5, 0.85, 1)}
    assert [position.ply for position in found] == sorted(nearest)
    expected = {row[1]: row for row in rows_of(games[first], first, lambda n: range(n + 1))}
    for position in found:
        stones, _, _, policy, value, *_ = expected[position.ply]
        np.testing.assert_array_equal(position.stones, stones)
        assert (position.n_plies, position.policy, position.value) == (n, policy, value)


def test_a_position_shows_its_stones_and_the_next_move():
    """Blue at a1 and red at m13, blue to move to c2; of a finished game nothing is next."""
    stones = np.zeros((2, 13, 13), np.uint8)
    stones[0, 0, 0] = stones[1, 12, 12] = 1
    figure = report.position(tally.Position(stones, 2, 9, cell("c2"), 0))
    rows = [tuple(row.values()) for row in figure.spec["data"]["values"]]
    assert rows == [("a1", "blue", "stone"), ("m13", "red", "stone"), ("c2", "blue", "next move")]
    assert figure.title == "Ply 2 of 9, value 0 (blue wins)"
    last = report.position(tally.Position(stones, 9, 9, -1, 1))
    assert len(last.spec["data"]["values"]) == 2
    assert "the game is over; red wins the game" in last.alt


def test_wins_by_opening_are_those_of_the_games(processed, games):
    """The share is of the games with this first move, rare ones are left out of the board, Wilson's bounds hold."""
    figures = {figure.title: figure for figure in report.figures(processed)}
    rows = {row["cell"]: row for row in figures["How sure that is"].spec["data"]["values"]}
    assert sorted(rows) == sorted(OPENINGS)
    for name, row in rows.items():
        own = [winner(game) == 0 for game in games if game[0] == cell(name)]
        assert (row["games"], row["blue"]) == (len(own), pytest.approx(np.mean(own), abs=1e-4))
        for bound in (row["low"], row["high"]):  # where the score test of the share is just significant
            z = (np.mean(own) - bound) / np.sqrt(bound * (1 - bound) / len(own))
            assert abs(z) == pytest.approx(1.96, abs=0.01)
    assert {row["cell"] for row in figures["Blue's wins by opening"].spec["data"]["values"]} == set(OPENINGS)


def test_rare_openings_are_not_drawn_on_the_board():
    """Nine games say little; they are among the intervals."""
    counts = np.zeros((169, 2), np.int64)
    counts[0], counts[84] = (5, 4), (6, 4)
    found = tally.Tally(np.zeros((170, 2)), counts, np.zeros((2, 169)), np.zeros(0), [])
    assert [row["cell"] for row in report.openings(found).spec["data"]["values"]] == ["g7"]
    assert "1 cells with fewer are left empty" in report.openings(found).doc
    assert len(report.opening_intervals(found).spec["data"]["values"]) == 2


def test_what_was_left_out_is_drawn_by_file_and_reason(processed, games, monkeypatch):
    """Pieces of a file are added up, files beyond the bound are drawn together, and no report gives no figure."""
    assert not {figure.title for figure in report.figures(processed)} & {"Duplicates by file"}
    content = {
        "duplicates": {"by_unit": {UNITS[0]: 3, UNITS[1]: 2, UNITS[2]: 1, "gone.trmph:000000001": 4}},
        "findings": {"by_reason": {"repeated move": 1, "move outside the board": 5}},
    }
    paths.report("hex").parent.mkdir(parents=True)
    paths.report("hex").write_text(json.dumps(content), encoding="utf-8")
    *_, repeats, lines = report.figures(processed)
    found = [(row["file"], row["what"], row["games"]) for row in repeats.spec["data"]["values"]]
    expected = [(FILES[0], 40, 5), ("gone.trmph", 0, 4), (FILES[1], 20, 1)]
    assert found == [(f, what, n) for f, kept, gone in expected for what, n in (("kept", kept), ("dropped", gone))]
    assert "10 of 70 games (14.3%)" in repeats.alt
    assert [row["lines"] for row in lines.spec["data"]["values"]] == [5, 1]
    assert lines.alt == "6 lines; most often: move outside the board (5)."
    assert all(row["name"] in row["file"] or "…" in row["name"] for row in repeats.spec["data"]["values"])
    monkeypatch.setattr(report, "MAX_BARS", 1)
    rows = report.figures(processed)[-2].spec["data"]["values"]
    assert [(row["file"], row["games"]) for row in rows[2:]] == [("2 others", 20), ("2 others", 5)]


def test_figures_are_found_by_the_hook_and_can_be_read_as_tables(processed):
    """Plain JSON with words, and rows that hold names and numbers only."""
    figures, charts = own_figures("hex", processed), Charts()
    assert len(figures) == 9
    for figure in figures:
        charts.add(figure)
        assert figure.alt
        assert not [row for row in figure.rows if "shape" in row]


def test_vega_lite_draws_regular_cells_at_any_width(processed):
    """Compiled as the page does: 169 cells, stones on them, edges, names; as wide as high at 300 and 900 pixels."""
    vl_convert = pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    ranges = {"versus": ["#0000ff", "#ff0000"], "balance": ["#ff0000", "#cccccc", "#0000ff"]}
    shared = {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "config": {"range": ranges}}
    figures = {figure.title: figure.spec for figure in report.figures(processed)}
    position = next(title for title in figures if title.startswith("Ply"))
    for title in figures:
        if not title.startswith("Ply"):  # positions differ in their rows only
            vl_convert.vegalite_to_svg({**figures[title], **shared, "width": 300})
    for width in (300, 900):
        drawn = vl_convert.vegalite_to_svg({**figures[position], **shared, "width": width})
        n_shapes = 169 + len(figures[position]["data"]["values"]) + 4
        assert drawn.count('aria-roledescription="geoshape"') == n_shapes
        outline = re.search(r'"geoshape" transform="[^"]*" d="M([^"Z]*)', drawn).group(1)
        x, y = np.array([point.split(",") for point in outline.split("L")], float).T
        assert np.ptp(y) / np.ptp(x) == pytest.approx(2 / 3**0.5, abs=0.01)
        assert np.ptp(x) > 12


def test_every_name_is_at_its_cell():
    """The outline that Vega computes is that of the edges' corners, at a1 and at m13."""
    top, _, left, _ = (row["shape"]["geometry"]["coordinates"] for row in board._edges()["data"]["values"])
    assert top[:3] == [[0.0, 0.5774], [0.5, 0.2887], [1.0, 0.5774]]
    assert left[-1] == [6.0, pytest.approx(13 * board.ROW + 0.2887, abs=1e-4)]
