"""NPZ and NPY files: byte-stable, atomic, refused when damaged."""

import errno
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from stages.core import arrays
from stages.core.arrays import DamagedFile, npy_chunks, npz_headers, read_member, save_npz
from stages.core.files import atomic, atomic_dir, write_text

RNG = np.random.default_rng(5)
MEMBERS = {
    "X": RNG.integers(-128, 128, (70, 4)).astype(np.int8),
    "ids": RNG.integers(0, 2**64, 70, np.uint64),
    "empty": np.empty((0, 3), np.float32),
    "names": np.array(["a", "\u00e9\u4e2d", "", "\U0001f600"]),
    "flags": RNG.integers(0, 2, 9).astype(bool),
    "price": RNG.normal(size=(5, 2, 3)),
}


def whole(members):
    return {name: [array] for name, array in members.items()}


def read_all(path):
    return {name: read_member(path, header) for name, header in npz_headers(path).items()}


def assert_equal(found, expected):
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "sub" / "a.npz"
    save_npz(path, whole(MEMBERS))
    return path


def test_an_npz_reads_back_with_numpy_and_without_it(npz):
    with np.load(npz, allow_pickle=False) as archive:
        assert_equal(dict(archive), MEMBERS)
    assert_equal(read_all(npz), MEMBERS)


def test_members_of_an_npz_are_sorted(npz):
    assert list(npz_headers(npz)) == sorted(MEMBERS)


def test_an_npz_has_the_same_bytes_whatever_the_pieces_order_and_memory_layout(npz, tmp_path, monkeypatch):
    expected = npz.read_bytes()
    by_row = {name: [array[i : i + 1] for i in range(len(array))] or [array] for name, array in MEMBERS.items()}
    fortran = {name: [np.asfortranarray(array)] for name, array in MEMBERS.items()}
    strided = {name: [np.repeat(array, 2, axis=0)[::2]] for name, array in MEMBERS.items()}
    with_empty = {name: [array[:0], array[:2], array[:0], array[2:]] for name, array in MEMBERS.items()}
    backwards = dict(reversed(list(whole(MEMBERS).items())))
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    for variant in (by_row, fortran, strided, with_empty, backwards):
        save_npz(tmp_path / "other name.npz", variant)
        assert (tmp_path / "other name.npz").read_bytes() == expected


def test_an_npz_has_the_same_bytes_for_another_user_mask(npz, tmp_path):
    old = os.umask(0o077)
    try:
        save_npz(tmp_path / "b.npz", whole(MEMBERS))
    finally:
        os.umask(old)
    assert (tmp_path / "b.npz").read_bytes() == npz.read_bytes()
    assert (tmp_path / "b.npz").stat().st_mode & 0o777 == 0o644


def test_save_refuses_pieces_of_another_type_or_width(tmp_path):
    for second in (np.zeros((2, 3), np.int16), np.zeros((2, 4), np.int8)):
        with pytest.raises(TypeError, match=r"piece is int.*expected int8\(n, \*\(3,\)\)"):
            save_npz(tmp_path / "a.npz", {"x": [np.zeros((2, 3), np.int8), second]})
    assert not list(tmp_path.iterdir())


def test_headers_tell_shape_and_dtype_without_the_data(npz):
    headers = npz_headers(npz)
    assert {name: (h.shape, h.dtype) for name, h in headers.items()} == {
        name: (array.shape, array.dtype) for name, array in MEMBERS.items()
    }
    content = npz.read_bytes()
    for name, header in headers.items():
        data = content[header.offset : header.offset + header.n_bytes]
        assert data == MEMBERS[name].tobytes()


