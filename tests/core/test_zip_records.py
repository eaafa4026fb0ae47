"""An NPZ is the same bytes under every Python, and every zip reader reads it."""

import hashlib
import io
import sys
import zipfile

import numpy as np
import pytest

from stages.core import arrays

CONTENT = {"label": np.arange(5, dtype=np.int16), "X": np.arange(6, dtype=np.float32).reshape(2, 3)}


def npz_bytes(path, content):
    arrays.save_npz(path, {name: [array] for name, array in content.items()})
    return path.read_bytes()


def zipfile_bytes(content):
    """Return what `zipfile` of this Python makes of the same members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in sorted(content.items()):
            info = zipfile.ZipInfo(f"{name}.npy")
            info.create_system, info.external_attr = 3, 0o100644 << 16
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def test_the_bytes_are_fixed(tmp_path):
    content = npz_bytes(tmp_path / "a.npz", CONTENT)
    assert hashlib.sha256(content).hexdigest() == "40708979d9f586083e6546293d0ab992a211646acffd03b355f8ebbf43422a23"


@pytest.mark.skipif(sys.version_info < (3, 11, 4), reason="zipfile wrote other records before Python 3.11.4")
def test_the_bytes_are_those_of_zipfile(tmp_path):
    assert npz_bytes(tmp_path / "a.npz", CONTENT) == zipfile_bytes(CONTENT)


@pytest.mark.parametrize("shape", [(0,), (1,), (10**18, 2), (7, 13, 13), (3, 0)])
@pytest.mark.parametrize("dtype", ["u1", "<i2", "<f4", "<f8", "<U5", "S16", "bool"])
def test_a_header_is_that_of_numpy(dtype, shape):
    file = io.BytesIO()
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    assert arrays.npy_header_bytes(np.dtype(dtype), shape) == file.getvalue()


@pytest.mark.slow
def test_a_member_and_an_offset_beyond_two_gigabytes(tmp_path):
    """Written, then read by `zipfile`, which checks names, sizes and checksums."""
    path, n_rows, chunk = tmp_path / "large.npz", 2**31 + 5, np.zeros(1 << 24, np.uint8)
    with arrays.NpzWriter(path) as writer:
        with writer.member("a", np.dtype(np.uint8), (n_rows,)) as sink:
            for start in range(0, n_rows, len(chunk)):
                sink.append(chunk[: n_rows - start])
        with writer.member("b", np.dtype(np.uint8), (3,)) as sink:
            sink.append(np.array([1, 2, 3], np.uint8))
    headers = arrays.npz_headers(path)
    assert headers["a"].shape == (n_rows,)
    assert arrays.read_member(path, headers["b"]).tolist() == [1, 2, 3]
    with zipfile.ZipFile(path) as archive:
        assert [info.file_size for info in archive.infolist()] == [n_rows + 128, 131]
        assert archive.testzip() is None
    path.unlink()
