"""Runs that are killed, interrupted or stopped go on at their sample, over the same arrays only."""

import json
import os
import signal
import subprocess

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.loader import Settings, batches, checkpoint
from tests.helpers.loader_parts import N_ROWS, WINDOW, flat, resumable, rows_of, run_script, write_part
from tests.helpers.waiting import until_files_get_times_after


@pytest.fixture
def folder(tmp_path):
    return write_part(tmp_path / "toy", starts=np.arange(0, N_ROWS - WINDOW + 1, 3))


def test_a_killed_run_goes_on_as_if_undisturbed(folder, tmp_path):
    """Killed by SIGKILL at every batch in turn: what follows is the undisturbed rest from the last checkpoint on."""
    code = """
        for kill in range(18):
            own = settings.__class__(**{**vars(settings), "checkpoint_dir": Path(checkpoints, str(kill))})
            settings, old = own, settings
            if os.fork() == 0:
                run(kill=kill)
            assert os.WTERMSIG(os.wait()[1]) == signal.SIGKILL
            print(json.dumps(run()), flush=True)
            settings = old
    """
    undisturbed = rows_of(batches(folder, "train", Settings(batch_size=37, shuffle_seed=5, epochs=2, window="X")))
    assert len(undisturbed) == 18
    process = run_script(code, folder, tmp_path / "checkpoints")
    lines = process.communicate(timeout=60)[0].splitlines()
    assert process.returncode == 0
    assert [json.loads(line) for line in lines] == [undisturbed[n // 3 * 3 :] for n in range(18)]


def test_ctrl_c_stops_at_once_and_leaves_a_checkpoint(folder, tmp_path):
    """While the trainer is at work on its fifth batch; four are finished."""
    code = """
        with batches(folder, "train", settings) as stream:
            for n, batch in enumerate(stream):
                if n == 4:
                    print("ready", flush=True)
                    time.sleep(60)
    """
    process = run_script(code, folder, tmp_path / "checkpoints", stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert checkpoint.newest(tmp_path / "checkpoints")["next"] == 4 * 37


def test_a_run_resumes_at_its_sample_with_other_batch_sizes(folder, tmp_path):
    """Positions count samples, not batches of a size that changes: the run once resumed at the wrong row."""
    whole = flat(rows_of(batches(folder, "train", Settings(shuffle_seed=5))))
    seen = []
    for batch_size in (10, 7, 64, 3):
        with batches(folder, "train", resumable(tmp_path, batch_size=batch_size)) as stream:
            seen += [next(stream)["X"][:, 0].astype(int).tolist() for _ in range(4)][:3]
    seen += rows_of(batches(folder, "train", resumable(tmp_path)))
    assert flat(seen) == whole
    assert rows_of(batches(folder, "train", resumable(tmp_path))) == []
    assert len(rows_of(batches(folder, "train", resumable(tmp_path, epochs=2)))) == 100
    assert len(list((tmp_path / "checkpoints").iterdir())) == checkpoint.KEPT


def test_a_trainer_can_keep_the_state_itself(folder):
    """Through JSON; it stands behind the batch in hand."""
    whole = rows_of(batches(folder, "train", Settings(batch_size=10, shuffle_seed=5)))
    with batches(folder, "train", Settings(batch_size=10, shuffle_seed=5)) as stream:
        next(stream)
        state = json.loads(json.dumps(stream.state()))
    rest = batches(folder, "train", Settings(batch_size=10, shuffle_seed=5, resume_from=state))
    assert rows_of(rest) == whole[1:]
    with pytest.raises(ExpectedError, match="does not agree with its check"):
        batches(folder, "train", Settings(shuffle_seed=5, resume_from={**state, "next": 11}))


def test_a_loop_over_epochs_resumes_in_the_right_one(folder, tmp_path):
    """A stream for each epoch, as trainers write it: what is done is skipped, what is to come is whole."""

    def epochs(n):
        return [rows_of(batches(folder, "train", resumable(tmp_path, epoch=epoch))) for epoch in range(n)]

    undisturbed = rows_of(batches(folder, "train", Settings(batch_size=10, shuffle_seed=5, epochs=3)))
    assert epochs(1) == [undisturbed[:100]]
    with batches(folder, "train", resumable(tmp_path, epoch=1)) as stream:
        assert [next(stream)["X"][:, 0].astype(int).tolist() for _ in range(4)] == undisturbed[100:104]
    assert epochs(3) == [[], undisturbed[103:200], undisturbed[200:]]


def test_windows_of_another_size_are_refused(folder, tmp_path):
    """The size is not in the arrays: the same first rows may belong to longer windows."""
    settings = Settings(window="X", checkpoint_dir=tmp_path / "checkpoints", checkpoint_frequency=1)
    with batches(folder, "train", settings) as stream:
        assert len([next(stream), next(stream)]) == 2
    (folder / "stats.json").write_text('{"windows": {"X": {"window": 6}}}')
    with pytest.raises(ExpectedError, match="checkpoint is of window_rows 7, expected 6"):
        batches(folder, "train", settings)


def start(folder, tmp_path):
    with batches(folder, "train", resumable(tmp_path)) as stream:
        for _ in range(9):
            next(stream)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shuffle_seed": 6}, "checkpoint is of shuffle_seed 5, expected 6"),
        ({"fields": ("X",)}, r"checkpoint is of fields None, expected \['X'\]"),
        ({"window": "X"}, "checkpoint is of window None, expected 'X'"),
    ],
)
def test_a_checkpoint_of_another_order_is_refused(folder, tmp_path, settings, message):
    start(folder, tmp_path)
    with pytest.raises(ExpectedError, match=message):
        batches(folder, "train", resumable(tmp_path, **settings))


@pytest.mark.parametrize("restore_times", [False, True])
def test_a_checkpoint_of_other_arrays_is_refused(folder, tmp_path, restore_times):
    """One bit in one row is enough, even with the old size and time of modification; the same bytes anew are fine."""
    start(folder, tmp_path)
    path = folder / "X_train.npy"
    content, times = bytearray(path.read_bytes()), path.stat()
    path.unlink()
    path.write_bytes(content)
    batches(folder, "train", resumable(tmp_path)).close()
    content[-1] ^= 1
    until_files_get_times_after(path.stat().st_ctime_ns, tmp_path)
    path.write_bytes(content)
    if restore_times:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ExpectedError, match=r"checkpoint is of X_train.npy '[0-9a-f]{12}', expected '[0-9a-f]{12}'"):
        batches(folder, "train", resumable(tmp_path))


