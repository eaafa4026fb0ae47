"""DVC's stages as Python objects: what is changed, taken from the run cache, saved, and written into dvc.lock.

`dvc repro` runs one stage after the other, and reads and writes all of dvc.lock after each. `Pipeline` does the same
steps with the same functions of DVC, but leaves it to its caller when and where a command runs, and writes dvc.lock
when it is told to. What it writes is what `dvc repro` would have written.

As in `stages.pipeline.internals`, all of it was tried with one version of DVC; with another, `is_as_tried` says no, and
`dvc repro` does the work.
"""

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from stages.pipeline import lock_text
from stages.pipeline.computed_once import Hashed, inputs_hashed_once, look, params_read_once
from stages.pipeline.dvc_cli import means_something
from stages.pipeline.internals import TRIED_WITH, CachedFile, entries_of, object_parts

logger = logging.getLogger("batchwise")

LOCK = Path("dvc.lock")
READ = (Path("dvc.yaml"), LOCK, Path("params.yaml"))  # and the lists: what decides which stages there are
LISTS = "data/manifests/*/batches.yaml"


class NotByHand(Exception):
    """DVC itself must do it, and say what is wrong."""


def is_as_tried() -> bool:
    """Say whether the DVC that is installed is the one whose functions are known here."""
    try:
        return metadata.version("dvc") == TRIED_WITH
    except metadata.PackageNotFoundError:
        return False


@dataclass(frozen=True)
class Command:
    """What DVC starts for a stage: the words, the folder, and its environment."""

    words: Sequence[str]
    folder: str
    environment: Mapping[str, str]


@contextmanager
def failures_as_not_by_hand() -> Iterator[None]:
    """Turn a failure of DVC's in a ``with`` block into `NotByHand`.

    Raises
    ------
    NotByHand
        When another DVC is at work, dvc.yaml is not readable, an output is missing, and so on.
    KeyboardInterrupt, SystemExit
        When it fails while a stop is obeyed: `dvc repro` must not go on then.
    """
    from dvc.exceptions import DvcException

    try:
        yield
    except DvcException as error:
        if stop := _stop_behind(error):
            raise stop from None
        raise NotByHand(" ".join(str(error).split())) from error


def _stop_behind(error: BaseException) -> BaseException | None:
    """Return Ctrl-C or another stop, if it was while that was obeyed that DVC failed."""
    context: BaseException | None = error
    while context is not None and not isinstance(context, KeyboardInterrupt | SystemExit):
        context = context.__context__
    return context


