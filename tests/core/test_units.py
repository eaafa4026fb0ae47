"""Units, their digests, manifests, and the trie that deals them into batches."""

import hashlib
import itertools
import json
import os
import random
import re
from functools import cache

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.core import manifests, paths, units
from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import Source, Unit, deal
from stages.datasets.base.raw import file_units, read_source, read_unit

N_KEYS = 30_000
ID = re.compile(r"b[01]*")
KEY_SETS = st.sets(st.text(max_size=6), max_size=40)


@cache
def bits(key):
    return f"{int(hashlib.sha256(key.encode()).hexdigest(), 16):0256b}"


def leaves(keys, batch_size, prefix=""):
    """Deal by the definition: split a bucket by its next bit while it holds too many."""
    if len(keys) <= batch_size:
        return {f"b{prefix}": sorted(keys)} if keys else {}
    found = {}
    for side in "01":
        found |= leaves([k for k in keys if bits(k)[len(prefix)] == side], batch_size, prefix + side)
    return found


def touched(before, after):
    """Return the batches of `before` that are gone or changed, and those of `after` that are new or changed."""
    return (
        [batch for batch, keys in before.items() if after.get(batch) != keys],
        [batch for batch, keys in after.items() if before.get(batch) != keys],
    )


def is_one_step(before, after):
    """Say whether one batch changed, appeared, or became two."""
    old, new = touched(before, after)
    if len(old) == len(new) == 1:
        return old == new
    return (len(old), len(new)) == (0, 1) or (
        (len(old), len(new)) == (1, 2) and all(batch.startswith(old[0]) for batch in new)
    )


@pytest.fixture(scope="module")
def many():
    keys = [f"2_games/{i}.csv" for i in range(N_KEYS)]
    # The fullest batch of a cap of 500 is exactly full under its own size.
    fullest = max(map(len, deal(keys, 500).values()))
    return keys, fullest, deal(keys, fullest)


def test_deal_keeps_fewer_keys_than_the_batch_size_together():
    assert deal(["b", "a"], 3) == {"b": ["a", "b"]}


def test_deal_keeps_exactly_batch_size_keys_together():
    assert deal(["c", "b", "a"], 3) == {"b": ["a", "b", "c"]}


def test_deal_splits_one_key_more_than_the_batch_size():
    # SHA-256 of "a" begins with ca (1...), of "b" with 3e and of "c" with 2e (00...).
    assert deal(["c", "b", "a"], 2) == {"b0": ["b", "c"], "b1": ["a"]}


def test_deal_of_nothing_is_no_batch():
    assert deal([], 5) == {}


def test_deal_with_batch_size_one_gives_every_key_its_own_batch():
    batches = deal([str(i) for i in range(300)], 1)
    assert len(batches) == 300
    assert all(len(keys) == 1 for keys in batches.values())


def test_deal_refuses_a_key_that_occurs_twice():
    with pytest.raises(ExpectedError, match=r"unit 'x' was found twice"):
        deal(["x", "y", "x"], 2)


def test_deal_of_many_keys_keeps_the_cap_and_puts_every_key_into_one_batch(many):
    keys, cap, batches = many
    assert max(map(len, batches.values())) == cap <= 500
    assert sorted(key for batch in batches.values() for key in batch) == sorted(keys)


def test_deal_of_many_keys_gives_ids_that_are_prefix_free_and_complete(many):
    _, _, batches = many
    ids = sorted(batches)
    assert not any(after.startswith(before) for before, after in itertools.pairwise(ids))
    assert sum(2.0 ** -(len(batch) - 1) for batch in ids) == 1.0
    assert all(bits(keys[0]).startswith(batch[1:]) for batch, keys in batches.items())


def test_adding_any_key_touches_one_batch(many):
    keys, cap, batches = many
    sizes = set()
    for key in ["new", "4_games/1.csv", "\u00e9", "x" * 300]:
        after = deal([*keys, key], cap)
        assert is_one_step(batches, after)
        sizes.add(len(after))
    assert sizes <= {len(batches), len(batches) + 1}


def test_adding_a_key_to_a_full_batch_replaces_it_by_two(many):
    keys, cap, batches = many
    full = next(batch for batch, members in batches.items() if len(members) == cap)
    key = next(key for key in map(str, range(10**6)) if bits(key).startswith(full[1:]))
    old, new = touched(batches, deal([*keys, key], cap))
    assert old == [full]
    assert len(new) == 2
    assert all(batch.startswith(full) for batch in new)


def test_removing_any_key_touches_one_batch(many):
    keys, cap, batches = many
    for index in random.Random(1).sample(range(N_KEYS), 4):
        assert is_one_step(deal(keys[:index] + keys[index + 1 :], cap), batches)


