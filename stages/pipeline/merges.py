"""What a git merge may leave behind: files with conflict markers, and folders that lack what one side had added.

Both look like a repository in order to DVC's commands, or like one with a syntax error; so the commands of ours ask
here first.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import ExpectedError
from stages.core.files import write_text
from stages.pipeline import folders, git, internals

logger = logging.getLogger("batchwise")

READ_BY_DVC = ("*.dvc", "dvc.lock", "data/manifests/*/batches.yaml")
SETTLED = Path(".dvc/tmp/settled-merge")  # the last merge commit whose files were all seen to be there
MARKERS = ("<<<<<<<", ">>>>>>>")


@dataclass(frozen=True)
class Merge:
    """Two commits that are or were merged, the one from which they parted, and the merge commit, if there is one."""

    base: str
    ours: str
    theirs: str
    commit: str = ""

    def texts(self, path: str) -> tuple[str, str, str]:
        """Return a file as it was in the base and on both sides, empty where it was not."""
        base = git.show(self.base, path) if self.base else ""
        return base, git.show(self.ours, path), git.show(self.theirs, path)


def check() -> None:
    """Refuse to work with files that are not merged, or lack what a merge should have brought.

    Raises
    ------
    ExpectedError
        Which they are, and what to do.
    """
    refuse_unmerged()
    refuse_lost()


def refuse_unmerged() -> None:
    """Refuse files that DVC reads and that git has not merged, or that hold conflict markers.

    Raises
    ------
    ExpectedError
        Which they are, and what to do.
    """
    if paths := unmerged():
        raise ExpectedError(f"{', '.join(paths)}: not merged, expected no conflict; `make merge` ends the merge")


def unmerged() -> list[str]:
    """Return the files that DVC reads and git has not merged, or that hold conflict markers, by path."""
    found = set()
    for line in git.lines("ls-files", "--stage", "--", *READ_BY_DVC):
        words, _, path = line.partition("\t")
        text = Path(path).read_text(encoding="utf-8", errors="replace") if Path(path).is_file() else ""
        if words.split()[2] != "0" or holds_markers(text):
            found.add(path)
    return sorted(found)


def holds_markers(text: str) -> bool:
    """Say whether git's conflict markers are in a text."""
    return any(line.startswith(MARKERS) for line in text.splitlines())


def tracked_files() -> list[str]:
    """Return the ``.dvc`` files that git knows, by path."""
    return sorted(set(git.lines("ls-files", "--", "*.dvc")))


def last_merge() -> Merge | None:
    """Return the merge that is under way, else the last one in the history of HEAD, else None."""
    under_way = git.commit_id("MERGE_HEAD")
    if under_way:
        head = git.commit_id("HEAD")
        return Merge(git.merge_base(head, under_way), head, under_way)
    found = git.try_output("rev-list", "--merges", "--max-count=1", "--parents", "HEAD").split()
    if len(found) != 3:  # none, or one of more than two sides
        return None
    commit, ours, theirs = found
    return Merge(git.merge_base(ours, theirs), ours, theirs, commit)


def refuse_lost() -> None:
    """Refuse a tracked folder that lacks files which others added: DVC would take it as it is for the new version.

    A merge that was once seen to be complete is not looked at again: a file that is missing later was removed later.

    Raises
    ------
    ExpectedError
        Which files are missing, and what to do.
    """
    paths = tracked_files()
    if not paths:
        return
    store = internals.open_store()
    for path in paths:
        _refuse_not_checked_out(store, path)
    merge = last_merge()
    if merge is None or (merge.commit and merge.commit == _settled()):
        return
    try:
        lost = lost_files(store, merge)
    except ExpectedError as error:
        logger.warning("whether the last merge lost files cannot be seen: %s", error)
        if merge.commit and not _is_mine(merge):  # what others merged, they have looked at
            write_text(SETTLED, merge.commit + "\n")
        return
    for path, names in lost.items():
        raise ExpectedError(_told(path, names, merge))
    if merge.commit:
        write_text(SETTLED, merge.commit + "\n")


def _refuse_not_checked_out(store: internals.Store, path: str) -> None:
    """Refuse a folder whose version in git is another one that was never here, as after a bare `git pull`.

    What was on this machine once, `dvc add` or `dvc pull` has put into DVC's cache.
    """
    folder, md5 = here(path)
    if folder.is_dir() and not store.object(md5).exists():
        raise ExpectedError(f"{folder}: not the version that {path} names, which was never here; `dvc pull {path}`")


def here(path: str) -> tuple[Path, str]:
    """Return the folder that a ``.dvc`` file tracks now, and the MD5 of its list."""
    folder, md5 = folders.tracked(Path(path).read_text(encoding="utf-8"), path)
    return Path(path).parent / folder, md5


def _is_mine(merge: Merge) -> bool:
    return git.try_output("show", "--no-patch", "--format=%ce", merge.commit) == git.try_output("config", "user.email")


def _settled() -> str:
    return SETTLED.read_text(encoding="utf-8").strip() if SETTLED.is_file() else ""


def _told(path: str, names: Collection[str], merge: Merge) -> str:
    accept = f"; if they are to go, `echo {merge.commit} > {SETTLED}`" if merge.commit else ""
    return (
        f"{here(path)[0]}: {len(names)} files of the last merge are missing, as {min(names)}, and neither side removed "
        f"them; `make merge` brings them{accept}"
    )


def lost_files(store: internals.Store, merge: Merge) -> dict[str, set[str]]:
    """Return the files that a merge should have brought and that tracked folders lack, by ``.dvc`` file.

    Those that a commit after the merge removed are not among them.

    Raises
    ------
    ExpectedError
        When DVC's list of a version is neither here nor on the remote.
    """
    found = {}
    for path in tracked_files():
        texts = merge.texts(path)
        if len({*texts}) < len(texts):  # where only one side changed it, git takes that one
            continue
        base, ours, theirs = (folders.files(store, text, path) for text in texts)
        names = folders.to_be_kept(base, ours, theirs) - _removed_later(store, path, merge) - _present(here(path)[0])
        if names:
            found[path] = names
    return found


def _removed_later(store: internals.Store, path: str, merge: Merge) -> set[str]:
    """Return the files that the merge had and HEAD has not; none for a merge committed with its markers."""
    then, now = git.show(merge.commit, path) if merge.commit else "", git.show("HEAD", path)
    if then in ("", now) or holds_markers(then):
        return set()
    return folders.files(store, then, path).keys() - folders.files(store, now, path).keys()


def _present(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
