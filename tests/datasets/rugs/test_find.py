"""Which episodes a store holds, and what does and does not change their digests."""

import decimal
import logging
import math
import random
import re
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import ExpectedError
from stages.datasets.rugs import schema
from stages.datasets.rugs.encode.events import read_events
from stages.datasets.rugs.encode.reader import locate
from stages.datasets.rugs.find import find, scan
from stages.datasets.rugs.reading import order
from stages.datasets.rugs.reading.store import NO_TIME, _nanoseconds
from tests.helpers.rugs_rows import make_row, read_rows, session_rows, unpack_store, write_file, write_rows


def digests(root):
    return {unit.key: unit.digest for unit in find(root, {})}


def changed(before, after):
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


@pytest.fixture
def rows():
    return session_rows(3)


@pytest.fixture
def store(tmp_path, rows):
    return write_rows(rows, tmp_path / "store", 7)


@pytest.fixture(scope="module")
def rugs_store(tmp_path_factory):
    return unpack_store(tmp_path_factory.mktemp("reference"))


def test_unit_is_an_episode_with_what_its_rows_do_not_say(store):
    """Key, number of rows, cash and player carried in, span of the rows that name no game, files of its own rows."""
    units = find(store, {})
    assert [unit.key for unit in units] == [f"20251228-{number:016x}" for number in range(3)]
    assert [unit.context["n_rows"] for unit in units] == [10, 9, 9]
    assert [unit.context["cash"] for unit in units] == [None, 1.0, 2.0]
    me = f"{order.pseudonym('me', b''):016x}"
    assert [unit.context["player"] for unit in units] == [None, me, me]
    assert [unit.context["sessions"] for unit in units] == [[["s-1", 1, 16]], [["s-1", 116, 116]], [["s-1", 216, 216]]]
    start = int(np.datetime64("2025-12-28T00:00:00.1", "ns").astype(int))
    assert units[0].context["order"] == [start, 1]
    assert all((store / source.path).is_file() for unit in units for source in unit.sources)
    assert find(store / "events_parquet", {})[0].digest == units[0].digest


def test_current_game_does_not_switch_back():
    """The newest game first seen owns rows without a name; those before the first frame belong to the first game."""
    session = np.zeros(8, np.int32)
    game = np.array([-1, 0, -1, 1, -1, 0, -1, 5], np.int32)
    is_frame = np.array([0, 1, 0, 1, 0, 1, 0, 0], bool)
    assert order.owners(session, game, is_frame).tolist() == [0, 0, 0, 1, 1, 0, 1, 5]
    both = np.array([0, 0, 0, 1, 1, 1, 2, 2], np.int32)
    assert order.owners(both, game, is_frame).tolist() == [0, 0, 0, 1, 1, 0, -1, 5]


def test_sessions_go_by_their_smallest_time(tmp_path):
    """A game seen in two sessions is one episode, the earlier session first, whatever the sessions are called."""
    late = [make_row(9, "gameStateUpdate", {"gameId": "g", "tickCount": 9}, "g", "a")]
    early = [
        make_row(5, "gameStateUpdate", {"gameId": "g", "tickCount": 5}, "g", "b"),
        make_row(6, "ping", None, None, "b"),
    ]
    (unit,) = find(write_rows(late + early, tmp_path), {})
    assert [name for name, *_ in unit.context["sessions"]] == ["b", "a"]


def test_a_session_carries_nothing_into_another(tmp_path):
    """The second session begins without cash and player; a player who changes is the new one from the next game on."""
    other = session_rows(2, "s-2", first=5)
    other += [make_row(530, "usernameStatus", {"id": "new"}, None, "s-2")]
    units = find(write_rows(session_rows(1) + [row for row in other if row["seq"] > 1], tmp_path), {})
    assert [unit.context["cash"] for unit in units] == [None, None, 6]
    new = f"{order.pseudonym('new', b''):016x}"
    assert [unit.context["player"] for unit in units] == [None, None, new]
    late = [*session_rows(2), make_row(135, "playerUpdate", {"id": "new", "cash": 9})]
    units = find(write_rows(late, tmp_path / "late"), {})
    assert units[1].context["player"] == f"{order.pseudonym('me', b''):016x}"
    assert units[1].context["cash"] == 1


