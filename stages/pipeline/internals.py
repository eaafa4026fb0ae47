"""What is used of DVC beyond its commands: Python functions and layouts that it does not promise to keep.

All of it was tried with the version `TRIED_WITH`, which .requirements.txt pins. Imports of DVC stay in the functions:
they cost 0.4 s, which ``--help`` and a stage that has nothing to tidy need not pay.

Caches and remotes are laid out alike. An object with MD5 ``abcd...`` is ``files/md5/ab/cd...``; that of a folder, a
JSON list of its files, ends in ``.dir``. The run cache keeps what stages once made: ``runs/ab/abcd.../`` is that of
the stage whose command, params, dependencies and paths of outputs have the digest ``abcd...``, its key.
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from stages.core.errors import ExpectedError
from stages.core.files import write_text

TRIED_WITH: Final = "3.67.1"


def object_parts(md5: str) -> tuple[str, ...]:
    """Return where the object with a digest is below a cache or a remote."""
    return ("files", "md5", md5[:2], md5[2:])


def run_cache_parts(key: str) -> tuple[str, ...]:
    """Return where the run-cache entries of a stage with a key are below a cache or a remote."""
    return ("runs", key[:2], key)


# The cache and its objects.


@dataclass(frozen=True)
class CachedFile:
    """A file that is an output, or is in a folder that is one: its recorded MD5, and its object in the cache."""

    path: Path
    md5: str
    object: Path

    def digests(self) -> tuple[str | None, str | None]:
        """Return the MD5 of the workspace file and of the object as they are now, None for one that is not there.

        A file that is a link to its object is read once.
        """
        workspace = _md5(self.path)
        if workspace is not None and self.object.exists() and self.path.samefile(self.object):
            return workspace, workspace
        return workspace, _md5(self.object)


def _md5(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@dataclass(frozen=True)
class Store:
    """DVC's cache: where its objects lie, and the command that makes a lost one again."""

    folder: Path
    repro: str

    def object(self, md5: str) -> Path:
        """Path of the object with a digest."""
        return self.folder.joinpath(*object_parts(md5))

    def files(self, path: Path, md5: str) -> list[CachedFile]:
        """Return the files of an output: itself, or those that DVC's list of a folder names.

        Raises
        ------
        ExpectedError
            When that list is missing or damaged.
        """
        if not md5.endswith(".dir"):
            return [CachedFile(path, md5, self.object(md5))]
        entries = self._listing(path, md5)
        return [CachedFile(path / entry["relpath"], entry["md5"], self.object(entry["md5"])) for entry in entries]

    def _listing(self, path: Path, md5: str) -> list[dict[str, str]]:
        listing = self.object(md5)
        try:
            content = listing.read_bytes()
        except FileNotFoundError:
            raise ExpectedError(f"{listing}: DVC's list of {path} is missing; `{self.repro}`") from None
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5.removesuffix(".dir"):
            raise ExpectedError(f"{listing}: DVC's list of {path} is damaged; `rm -f {listing} && {self.repro}`")
        return json.loads(content)


def open_store() -> Store:
    """Find the cache, and whether there is a remote; two commands would say it, and cost a second more.

    Returns
    -------
    Store
        Its folder is relative to the working directory where it is below it.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        folder, remote = Path(repo.cache.local.path).parent.parent, repo.config["core"].get("remote")
    here = Path.cwd()
    folder = folder.relative_to(here) if folder.is_relative_to(here) else folder
    return Store(folder, "dvc repro --pull" if remote else "dvc repro")


def restorable(stages: Collection[str]) -> set[str]:
    """Return the stages of which DVC's cache holds all outputs; `dvc status` calls them changed when they lack here.

    An output with ``persist`` is never restored.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        loaded = [stage for stage in repo.index.stages if stage.addressing in stages]
        return {
            stage.addressing for stage in loaded if stage.outs_cached() and not any(out.persist for out in stage.outs)
        }


def stage_files() -> list[str]:
    """Return the files that describe stages and tracked data: every dvc.yaml and every ``.dvc`` file."""
    from dvc.repo import Repo

    with Repo() as repo:
        return sorted({stage.path_in_repo for stage in repo.index.stages})


# dvc.lock and the run cache.


