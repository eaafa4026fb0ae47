"""Which files of a folder of games are units."""

from stages.datasets.splendor.find import MOST_BYTES, find
from stages.runtime.notes import ThreadNotes


def test_a_file_far_too_large_for_a_game_is_a_bad_unit(tmp_path):
    """It is named with its size, and not read."""
    (tmp_path / "2_games").mkdir()
    for name, n_bytes in (("1.csv", MOST_BYTES), ("2.csv", MOST_BYTES + 1)):
        with (tmp_path / "2_games" / name).open("wb") as file:
            file.write(b"x" * n_bytes)
    good, bad = find(tmp_path, {})
    assert good.digest
    assert (bad.digest, bad.context) == (
        "",
        {"bad": "2_games/2.csv: 8,388,609 bytes, expected at most 8,388,608; correct or remove the file"},
    )


def test_the_file_in_work_is_told(tmp_path):
    """So that an error about memory names it."""
    (tmp_path / "2_games").mkdir()
    for number in range(600):
        (tmp_path / "2_games" / f"{number}.csv").touch()
    told = ThreadNotes()
    told.register()
    find(tmp_path, {})
    assert told.read() == {"worker 1": f"{tmp_path}/2_games/99.csv"}