def test_files_and_order_of_rows_change_no_digest(tmp_path, rows, store):
    """Shuffled, joined, split, renamed and flushed twice: the same keys, digests and contexts."""
    expected = [(unit.key, unit.digest, unit.context) for unit in find(store, {})]
    shuffled = random.Random(1).sample(rows, len(rows))
    for size in (1, 1000):
        root = write_rows(shuffled, tmp_path / f"by{size}", size)
        shutil.copy(sorted(root.rglob("*.parquet"))[-1], root / "flushed_again.parquet")
        assert [(unit.key, unit.digest, unit.context) for unit in find(root, {})] == expected


def test_flushed_again_keeps_the_sources(store):
    """A copy of a file under a later name adds no source to a unit."""
    before = find(store, {})
    for path in sorted(store.rglob("*.parquet")):
        shutil.copy(path, path.with_name(f"2026{path.name}"))
    assert find(store, {}) == before
    assert scan(store, schema.parse_options({})).counts.n_twice == len(session_rows(3))


@pytest.mark.parametrize("column", ["raw_json", "ts"])
def test_an_edited_row_changes_one_digest(tmp_path, rows, store, column):
    """A payload that is edited in one number, or a time, changes its own episode only."""
    index = next(i for i, row in enumerate(rows) if row["seq"] == 132)
    old, new = {"raw_json": ("1.3", "1.5"), "ts": (".200000", ".250000")}[column]
    edited = [{**row, column: row[column].replace(old, new)} if i == index else row for i, row in enumerate(rows)]
    assert edited[index] != rows[index]
    assert changed(digests(store), digests(write_rows(edited, tmp_path / "edited"))) == ["20251228-0000000000000001"]


def test_a_new_game_changes_no_other(tmp_path, store):
    """The last game's digest does not say where it ended, so a next one leaves it; chat is not needed by any."""
    longer = [row for row in session_rows(4) if row.get("event_name") != "newChatMessage"]
    assert changed(digests(store), digests(write_rows(longer, tmp_path / "longer"))) == ["20251228-0000000000000003"]


def test_carried_cash_enters_the_digest(tmp_path, rows, store):
    """An edited player update changes its own episode and the next one, which begins with its cash."""
    edited = [{**row, "raw_json": row["raw_json"].replace('"cash": 1,', '"cash": 7,')} for row in rows]
    assert changed(digests(store), digests(write_rows(edited, tmp_path / "edited"))) == [
        "20251228-0000000000000000",
        "20251228-0000000000000001",
    ]


def test_rows_without_an_episode_are_counted(tmp_path):
    """Rows of a game without a frame, of a session without one, without a time, cut off, and of other doc types."""
    good = make_row(1, "gameStateUpdate", {"gameId": "g"}, "g")
    rows = [
        *(good, make_row(2, "standard/newTrade", {"gameId": "h"}, "h"), make_row(3, "playerUpdate", {}, None, "s-2")),
        {**make_row(4, "ping", None), "ts": None},
        {**make_row(5, "ping", None), "raw_json": '{"event": "ping", "da'},
        {**make_row(6, "ping", None), "doc_type": "system_event"},
    ]
    root = write_rows([{**row, "ts": row["ts"] or "2025-12-28"} for row in rows[:3]] + rows[4:], tmp_path)
    write_file([rows[3]], root / "events_parquet" / "x.parquet")
    found = scan(root, schema.parse_options({}))
    counts = found.counts
    assert found.reader.unused == {"ping": 2}
    assert (counts.n_rows, counts.n_broken, counts.n_unplaced, counts.n_unowned) == (5, 1, 1, 2)
    assert [unit.key for unit in find(root, {"max_bad_rows": 0.4})] == ["g"]
    message = "2 of 5 rows cannot be used and are of no episode, expected at most 1; .*parquet:[0-9]+: "
    with pytest.raises(ExpectedError, match=message):
        find(root, {"max_bad_rows": 0.2})


