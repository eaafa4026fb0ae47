"""Lines with cells that are no rows: the header once more, notes below the bars, times without a price."""

import gzip
import logging

import numpy as np
import pytest

from stages.datasets.market.encode.bars import read_bars
from stages.datasets.market.find import find
from tests.helpers.market_bars import HEADER, write_bars

STAMPS = np.datetime64("2024-01-30T22:00:00") + 5 * np.arange(600).astype("timedelta64[m]")
LINES = [f"{str(t).replace('T', ' ')},11,20,5,11,{i}" for i, t in enumerate(STAMPS)]


def read(folder, options=None):
    """Return the own bars: times, segments and volumes; and the findings, by month, reason, count and line."""
    units = find(folder, options or {})
    assert all(unit.digest for unit in units), units[0].context
    table = read_bars(folder, units, options or {})
    own = table.is_own
    findings = [(units[f.unit].key, f.reason, f.count, f.line) for f in table.findings]
    return np.stack([table.time, table.segment, table.volume.astype(np.int64)])[:, own].T.tolist(), findings


def test_a_header_among_the_bars_is_none(tmp_path, caplog):
    """Dumps of months that were joined: told, no bad row, no new segment, the same bars."""
    whole, _ = read(write_bars(tmp_path / "a", LINES))
    lines = [*LINES[:400], HEADER, *LINES[400:500], "\ufeff" + HEADER, *LINES[500:]]
    with caplog.at_level(logging.INFO):
        found, findings = read(write_bars(tmp_path / "b", lines))
    assert found == whole
    assert findings == [("NQ/2024-02", "header again, no bar", 2, 89)]
    assert [record.getMessage() for record in caplog.records] == ["left out: header again, no bar: 2, from NQ.csv:402"]


def test_a_further_header_changes_no_month_without_it(tmp_path):
    def digests(lines):
        return {unit.key: unit.digest for unit in find(write_bars(tmp_path, lines), {"volume_bars": 59})}

    march = [line.replace("2024-02-0", "2024-03-0") for line in LINES[312:]]
    before, after = digests(LINES), digests([*LINES, HEADER, *march])
    # The header stands behind the last row of February, and so among its bytes.
    assert [key for key in after if before.get(key) != after[key]] == ["NQ/2024-02", "NQ/2024-03"]


FOOTERS = [
    "Total,,,,,",
    '"Downloaded from Barchart.com as of 03-05-2024 09:00am CST"',
    "Highest: 5,200.00,Lowest: 5,000.00,Average: 5,100.00",
    "# end of data",
    "#数据来源:通达信",
    ",,,,,",
    "Note: prices are adjusted",
]


@pytest.mark.parametrize("footer", FOOTERS)
def test_a_note_below_the_bars_is_none(tmp_path, footer):
    """Of few rows even two of them are no reason to refuse the file, and dates stay dates."""
    days = [f"2024-01-{i + 1:02},11,20,5,11,{i}" for i in range(12)]
    whole, _ = read(write_bars(tmp_path / "a", days))
    found, findings = read(write_bars(tmp_path / "b", [*days, footer, footer]), {"time_zone": "America/New_York"})
    assert found == whole
    assert findings == [("NQ/2024-01", "note of the vendor or empty line, no bar", 2, 13)]