def test_unchanged_arrays_are_not_hashed_again(folder, tmp_path, monkeypatch):
    """Resuming a run over large arrays is immediate."""
    start(folder, tmp_path)
    monkeypatch.setattr("stages.loader.mapped_file.MappedFile.sha256", lambda _: pytest.fail("hashed"))
    batches(folder, "train", resumable(tmp_path)).close()


def test_damaged_checkpoints_are_passed_over(folder, tmp_path, caplog):
    """With a warning each, to the next newest; if none is whole the run does not begin anew silently."""
    start(folder, tmp_path)
    paths = sorted((tmp_path / "checkpoints").iterdir())
    assert [path.name for path in paths] == [f"checkpoint_{n:08d}.json" for n in range(4, 9)]
    paths[-1].write_bytes(paths[-1].read_bytes()[:-20])
    paths[-2].write_text(paths[-2].read_text().replace('"next": 70', '"next": 71'))
    whole = rows_of(batches(folder, "train", Settings(batch_size=10, shuffle_seed=5)))
    assert rows_of(batches(folder, "train", resumable(tmp_path))) == whole[6:]
    assert [record.args[0] for record in caplog.records] == [paths[-1], paths[-2]]
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ExpectedError, match="none of 5 checkpoints is whole; remove the folder"):
        batches(folder, "train", resumable(tmp_path))
