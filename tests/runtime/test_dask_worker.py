"""What a worker of a cluster compares before it works; needs no cluster."""

from stages.runtime import dask_worker
from tests.helpers.places import REPOSITORY


def test_the_digest_is_of_all_code_and_not_of_its_own_folder(tmp_path, monkeypatch):
    """An edit of an encoder, not only of runtime, makes a worker another one."""
    assert dask_worker.CODE_DIR == REPOSITORY / "stages"
    monkeypatch.setattr(dask_worker, "CODE_DIR", tmp_path)
    (tmp_path / "encode").mkdir()
    seen = set()
    for text in ("a = 1\n", "a = 2\n"):
        (tmp_path / "encode" / "one.py").write_text(text)
        seen.add(dask_worker.code_digest.__wrapped__())
    assert len(seen) == 2
