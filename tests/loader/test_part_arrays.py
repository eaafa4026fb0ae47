"""Rows and windows of a part, value for value and in little memory."""

import pickle

import numpy as np
import pytest

from stages.core import arrays, bits
from stages.core.errors import ExpectedError
from stages.core.files import atomic_dir
from stages.loader import Adaptive, PartArrays, Settings, batches
from stages.loader.form import Form
from stages.loader.order import Permutation
from tests.helpers.loader_parts import AHEAD, N_ROWS, WINDOW, flat, rows_of, run_script, write_part


@pytest.fixture
def folder(tmp_path):
    return write_part(tmp_path / "toy", starts=np.arange(0, N_ROWS - WINDOW + 1, 3))


def test_rows_carry_all_their_fields(folder):
    """Features, labels, masks by default, keys when named, each of the same row."""
    with batches(folder, "train", Settings(shuffle_seed=1)) as stream:
        batch = next(stream)
    assert sorted(batch) == ["X", "label_kind", "mask_kind"]
    fields = ("X", "label_kind", "mask_kind", "row_in_unit", "name")
    with batches(folder, "train", Settings(batch_size=33, shuffle_seed=1, fields=fields)) as stream:
        for batch in stream:
            row = batch["row_in_unit"]
            assert np.array_equal(batch["X"], (row[:, None] + [0, 0.5]).astype(np.float32))
            assert np.array_equal(batch["label_kind"], row % 3)
            assert np.array_equal(batch["mask_kind"], row[:, None] % [2, 3] == 0)
            assert batch["name"].tolist() == [str(i).encode() for i in row]
            assert all(values.flags.writeable and values.flags.aligned for values in batch.values())


def test_windows_hold_consecutive_rows(folder):
    """Of each field asked for."""
    settings = Settings(batch_size=50, shuffle_seed=3, window="X", fields=("X", "row_in_unit"))
    firsts = []
    with batches(folder, "train", settings) as stream:
        for batch in stream:
            first = batch["row_in_unit"][:, :1]
            assert batch["X"].shape[1:] == (WINDOW, 2)
            assert np.array_equal(batch["row_in_unit"], first + np.arange(WINDOW))
            assert np.array_equal(batch["X"][:, :, 0], batch["row_in_unit"])
            firsts += first[:, 0].tolist()
    assert sorted(firsts) == list(range(0, N_ROWS - WINDOW + 1, 3))
    assert firsts != sorted(firsts)


def test_windows_come_with_the_rows_ahead_if_asked_for(tmp_path):
    """Each field asked for, and none behind the part; whole folders agree on it, or are refused."""
    starts = np.arange(0, N_ROWS - WINDOW - AHEAD + 1)
    folder = write_part(tmp_path / "a", starts=starts)
    settings = Settings(batch_size=50, window="X", fields=("X", "row_in_unit"), ahead=True)
    with batches(folder, "train", settings) as stream:
        rows = np.concatenate([batch["row_in_unit"] for batch in stream])
    assert np.array_equal(rows, starts[:, None] + np.arange(WINDOW + AHEAD))
    with batches(folder, "train", settings, ahead=False) as stream:
        assert np.array_equal(rows[:50, :WINDOW], next(stream)["row_in_unit"])
    other = write_part(tmp_path / "b", starts=starts)
    (other / "stats.json").write_text('{"windows": {"X": {"window": 7, "ahead": 1}}}')
    with pytest.raises(ExpectedError, match="rows of a sample is 8, expected 9"):
        batches([folder, other], "train", settings)


def test_rows_ahead_that_split_did_not_keep_are_refused(tmp_path):
    """They would be of another segment or part, or not there."""
    folder = write_part(tmp_path, starts=[0, 3])
    (folder / "stats.json").write_text('{"windows": {"X": {"window": 7, "ahead": 0}}}')
    with pytest.raises(ExpectedError, match=r"windows of 'X' keep 0 rows ahead, .* set split\.windows\.X\.ahead"):
        batches(folder, "train", window="X", ahead=True)
    with pytest.raises(ExpectedError, match="loader: ahead is True, expected False without window"):
        batches(folder, "train", ahead=True)