@pytest.mark.parametrize(
    "nothing", ["NaN,NaN,NaN,NaN,NaN", ",,,,", "null,null,null,null,null", "-,-,-,-,0", "N/A,,,,7"]
)
@pytest.mark.parametrize("n_rows", [10, 300])
def test_a_time_without_a_price_is_no_bar(tmp_path, nothing, n_rows):
    """Minutes without a trade: as if they were not there, however many of them."""
    empty = {300 + i * 600 // (2 * n_rows + 1) // 2 * 2 % 300 for i in range(n_rows)}
    lines = [f"{line[:19]},{nothing}" if i in empty else line for i, line in enumerate(LINES)]
    without, _ = read(write_bars(tmp_path / "a", [line for i, line in enumerate(LINES) if i not in empty]))
    found, findings = read(write_bars(tmp_path / "b", lines))
    assert found == without
    assert {reason for _, reason, *_ in findings} == {"time without a price, no bar"}
    assert sum(count for *_, count, _ in findings) == len(empty)


@pytest.mark.parametrize("prices", ["10,,5,11,7", "NaN,20,5,11,7", "x,x,x,x,7"])
def test_a_row_with_some_prices_or_words_is_a_bad_row(tmp_path, prices):
    lines = [f"{line[:19]},{prices}" if i == 100 else line for i, line in enumerate(LINES)]
    _, findings = read(write_bars(tmp_path, lines))
    assert findings == [("NQ/2024-01", "value missing or no number", 1, 101)]


@pytest.mark.parametrize("name", ["US/Eastern", "America/New_York"])
def test_a_zone_behind_the_times_is_theirs(tmp_path, caplog, name):
    """As Interactive Brokers writes it; params.yaml does not say it better."""
    stamps = [line[:19].replace("-", "") for line in LINES]
    lines = [f"{t} {name},{line[20:]}" for t, line in zip(stamps, LINES, strict=True)]
    (tmp_path / "NQ.csv").write_text("\n".join([*lines, ""]))
    found, findings = read(tmp_path)
    assert str(np.datetime64(found[0][0], "ns"))[:16] == "2024-01-31T03:00"
    assert (len(found), findings) == (600, [])
    assert read(tmp_path, {"instruments": {"NQ": {"time_zone": "Asia/Tokyo"}}}) == (found, findings)
    assert "NQ.time_zone: changes nothing of NQ.csv" in caplog.records[-1].getMessage()


def test_another_zone_within_a_file_is_a_bad_row(tmp_path):
    lines = [f"{line[:19]} US/Eastern{line[19:]}" for line in LINES]
    lines[300] = lines[300].replace("US/Eastern", "US/Central")
    _, findings = read(write_bars(tmp_path, lines))
    assert [(reason, count) for _, reason, count, _ in findings] == [("time not readable", 1)]


INVESTING = {
    "de": '"Datum","Zuletzt","Eröffn.","Hoch","Tief","Vol.","+/- %"',
    "fr": '"Date","Dernier","Ouv.","Plus Haut","Plus Bas","Vol.","Variation %"',
    "es": '"Fecha","Último","Apertura","Máximo","Mínimo","Vol.","% var."',
}


@pytest.mark.parametrize("language", INVESTING)
def test_investing_in_other_languages(tmp_path, language):
    mark = "." if language == "de" else "/"
    days = [
        f'"{i + 10}{mark}03{mark}2024","1.011,50","1.010,25","1.020,00","1.005,00","1,50K","0,05%"' for i in range(20)
    ]
    folder = write_bars(tmp_path, days[::-1], header="\ufeff" + INVESTING[language])
    units = find(folder, {})
    table = read_bars(folder, units, {})
    values = [getattr(table, name)[3] for name in ("open", "high", "low", "close", "volume")]
    assert values == [1010.25, 1020, 1005, 1011.5, 1500]
    assert [str(unit.key) for unit in units] == ["NQ/2024-03"]
    assert str(table.time[0].astype("datetime64[ns]"))[:10] == "2024-03-10"


def test_a_compressed_file_is_read_as_what_is_in_it(tmp_path):
    """The same bars, and the same digests: they are of what is in the file."""
    folder = write_bars(tmp_path / "a", LINES)
    whole = read(folder)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "NQ.csv.gz").write_bytes(gzip.compress((folder / "NQ.csv").read_bytes()))
    assert read(tmp_path / "b") == whole
    assert [u.digest for u in find(tmp_path / "b", {})] == [u.digest for u in find(folder, {})]
