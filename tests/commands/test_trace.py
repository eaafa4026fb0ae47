"""What `make trace` says of a row."""

import re

import numpy as np

from stages.commands import trace


def test_a_time_is_a_moment_and_the_line_is_named_once(run, arrays_of):
    folder = arrays_of("market").parents[2]
    told = run("commands.trace", "market", "train", "5", cwd=folder).stdout
    assert len(re.findall(r"\bline\b", told)) == 1
    [moment] = re.findall(r"^keys .*\btime (\S+?)(?:,|$)", told, re.MULTILINE)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", moment)
    with np.load(folder / "data/processed/market/keys_train.npz") as keys:
        assert np.datetime64(moment.removesuffix("Z"), "ns") == np.datetime64(int(keys["time"][5]), "ns")


def test_parts_of_a_second_are_kept_and_other_keys_are_as_they_are():
    assert trace.key_text("time", np.int64(1_700_000_000_250_000_000)) == "2023-11-14T22:13:20.25Z"
    assert trace.key_text("time", np.int64(1_700_000_000_000_000_000)) == "2023-11-14T22:13:20Z"
    assert trace.key_text("step", np.int64(20)) == "20"
    assert trace.key_text("name", np.bytes_(b"NQ")) == "NQ"
