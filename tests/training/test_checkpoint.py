"""Checkpoints: whole or not there, two of them, and none of another training."""

import logging

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from stages.training import checkpoint  # noqa: E402
from stages.training.identity import Identity  # noqa: E402

pytestmark = pytest.mark.train


def identity(**params):
    return Identity({"lr": 0.1, **params}, {"data/processed/toy": "ab"}, {"training": "cd"}, {"torch": "2"})


def state(step):
    return {"step": step, "model": {"weight": torch.full((3,), float(step))}, "curve": [{"nll": 0.5}], "best": None}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    found = checkpoint.folder_of("toy", identity())
    for step in (5, 10, 15):
        checkpoint.save(found, identity(), step, state(step))
    return found


def test_two_are_kept_and_the_newest_is_read(folder):
    names = ["identity.json", "step_00000010.ckpt", "step_00000015.ckpt"]
    assert sorted(path.name for path in folder.iterdir()) == names
    found = checkpoint.newest(folder)
    assert (found["step"], found["curve"]) == (15, [{"nll": 0.5}])
    assert torch.equal(found["model"]["weight"], torch.full((3,), 15.0))


def test_none_is_none(tmp_path):
    assert checkpoint.newest(tmp_path / "nothing") is None


@pytest.mark.parametrize("place", [0, 7, 8, 100, -1])
def test_a_flipped_bit_is_found_anywhere_and_the_one_before_is_taken(folder, place, caplog):
    path = folder / "step_00000015.ckpt"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert checkpoint.newest(folder)["step"] == 10
    assert "step_00000015.ckpt: not a whole checkpoint, taking the one before" in caplog.text


@pytest.mark.parametrize("size", [0, 5, 8, 1000])
def test_a_cut_one_falls_back_and_two_cut_ones_begin_anew(folder, size):
    for name, expected in (("step_00000015.ckpt", 10), ("step_00000010.ckpt", None)):
        path = folder / name
        path.write_bytes(path.read_bytes()[:size])
        found = checkpoint.newest(folder)
        assert (found and found["step"]) == expected


def test_a_file_that_would_run_code_is_not_read(folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("ran",)

    checkpoint.save(folder, identity(), 20, {"step": Evil()})
    assert checkpoint.newest(folder)["step"] == 15


def test_every_kind_of_difference_is_another_folder_and_is_named(folder, caplog):
    others = [
        identity(lr=0.2),
        Identity(identity().params, {"data/processed/toy": "xy"}, identity().code, identity().versions),
        Identity(identity().params, identity().data, {"training": "xy"}, identity().versions),
        Identity(identity().params, identity().data, identity().code, {"torch": "3"}),
    ]
    assert len({one.name for one in [identity(), *others]}) == 5
    names = ["params.lr", "data.data/processed/toy", "code.training", "versions.torch"]
    with caplog.at_level(logging.INFO):
        for other, name in zip(others, names, strict=True):
            caplog.clear()
            assert checkpoint.newest(checkpoint.folder_of("toy", other)) is None
            checkpoint.tell_others("toy", other)
            assert f"{folder} is not used, it differs in {name}" in caplog.text
    caplog.clear()
    checkpoint.tell_others("toy", identity())
    assert caplog.text == ""


def test_dvc_root_says_where_checkpoints_lie(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", "/somewhere")
    assert str(checkpoint.folder_of("toy", identity())).startswith("/somewhere/data/checkpoints/toy/")
