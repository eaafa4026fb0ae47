"""What a generation learns from: which arrays, in which shares, how long."""

import json
import os

import pytest

from stages.core.errors import ExpectedError
from stages.core.files import json_text, write_text
from stages.generations.learn import _mixture
from stages.generations.places import Generation, digest
from stages.generations.settings import Mix


def generations(n, n_rows=1000):
    """Make the arrays of some generations, as far as the mixture looks at them; return the newest."""
    pool = {}
    for one in (Generation("hex", number) for number in range(1, n + 1)):
        write_text(one.arrays / "stats.json", json_text({"rows": {"train": n_rows, "val": 1, "test": 1}}))
        pool[str(one.arrays)] = digest(one.arrays / "stats.json")
        write_text(one.pool, json_text(pool))
    return Generation("hex", n)


def mixture(newest, **mix):
    return _mixture(Mix(**mix), newest, newest.work / "learn")


def seen(newest, path):
    """Return a path of the recipe as seen from the repository."""
    return os.path.normpath(newest.work / "learn" / path)


def shares(newest, **mix):
    return {seen(newest, one["folder"]): one["weight"] for one in mixture(newest, **mix)["sources"]}


def test_the_first_generation_learns_from_the_base_and_itself(here):
    mix, newest = {"new_share": 0.5, "base_share": 0.25, "passes": 2}, generations(1)
    assert shares(newest, **mix) == {"data/processed/hex": 0.5, "data/generations/hex-g001/arrays": 0.5}
    found = mixture(newest, **mix)
    assert (found["samples"], found["epochs"]) == (4000, None)
    assert seen(newest, found["init_from"]) == "data/models/hex"


def test_a_later_one_also_from_those_between_in_equal_shares(here):
    newest = generations(4)
    expected = {"data/processed/hex": 0.2} | {
        f"data/generations/hex-g00{n}/arrays": share for n, share in ((2, 0.15), (3, 0.15), (4, 0.5))
    }
    assert shares(newest, window=3, new_share=0.5, base_share=0.2) == pytest.approx(expected)
    assert seen(newest, mixture(newest)["init_from"]) == "data/generations/hex-g003/best"


def test_what_has_no_share_is_left_out_and_rows_are_of_the_base(here):
    newest = generations(2)
    assert set(shares(newest, new_share=1.0, base_share=0.0)) == {"data/generations/hex-g002/arrays"}
    both = {"data/processed/hex", "data/generations/hex-g002/arrays"}
    assert set(shares(newest, new_share=0.7, base_share=0.3)) == both  # what is left of 1 is 5.6e-17
    rows = [one.get("rows") for one in mixture(newest, rows=[0.5, 1.0])["sources"]]
    assert rows == [[0.5, 1.0], None, None]


def test_arrays_that_are_not_those_of_the_pool_are_refused(here):
    newest = generations(2)
    pool = json.loads(newest.pool.read_bytes())
    write_text(newest.pool, json_text({**pool, next(iter(pool)): "0" * 64}))
    with pytest.raises(ExpectedError, match=r"hex-g001/arrays/stats\.json: not that of"):
        mixture(newest)
