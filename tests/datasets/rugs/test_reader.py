"""Events of episodes out of the Parquet files: golden, dirty, changed since discover, and the reference store."""

import hashlib
import hmac
import json
import random

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import digest_of
from stages.datasets.rugs import schema
from stages.datasets.rugs.encode import columns
from stages.datasets.rugs.encode.events import read_events
from stages.datasets.rugs.encode.reader import content, locate
from stages.datasets.rugs.find import find, scan
from stages.datasets.rugs.reading import order, payload
from stages.datasets.rugs.reading.store import KINDS
from stages.datasets.rugs.schema import GSU, OTHER, PLAYER, PRESS, TRADE
from tests.helpers.rugs_rows import NO_REFERENCE, REFERENCE, session_rows, unpack_store, write_rows


@pytest.fixture(scope="module")
def rugs_store(tmp_path_factory):
    return unpack_store(tmp_path_factory.mktemp("reference"))


def values(events):
    """Return the columns of events, without the findings."""
    return {name: value for name, value in vars(events).items() if name != "findings"}


def assert_same(one, other):
    for name, value in values(one).items():
        np.testing.assert_array_equal(value, values(other)[name], err_msg=name)


def read_all(root, options=None):
    return read_events(root, find(root, options or {}), options or {})


def test_columns_are_what_the_rows_say(tmp_path):
    """Each kind's columns, the lines, the trade of the own player and that of another one."""
    events = read_all(write_rows(session_rows(2), tmp_path))
    first = [OTHER, GSU, GSU, PRESS, TRADE, TRADE, PLAYER, GSU, GSU, GSU]
    assert events.kind.tolist() == first + first[1:]
    assert events.offsets.tolist() == [0, 10, 19]
    assert events.line.tolist() == [*range(1, 11), *range(1, 10)]
    assert events.tick[events.kind == GSU].tolist() == [0, 1, 2, 3, 4] * 2
    assert events.price[events.kind == GSU].tolist() == [1.0, 1.1, 1.2, 1.3, 1.4] * 2
    assert events.rugged[events.kind == GSU].tolist() == [0, 0, 0, 0, 1] * 2
    assert events.pool_threshold[1] == 10
    assert np.isnan(events.timer).all()
    assert events.is_own[4:6].tolist() == [1, 0]
    assert (events.side[4], events.trade_tick[4], events.trade_price[4]) == (0, 1, 1.1)
    assert (events.button[3], events.category[3], events.bet[3], events.client_ms[3]) == (0, 0, 0.002, 1766880000000)
    assert (events.cash[6], events.qty[6], np.isnan(events.pnl[6])) == (1, 0.5, True)
    np.testing.assert_array_equal(events.cash_carried, [np.nan, 1])
    assert events.ts_ms[0] == np.datetime64("2025-12-28T00:00:00.100", "ms").astype(int)
    assert events.start_ns[0] == events.ts_ms[0] * 10**6
    assert events.players.tolist() == [0, 0]
    assert np.isnan(events.is_own[events.kind != TRADE]).all()


@pytest.mark.parametrize(("text", "price", "active"), [
    ('{"price": 2.5, "active": true}', 2.5, 1),
    ('{"price": "2.5", "active": 0}', 2.5, 0),
    ('{"price": NaN, "active": true}', np.nan, 1),
    ('{"price": Infinity, "active": null}', np.nan, np.nan),
    ('{"price": 1e999, "active": 1}', np.nan, 1),
    ('{"price": "inf", "active": "0"}', np.nan, 0),
    ('{"price": [1], "active": "true", "x": NaN}', np.nan, 1),
    ('[{"__trace": true}, {"price": 2, "active": false}]', 2, 0),
    ('{"price": null, "tickCount": 7, "partialPrices": {"values": {"7": 3.5}}, "active": 1}', 3.5, 1),
    ('{"tickCount": "7", "x": NaN, "partialPrices": {"values": {"7": "3.5"}}, "active": 1}', 3.5, 1),
    ('{"tickCount": 7, "partialPrices": {"values": [1]}, "rugpool": null, "active": 1}', np.nan, 1),
])  # fmt: skip
def test_numbers_are_taken_from_whatever_stands_there(text, price, active):
    """Null, NaN, infinite, no number: missing; text and booleans are numbers; a list holds the payload last."""
    found = payload.decode(GSU, [b'{"event": "gameStateUpdate", "data": %b}' % text.encode()])
    numbers = columns.numbers(GSU, found)
    either = np.where(np.isnan(numbers["price"]), numbers["price_partial"], numbers["price"])
    np.testing.assert_array_equal([either[0], numbers["active"][0]], [price, active])


