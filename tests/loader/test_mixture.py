"""Several folders as one source: proportions, passes, ranges, resumption, refusals."""

import json
import pickle
import signal
from collections import Counter

import numpy as np
import pytest

from stages.core import arrays
from stages.core.errors import ExpectedError
from stages.loader import Settings, Share, batches, open_source
from stages.loader.order import interleaved
from tests.helpers.loader_parts import WINDOW, flat, resumable, rows_of, run_script, write_part

SIZES = {"old": 70, "new": 110}
OFFSET = 1000  # of the rows of the second folder


@pytest.fixture
def folders(tmp_path):
    """Return two folders of unequal size whose X says which row of which folder a sample is."""
    made = []
    for number, (name, n_rows) in enumerate(SIZES.items()):
        folder = write_part(tmp_path / name, n_rows, starts=np.arange(0, n_rows - WINDOW + 1))
        np.save(folder / "X_train.npy", np.load(folder / "X_train.npy") + np.float32(OFFSET * number))
        made.append(folder)
    return made


def shares(folders, weights=(3, 1), rows=(None, None)):
    return [Share(*each) for each in zip(folders, weights, rows, strict=True)]


def epochs_of(folders, n, **settings):
    """Return the samples of each of n epochs."""
    return [
        flat(rows_of(batches(folders, "train", Settings(**{"batch_size": 16, **settings}, epoch=epoch))))
        for epoch in range(n)
    ]