def test_deal_of_many_keys_does_not_depend_on_their_order(many):
    keys, cap, batches = many
    shuffled = random.Random(2).sample(keys, N_KEYS)
    assert list(deal(shuffled, cap).items()) == list(batches.items())


@pytest.mark.slow
@given(KEY_SETS, st.integers(1, 6), st.randoms())
def test_deal_follows_the_definition_in_any_order(keys, batch_size, rng):
    shuffled = rng.sample(sorted(keys), len(keys))
    assert deal(shuffled, batch_size) == leaves(keys, batch_size)


@given(KEY_SETS, st.text(max_size=6), st.integers(1, 6))
def test_one_key_more_or_less_is_one_step(keys, key, batch_size):
    without, within = deal(keys - {key}, batch_size), deal(keys | {key}, batch_size)
    assert is_one_step(without, within)


@settings(max_examples=20)
@given(st.sets(st.integers(), min_size=1, max_size=120), st.integers(1, 3))
def test_ids_are_text_in_the_yaml_of_both_readers(numbers, batch_size):
    batches = deal(map(str, numbers), batch_size)
    assert all(ID.fullmatch(batch) for batch in batches)
    text = manifests.batch_list_text("splendor", batches)
    for content in (yaml.safe_load(text), YAML(typ="safe").load(text)):
        assert content["batches"] == {f"splendor-{b}": {"dataset": "splendor", "batch": b} for b in sorted(batches)}
        assert all(type(entry["batch"]) is str for entry in content["batches"].values())


def test_a_larger_limit_only_adds_units():
    found = [Unit(str(i), (), "") for i in range(50)]
    chosen = [units.lowest_hashes(found, limit) for limit in (1, 7, 49, 50, 80)]
    for fewer, more in itertools.pairwise(chosen):
        assert set(fewer) <= set(more)
    assert [len(some) for some in chosen] == [1, 7, 49, 50, 50]


def test_a_limit_does_not_depend_on_the_order_and_none_takes_all():
    found = [Unit(str(i), (), "") for i in range(50)]
    assert units.lowest_hashes(found, 9) == units.lowest_hashes(found[::-1], 9)
    assert units.lowest_hashes(found, None) == found


def test_file_units_digest_the_bytes_and_are_sorted(tmp_path):
    names = [f"{i}.csv" for i in range(600)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode() * 3)
    found = file_units(tmp_path, names[::-1])
    assert [unit.key for unit in found] == sorted(names)
    assert all(unit.digest == hashlib.sha256(unit.key.encode() * 3).hexdigest() for unit in found)
    assert all(unit.sources == (Source(unit.key),) for unit in found)


@pytest.fixture
def odd_files(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "fifo.csv")
    (tmp_path / "dangling.csv").symlink_to("nowhere")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("folder.csv", "not a regular file"),
        ("fifo.csv", "not a regular file"),
        ("dangling.csv", "not readable"),
        ("absent.csv", "not readable"),
    ],
)
def test_what_is_no_readable_file_is_a_bad_unit_with_an_empty_digest(odd_files, name, why):
    assert file_units(odd_files, [name])[0].digest == ""
    with pytest.raises(BadUnit, match=f"{name}: {why}"):
        read_source(odd_files, Source(name))


def test_read_source_gives_the_bytes_of_the_range(tmp_path):
    (tmp_path / "f").write_bytes(bytes(range(100)))
    assert read_source(tmp_path, Source("f")) == bytes(range(100))
    assert read_source(tmp_path, Source("f", 10, 20)) == bytes(range(10, 20))
    assert read_source(tmp_path, Source("f", 90)) == bytes(range(90, 100))
    assert read_source(tmp_path, Source("f", 5, 5)) == b""


def test_read_unit_joins_its_sources(tmp_path):
    (tmp_path / "f").write_bytes(b"abcdef")
    unit = Unit("u", (Source("f", 4), Source("f", 0, 2)), hashlib.sha256(b"efab").hexdigest())
    assert read_unit(tmp_path, unit) == b"efab"


@pytest.mark.parametrize("content", [b"abcdeg", b"abcde", b"abcdef ", b""])
def test_read_unit_refuses_bytes_that_changed_since_discover(tmp_path, content):
    (tmp_path / "f").write_bytes(b"abcdef")
    unit = file_units(tmp_path, ["f"])[0]
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(ExpectedError, match=r"f: changed since discover") as caught:
        read_unit(tmp_path, unit)
    assert not isinstance(caught.value, BadUnit)