def test_unreadable_files_are_units_without_a_digest(store, rows):
    """Cut off, empty and without a column: a unit each that says why; folders and hidden files are no files."""
    whole = sorted(store.rglob("*.parquet"))[0].read_bytes()
    folder = store / "events_parquet"
    (folder / "cut.parquet").write_bytes(whole[:-20])
    (folder / "empty.parquet").write_bytes(b"")
    (folder / ".hidden.parquet").write_bytes(b"")
    (folder / "x.parquet.tmp").write_bytes(b"")
    (folder / "folder.parquet").mkdir()
    (folder / ".trash").mkdir()
    (folder / ".trash" / "x.parquet").write_bytes(b"")
    pq.write_table(pa.table({"seq": [1]}), folder / "column.parquet")
    (folder / "link.parquet").symlink_to("/etc/hostname")
    bad = {unit.key: unit.context["bad"] for unit in find(store, {}) if not unit.digest}
    assert sorted(bad) == [f"events_parquet/{name}.parquet" for name in ("column", "cut", "empty", "link")]
    assert "no column 'ts' in seq, expected once; correct or remove it" in bad["events_parquet/column.parquet"]
    assert "expected a Parquet file" in bad["events_parquet/cut.parquet"]
    assert len(find(store, {})) == 3 + 4
    assert not any(str(store) in reason for reason in bad.values())


def test_other_arrow_types_and_new_columns_are_taken(tmp_path, rows, store, caplog):
    """Large and dictionary strings, int32, no doc type but the folder's: the same digests; a new column is told."""
    for path in sorted(store.rglob("*.parquet")):
        table = pq.ParquetFile(path).read()
        table = table.set_column(table.schema.get_field_index("seq"), "seq", table["seq"].cast(pa.int32()))
        for name, kind in (("raw_json", pa.large_string()), ("session_id", None)):
            column = table[name].cast(kind) if kind else table[name].dictionary_encode()
            table = table.set_column(table.schema.get_field_index(name), name, column)
        table = table.drop_columns(["doc_type"]).append_column("mood", pa.array(["fine"] * table.num_rows))
        other = tmp_path / "other" / path.relative_to(store)
        other.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, other)
    with caplog.at_level(logging.WARNING, "batchwise"):
        assert digests(tmp_path / "other") == digests(store)
    assert [record.getMessage().split(": ", 1)[1] for record in caplog.records] == [
        "columns that are not known: mood; they are ignored"
    ]


def test_a_store_without_episodes_is_refused(tmp_path):
    """An empty folder, and one without frames."""
    with pytest.raises(ExpectedError, match="no frame in 0 rows of 0 Parquet files, expected gameStateUpdate"):
        find(tmp_path, {})
    with pytest.raises(ExpectedError, match="no frame in 1 rows of 1 Parquet files"):
        find(write_rows([make_row(1, "ping", None)], tmp_path), {})


def test_a_game_id_that_is_too_long_is_a_bad_unit(tmp_path):
    """It would be cut in the arrays, where ids have 25 bytes."""
    (unit,) = find(write_rows([make_row(1, "gameStateUpdate", {}, "g" * 26)], tmp_path), {})
    assert unit.digest == ""
    assert "expected at most 25 printable ASCII characters" in unit.context["bad"]


def test_times_with_and_without_a_zone_are_read(tmp_path):
    """Naive text is UTC; an offset counts; without a fraction too; a text that is no time has no place."""
    times = ["2025-12-28T10:00:00", "2025-12-28T10:00:00.5+00:00", "2025-12-28T12:00:00+02:00", "2025-12-28T10:00:00Z"]
    for number, ts in enumerate([*times, "yesterday"]):
        (tmp_path / str(number)).mkdir()
        row = {**make_row(1, "gameStateUpdate", {}, "g"), "ts": ts}
        write_file([row, make_row(2, "ping", None)], tmp_path / str(number) / "x.parquet")
    start = int(np.datetime64("2025-12-28T10:00:00", "ns").astype(int))
    found = [find(tmp_path / str(number), {})[0].context["order"][0] for number in range(4)]
    assert found == [start, start + 5 * 10**8, start, start]
    assert scan(tmp_path / "4", schema.parse_options({})).counts.n_unplaced == 1