@contextmanager
def opened(n_threads: int) -> Iterator["Pipeline"]:
    """Open the pipeline and hold DVC's lock; to be used within `failures_as_not_by_hand`.

    Parameters
    ----------
    n_threads
        That compute digests of files; DVC itself takes half of the cores, at most four.
    """
    from dvc.repo import Repo, lock_repo

    with ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.enter_context(params_read_once())
        hashed = stack.enter_context(inputs_hashed_once())
        repo = stack.enter_context(Repo())
        stack.enter_context(lock_repo(repo))
        stack.enter_context(repo.scm_context(quiet=True))
        repo.fs.hash_jobs = n_threads
        repo.scm.is_tracked = cache(repo.scm.is_tracked)  # which reads all of git's index, for each path
        yield Pipeline(repo, hashed)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let DVC say what it warns of, once and if it means something here, and leave the rest to the caller."""
    log = logging.getLogger("dvc")
    level, propagates = log.level, log.propagate
    of_outputs = logging.getLogger("dvc.output")
    log.setLevel(logging.WARNING)
    log.propagate = not log.handlers
    of_outputs.addFilter(means_something)
    try:
        yield
    finally:
        of_outputs.removeFilter(means_something)
        log.setLevel(level)
        log.propagate = propagates


def _is_as_begun(stage: Any, inputs: Sequence[Any]) -> bool:
    """Say whether a stage reads what it read when it began, and tell what is another now."""
    changed = [dep for dep, hash_info in zip(stage.deps, inputs, strict=False) if dep.hash_info != hash_info]
    for dep in changed:
        logger.warning("%s: %s changed while it ran; the next run takes that in", stage.addressing, dep)
    return not changed


def _looks() -> list[tuple[int, ...]]:
    """Return what tells whether there are other stages than before."""
    return [look(path) for path in (*READ, *sorted(Path().glob(LISTS)))]


class Pipeline:
    """The stages of dvc.yaml; made by `opened`. A stage is known by its name.

    Parameters
    ----------
    repo
        DVC's repository, whose lock is held.
    hashed
        What is known of the stages' inputs.
    """

    def __init__(self, repo: Any, hashed: Hashed) -> None:
        self._repo, self._hashed = repo, hashed
        self._index: Any = None
        self._stages: dict[str, Any] = {}
        self._held: dict[str, ExitStack] = {}
        self._inputs: dict[str, list[Any]] = {}  # the hash of each as it was when a stage began
        self._looks: list[tuple[int, ...]] = []

    def plan(self, targets: Iterable[str], single_item: bool = False) -> dict[str, set[str]]:
        """Return the stages to look at, in the order in which DVC would, each with those before it.

        Parameters
        ----------
        targets
            Names of stages of dvc.yaml.
        single_item
            Leave out what the targets depend on.

        Raises
        ------
        NotByHand
            When there is no such stage.
        """
        from dvc.repo.reproduce import get_active_graph, plan_repro

        if (looks := _looks()) != self._looks:
            self.look_anew()
            self._index, self._looks = self._repo.index, looks
        by_name = {stage.addressing: stage for stage in self._index.stages}
        if missing := [name for name in targets if name not in by_name]:
            raise NotByHand(f"no stage {missing[0]}")
        chosen = [by_name[name] for name in targets]
        graph = get_active_graph(self._index.graph)
        steps = chosen if single_item else plan_repro(graph, chosen)
        self._stages = {stage.addressing: stage for stage in steps}
        before = {name: {other.addressing for other in graph.successors(stage)} for name, stage in self._stages.items()}
        return {name: others & self._stages.keys() for name, others in before.items()}

    def is_plain(self, name: str) -> bool:
        """Say whether a stage is one command; not a raw folder that is tracked, nor a frozen stage."""
        from dvc.stage import PipelineStage

        stage = self._stages[name]
        is_command = isinstance(stage, PipelineStage) and isinstance(stage.cmd, str) and "\n" not in stage.cmd.strip()
        return is_command and not (stage.frozen or stage.is_import or stage.is_callback or stage.always_changed)

    def leave_to_dvc(self, name: str) -> None:
        """Have DVC bring a stage that is not plain up to date, and record it."""
        from dvc.repo.reproduce import _reproduce_stage

        _reproduce_stage(self._stages[name], upstream=[])
        self._hashed.clear()

    def is_changed(self, name: str) -> bool:
        """Say whether a stage is out of date: its command, its params, what it reads, or what it wrote."""
        stage = self._stages[name]
        return stage.changed_stage() or any(item.status() for item in (*stage.deps, *stage.outs))

    def restore(self, name: str) -> bool:
        """Remove what a changed stage wrote, and take it from the run cache if it is there; say whether it was."""
        from dvc.stage.cache import RunCacheNotFoundError

        stage = self._stages[name]
        stage.remove_outs(ignore_remove=False, force=False)
        try:
            self._repo.stage_cache.restore(stage)
        except RunCacheNotFoundError:
            return False
        self._save(stage)
        return True

    def begin(self, name: str) -> Command:
        """Return the command of a stage that is to run; others' DVC takes its files for busy until it is ended."""
        from dvc.rwlock import rwlock
        from dvc.stage.run import _make_cmd, get_executable, prepare_kwargs

        repo, stage = self._repo, self._stages[name]
        read, written = ([item.fs_path for item in items] for items in (stage.deps, stage.outs))
        is_hardlink = repo.config["core"].get("hardlink_lock", False)
        self._held[name] = ExitStack()
        self._held[name].enter_context(rwlock(repo.tmp_dir, repo.fs, " ".join(sys.argv), read, written, is_hardlink))
        stage.save_deps()
        self._inputs[name] = [dep.hash_info for dep in stage.deps]
        settings = prepare_kwargs(stage)
        return Command(_make_cmd(get_executable(), stage.cmd), settings["cwd"], settings["env"])

    def end(self, name: str, is_done: bool) -> bool:
        """Save what a stage wrote, if it is done, in the run cache and the cache; its files are busy no more.

        Returns
        -------
        bool
            Whether it may be recorded. Where what it reads changed since it began, nobody knows what it was made of:
            it is recorded nowhere, and the next run makes it anew.
        """
        with self._held.pop(name):
            inputs = self._inputs.pop(name)
            return is_done and self._save(self._stages[name], inputs)

    def release(self) -> None:
        """Let the files of stages go that were begun and not ended."""
        for held in self._held.values():
            held.close()
        self._held.clear()

    def _save(self, stage: Any, inputs: Sequence[Any] = ()) -> bool:
        """Save what a stage wrote; say whether its inputs are as they were when it began."""
        from fsspec.implementations.memory import MemoryFileSystem

        self._hashed.forget(out.fs_path for out in stage.outs)
        stage.save_deps()
        is_as_begun = _is_as_begun(stage, inputs)
        stage.save_outs()
        stage.md5 = stage.compute_md5()
        if is_as_begun and all(out.use_cache or out.is_metric or out.is_plot for out in stage.outs):
            self._repo.stage_cache.save(stage)
        stage.commit()
        # There DVC keeps the list of each folder for ever, and goes through all of them for the next one.
        MemoryFileSystem.store.clear()
        return is_as_begun

    def command(self, name: str) -> str:
        """Return the command that dvc.yaml gives a stage."""
        return str(self._stages[name].cmd)

    def digests(self, name: str) -> list[str]:
        """Return the MD5 of each output of a stage as it was saved."""
        return [str(out.hash_info.value) for out in self._stages[name].outs]

    def cached_files(self, name: str) -> list[CachedFile]:
        """Return the outputs of a stage as they were saved, each a file, with its object in the cache."""
        store = Path(self._repo.cache.local.path).parent.parent
        return [
            CachedFile(Path(str(out)), md5, store.joinpath(*object_parts(md5)))
            for out, md5 in zip(self._stages[name].outs, self.digests(name), strict=True)
        ]

    def run_cache_entries(self, name: str, key: str) -> Path:
        """Return the local folder with the run-cache entries of a stage that is up to date; as that of `internals`."""
        return entries_of(self._repo, self._stages[name], key)

    def is_kept(self, name: str) -> bool:
        """Say whether the run cache keeps what a stage wrote, so that it is not lost before dvc.lock is written."""
        from dvc.stage.cache import _can_hash

        return bool(_can_hash(self._stages[name]))

    def record(self, names: Iterable[str]) -> None:
        """Write stages that are saved into dvc.lock, at once and atomically."""
        from dvc.stage.serialize import to_lockfile

        entries: dict[str, Any] = {}
        for name in names:
            entries |= to_lockfile(self._stages[name])
        if not entries:
            return
        written = {name: lock_text.block(name, entry) for name, entry in entries.items()}
        is_as_read = self._looks == _looks()
        lock_text.change(LOCK, lambda blocks: blocks | written)
        if is_as_read:  # and so it stays: these stages know what was written of them
            self._looks = _looks()
        self._repo.scm_context.track_file(str(LOCK))

    @contextmanager
    def unlocked(self) -> Iterator[None]:
        """Let another DVC have the lock in a ``with`` block, as DVC itself does while a command runs."""
        try:
            self._repo.lock.unlock()
            self._repo._reset()
            yield
        finally:
            if not self._repo.lock.is_locked:
                self._repo.lock.lock()

    def show_bars(self, is_shown: bool) -> None:
        """Let DVC draw a bar while it computes digests, or not, as beside another live display."""
        logging.getLogger("dvc.progress").setLevel(logging.NOTSET if is_shown else logging.CRITICAL)

    def look_anew(self) -> None:
        """Forget what was seen of the files before commands ran."""
        self._hashed.clear()
        self._repo._reset()
