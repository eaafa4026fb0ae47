"""Models of all datasets, trained on a small sample."""

import pytest

from tests.helpers.small_sample import small_models


@pytest.fixture(scope="session")
def models(tmp_path_factory, nursery):
    """Folder with arrays and models of each dataset; not to be changed."""
    pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
    return small_models(tmp_path_factory, nursery)