@pytest.mark.slow
def test_rewritten_reference_store_has_the_same_digests(tmp_path, rugs_store):
    """All rows shuffled into files of 5,000."""
    rows = random.Random(2).sample(read_rows(rugs_store), 31_952)
    before, after = digests(rugs_store), digests(write_rows(rows, tmp_path, 5000))
    assert len(before) == 40
    assert changed(before, after) == []


def test_one_seq_of_two_games_is_two_rows(tmp_path):
    """Each game keeps its own row, and its episode can be read alone."""
    frames = [("g", 1, 0), ("h", 2, 0), ("g", 2, 1), ("g", 3, 2), ("h", 4, 1)]
    rows = [make_row(seq, "gameStateUpdate", {"gameId": game, "tickCount": tick}, game) for game, seq, tick in frames]
    root = write_rows(rows, tmp_path, 1)
    units = find(root, {})
    assert [read_events(root, [unit], {}).tick.tolist() for unit in units] == [[0, 1, 2], [0, 1]]


def test_rows_of_two_games_with_one_seq_are_counted_and_told(tmp_path, caplog):
    """A finding of each game, at its first such row; a store without has none, and its units know nothing of it."""
    frames = [("g", 1, 0), ("h", 3, 0), ("g", 2, 1), ("g", 3, 2), ("h", 4, 1), ("g", 4, 3), ("h", 5, 2)]
    rows = [make_row(seq, "gameStateUpdate", {"gameId": game, "tickCount": tick}, game) for game, seq, tick in frames]
    root = write_rows(rows, tmp_path / "shared", 1)
    units = find(root, {})
    found = read_events(root, units, {}).findings
    assert [(one.unit, one.count, one.line) for one in found] == [(0, 2, 3), (1, 2, 1)]
    assert found[0].reason == "session, seq and doc type are those of a row of another game, too; both are kept"
    assert "4 rows of 2 games have session, seq and doc type of a row of another game" in caplog.text
    assert [path_row(root, unit, one.line)["seq"] for unit, one in zip(units, found, strict=True)] == [3, 3]
    plain = write_rows([row for row in rows if row["seq"] not in (3, 4)], tmp_path / "plain", 1)
    assert not any("shared" in unit.context for unit in find(plain, {}))


def path_row(root, unit, line):
    """Return the row of a unit's line."""
    [(path, row)] = locate(root, unit, [line])
    return pq.ParquetFile(path).read().to_pylist()[row - 1]


def texts_of(us, form):
    return pa.array([(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=t)).strftime(form) for t in us])