def test_headers_read_little_of_a_large_file(tmp_path):
    path = tmp_path / "large.npz"
    save_npz(path, {"x": [np.zeros((1000, 1000), np.int64)]})
    corrupt(path, path.stat().st_size // 2)
    assert npz_headers(path)["x"].shape == (1000, 1000)
    with pytest.raises(DamagedFile, match=r"checksum"):
        read_all(path)


def corrupt(path, offset, mask=0xFF):
    content = bytearray(path.read_bytes())
    content[offset] ^= mask
    path.write_bytes(content)


def test_an_npz_cut_short_anywhere_is_damaged(npz):
    content = npz.read_bytes()
    for size in {*range(0, len(content), 37), *range(len(content) - 80, len(content))}:
        npz.write_bytes(content[:size])
        with pytest.raises(DamagedFile, match=r"a\.npz: .*run `dvc repro`"):
            read_all(npz)


@pytest.mark.parametrize("name", [name for name, array in MEMBERS.items() if array.size])
def test_a_flipped_byte_in_any_member_is_found(npz, name):
    header = npz_headers(npz)[name]
    corrupt(npz, header.offset + header.n_bytes // 2)
    with pytest.raises(DamagedFile, match=r"a\.npz: checksum does not match"):
        read_member(npz, npz_headers(npz)[name])


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_a_flipped_byte_anywhere_is_damage_or_changes_no_array(tmp_path, mask):
    path = tmp_path / "a.npz"
    save_npz(path, {"x": [np.arange(6, dtype=np.int8).reshape(3, 2)], "y": [np.array(["a"])]})
    expected, content = read_all(path), path.read_bytes()
    others = []
    for offset in range(len(content)):
        path.write_bytes(content[:offset] + bytes([content[offset] ^ mask]) + content[offset + 1 :])
        try:
            found = read_all(path)
        except DamagedFile as error:
            others += [] if str(path) in str(error) else [(offset, str(error))]
        except Exception as error:  # noqa: BLE001  # counted, so that one failure shows them all
            others.append((offset, repr(error)))
        else:
            assert all(np.array_equal(found[name], expected[name]) for name in found if name in expected)
    assert others == []


def test_a_compressed_npz_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(100))
    with pytest.raises(DamagedFile, match=r"a\.npz: .*x\.npy is compressed, expected stored"):
        npz_headers(tmp_path / "a.npz")


def test_an_npz_of_pickled_objects_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}, None], object))
    with pytest.raises(DamagedFile, match=r"a\.npz: .*Python objects"):
        npz_headers(tmp_path / "a.npz")


def test_what_numpy_itself_saved_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", **MEMBERS)
    assert_equal(read_all(tmp_path / "a.npz"), MEMBERS)


@pytest.mark.parametrize("content", [b"", b"text\n", b"PK\x03\x04", b"\x93NUMPY"])
def test_what_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"a\.npz: not a complete NPZ"):
        npz_headers(tmp_path / "a.npz")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DamagedFile, match=r"a\.npz: not found"):
        npz_headers(tmp_path / "a.npz")
    with pytest.raises(DamagedFile, match=r"a\.npy: not found"):
        arrays.npy_header(tmp_path / "a.npy")


def write_and_stop(manager, path, failure):
    with manager(path) as temporary:
        (temporary / "f" if temporary.is_dir() else temporary).write_text("new")
        raise failure("stop")