class DvcAtWork(ExpectedError):
    """Another DVC command holds DVC's locks."""


@contextmanager
def locked() -> Iterator[None]:
    """Hold the two locks that DVC takes while it reads or writes its own files; wait 3 s for each, as DVC does.

    They are .dvc/tmp/lock and .dvc/tmp/rwlock.lock, and end with the process that holds them (unless DVC is configured
    with `core.hardlink_lock`, whose locks do not tell whose they are).

    Raises
    ------
    DvcAtWork
        When another process holds one of them.
    """
    from dvc.lock import LockError, make_lock
    from dvc.repo import Repo

    with Repo() as repo, ExitStack() as held:
        settings = {"tmp_dir": repo.tmp_dir, "hardlink_lock": repo.config["core"].get("hardlink_lock", False)}
        try:
            held.enter_context(repo.lock)
            held.enter_context(make_lock(str(Path(repo.tmp_dir, "rwlock.lock")), **settings))
        except LockError:
            raise DvcAtWork("another DVC is at work in this repository; wait until it ends") from None
        yield


@contextmanager
def modified(path: Path) -> Iterator[dict[str, Any]]:
    """Give the content of a YAML file to change, and write it on leaving: in DVC's order and bytes, but atomically."""
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    content = parse_yaml_for_update(path.read_text(encoding="utf-8"), str(path))
    yield content
    write_text(path, dumps_yaml(content))


def parsed_entry(text: bytes, where: str) -> dict[str, Any] | None:
    """Return an entry of the run cache so that it can be written into dvc.lock; None when it is none.

    DVC's YAML is 1.2, of which PyYAML would take `1e-05` for text and `yes` for a truth.
    """
    from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml_for_update

    try:
        entry = parse_yaml_for_update(text.decode(), where)
    except (YAMLFileCorruptedError, UnicodeDecodeError):  # being written at this moment
        return None
    return entry if isinstance(entry, dict) and entry.get("outs") else None


def forget(entries: Sequence[Mapping[str, Any]]) -> None:
    """Remove what entries of dvc.lock stand for from the run cache; no command does that for a single stage."""
    if not entries:
        return
    from dvc.repo import Repo
    from dvc.stage.cache import _get_cache_hash

    with Repo() as repo:
        for entry in entries:
            key = _get_cache_hash(dict(entry), key=True)
            shutil.rmtree(_run_cache(repo, key), ignore_errors=True)


def run_cache_keys(stages: Iterable[str]) -> dict[str, str]:
    """Return per stage its run-cache key with its inputs as they are now; DVC computes it only while it runs one."""
    from dvc.repo import Repo
    from dvc.stage.cache import _get_stage_hash

    keys = {}
    with Repo() as repo:
        for name in stages:
            stage = repo.stage.load_one("dvc.yaml", name)
            stage.save_deps()
            keys[name] = _get_stage_hash(stage)
    return keys


def run_cache_entries(stage: str, key: str) -> Path:
    """Return the local folder with the run-cache entries of a stage that is up to date.

    DVC writes an entry when it runs a stage, not when it finds it up to date or pulls it; so write it if need be.

    Raises
    ------
    ExpectedError
        When the inputs of the stage are no more those that `key` stands for.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        return entries_of(repo, repo.stage.load_one("dvc.yaml", stage), key)


def entries_of(repo: Any, stage: Any, key: str) -> Path:
    """Return the same of a stage of DVC's, in a repository that is open."""
    repo.stage_cache.save(stage)
    folder = _run_cache(repo, key)
    if not folder.is_dir():
        raise ExpectedError(
            f"{stage.addressing}: its inputs changed during the work; what was built is kept, `make work` again"
        )
    return folder


def _run_cache(repo: Any, key: str) -> Path:
    return Path(repo.stage_cache.cache_dir, *run_cache_parts(key)[1:])


# The remote.


def default_remote() -> tuple[Any, str]:
    """Return the file system of the default remote and the folder there; no command reads or writes a single object.

    Raises
    ------
    ExpectedError
        When no remote is set.
    """
    from dvc.config import RemoteConfigError
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            odb = repo.cloud.get_remote_odb(None, "work", hash_name="md5-dos2unix")
    except RemoteConfigError:
        raise ExpectedError("no remote is set, expected one to share through; `make remote URL=...` sets it") from None
    return odb.fs, odb.path


