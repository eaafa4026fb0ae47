"""Join one's own work with what others have pushed, data included: the command behind `make merge`.

In: the branch that the present one follows, or the merge that is under way, or the last one if it went wrong. Out: a
merge commit, the tracked folders with the files of both sides, and arrays made of them.

The lists of batches and dvc.lock are one's own at first; discover and `dvc repro --pull` then bring them up to date, so
that the other's batches come from the run cache. Where both sides changed the same file of a tracked folder,
``TAKE=ours`` or ``TAKE=theirs`` says whose counts; for all other files it says nothing.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.core import manifests
from stages.core.errors import ExpectedError
from stages.core.files import write_text
from stages.core.params import Params, load
from stages.discover import discover
from stages.pipeline import dvc, folders, git, internals, lock, merges
from stages.pipeline.merges import Merge
from stages.runtime import cli

OWN = ("dvc.lock", "data/manifests/*/batches.yaml")  # what a run makes anew from one's own version
AGAIN = "correct it and `make merge` again; nothing is lost"


def merge(take: folders.Side | None) -> None:
    """Merge, check out the folders, bring everything up to date and commit.

    Raises
    ------
    ExpectedError
        When there is something that the user must decide first; `make merge` then goes on from there.
    """
    under_way = _to_be_ended() or _begun()
    if under_way is None:
        sys.stdout.write("nothing to merge: all that others pushed is here\n")
        return
    _resolve_folders(under_way, take)
    _take_own(under_way)
    _refuse_other_conflicts()
    _check_out()
    merges.refuse_unmerged()
    _bring_up_to_date(load())
    _commit()


def _to_be_ended() -> Merge | None:
    """Return the merge that is under way, or the last one if it left markers or lost files; else None."""
    last = merges.last_merge()
    if last is not None and not last.commit:
        return last
    if paths := merges.unmerged():
        return _of_markers(paths, last)
    if last is None:
        return None
    try:
        merges.check()
    except ExpectedError:
        return last if merges.lost_files(internals.open_store(), last) else None
    return None


def _of_markers(paths: Sequence[str], last: Merge | None) -> Merge:
    """Return the last merge if it is the one from which conflict markers come, and not a rebase or a stash."""
    if last is None or not all(merges.holds_markers(git.show(last.commit, path)) for path in paths):
        raise ExpectedError(
            f"{', '.join(paths)}: not merged, but by no merge; end that first, as with `git rebase --abort`"
        )
    return last


def _begun() -> Merge | None:
    """Begin to merge what the branch follows; return None if that brings nothing."""
    merges.check()
    _refuse_changed_folders()
    git.output("fetch")
    theirs = git.commit_id("@{upstream}")
    if not theirs:
        raise ExpectedError(
            "this branch follows none, expected one to merge; `git branch --set-upstream-to=origin/main`"
        )
    ours = git.commit_id("HEAD")
    base = git.merge_base(ours, theirs)
    if base == theirs:
        return None
    git.try_output("merge", "--no-ff", "--no-commit", theirs)  # conflicts are looked at below
    if git.commit_id("MERGE_HEAD") != theirs:
        git.output("merge", "--no-ff", "--no-commit", theirs)  # git refused to begin: its reason is the error
    return Merge(base, ours, theirs)


def _refuse_changed_folders() -> None:
    """Refuse to begin while a tracked folder holds what `dvc add` has not seen: checking out would lose it."""
    changed = [path for path in dvc.status() if path.endswith(".dvc")]
    if changed:
        folder = changed[0].removesuffix(".dvc")
        raise ExpectedError(
            f"{folder}: changed since `dvc add`; `dvc add {folder}`, `git commit -a`, then `make merge`"
        )


def _resolve_folders(under_way: Merge, take: folders.Side | None) -> None:
    """Write each ``.dvc`` file that both sides changed anew, from the three versions that the commits hold.

    One of a merge that was committed and looks whole has perhaps changed since: it gets the lost files only.
    """
    for path in _changed_by_both(under_way):
        base, ours, theirs = under_way.texts(path)
        now = Path(path).read_text(encoding="utf-8") if Path(path).is_file() else ""
        if under_way.commit and now and not merges.holds_markers(now):
            text = _with_lost(under_way, path, now)
        else:
            text = folders.merge_texts(base, ours, theirs, path, take)
        write_text(Path(path), text)
        git.output("add", "--", path)


def _with_lost(ended: Merge, path: str, now: str) -> str:
    store = internals.open_store()
    _, ours, theirs = (folders.files(store, text, path) for text in ended.texts(path))
    lost = merges.lost_files(store, ended).get(path, set())
    found = {**ours, **theirs}
    return folders.text_of(store, {name: found[name] for name in lost} | folders.files(store, now, path), now, path)


def _changed_by_both(under_way: Merge) -> list[str]:
    known = git.lines("ls-tree", "-r", "--name-only", under_way.theirs)
    paths = sorted({*merges.tracked_files(), *(path for path in known if path.endswith(".dvc"))})
    texts = {path: under_way.texts(path) for path in paths}
    return [path for path, (base, ours, theirs) in texts.items() if ours and theirs and base != ours != theirs != base]


def _take_own(under_way: Merge) -> None:
    """Take one's own dvc.lock and batch lists; those that only the other side has stay as they are."""
    own = git.lines("ls-tree", "-r", "--name-only", under_way.ours)
    patterns = [path for path in own if any(Path(path).match(pattern) for pattern in OWN)]
    if patterns:
        git.output("checkout", under_way.ours, "--", *patterns)


