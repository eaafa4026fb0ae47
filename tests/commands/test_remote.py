"""`make remote` sets the remote, and takes away what is configured for one of another kind."""

from pathlib import Path

import pytest

from stages.commands import remote
from stages.core.errors import ExpectedError

URLS = [
    *(pytest.param(url, marks=pytest.mark.slow) for url in ("s3://bucket/path", "ssh://host/path", "/srv/store")),
    "../store",
]


@pytest.fixture
def repository(here, dvc):
    dvc("init", "-q", "--no-scm")
    return here


@pytest.mark.parametrize("url", URLS)
def test_the_configuration_is_that_of_dvcs_own_commands(repository, dvc, url):
    remote.set_remote(url)
    ours = Path(".dvc/config").read_bytes()
    Path(".dvc/config").write_text("[core]\n    no_scm = True\n")
    dvc("remote", "add", "--force", "--default", "store", url)
    dvc("remote", "modify", "store", "verify", "true")
    assert ours == Path(".dvc/config").read_bytes()


def test_keys_of_another_kind_go_and_those_that_fit_stay(repository, dvc, caplog):
    """With `dvc remote add` alone every later command of DVC ends with an error about these keys."""
    remote.set_remote("s3://bucket/path")
    dvc("remote", "modify", "--local", "store", "secret_access_key", "x")
    remote.set_remote("s3://other/path")
    assert "secret_access_key" in Path(".dvc/config.local").read_text()
    remote.set_remote("ssh://host/path")
    assert "secret_access_key" not in Path(".dvc/config.local").read_text()
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == (
        "remote store: removed secret_access_key from .dvc/config.local, which ssh://host/path does not know"
    )
    assert dvc("remote", "list").split() == ["store", "ssh://host/path", "(default)"]


def test_a_configuration_that_already_fails_is_mended(repository, dvc):
    Path(".dvc/config").write_text("[core]\n    remote = store\n['remote \"store\"']\n    url = ssh://host/path\n")
    Path(".dvc/config.local").write_text("['remote \"store\"']\n    access_key_id = x\n")
    remote.set_remote("ssh://host/other")
    assert "ssh://host/other" in dvc("remote", "list")


@pytest.mark.parametrize(
    ("url", "words"), [("", "URL: empty"), ("ftp://host/path", "ftp://host/path: no kind of remote")]
)
def test_what_is_no_remote_is_one_error(repository, url, words):
    before = Path(".dvc/config").read_bytes()
    with pytest.raises(ExpectedError, match=words):
        remote.set_remote(url)
    assert Path(".dvc/config").read_bytes() == before
