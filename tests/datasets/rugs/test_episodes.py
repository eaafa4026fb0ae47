"""Rows sorted on disk and episodes told block by block, against all rows at once; and what discover's memory is."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.datasets.rugs import schema
from stages.datasets.rugs.find import NEEDED, ORDER, find, scan
from stages.datasets.rugs.reading import order, records
from stages.datasets.rugs.reading.episodes import Episodes, first_games
from stages.datasets.rugs.reading.records import Sorter
from tests.helpers.peaks import peak_of_find_mb
from tests.helpers.rugs_rows import COLUMNS, SCHEMA, make_row, session_rows, write_rows

EVENTS = ("gameStateUpdate", "playerUpdate", "standard/newTrade", "usernameStatus", "", "ping")


def random_rows(rng):
    """Return rows of some sessions in any order, with copies, late frames, rows that name no game and cut ones."""
    rows = []
    for _ in range(int(rng.integers(1, 250))):
        game, data = f"g{rng.integers(0, 6)}", {"id": f"p{rng.integers(0, 3)}", "cash": float(rng.integers(0, 9))}
        event, seq = str(rng.choice(EVENTS)), int(rng.integers(0, 150))
        row = make_row(seq, event, data, game if rng.random() < 0.5 else None, f"s-{rng.integers(0, 4)}")
        if rng.random() < 0.03:
            row["raw_json"] = row["raw_json"][:-2]
        rows += [row] * int(rng.choice([1, 1, 1, 2]))
    return [*rows, make_row(200, "gameStateUpdate", {}, "last", "s-0")]


def random_records(rng, n_records, n_sessions):
    result = np.zeros(n_records, NEEDED)
    for name, most in (("session", n_sessions), ("seq", 200), ("doc", 2), ("file", 5)):
        result[name] = rng.integers(0, most, n_records)
    result["game"] = rng.integers(-1, 5, n_records)
    result["is_frame"] = rng.random(n_records) < 0.2
    result["hash"][:, 0] = np.arange(n_records) % 256
    return result


def make_small(monkeypatch, rng):
    """Let runs and blocks be of a few records, most of them in a file."""
    for name, most in (("RUN_RECORDS", 40), ("BLOCK_RECORDS", 20), ("LEAST_BLOCK", 4), ("MEMORY_BYTES", 100)):
        monkeypatch.setattr(records, name, int(rng.integers(1, most)))


@pytest.mark.parametrize("seed", range(30))
def test_units_do_not_depend_on_runs_and_blocks(tmp_path, monkeypatch, seed):
    """A store that is sorted in many runs gives the units and counts of one that fits into one run."""
    rng = np.random.default_rng(seed)
    root, options = write_rows(random_rows(rng), tmp_path, 20), {"max_bad_rows": 1.0}
    units, counts = find(root, options), scan(root, schema.parse_options(options)).counts
    make_small(monkeypatch, rng)
    assert find(root, options) == units
    assert scan(root, schema.parse_options(options)).counts == counts


@pytest.mark.parametrize("seed", range(20))
def test_merged_records_are_those_sorted_at_once(monkeypatch, seed):
    """In the order of sessions given, the first of equal ones, without those of files that are left out."""
    rng = np.random.default_rng(seed)
    make_small(monkeypatch, rng)
    added, sorter = random_records(rng, 300, 4), Sorter(NEEDED, ORDER)
    for part in np.array_split(added, 7):
        sorter.add(part)
    sessions = rng.permutation(4)
    rows = added[added["file"] != 3]
    kept, _ = order.ordered(np.argsort(sessions)[rows["session"]], *(rows[name] for name in ("seq", *ORDER)))
    assert np.concatenate(list(sorter.merged(sessions.tolist(), [3]))).tobytes() == rows[kept].tobytes()


@pytest.mark.parametrize("seed", range(20))
def test_owners_of_blocks_are_those_of_all_rows(seed):
    """The rows of each game, in any cut into blocks."""
    rng = np.random.default_rng(seed)
    rows = random_records(rng, 200, 4)
    rows = rows[np.lexsort((rows["seq"], rows["session"]))]
    owner = order.owners(rows["session"], rows["game"], rows["is_frame"])
    found = np.full(4, -1, np.int32)
    first_games(rows, found)
    episodes = Episodes(found)
    for block in np.split(rows, np.sort(rng.integers(1, 200, 9))):
        if len(block):
            episodes.add(block)
    told = {game: np.concatenate([np.arange(*pair) for pair in pairs]) for game, pairs in episodes.stretches()}
    assert {game: own.tolist() for game, own in told.items()} == {
        int(owner[own[0]]): own.tolist() for own in order.by_owner(owner)
    }


def write_sessions(root, n_sessions):
    """Write sessions of 400 games with long payloads, a file each."""
    rows = [row for row in session_rows(400) if row["doc_type"] == "ws_event"]
    pad = json.dumps("x" * 500)
    rows = [{**row, "raw_json": f'{row["raw_json"][:-1]}, "pad": {pad}}}'} for row in rows]
    table = pa.table({name: [row.get(name) for row in rows] for name in COLUMNS}, schema=SCHEMA)
    root.mkdir()
    place = table.schema.get_field_index("session_id")
    for number in range(n_sessions):
        session = pa.array([f"s-{number}"] * len(table))
        pq.write_table(table.set_column(place, "session_id", session), root / f"{number}.parquet")
    return root


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_events(tmp_path):
    """Four times the events take at most a quarter more."""
    small, large = (peak_of_find_mb("rugs", write_sessions(tmp_path / str(n), n)) for n in (40, 160))
    assert large <= 1.25 * small
