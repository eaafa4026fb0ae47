"""Settings that change nothing of the files are told, one line each; those that do are not."""

import logging

import pytest

from stages.core.errors import ExpectedError
from stages.datasets.market.find import find
from tests.helpers.market_bars import HEADER, write_bars

EPOCHS = [f"{1_704_672_000 + 300 * i},10,20,5,11,7" for i in range(30)]
OFFSETS = [f"2024-01-08 {i // 12:02}:{i * 5 % 60:02}:00+02:00,10,20,5,11,7" for i in range(30)]
ON_WALL = [line.replace("+02:00", "") for line in OFFSETS]
DAYS = [f"2024-01-{i + 1:02},10,20,5,11,7" for i in range(30)]
SLASHES = [f"{i + 1}/1/2024 00:00:00,10,20,5,11,7" for i in range(30)]
TICKS = "Timestamp,Open,High,Low,Close,Tick_Volume"
NEW_YORK = {"time_zone": "America/New_York"}
DAY_FIRST = {"date_order": "day_first"}
OURS = {"columns": {"open": "First"}}
ONE = "instruments.NQ."


def told(folder, options, caplog):
    with caplog.at_level(logging.WARNING):
        find(folder, options)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("lines", "options", "setting", "reason"),
    [
        (EPOCHS, {"instruments": {"NQ": NEW_YORK}}, f"{ONE}time_zone", "epochs"),
        (OFFSETS, {"instruments": {"NQ": NEW_YORK}}, f"{ONE}time_zone", "name their offset"),
        (DAYS, {"instruments": {"NQ": NEW_YORK}}, f"{ONE}time_zone", "dates"),
        (ON_WALL, {"instruments": {"NQ": DAY_FIRST}}, f"{ONE}date_order", "8/1/2024"),
        (ON_WALL, {"instruments": {"NQ": {"volume": "tick"}}}, f"{ONE}volume", "no column of ticks"),
        (ON_WALL, {"instruments": {"NQ": {"volume": "none", "lot": 100}}}, f"{ONE}lot", "no volume is taken"),
        (OFFSETS, NEW_YORK, "time_zone", "name their offset"),
        (ON_WALL, {**NEW_YORK, "instruments": {"NQ": NEW_YORK}}, "time_zone", "of an instrument"),
        (ON_WALL, {"formats": {"ours": OURS}}, "formats.ours", "none fits it"),
    ],
)
def test_a_setting_without_effect_is_told(tmp_path, caplog, lines, options, setting, reason):
    """With the setting, the file and why, whatever else the file is."""
    (message,) = told(write_bars(tmp_path, lines), options, caplog)
    assert message.startswith(f"params.yaml: datasets.market.options.{setting}: changes nothing of ")
    assert reason in message
    assert ("NQ.csv" if setting.startswith(ONE) else "any file") in message


@pytest.mark.parametrize(
    ("lines", "header", "options"),
    [
        (ON_WALL, HEADER, {"instruments": {"NQ": NEW_YORK}}),
        (ON_WALL, HEADER, NEW_YORK),
        (OFFSETS[:-1] + ON_WALL[-1:], HEADER, {"max_gap_minutes": 1000, "instruments": {"NQ": NEW_YORK}}),
        (SLASHES, HEADER, {"instruments": {"NQ": DAY_FIRST}}),
        (ON_WALL, TICKS, {"instruments": {"NQ": {"volume": "tick"}}}),
        (ON_WALL, HEADER.replace("Open", "First"), {"formats": {"ours": OURS}}),
        (ON_WALL, HEADER, {}),
    ],
)
def test_a_setting_with_an_effect_is_not(tmp_path, caplog, lines, header, options):
    assert told(write_bars(tmp_path, lines, header=header), options, caplog) == []


def test_ticks_beside_a_volume(tmp_path):
    """Of two columns of volume the setting chooses."""
    lines = [line + ",9" for line in ON_WALL]
    folder = write_bars(tmp_path, lines, header=f"{HEADER},Tick_Volume")
    values = {name: find(folder, {"instruments": {"NQ": {"volume": name}}}) for name in ("tick", "real")}
    assert [units[0].context["dialects"][0]["values"][-1] for units in values.values()] == [6, 5]


def test_columns_beside_a_layout_that_has_its_own(tmp_path):
    options = {"instruments": {"NQ": {"format": "ninjatrader", "names": ["time", "open"]}}}
    with pytest.raises(ExpectedError, match=r"NQ.names: format 'ninjatrader' has columns and a header of its own"):
        find(write_bars(tmp_path, ON_WALL), options)