def test_atomic_keeps_the_old_file_and_leaves_nothing_after_an_exception(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    for failure in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(failure, match="stop"):
            write_and_stop(atomic, path, failure)
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert path.read_text() == "old"


def test_atomic_shows_the_old_file_until_the_end(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_atomic_dir_keeps_the_old_folder_and_leaves_nothing_after_an_exception(tmp_path):
    path = tmp_path / "d"
    path.mkdir()
    (path / "f").write_text("old")
    for failure in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(failure, match="stop"):
            write_and_stop(atomic_dir, path, failure)
    assert [p.name for p in tmp_path.iterdir()] == ["d"]
    assert (path / "f").read_text() == "old"


def test_atomic_dir_replaces_the_whole_folder(tmp_path):
    path = tmp_path / "d"
    path.mkdir()
    (path / "gone").write_text("old")
    with atomic_dir(path) as temporary:
        (temporary / "f").write_text("new")
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["d", "d/f"]


def test_writing_the_same_text_again_leaves_the_file_alone(tmp_path):
    path = tmp_path / "sub" / "f"
    write_text(path, "\u00e9\n")
    os.utime(path, ns=(1, 1))
    write_text(path, "\u00e9\n")
    assert path.stat().st_mtime_ns == 1
    write_text(path, "e\n")
    assert path.stat().st_mtime_ns != 1
    assert path.read_bytes() == b"e\n"


@pytest.fixture
def small_disk(tmp_path):
    """Give a file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_the_old_npz_and_leaves_nothing(small_disk):
    path = small_disk / "a.npz"
    save_npz(path, {"x": [np.arange(5)]})
    before = path.read_bytes()
    with pytest.raises(OSError, match="No space left") as caught:
        save_npz(path, {"x": [np.zeros(40_000)] * 10})
    assert caught.value.errno == errno.ENOSPC
    assert [p.name for p in small_disk.iterdir()] == ["a.npz"]
    assert path.read_bytes() == before


def test_a_full_disk_keeps_the_old_folder_and_leaves_nothing(small_disk):
    with atomic_dir(small_disk / "d") as folder:
        (folder / "f").write_text("old")
    shape = (400_000,)
    with (
        pytest.raises(OSError, match="No space left"),
        atomic_dir(small_disk / "d") as folder,
        arrays.npy_sink(folder / "x.npy", np.dtype(float), shape),
    ):
        pytest.fail("the disk space is reserved before the first row")
    assert [str(p.relative_to(small_disk)) for p in sorted(small_disk.rglob("*"))] == ["d", "d/f"]


def save_npy(path, array, *pieces):
    with arrays.npy_sink(path, array.dtype, array.shape) as sink:
        for piece in pieces or [array]:
            sink.append(piece)


@pytest.mark.parametrize("name", MEMBERS)
def test_npy_sink_writes_what_numpy_reads(tmp_path, name):
    array = MEMBERS[name]
    save_npy(tmp_path / "a.npy", array, array[:3], array[3:3], np.asfortranarray(array[3:]))
    found = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_npy_sink_refuses_another_type_width_or_number_of_rows(tmp_path):
    array = np.zeros((4, 2), np.float32)
    for piece in (array.astype(np.float64), array[:, :1], array[:, :, None], array[:, 0]):
        with pytest.raises(TypeError, match=r"piece is .*expected float32\(n, \*\(2,\)\)"):
            save_npy(tmp_path / "a.npy", array, piece)
    for pieces, count in (([array[:3]], 3), ([array, array], 8), ([array[:0]], 0)):
        with pytest.raises(ValueError, match=f"{count} rows were written, expected 4"):
            save_npy(tmp_path / "a.npy", array, *pieces)


@pytest.mark.parametrize("chunk_rows", [1, 2, 3, 69, 70, 71, 1000])
@pytest.mark.parametrize("name", MEMBERS)
def test_npy_chunks_yield_all_rows_whatever_their_size(tmp_path, name, chunk_rows):
    array = MEMBERS[name]
    save_npy(tmp_path / "a.npy", array)
    chunks = [chunk.copy() for chunk in npy_chunks(tmp_path / "a.npy", chunk_rows)]
    assert all(len(chunk) == chunk_rows for chunk in chunks[:-1])
    np.testing.assert_array_equal(np.concatenate([array[:0], *chunks]), array)


def test_an_npy_with_bytes_missing_or_left_over_is_damaged(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, MEMBERS["X"])
    content = path.read_bytes()
    for damaged in [content + b"\0", *(content[:n] for n in (len(content) - 1, len(content) - 280, 100, 9, 3, 0))]:
        path.write_bytes(damaged)
        with pytest.raises(DamagedFile, match=r"a\.npy: "):
            list(npy_chunks(path, 10))


def test_a_flipped_byte_in_an_npy_header_is_damage_or_changes_no_shape(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(5))
    content, others = path.read_bytes(), []
    for offset in range(128):
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        try:
            assert arrays.npy_header(path).shape == (5,)
        except DamagedFile:
            pass
        except Exception as error:  # noqa: BLE001  # counted, so that one failure shows them all
            others.append((offset, repr(error)))
    assert others == []


@pytest.mark.parametrize("array", [np.asfortranarray(np.ones((3, 4))), np.array([None]), np.array([{}, "a"], object)])
def test_an_npy_in_fortran_order_or_of_objects_is_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DamagedFile, match=r"a\.npy: not a \.npy file .*Fortran order or holds Python objects"):
        arrays.npy_header(Path(tmp_path / "a.npy"))
