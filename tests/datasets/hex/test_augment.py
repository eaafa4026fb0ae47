"""The four symmetries: equal to the earlier system's, and streamed reproducibly."""

import numpy as np
import pytest

from stages.core import arrays, bits
from stages.core.errors import ExpectedError
from stages.datasets.hex.training.augment import SYMMETRIES, augment, augment_all, model_input
from stages.loader import Settings, batches
from tests.helpers.places import REFERENCE_DIR

REFERENCE = REFERENCE_DIR / "hex" / "augmentation.npz"
N = 200


def symmetries(board, policy, value, player):
    """Return all four symmetries of n positions: the same arrays with an axis of 4 after the first."""
    n = len(board)
    fields = {"board": board, "label_policy": policy, "label_value": value, "player_to_move": player}
    done = augment_all(fields, np.zeros(n, np.uint64)).values()
    return tuple(array.reshape(n, len(SYMMETRIES), *array.shape[1:]) for array in done)


@pytest.fixture(scope="module")
def reference():
    if not REFERENCE.is_file():
        pytest.skip("the reference positions are not beside the repository")
    with np.load(REFERENCE) as members:
        return {name: members[name] for name in members}


def positions(n=N):
    """Return random positions: boards, next moves with some -1, winners, players."""
    rng = np.random.default_rng(1)
    stones = rng.integers(0, 3, (n, 13, 13))
    board = np.stack([stones == 1, stones == 2], axis=1).astype(np.uint8)
    policy = np.where(np.arange(n) % 9 == 0, -1, rng.integers(0, 169, n)).astype(np.int16)
    return board, policy, rng.integers(0, 2, n).astype(np.uint8), rng.integers(0, 2, n).astype(np.uint8)


def batch_of(n=N):
    board, policy, value, player = positions(n)
    labels = {"label_policy": policy, "label_value": value}
    return {"board": board, "player_to_move": player, **labels, "ply": np.arange(n, dtype=np.int16)}


def test_all_four_are_the_references(reference):
    """In its order, over 60 positions; its policy is one-hot, and all zero where there is no next move."""
    one_hot = reference["policy"]
    policy = np.where(one_hot.any(-1), one_hot.argmax(-1), -1).astype(np.int16)
    first = (reference["board"][:, 0].astype(np.uint8), policy[:, 0])
    first += (reference["value"][:, 0], reference["player_to_move"][:, 0])
    board, moved, value, player = symmetries(*first)
    assert [array.dtype for array in (board, moved, value)] == [np.uint8, np.int16, np.float32]
    assert np.array_equal(board, reference["board"])
    assert np.array_equal(moved, policy)
    assert np.array_equal(value, reference["value"])
    assert np.array_equal(player, reference["player_to_move"])


def test_the_input_of_a_network_is_the_references(reference):
    planes = model_input(reference["board"][:, 0].astype(np.uint8), reference["player_to_move"][:, 0])
    assert planes.dtype == np.float32
    assert np.array_equal(planes, reference["model_input_3ch"])


def test_a_stone_goes_where_the_table_says():
    """By hand: a blue stone on b1 (row 0, column 1), and red to move to it."""
    board = np.zeros((1, 2, 13, 13), np.uint8)
    board[0, 0, 0, 1] = 1
    boards, policy, value, player = symmetries(board, np.int16([1]), np.uint8([1]), np.uint8([1]))
    assert np.argwhere(boards[0]).tolist() == [[0, 0, 0, 1], [1, 0, 12, 11], [2, 1, 1, 0], [3, 1, 11, 12]]
    assert policy.tolist() == [[1, 12 * 13 + 11, 13, 11 * 13 + 12]]
    assert value.tolist() == player.tolist() == [[1, 1, 0, 0]]


def test_each_symmetry_undoes_itself_and_the_move_stays_with_its_cell():
    """For random positions; -1 stays, dtypes stay, and a chance of 0.25 becomes 0.75."""
    board, policy, value, player = positions()
    marked = board.copy()
    marked[np.arange(N), 0, policy // 13, policy % 13] = 7
    four = symmetries(marked, policy, value.astype(np.float32) / 4, player)
    assert sorted(set(four[2].ravel().tolist())) == [0, 0.25, 0.75, 1]
    for k in range(4):
        back = symmetries(*(array[:, k] for array in four))
        for again, once in zip(back, (marked, policy, value / 4, player), strict=True):
            assert np.array_equal(again[:, k], once)
        moved = four[1][:, k]
        has_move = policy >= 0
        assert np.array_equal(moved >= 0, has_move)
        planes = four[0][:, k].max(1).reshape(N, -1)
        assert (planes[np.flatnonzero(has_move), moved[has_move]] == 7).all()


def test_a_sample_gets_one_of_the_four_by_its_number():
    """Each about as often, whatever the batch; other fields stay, missing ones are not missed."""
    batch = batch_of()
    numbers = np.random.default_rng(2).integers(0, 2**64, N, np.uint64)
    done, four = augment(batch, numbers), augment_all(batch, numbers)
    which = (numbers % np.uint64(4)).astype(int)
    assert np.bincount(which).min() > N / 8
    for name, values in four.items():
        assert len(values) == 4 * N
        assert np.array_equal(done[name], values[np.arange(N) * 4 + which])
    assert np.array_equal(done["ply"], batch["ply"])
    assert list(augment({"board": batch["board"]}, numbers)) == ["board"]
    with pytest.raises(ExpectedError, match=r"boards are \(200, 43\), expected \(n, 2, 13, 13\); stream without"):
        augment({"board": bits.pack(batch["board"])}, numbers)


def test_a_resumed_stream_sees_the_same_symmetries(tmp_path):
    """From packed boards on disk, with another size of batch after the resumption."""
    batch = batch_of()
    np.save(tmp_path / "board_train.npy", bits.pack(batch["board"]))
    np.save(tmp_path / "player_to_move_train.npy", batch["player_to_move"])
    heads = {"policy": [batch["label_policy"]], "value": [batch["label_value"]]}
    arrays.save_npz(tmp_path / "labels_train.npz", heads)
    (tmp_path / "packed.json").write_text('{"board": [2, 13, 13]}')
    settings = Settings(batch_size=16, shuffle_seed=3, epochs=2, transform=augment)
    with batches(tmp_path, "train", settings) as stream:
        next(stream)
        state = stream.state()
        rest = list(stream)
    resumed = list(batches(tmp_path, "train", settings, batch_size=7, resume_from=state))
    for name in rest[0]:
        joined = np.concatenate([part[name] for part in rest])
        assert np.array_equal(np.concatenate([part[name] for part in resumed]), joined)
    first, second = list(batches(tmp_path, "train", Settings(batch_size=N, epochs=2, transform=augment)))
    assert first["player_to_move"].shape == (N,)
    n_same = (first["board"] == second["board"]).all((1, 2, 3)).sum()
    assert 0.1 * N < n_same < 0.4 * N
    (fourfold,) = batches(tmp_path, "train", Settings(batch_size=N, transform=augment_all))
    assert np.array_equal(fourfold["board"][::4], batch["board"])
