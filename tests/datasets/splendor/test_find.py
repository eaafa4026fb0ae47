"""Which files of a folder of games are units."""

from stages.datasets.splendor.find import MOST_BYTES, find


def test_a_file_far_too_large_for_a_game_is_a_bad_unit(tmp_path):
    """It is named with its size, and not read."""
    (tmp_path / "2_games").mkdir()
    for name, n_bytes in (("1.csv", MOST_BYTES), ("2.csv", MOST_BYTES + 1)):
        with (tmp_path / "2_games" / name).open("wb") as file:
            file.truncate(n_bytes)
    good, bad = find(tmp_path, {})
    assert good.digest
    assert (bad.digest, bad.context) == (
        "",
        {"bad": "2_games/2.csv: 8,388,609 bytes, expected at most 8,388,608; correct or remove the file"},
    )