@pytest.mark.parametrize("kept_mb", [0, 64])
def test_giving_pages_back_changes_no_value(folder, kept_mb, monkeypatch):
    """Neither does reading in small pieces."""
    monkeypatch.setattr("stages.loader.mapped_file.KEPT_MB", kept_mb)
    monkeypatch.setattr("stages.loader.mapped_file.CHUNK_BYTES", 7 << 20)
    source = PartArrays(folder, "train", ("X", "row_in_unit"))
    rows = Permutation(N_ROWS, 1, 1).at(np.arange(N_ROWS))
    assert np.array_equal(source.read(rows)["X"][:, 0], rows)
    assert np.array_equal(source.read(rows)["row_in_unit"], rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fields": ("Y",)}, r"toy: no field 'Y' in part 'train', expected some of X, label_kind"),
        ({"window": "label_kind"}, r"starts_label_kind_train.npy: not found, expected the windows"),
        ({"fields": ()}, r"fields is \(\), expected at least one, or None"),
        ({"batch_size": 0}, r"batch_size is 0, expected at least 1"),
        ({"shard": (2, 2)}, r"shard is \(2, 2\), expected"),
        ({"remainder": "cut"}, r"remainder is 'cut', expected one of \('drop', 'pad', 'keep'\), or None"),
        ({"shard": (0, 4), "batch_size": 3}, r"batch_size is 3 for 4 ranks, .* expected at least a sample for each"),
        ({"remainder": "drop", "batch_size": 10**6}, r"part 'train' has \d+ samples an epoch, .* leaves no batch"),
        ({"shard": (0, 2), "adaptive": Adaptive(8, 64)}, r"adaptive with 2 ranks .* expected one rank"),
    ],
)
def test_wrong_settings_are_named(folder, settings, message):
    with pytest.raises(ExpectedError, match=message):
        batches(folder, "train", Settings(**settings))


def packed_part(folder):
    """Add boards of 3 x 5 bits, stored in 2 bytes a row, and return them."""
    boards = np.random.default_rng(1).integers(0, 2, (N_ROWS, 3, 5)).astype(np.uint8)
    np.save(folder / "board_train.npy", bits.pack(boards))
    (folder / "packed.json").write_text('{"board": [3, 5], "other": [9]}')
    return boards


def test_fields_of_bits_are_unpacked(folder):
    """Beside those that are not; as rows and as windows; or given as they are."""
    boards = packed_part(folder)
    source = PartArrays(folder, "train", ("board", "X"))
    rows = Permutation(N_ROWS, 1, 1).at(np.arange(N_ROWS))
    batch = source.read(rows)
    assert batch["board"].dtype == np.uint8
    assert np.array_equal(batch["board"], boards[rows])
    assert np.array_equal(batch["X"][:, 0], rows)
    assert source.layout == {"board": ("uint8", (3, 5)), "X": ("float32", (2,))}
    windows = PartArrays(folder, "train", ("board",), "X").read(np.array([2]))["board"]
    assert np.array_equal(windows, boards[None, 6 : 6 + WINDOW])
    with batches(folder, "train", packed=True) as stream:
        assert np.array_equal(next(stream)["board"], bits.pack(boards[:64]))
    assert pickle.loads(pickle.dumps(PartArrays(folder, "train", form=Form(packed=True)))).read(rows)[
        "board"
    ].shape == (N_ROWS, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"board": [3, 6]}', r"packed.json: board is uint8 \(2,\), expected uint8 \(3,\) for the bits of \(3, 6\)"),
        ('{"X": [9]}', r"packed.json: X is float32 \(2,\), expected uint8 \(2,\)"),
        ('{"board": 4}', "packed.json: no shapes of fields"),
        ("[]", "packed.json: no shapes of fields"),
        ('{"board', "packed.json: no shapes of fields"),
    ],
)
def test_wrong_shapes_of_bits_are_refused(folder, text, message):
    """Before the first batch."""
    packed_part(folder)
    (folder / "packed.json").write_text(text)
    with pytest.raises(arrays.DamagedFile, match=message):
        batches(folder, "train")


