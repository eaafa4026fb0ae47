"""A line of 1 GB and a header of 300 MB are refused by name, and are never in memory as a whole."""

import pytest

from tests.helpers.peaks import peak_of_refusal_mb

BARS = b"Timestamp,Open,High,Low,Close,Volume\n2024-01-01 00:00:00,5,6,4,5,1\n"
GAME = b"#13," + b"a1" * 20_000  # longer than what is looked at to see that it is text
MOST_MB = 128


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "name", "first", "n_bytes", "message"), [
    ("hex", "a.trmph", GAME, 1 << 30, "a.trmph:1: a line of more than 65,536 bytes, expected one game a line"),
    ("market", "NQ.csv", BARS, 1 << 30, "NQ.csv:3: a line of more than 65,536 bytes, expected one bar a line"),
    ("market", "NQ.csv", b"", 300 << 20, "NQ.csv:1: a line of more than 65,536 bytes, expected one bar a line"),
    ("splendor", "2_games/1.csv", b"", 1 << 30, "2_games/1.csv: 1,073,741,824 bytes, expected at most 8,388,608"),
])  # fmt: skip
def test_a_long_line_is_refused_in_little_memory(tmp_path, dataset, name, first, n_bytes, message):
    """The file is a hole behind its first bytes, so that it takes no room on the disk."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    with (tmp_path / name).open("wb") as file:
        file.write(first)
        file.truncate(n_bytes)
    peak_mb, said = peak_of_refusal_mb(dataset, tmp_path)
    assert message in said
    assert peak_mb <= MOST_MB