@pytest.mark.parametrize("seed", [None, 5])
def test_without_weights_an_epoch_is_everything_once(folders, seed):
    """Of folders given by name, evenly mixed in each stretch of it; each epoch has an order of its own if shuffled."""
    first, second = epochs_of(folders, 2, shuffle_seed=seed)
    assert sorted(first) == sorted(second) == [*range(70), *range(OFFSET, OFFSET + 110)]
    assert (first == second) == (seed is None)
    n_old = [sum(row < OFFSET for row in first[start : start + 60]) for start in range(0, 180, 60)]
    assert max(n_old) - min(n_old) <= (1 if seed is None else 15)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize(
    ("weights", "epoch_samples", "takes"),
    [
        ((3, 1), None, (70, 23)),
        ((0.1, 0.2), None, (55, 110)),
        ((0.3, 0.1), 40, (30, 10)),
        ((1, 1), 33, (16, 16)),
        ((1, 3), 1000, (250, 750)),
    ],
)
def test_proportions_are_exact_and_passes_whole(folders, seed, weights, epoch_samples, takes):
    """After n samples of a folder each one came floor(n / size) times or once more, wherever epochs end.

    Unless told, epochs take one folder whole: 70 are 3/4 of 93.3, and 110 are 2/3 of 165.
    """
    epochs = epochs_of(shares(folders, weights), 7, shuffle_seed=seed, epoch_samples=epoch_samples)
    seen = Counter()
    for n, epoch in enumerate(epochs, 1):
        assert (sum(row < OFFSET for row in epoch), sum(row >= OFFSET for row in epoch)) == takes
        seen.update(epoch)
        for rows, size, taken in zip((range(70), range(OFFSET, OFFSET + 110)), SIZES.values(), takes, strict=True):
            counts = {seen[row] for row in rows}
            assert counts <= {n * taken // size, -(-n * taken // size)}
    assert seed is None or epochs[0] != epochs[1]


def test_folders_are_interleaved_evenly():
    """Two sources to within one sample of their proportion at every position; the slots of each in turn."""
    sources, slots = interleaved(np.arange(8), np.array([6, 2]))
    assert sources.tolist() == [1, 0, 0, 0, 1, 0, 0, 0]
    assert interleaved(np.arange(8), np.array([4, 2, 2]))[0].tolist() == [2, 0, 1, 0, 2, 0, 1, 0]
    for takes in ([1], [37, 91], [5, 1, 9, 30]):
        n = sum(takes)
        sources, slots = interleaved(np.arange(n), np.array(takes))
        for source, taken in enumerate(takes):
            assert slots[sources == source].tolist() == list(range(taken))
        first = np.cumsum(sources == 0)
        assert np.abs(first - np.arange(1, n + 1) * takes[0] / n).max() < 1
        assert interleaved(np.array([n - 1, 0]), np.array(takes))[0].tolist() == sources[[-1, 0]].tolist()


def test_a_range_of_a_folder_is_taken(folders):
    """As fractions or as counts; of a single folder too, also with epochs that are shorter than it."""
    given = [Share(folders[0], rows=(0.5, 1.0)), Share(folders[1], rows=(10, np.int64(12)))]
    assert sorted(epochs_of(given, 1)[0]) == [*range(35, 70), OFFSET + 10, OFFSET + 11]
    assert epochs_of(Share(folders[0], rows=(0.0, 0.1)), 1) == [list(range(7))]
    parts = epochs_of(folders[0], 4, shuffle_seed=1, epoch_samples=35)
    assert sorted(parts[0] + parts[1]) == sorted(parts[2] + parts[3]) == list(range(70))
    windows = epochs_of([Share(folders[0], rows=(60, 64))], 1, window="X", fields=("X",))
    assert windows == [[60, 61, 62, 63]]


def test_each_row_keeps_its_own_fields(folders):
    """Also where a batch holds rows of both folders."""
    fields = ("X", "label_kind", "row_in_unit")
    with batches(shares(folders), "train", batch_size=40, shuffle_seed=1, fields=fields) as stream:
        for batch in stream:
            row = batch["X"][:, 0].astype(int) % OFFSET
            assert np.array_equal(row, batch["row_in_unit"])
            assert np.array_equal(row % 3, batch["label_kind"])
            assert batch["label_kind"].dtype == np.int16


@pytest.mark.parametrize("seed", [None, 5])
def test_ranks_share_a_mixture(folders, seed):
    """Each takes its slice of every batch, and together they get each sample of an epoch once."""
    whole = epochs_of(shares(folders), 3, shuffle_seed=seed, batch_size=30)
    parts = [
        epochs_of(shares(folders), 3, shuffle_seed=seed, batch_size=30, shard=(i, 3), remainder="keep")
        for i in range(3)
    ]
    for epoch, expected in enumerate(whole):
        assert sorted(flat(part[epoch] for part in parts)) == sorted(expected)
        assert parts[1][epoch][:10] == expected[10:20]


def test_a_sample_that_comes_again_gets_another_random_number(folders):
    """Within one long epoch too; the same one in whatever batch."""

    def numbers(size):
        settings = Settings(batch_size=size, shuffle_seed=1, epoch_samples=360, transform=lambda b, r: {**b, "r": r})
        with batches(shares(folders, (1, 1)), "train", settings) as stream:
            return [pair for batch in stream for pair in zip(batch["X"][:, 0], batch["r"].tolist(), strict=True)]

    given = numbers(16)
    assert given == numbers(50)
    assert len({number for _, number in given}) == len(given) == 360


@pytest.mark.parametrize("seed", [None, 5])
def test_a_mixture_resumes_at_every_position(folders, seed):
    """From what `state` gave, through JSON, over three epochs; with other sizes of batches."""
    settings = Settings(batch_size=1, shuffle_seed=seed, epochs=3, epoch_samples=20)
    given = shares(folders)
    whole = flat(rows_of(batches(given, "train", settings)))
    assert len(whole) == 60
    states = []
    with batches(given, "train", settings) as stream:
        states += [json.loads(json.dumps(stream.state())) for _ in stream]
    for n, state in enumerate(states, 1):
        rest = batches(given, "train", settings, batch_size=1 + n % 9, resume_from=state)
        assert flat(rows_of(rest)) == whole[n:]


def test_a_killed_mixture_goes_on_as_if_undisturbed(folders, tmp_path):
    """By SIGKILL, in another process; what follows is the rest from the last checkpoint on."""
    code = """
        from stages.loader import Share
        settings = settings.__class__(**{**vars(settings), "batch_size": 10})
        folder = [Share(folder, 3), Share(sys.argv[3], 1, (0.5, 1.0))]
        print(json.dumps(run(kill=int(sys.argv[4]))))
    """
    given = [Share(folders[0], 3), Share(folders[1], 1, (0.5, 1.0))]
    whole = rows_of(batches(given, "train", Settings(batch_size=10, shuffle_seed=5, epochs=2, window="X")))
    assert len(whole) == 18
    killed = run_script(code, folders[0], tmp_path / "kept", folders[1], 14)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    process = run_script(code, folders[0], tmp_path / "kept", folders[1], -1)
    assert json.loads(process.communicate(timeout=60)[0]) == whole[12:]


def test_a_checkpoint_of_another_mixture_is_refused(folders, tmp_path):
    """Another weight, range, length or number of folders, or other rows in one of them."""

    def start(given, **settings):
        with batches(given, "train", resumable(tmp_path, **settings)) as stream:
            return [next(stream) for _ in range(3)]

    start(shares(folders))
    start(shares(folders))
    for given in (shares(folders, (2, 1)), shares(folders, rows=(None, (0.0, 0.9))), folders, folders[0]):
        with pytest.raises(
            ExpectedError, match=r"checkpoint is of mixture \[.*'weight': 3\}, .*expected .*; use anoth"
        ):
            start(given)
    with pytest.raises(ExpectedError, match="checkpoint is of mixture"):
        start(shares(folders), epoch_samples=50)
    np.save(folders[1] / "X_train.npy", np.load(folders[1] / "X_train.npy") + 1)
    with pytest.raises(ExpectedError, match=r"checkpoint is of source 2/X_train.npy '"):
        start(shares(folders))


def test_unchanged_folders_are_not_hashed_again(folders, tmp_path, monkeypatch):
    """Resuming is immediate for a mixture too."""
    for _ in range(2):
        with batches(folders, "train", resumable(tmp_path)) as stream:
            assert len([next(stream), next(stream)]) == 2
        monkeypatch.setattr("stages.loader.mapped_file.MappedFile.sha256", lambda _: pytest.fail("hashed"))


def normalizer(folder, mean):
    names, is_normalised = np.array(["a", "b"]), np.array([True, True])
    members = {"names": names, "mean": np.array(mean), "scale": np.ones(2), "is_normalised": is_normalised}
    arrays.save_npz(folder / "normalizer.npz", {name: [array] for name, array in members.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: np.save(f / "X_train.npy", np.zeros((110, 2))),
            r"field 'X' is 'float64 \(2,\)', expected 'float32 ",
        ),
        (lambda f: np.save(f / "X_train.npy", np.zeros((110, 3), "f4")), r"field 'X' is 'float32 \(3,\)', expected"),
        (lambda f: np.save(f / "Y_train.npy", np.zeros(110)), r"field 'Y' is 'float64 \(\)', expected 'nothing' as in"),
        (lambda f: (f / "X_train.npy").unlink(), r"field 'X' is 'nothing', expected 'float32 \(2,\)' as in"),
        (lambda f: normalizer(f, [0.0, 2.0]), r"'mean' of normalizer.npz is \[0.0, 2.0\], expected \[0.0, 1.0\] as in"),
        (lambda f: (f / "normalizer.npz").unlink(), r"of normalizer.npz is 'nothing', expected"),
        (lambda f: (f / "label_mappings.json").write_text('{"kind": {"b": 0}}'), r"'kind' of label_mappings.json is"),
    ],
)
def test_folders_that_do_not_fit_are_refused(folders, change, message):
    """Before the first batch; both folders are named, and what differs."""
    for folder in folders:
        normalizer(folder, [0.0, 1.0])
        (folder / "label_mappings.json").write_text('{"kind": {"a": 0}}')
    batches(folders, "train").close()
    change(folders[1])
    with pytest.raises(ExpectedError, match=rf"new: .*{message}.*") as caught:
        batches(folders, "train")
    assert f"as in {folders[0]}; mix folders" in str(caught.value)