def test_an_unknown_part_and_unequal_files_are_refused(folder):
    """Before the first batch."""
    write_part(folder, part="test")
    (folder / "X_test.npy").write_bytes(b"")
    with pytest.raises(arrays.DamagedFile, match=r"X_test.npy: not a .npy file"):
        batches(folder, "test")
    with pytest.raises(ExpectedError, match="no arrays of part 'trian'"):
        batches(folder, "trian")
    np.save(folder / "X_train.npy", np.zeros((N_ROWS - 1, 2), np.float32))
    with pytest.raises(arrays.DamagedFile, match=f"label_kind has {N_ROWS} rows, expected {N_ROWS - 1} as X"):
        batches(folder, "train")


def test_a_source_travels_between_processes(folder):
    """It opens its files anew: a mapping cannot be sent."""
    source = pickle.loads(pickle.dumps(PartArrays(folder, "train", ("X",), "X")))
    assert np.array_equal(source.read(np.array([2]))["X"][0, :, 0], np.arange(6, 6 + WINDOW))


def test_the_arrays_stay_whole_when_the_folder_is_replaced(folder, tmp_path):
    """A run of the pipeline beside the trainer."""
    with batches(folder, "train", Settings(batch_size=10)) as stream:
        next(stream)
        with atomic_dir(folder) as new:
            write_part(new, n_rows=5)
        assert flat(rows_of(stream)) == list(range(10, N_ROWS))


def test_every_array_of_a_dataset_is_streamed(finished):
    """What split wrote, value for value."""
    folder = finished / "data/processed/splendor"
    with batches(
        folder, "val", Settings(batch_size=50, fields=("X", "label_noble", "mask_noble", "group_id"))
    ) as stream:
        parts = list(stream)
    assert np.array_equal(np.concatenate([part["X"] for part in parts]), np.load(folder / "X_val.npy"))
    for name, file in {"label_noble": "labels", "mask_noble": "masks", "group_id": "keys"}.items():
        expected = np.load(folder / f"{file}_val.npz")[name.split("_", 1)[1] if file != "keys" else name]
        assert np.array_equal(np.concatenate([part[name] for part in parts]), expected)


MEASURE = """
    from stages.runtime import memory
    before = memory.usage().pss_mb
    peak = 0
    with batches(folder, "train", Settings(batch_size=256, shuffle_seed=1, prefetch=2)) as stream:
        for n, batch in enumerate(stream):
            if n % 20 == 0:
                peak = max(peak, memory.usage().pss_mb)
    print(peak - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    """A shuffled pass over 400 MB keeps within the batches and the pages mapped for one of them."""
    folder = tmp_path / "large"
    folder.mkdir()
    with arrays.npy_sink(folder / "X_train.npy", np.dtype(np.float32), (100_000, 1000)) as sink:
        for _ in range(100):
            sink.append(np.ones((1000, 1000), np.float32))
    process = run_script(MEASURE, folder, tmp_path)
    grown_mb = float(process.communicate(timeout=120)[0])
    assert grown_mb < 40


@pytest.mark.parametrize("window", [None, "X"])
def test_samples_are_had_by_number(tmp_path, window):
    """One, several, a slice, a mask; fields of bits unpacked; windows too."""
    folder = write_part(tmp_path / "toy", starts=np.arange(0, N_ROWS - WINDOW + 1, 3))
    packed_part(folder)
    source = PartArrays(folder, "train", ("X", "board"), window)
    every = source.read(np.arange(len(source)))
    for which in (7, -1, np.int64(3), np.array(3)):
        one = source[which]
        assert all(np.array_equal(one[name], every[name][int(which)]) for name in ("X", "board"))
    of_half = np.arange(len(source)) % 2 == 0
    for which in ([3, 5], [-1, 0], slice(10, 20), slice(None, None, -50), of_half, np.array([], int)):
        for name, values in source[which].items():
            assert np.array_equal(values, every[name][which])
    one, two = source.__getitems__([3, 5])
    assert np.array_equal(two["X"], every["X"][5])
    assert one["X"].shape == every["X"].shape[1:]


@pytest.mark.parametrize("which", [N_ROWS, -N_ROWS - 1, [0, N_ROWS], [0, -N_ROWS - 1], np.ones(3, bool)])
def test_a_sample_that_is_not_there_is_an_index_error(folder, which):
    with pytest.raises(IndexError):
        PartArrays(folder, "train")[which]


def test_iterating_ends(folder):
    """A sequence is iterated by number until an IndexError."""
    assert sum(1 for _ in PartArrays(folder, "train", ("X",))) == N_ROWS