START = 1_766_361_364_610_289
NUMBERS = {
    "int64 of us": lambda us: pa.array(us),
    "int64 of ns": lambda us: pa.array([t * 1000 for t in us]),
    "int64 of ms": lambda us: pa.array([t // 1000 for t in us]),
    "int64 of s": lambda us: pa.array([t // 10**6 for t in us]),
    "double of s": lambda us: pa.array([t / 1e6 for t in us]),
    "double of ms": lambda us: pa.array([t / 1e3 for t in us]),
    "double of us": lambda us: pa.array([float(t) for t in us]),
    "text of us": lambda us: pa.array([str(t) for t in us]),
    "text of s": lambda us: pa.array([f"{t // 10**6}.{t % 10**6:06}" for t in us]),
    "timestamp of ns": lambda us: pa.array([t * 1000 for t in us]).cast(pa.timestamp("ns")),
    "timestamp of ms in a zone": lambda us: pa.array([t // 1000 for t in us]).cast(pa.timestamp("ms", "UTC")),
    "text with UTC of us": lambda us: texts_of(us, "%Y-%m-%d %H:%M:%S.%f UTC"),
    "text in lower case of us": lambda us: texts_of(us, "%Y-%m-%dt%H:%M:%S.%fz"),
    "text between blanks of us": lambda us: texts_of(us, " %Y-%m-%dT%H:%M:%S.%f "),
    "number between blanks of us": lambda us: pa.array([f" {t}\t" for t in us]),
    "decimal of s": lambda us: pa.array([decimal.Decimal(t).scaleb(-6) for t in us]),
}
STEPS = {"ms": 1000, "s": 10**6}


@pytest.mark.parametrize("name", NUMBERS)
def test_numeric_times_of_any_resolution_are_read(tmp_path, rows, store, name):
    """The same episodes as of ISO times, with the same rows; only what is finer than the column is lost."""
    times = [START + 137_001 * i for i in range(len(rows))]
    table = pa.Table.from_pylist(rows)
    column = NUMBERS[name](times)
    place = table.column_names.index("ts")
    folder = tmp_path / "numbers"
    folder.mkdir()
    pq.write_table(table.set_column(place, "ts", column), folder / "x.parquet")
    units, expected = find(folder, {}), find(store, {})
    assert [(unit.key, unit.context["n_rows"]) for unit in units] == [(u.key, u.context["n_rows"]) for u in expected]
    kind = name.split(" of ")[1].split(" ")[0]
    step = STEPS.get(kind, 1) if name.startswith(("int64", "timestamp")) else 1
    assert scan(folder, schema.parse_options({})).counts.n_unplaced == 0
    first_ns = [unit.context["order"][0] for unit in units]
    by_seq = {row["seq"]: t // step * step * 1000 for row, t in zip(rows, times, strict=True)}
    assert first_ns == [by_seq[unit.context["order"][1]] for unit in units]


MEANT_OTHERWISE = {
    "float32": ("ts", lambda n: pa.array([1.7e9] * n, pa.float32()), "ts is of type float, which holds no time to the"),
    "days": ("ts", lambda n: pa.array([20_000] * n, pa.date32()), r"ts is of type date32\[day\], which holds no time"),
    "lists": ("raw_json", lambda n: pa.array([["{}"]] * n), r"raw_json is of type list<.*>, expected string \("),
    "halves": ("seq", lambda n: pa.array([0.5] * n), r"seq is of type double, expected int64 \("),
}


@pytest.mark.parametrize("kind", MEANT_OTHERWISE)
def test_a_column_that_cannot_hold_what_is_meant_is_one_bad_file_that_names_it(tmp_path, rows, kind):
    """float32 holds times of today to 128 s: they would be read, and be wrong."""
    name, make, found = MEANT_OTHERWISE[kind]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.set_column(table.column_names.index(name), name, make(len(rows))), tmp_path / "x.parquet")
    (unit,) = find(tmp_path, {})
    assert unit.digest == ""
    assert re.match(f"x.parquet: {found}", unit.context["bad"])


def test_a_seq_that_is_not_a_number_is_none(tmp_path, rows):
    """As whole numbers with gaps become in pandas; the other rows of the file are kept."""
    table = pa.Table.from_pylist(rows)
    seq = [float(row["seq"]) for row in rows]
    seq[3] = math.nan
    pq.write_table(table.set_column(table.column_names.index("seq"), "seq", pa.array(seq)), tmp_path / "x.parquet")
    counts = scan(tmp_path, schema.parse_options({})).counts
    assert (counts.n_rows, counts.n_unplaced) == (len(rows), 1)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"PARE" + b"\0" * 40 + b"PARE", "an encrypted Parquet file, expected a Parquet file of events; decrypt it"),
        (b"ARROW1\0\0", "an Arrow file, expected a Parquet file of events; write its rows as Parquet"),
        (b"\x1f\x8b\x08", "compressed with gzip, which its name does not say, expected a .*; unpack it"),
    ],
)
def test_what_to_do_with_another_file_suits_parquet(tmp_path, content, found):
    """Nothing is exported as text, and no ending .gz is added, which would not be read."""
    (tmp_path / "x.parquet").write_bytes(content)
    (unit,) = find(tmp_path, {})
    assert re.fullmatch(f"x.parquet: {found}", unit.context["bad"])


def test_rows_that_cannot_be_used_are_counted_once_and_named_for_what_they_are(tmp_path):
    """Also those that are no JSON besides; never more than there are."""
    rows = [make_row(seq, "ping", None) for seq in range(1, 21)]
    for row in rows:
        row["ts"] = "yesterday"
    for row in rows[:5]:
        row["raw_json"] = "{"
    with pytest.raises(ExpectedError) as caught:
        find(write_file(rows, tmp_path / "x.parquet").parent, {})
    message = str(caught.value)
    assert "20 of 20 rows cannot be used and are of no episode, expected at most 1; " in message
    assert "; 20 without session, seq or time, 0 not JSON; " in message
    assert "x.parquet:1: ts is 'yesterday', expected a time such as 2025-12-21T23:56:04.610289, or s, ms, us" in message


@pytest.mark.parametrize(
    ("column", "message"),
    [("ts", "no ts, expected each"), ("seq", "no seq, expected each"), ("session_id", "no session_id, expected each")],
)
def test_a_row_without_a_place_says_what_is_missing(tmp_path, column, message):
    rows = [make_row(seq, "ping", None) | {column: None} for seq in range(1, 4)]
    with pytest.raises(ExpectedError, match=rf"3 of 3 rows .*x.parquet:1: {message}"):
        find(write_file(rows, tmp_path / "x.parquet").parent, {})


def test_a_frame_that_cannot_be_read_begins_no_game(tmp_path):
    """What names no game stays with the game before, also where the text is cut behind a brace."""
    rows = [make_row(seq, "gameStateUpdate", {"gameId": game, "x": {}}, game) for seq, game in ((1, "g"), (2, "h"))]
    rows[1]["raw_json"] = rows[1]["raw_json"][:-2]
    rows += [make_row(3, "playerUpdate", {"cash": 5}), make_row(4, "gameStateUpdate", {"gameId": "h"}, "h")]
    units = find(write_rows(rows, tmp_path), {"max_bad_rows": 1.0})
    assert [(unit.key, unit.context["n_rows"], unit.context["cash"]) for unit in units] == [("g", 2, None), ("h", 2, 5)]


def test_no_cash_is_carried_in_from_behind_the_first_frame(tmp_path):
    """A frame without a game is the first one of the game that the session shows first."""
    rows = [make_row(1, "gameStateUpdate", {"tickCount": 0}), make_row(2, "playerUpdate", {"cash": 5})]
    rows.append(make_row(3, "gameStateUpdate", {"gameId": "g", "tickCount": 1}, "g"))
    assert find(write_rows(rows, tmp_path), {})[0].context["cash"] is None


def test_a_file_that_breaks_off_is_a_bad_unit_and_no_source(tmp_path, store):
    """Rows before the fault are not used, so that episodes of other files can be read."""
    before, path = digests(store), store / "events_parquet" / "x.parquet"
    rows = [make_row(seq, "gameStateUpdate", {"gameId": "x", "tickCount": 1}, "x", "s-9") for seq in range(6000)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=5000)
    content = bytearray(path.read_bytes())
    for column in range(7):
        start = pq.ParquetFile(path).metadata.row_group(1).column(column).data_page_offset
        content[start : start + 8] = b"\xff" * 8
    path.write_bytes(bytes(content))
    assert digests(store) == {**before, "events_parquet/x.parquet": ""}


def test_columns_that_are_twice_there_or_no_text_make_a_bad_unit(store, rows):
    """Told, with the file, as any file that cannot be read."""
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.append_column("ts", table["ts"]), store / "events_parquet" / "twice.parquet")
    sessions = pa.array([b"\xff"] * len(rows)).view(pa.string())
    place = table.column_names.index("session_id")
    pq.write_table(table.set_column(place, "session_id", sessions), store / "events_parquet" / "utf8.parquet")
    bad = [unit.context["bad"] for unit in find(store, {}) if not unit.digest]
    assert ["more than one column 'ts'" in bad[0], "Invalid UTF8" in bad[1]] == [True, True]


def test_a_time_does_not_depend_on_the_times_beside_it():
    """Both ways to read times, of columns and one by one, floor to microseconds and refuse the same years."""
    texts = ["2025-12-28T00:00:00.123456789", "2250-01-01T00:00:00", None]
    for others in ([], ["no time"]):
        found = _nanoseconds(pa.array([*texts, *others]))[:3].tolist()
        assert found == [1_766_880_000_123_456_000, NO_TIME, NO_TIME]