def test_read_unit_refuses_a_file_that_vanished_since_discover(tmp_path):
    """It is no bad unit: left out under max_bad_units, the NPZ would not be a function of the manifest."""
    (tmp_path / "f").write_bytes(b"abcdef")
    unit = file_units(tmp_path, ["f"])[0]
    (tmp_path / "f").unlink()
    with pytest.raises(ExpectedError, match=r"f: ") as caught:
        read_unit(tmp_path, unit)
    assert not isinstance(caught.value, BadUnit)


def write_manifest(content):
    path = paths.manifest("splendor", "b")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@given(
    st.lists(
        st.builds(
            Unit,
            st.text(min_size=1),
            st.lists(st.builds(Source, st.just("a/\u00e9 .csv"), st.integers(0), st.none() | st.integers(0))).map(
                tuple
            ),
            st.just("0f" * 32) | st.just(""),
        )
    )
)
@settings(max_examples=60)
def test_a_manifest_reads_back_as_it_was_written(tmp_path_factory, found):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.getbasetemp())
        write_manifest(manifests.manifest_text("splendor", "b", found))
        assert manifests.read_manifest("splendor", "b") == found


def test_a_manifest_has_one_unit_a_line():
    found = [Unit(key, (Source(key),), "") for key in ("\u0436.csv", "line\nbreak.csv")]
    lines = manifests.manifest_text("splendor", "b", found).splitlines()
    assert [key in line for key, line in zip(("\u0436.csv", "line\\nbreak.csv"), lines[4:6], strict=True)] == [True] * 2
    assert len(lines) == 8


@pytest.mark.parametrize("path", ["/etc/passwd", "../other/1.csv", "2_games/../../1.csv"])
def test_a_manifest_that_leads_out_of_the_raw_folder_is_refused(here, path):
    write_manifest(manifests.manifest_text("splendor", "b", [Unit("k", (Source(path),), "")]))
    with pytest.raises(ExpectedError, match=r"b\.json: .*lies outside the raw folder"):
        manifests.read_manifest("splendor", "b")


UNIT_ENTRY = {"key": "k", "digest": "", "sources": [["f"]]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"units": 5}',
        b'{"units": [5]}',
        b'{"units": [{"key": "k", "digest": ""}]}',
        *(
            json.dumps({"units": [{**UNIT_ENTRY, **change}]}).encode()
            for change in (
                {"sources": None},
                {"sources": [[]]},
                {"sources": [["f", 0, 1, 2]]},
                {"sources": [[7]]},
                {"sources": "f"},
                {"sources": [["f", "0", 5]]},
                {"key": 7},
                {"digest": None},
            )
        ),
    ],
)
def test_a_malformed_manifest_is_refused(here, content):
    write_manifest(content)
    with pytest.raises(ExpectedError, match=r"b\.json: not a manifest .*run discover for splendor"):
        manifests.read_manifest("splendor", "b")


def test_a_missing_manifest_says_to_run_discover(here):
    with pytest.raises(ExpectedError, match=r"b011\.json: not found.*run discover for splendor"):
        manifests.read_manifest("splendor", "b011")


def test_the_batch_list_reads_back_and_is_empty_before_discover(here):
    assert manifests.read_batch_list("splendor") == []
    for batches in ([], ["b"], ["b00", "b01", "b1"]):
        paths.batch_list("splendor").parent.mkdir(parents=True, exist_ok=True)
        paths.batch_list("splendor").write_text(manifests.batch_list_text("splendor", reversed(batches)))
        assert manifests.read_batch_list("splendor") == batches


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"batches: 5\n",
        b"batches: {a: 5}\n",
        b"batches: {a: {dataset: splendor}}\n",
        b"batches: [",
        b"\xff",
        b"batches: \xe9\n",
        b"<<<<<<< HEAD\nbatches:\n  a: {batch: b}\n=======\nbatches:\n  a: {batch: b0}\n>>>>>>> theirs\n",
    ],
)
def test_a_malformed_batch_list_is_refused_in_one_line(here, content):
    paths.batch_list("splendor").parent.mkdir(parents=True)
    paths.batch_list("splendor").write_bytes(content)
    with pytest.raises(ExpectedError, match=r"batches\.yaml: not a batch list") as caught:
        manifests.read_batch_list("splendor")
    assert "\n" not in str(caught.value)


def test_a_file_too_large_is_a_bad_unit_that_is_not_read(tmp_path):
    """Its size is told without a read: 1 TB of holes would take an hour."""
    with (tmp_path / "f").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "g").write_bytes(b"abc")
    large, small = file_units(tmp_path, ["f", "g"], 3)
    assert (large.digest, small.digest) == ("", hashlib.sha256(b"abc").hexdigest())
    message = f"{tmp_path}/f: 1,099,511,627,776 bytes, expected at most 3; correct or remove the file"
    with pytest.raises(BadUnit, match=message):
        read_unit(tmp_path, large)