def test_no_payload_and_no_json_are_told_apart():
    """A payload of null is none; a text that is cut off is broken."""
    found = payload.decode(GSU, [b'{"data": null}', b'{"data": [{"__trace": 1}]}', b'{"data": {"pr', b"", b"[]"])
    assert found == [None, None, payload.BROKEN, payload.BROKEN, None]


def test_ids_that_are_no_text_are_missing():
    """A number is no id; half a surrogate pair is one, and has a pseudonym."""
    (found,) = payload.decode(OTHER, [b'{"data": {"id": 1.5, "gameId": 2.5}}'])
    assert (found.player, found.game) == (None, None)
    assert order.pseudonym(payload.decode(OTHER, [b'{"data": {"id": "\\ud800"}}'])[0].player, b"") > 0


def test_numbers_beside_a_value_of_another_type_are_kept():
    """A server's time in ms beside a bad tick; a price of thousands of digits is none."""
    (press,) = payload.decode(PRESS, [b'{"server_ts": 5, "tick": []}'])
    assert columns.numbers(PRESS, [press])["server_ms"].tolist() == [5]
    text = b'{"data": {"tickCount": 7, "partialPrices": {"values": {"7": %b}}}}' % (b"1" * 5000)
    assert np.isnan(columns.numbers(GSU, payload.decode(GSU, [text]))["price_partial"]).all()


def test_files_and_order_of_rows_change_no_event(tmp_path):
    """Rows shuffled and dealt into other files give the same table."""
    rows = session_rows(3)
    expected = read_all(write_rows(rows, tmp_path / "a"))
    for size in (2, 1000):
        assert_same(
            read_all(write_rows(random.Random(3).sample(rows, len(rows)), tmp_path / str(size), size)), expected
        )


@pytest.mark.parametrize("rows_per_file", [7, 1000])
def test_a_chunk_is_its_units_side_by_side(tmp_path, rows_per_file):
    """Rows that name no game find their episode when it is read alone, though its files begin with another one's."""
    root = write_rows(session_rows(4), tmp_path, rows_per_file)
    units = find(root, {})
    whole = read_events(root, units, {})
    for i, unit in enumerate(units):
        alone = read_events(root, [unit], {})
        part = slice(*whole.offsets[i : i + 2])
        np.testing.assert_array_equal(alone.cash, whole.cash[part])
        np.testing.assert_array_equal(alone.is_own, whole.is_own[part])
        np.testing.assert_array_equal(alone.line, whole.line[part])


def test_content_is_what_the_digest_is_of_and_lines_are_found(tmp_path):
    """For `make verify` and `make trace`."""
    root = write_rows(session_rows(3), tmp_path, 7)
    for unit in find(root, {}):
        assert digest_of(content(root, unit), unit.context) == unit.digest
        rows = locate(root, unit, range(1, unit.context["n_rows"] + 1))
        assert len(set(rows)) == unit.context["n_rows"]
    [(path, number)] = locate(root, unit, [2])
    assert path.parent.parent.name == "doc_type=ws_event"
    assert pq.ParquetFile(path).read()["seq"][number - 1].as_py() == 212
    with pytest.raises(ExpectedError, match=r"row 10, expected 1\.\.9"):
        locate(root, unit, [10])


def test_an_edit_after_discover_is_refused(tmp_path):
    """An edited payload, a row that is gone, a file that is gone."""
    rows = session_rows(2)
    root = write_rows(rows, tmp_path)
    units = find(root, {})
    write_rows([{**row, "raw_json": row["raw_json"].replace("1.3", "1.4")} for row in rows], root)
    with pytest.raises(ExpectedError, match="rows of 20251228-0000000000000000 changed since discover listed it; run"):
        read_events(root, units, {})
    write_rows(rows[:-2], root)
    assert len(read_events(root, units[:1], {}).kind) == 10
    with pytest.raises(ExpectedError, match="rows of 20251228-0000000000000001 changed since discover"):
        read_events(root, units, {})
    (root / units[0].sources[0].path).unlink()
    with pytest.raises(ExpectedError, match=r"not readable .* discover could read it: run `dvc repro` again"):
        read_events(root, units, {})


def test_broken_rows_are_findings_up_to_the_limit(tmp_path):
    """One of an episode's rows may always be bad, with the line; more make a bad unit that names file and row."""
    rows = session_rows(1)
    cut = [{**row, "raw_json": row["raw_json"][:30]} if row["seq"] in (22, 32) else row for row in rows]
    root = write_rows([rows[0], *[row for row in cut if row["seq"] != 22][1:]], tmp_path / "one")
    events = read_all(root)
    (found,) = events.findings
    assert (found.unit, found.count, found.reason, len(events.kind)) == (0, 1, "the payload is not JSON", 8)
    assert found.line not in events.line
    root = write_rows(cut, tmp_path / "two")
    with pytest.raises(BadUnit, match=r"parquet:4: the payload is not JSON, as of 2 of 10 rows .* at most 1"):
        read_all(root)
    assert read_all(root, {"max_bad_rows": 0.2}).findings[0].count == 2