def upload(path: Path, fs: Any, target: str) -> None:
    """Copy a local file to a remote as `dvc push` does; no command sends the run cache of a single stage."""
    from dvc.fs import generic, localfs

    generic.copy(localfs, str(path), fs, target)


def set_remote(name: str, url: str) -> list[str]:
    """Make a URL the default remote; return the keys of config.local that were removed, since its kind has none such.

    `dvc remote` fails before it writes when such a key is there.

    Raises
    ------
    ExpectedError
        When DVC knows no remote of this kind.
    """
    from dvc.config import Config, ConfigError
    from dvc.config_schema import REMOTE_SCHEMAS

    parts = urlsplit(url)
    kind = parts.scheme.lower() if parts.netloc else ""  # by which DVC chooses; that of a folder is empty
    if kind not in REMOTE_SCHEMAS:
        raise ExpectedError(f"{url}: no kind of remote, expected ssh://, s3://, another that DVC knows, or a folder")
    known = {str(key) for key in REMOTE_SCHEMAS[kind]}
    verify = {"verify": "true"} if "verify" in known else {}
    try:
        config = Config.from_cwd(validate=False)
        with config.edit("local", validate=False) as local:
            own = local["remote"].get(name, {})
            foreign = sorted(set(own) - known)
            for key in foreign:
                del own[key]
        with config.edit("repo") as shared:
            shared["remote"][name] = {"url": url, **verify}
            shared["core"]["remote"] = name
    except ConfigError as error:
        raise ExpectedError(f"{url}: {error}; correct .dvc/config or .dvc/config.local") from None
    return foreign


def outputs_to_push(chosen: Collection[str] = ()) -> list[tuple[Path, str]]:
    """Return path and MD5 of all that `dvc push` sends: outputs of stages that exist, and what `dvc add` tracks.

    Parameters
    ----------
    chosen
        Names of stages, if only theirs are sent.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        stages = [stage for stage in repo.index.stages if not stage.is_repo_import]
        stages = [stage for stage in stages if not chosen or stage.addressing in chosen]
        outs = [out for stage in stages for out in stage.outs if out.use_cache and out.can_push and out.hash_info]
    return [(Path(str(out)), str(out.hash_info.value)) for out in outs]


def remote_name() -> str:
    """Return the name of the default remote, empty if none is set."""
    from dvc.repo import Repo

    with Repo() as repo:
        return str(repo.config["core"].get("remote") or "")


def remote_sizes(fs: Any, root: str) -> dict[str, int]:
    """Return the bytes of each object that a remote holds, by MD5, as the remote itself lists them at this moment."""
    fs.fs.invalidate_cache()
    found = fs.fs.find(fs.join(root, "files", "md5"), detail=True)
    if not isinstance(found, dict):  # that of a folder gives names only
        found = {path: fs.info(path) for path in found}
    return {"".join(fs.parts(path)[-2:]): int(info["size"]) for path, info in found.items()}


def remote_size(fs: Any, path: str) -> int | None:
    """Return the bytes of one object of a remote, as the remote itself says at this moment; None without one."""
    fs.fs.invalidate_cache()
    try:
        return int(fs.info(path)["size"])
    except FileNotFoundError:
        return None


def forget_remote_index() -> None:
    """Empty DVC's local record of what the remote holds, which it trusts more than the remote.

    It is ``index/`` below DVC's site cache (``/var/tmp/dvc/repo/...``). A `.dir` that is there, or that the remote
    holds, stands for all of its files.
    """
    from contextlib import closing

    from dvc.repo import Repo
    from dvc_data.hashfile.db import get_index

    with Repo() as repo, closing(get_index(repo.cloud.get_remote_odb(None, "push"))) as index:
        index.clear()


def fetch_missing(store: Store, md5s: Iterable[str]) -> None:
    """Get single objects that the cache lacks from the remote, if one is set; `dvc fetch` gets those of commits only.

    What the remote does not hold stays missing.
    """
    missing = {md5 for md5 in md5s if not store.object(md5).exists()}
    if not missing:
        return
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo

    with Repo() as repo:
        if repo.config["core"].get("remote"):
            repo.cloud.pull({HashInfo("md5", md5) for md5 in missing})