def test_windows_of_different_lengths_are_refused(folders):
    (folders[1] / "stats.json").write_text('{"windows": {"X": {"window": 6}}}')
    with pytest.raises(ExpectedError, match=r"new: rows of a sample is 6, expected 7 as in .*old"):
        batches(folders, "train", window="X")


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ((2, None), {}, "new: no weight, expected one as others have it"),
        ((1, 1000), {"epoch_samples": 900}, "old: an epoch of 900 samples has none of it"),
        ((1, 1), {"epoch_samples": 0}, "epoch_samples is 0, expected at least 1"),
    ],
)
def test_wrong_weights_are_named(folders, given, settings, message):
    with pytest.raises(ExpectedError, match=message):
        batches(shares(folders, given), "train", **settings)


@pytest.mark.parametrize("rows", [(0.5, 0.5), (0.0, 1.1), (5, 71), (-1, 5), (0.0, 0.01)])
def test_wrong_ranges_are_named(folders, rows):
    with pytest.raises(ExpectedError, match=r"old: rows .*70 samples"):
        batches([Share(folders[0], rows=rows)], "train")


def test_a_weight_is_a_positive_number_and_a_mixture_has_folders():
    for weight in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ExpectedError, match=r"weight is .*, expected more than 0"):
            Share("x", weight)
    with pytest.raises(ExpectedError, match="no folder, expected at least one"):
        batches([], "train")


def test_a_mixture_travels_between_processes(folders):
    """As to the workers of a torch DataLoader."""
    source = open_source(shares(folders), "train", Settings(shuffle_seed=1))
    again = pickle.loads(pickle.dumps(source))
    samples = source.order(1, 3).at(np.arange(len(source)))
    assert np.array_equal(again.read(samples)["X"], source.read(samples)["X"])


def test_small_files_of_all_folders_together_stay_mapped(tmp_path):
    """The bound is for the stream, not for each folder: two files of 130 MB are more than 256."""
    for name in ("old", "new"):
        with arrays.npy_sink(_made(tmp_path / name) / "X_train.npy", np.dtype(np.uint8), (130, 1 << 20)) as sink:
            for _ in range(130):
                sink.append(np.zeros((1, 1 << 20), np.uint8))
    assert [file.keeps for file in open_source(tmp_path / "old", "train", Settings()).files] == [True]
    both = open_source([tmp_path / "old", tmp_path / "new"], "train", Settings())
    assert [file.keeps for file in both.files] == [True, False]


def _made(folder):
    folder.mkdir()
    return folder


def test_a_rank_that_keeps_nothing_of_the_last_batch_gets_the_fields(folders):
    kept = {"batch_size": 179, "remainder": "keep", "shard": (0, 2)}
    with batches(shares(folders, (None, None)), "train", **kept) as stream:
        *_, last = stream
    assert last["X"].shape == (0, 2)