def test_a_unit_that_discover_could_not_read_is_a_bad_unit(tmp_path):
    """With the reason that discover saw."""
    root = write_rows(session_rows(1), tmp_path)
    (root / "events_parquet" / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadUnit, match=rf"^{tmp_path}/events_parquet/x\.parquet: .*expected a Parquet file"):
        read_all(root)


def test_players_are_keyed_pseudonyms(tmp_path):
    """The HMAC-SHA256 of the id, 8 bytes, for every episode of the session; another key is refused."""
    (tmp_path / "key").write_bytes(b"secret")
    options = {"player_key_file": str(tmp_path / "key")}
    root = write_rows(session_rows(2), tmp_path / "store")
    units = find(root, options)
    me = int.from_bytes(hmac.new(b"secret", b"me", hashlib.sha256).digest()[:8], "big")
    events = read_events(root, units, options)
    assert events.players.tolist() == [me, me]
    assert events.is_own[events.kind == TRADE].tolist() == [1, 0, 1, 0]
    (tmp_path / "key").write_bytes(b"other")
    with pytest.raises(ExpectedError, match="not the key that discover used"):
        read_events(root, units, options)
    with pytest.raises(ExpectedError, match="key: not readable"):
        find(root, {"player_key_file": str(tmp_path / "nokey" / "key")})


@pytest.mark.parametrize(("entry", "message"), [
    ({"phase_rule": "x"}, "phase_rule: 'x', expected evidence or design"),
    ({"tolerance_ticks": -1}, "tolerance_ticks: -1, expected a whole number from 0"),
    ({"hold_keep": 1.5}, "hold_keep: 1.5, expected a share from 0 to 1"),
    ({"min_tick": 1}, "min_ticks"),
])  # fmt: skip
def test_options_are_checked(entry, message):
    """With the key, what was found and what is expected."""
    with pytest.raises(ExpectedError, match=message):
        schema.parse_options(entry)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason=NO_REFERENCE)
@pytest.mark.parametrize("name", ["ref1_plain_round", "ref2_dirty_truncated", "ref3_presale_sidebet"])
def test_reference_rows_are_read(tmp_path, name):
    """Each row once, in canonical order, with the games of the reference; its files shuffled as they come."""
    reference = json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))
    rows = random.Random(4).sample(reference["rows"], len(reference["rows"]))
    root = write_rows(rows, tmp_path, 5)
    events = read_all(root)
    assert list(events.game_ids) == [episode["game_id"] for episode in reference["episodes"]]
    needed = {*KINDS, None}
    seqs = {row["seq"] for row in rows if row["event_name"] in needed}
    assert len(events.kind) + sum(found.count for found in events.findings) == len(seqs)
    assert sum(found.count for found in events.findings) == (name == "ref2_dirty_truncated")
    assert all(np.diff(events.ts_ms) >= 0)


@pytest.mark.slow
def test_reference_store_is_read(rugs_store):
    """Rows, duplicates, broken rows and episodes with their sessions are the expected ones."""
    expected = json.loads((REFERENCE / "store_expected.json").read_text(encoding="utf-8"))
    counts = scan(rugs_store, schema.parse_options({})).counts
    assert (counts.n_rows, counts.n_twice) == (expected["rows_read"], expected["duplicate_rows"])
    assert (counts.n_broken, counts.n_unowned) == (expected["bad_json_rows"], 0)
    units = find(rugs_store, {})
    details = expected["episodes_detail"]
    found = [(unit.key, unit.context["sessions"][0][0]) for unit in units]
    assert found == [(detail["game_id"], detail["session_id"]) for detail in details]
    events = read_events(rugs_store, units, {})
    for i, detail in enumerate(details):
        tick = events.tick[slice(*events.offsets[i : i + 2])]
        is_step = ~np.isnan(tick) & (tick <= detail["last_tick"])
        assert len(np.unique(tick[is_step & (tick >= detail["first_tick"])])) >= detail["steps"] - 1
    assert np.nansum(events.is_own) > 0
    columns = [value for value in values(events).values() if isinstance(value, np.ndarray) and value.dtype.kind == "f"]
    assert not any(np.isinf(column).any() for column in columns)
    halves = [read_events(rugs_store, part, {}) for part in (units[::2], units[1::2])]
    assert sum(len(half.kind) for half in halves) == len(events.kind)