def _refuse_other_conflicts() -> None:
    paths = sorted(set(git.lines("diff", "--name-only", "--diff-filter=U")))
    if paths:
        raise ExpectedError(f"{', '.join(paths)}: both changed it; resolve it, `git add` it and `make merge` again")


def _check_out() -> None:
    """Bring the tracked folders to what their ``.dvc`` files say."""
    paths = merges.tracked_files()
    if paths:
        command = "pull" if internals.remote_name() else "checkout"
        dvc.call(command, *paths, failure=f"dvc {command} failed, see above; {AGAIN}")


def _bring_up_to_date(params: Params) -> None:
    """Run discover and all that follows; what the other has built comes from the run cache."""
    present = [dataset for dataset, entry in sorted(params.datasets.items()) if entry.raw_dir.is_dir()]
    for dataset in present:
        discover(dataset, params.datasets[dataset])
        lock.tidy(dataset, manifests.read_batch_list(dataset))
    dvc.call("repro", "--pull", failure=f"dvc repro failed, see above; {AGAIN}")
    for dataset in present:
        lock.tidy(dataset, manifests.read_batch_list(dataset))


def _commit() -> None:
    """Commit the merge, or what was wrong in one that was committed."""
    git.output("add", "--", *_own_paths(), *merges.tracked_files())
    if git.commit_id("MERGE_HEAD"):
        git.output("commit", "--quiet", "--no-edit")
    elif git.lines("diff", "--cached", "--name-only"):
        git.output("commit", "--quiet", "--message", "Complete the last merge")
    merges.check()
    sys.stdout.write("merged; `make push` and `git push` send it\n")


def _own_paths() -> Sequence[str]:
    return ["dvc.lock", *(str(path) for path in sorted(Path("data/manifests").glob("*/batches.yaml")))]


def _take() -> folders.Side | None:
    """Return whose version of a file counts that both changed: the environment variable ``TAKE``."""
    value = os.environ.get("TAKE", "")
    sides: dict[str, folders.Side | None] = {"": None, "ours": "ours", "theirs": "theirs"}
    if value not in sides:
        raise ExpectedError(f"TAKE: {value!r}, expected ours or theirs; correct it")
    return sides[value]


def main() -> int:
    """Run the command."""
    cli.parser("commands.join", "Join your work with what others have pushed, data included.").parse_args()
    return cli.run(lambda: merge(_take()), lambda: "the merge is under way")


if __name__ == "__main__":
    sys.exit(main())
