"""The canonical order of events, which game owns each of them, and what a session carries from row to row.

Sessions are ordered by their smallest `ts`, rows within a session by `seq`; `ts` alone would not do, since the threads
of the recorder swap the times of neighbours. Of rows with one session, seq and doc type the first one is kept; rows
that name different games are no copies of each other, whatever their seq.

A row that names its game belongs to it. Any other belongs to the current game of its session: the newest one of which
a frame was seen so far (a late frame of an older game does not switch back), before the first frame the first one.
"""

import hmac
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from stages.core.errors import ExpectedError
from stages.datasets.rugs.schema import WHERE, Options

PLAYER_BYTES: Final = 8


def ordered(*keys: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the order of rows by keys, the first one first, without those with the same keys as one before.

    Returns
    -------
    order, n_twice
        int64 (K,) indices of the rows that are kept, the first in the order given of those with the same keys; and how
        many are not.
    """
    order = np.lexsort(keys[::-1])  # stable; its last key counts first
    is_first = np.ones(len(order), bool)
    if len(order):
        differs = [key[order][1:] != key[order][:-1] for key in keys]
        is_first[1:] = np.any(differs, axis=0)
    return order[is_first], int((~is_first).sum())


def first_times(n_sessions: int, parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the smallest time of each session, int64 ns since 1970 UTC, of parts of (session, time) of their rows."""
    result = np.full(n_sessions, np.iinfo(np.int64).max)
    for session, ts_ns in parts:
        np.minimum.at(result, session, ts_ns)
    return result


def ranks(first_ns: np.ndarray, sessions: list[str]) -> np.ndarray:
    """Return the place of each session: by its smallest time (int64 ns), then by name."""
    order = sorted(range(len(sessions)), key=lambda code: (first_ns[code], sessions[code]))
    result = np.empty(len(sessions), np.int64)
    result[order] = np.arange(len(sessions))
    return result


def owners(session: np.ndarray, game: np.ndarray, is_frame: np.ndarray) -> np.ndarray:
    """Return the game that owns each row.

    Parameters
    ----------
    session, game
        int32 (N,) of rows in canonical order; game -1 for rows that name none.
    is_frame
        bool (N,): rows that are a frame.

    Returns
    -------
    ndarray
        int32 (N,): -1 where a session has no frame at all.
    """
    frames = np.flatnonzero(is_frame & (game >= 0))
    if not len(frames):
        return game.copy()

    # Marks: the first frame of each game in each session.
    names = session[frames].astype(np.int64) << 32 | game[frames]
    first = np.unique(names, return_index=True)[1]
    marks = frames[np.sort(first)]

    # The mark of each row is the last one up to it, and before the first one of its session that one.
    mark = np.searchsorted(marks, np.arange(len(game)), side="right") - 1
    is_before = (mark < 0) | (session[marks[mark]] != session)
    mark = np.minimum(mark + is_before, len(marks) - 1)

    # A session without a mark has no game.
    has_mark = session[marks[mark]] == session
    current = np.where(has_mark, game[marks[mark]], -1)
    return np.where(game >= 0, game, current).astype(np.int32)


def by_owner(owner: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each game that owns some, int64; the games in the order of their first rows."""
    rows = np.argsort(owner, kind="stable")
    rows = rows[owner[rows] >= 0]
    if not len(rows):
        return []
    starts = np.flatnonzero(np.diff(owner[rows], prepend=-1))
    return sorted(np.split(rows, starts[1:]), key=lambda own: int(own[0]))


def last_seen(is_seen: np.ndarray, session: np.ndarray) -> np.ndarray:
    """Return for each row the last row up to it of the same session that is marked, int64 (N,), -1 for none."""
    last = np.maximum.accumulate(np.where(is_seen, np.arange(len(is_seen)), -1))
    return np.where((last >= 0) & (session[last] == session), last, -1)


def player_key(options: Options) -> bytes:
    """Return the key of the players' pseudonyms, empty without one.

    Raises
    ------
    ExpectedError
        When the file cannot be read or is empty.
    """
    if options.player_key_file is None:
        return b""
    path = Path(options.player_key_file)
    try:
        key = path.read_bytes()
    except OSError as error:
        why = f"not readable ({error.strerror})"
        raise ExpectedError(f"{path}: {why}, expected a key; make it or set {WHERE}.player_key_file") from None
    if not key:
        raise ExpectedError(f"{path}: empty, expected a key; fill it or set {WHERE}.player_key_file")
    return key


def fingerprint(key: bytes) -> str:
    """Return 8 hex digits that tell a key from others."""
    return hmac.digest(key, b"batchwise key", "sha256")[:4].hex()


def pseudonym(player: str | None, key: bytes) -> int:
    """Return the first 64 bits of the HMAC-SHA256 of a player's id, 0 for none."""
    if not player:
        return 0
    digest = hmac.digest(key, player.encode(errors="surrogatepass"), "sha256")
    return int.from_bytes(digest[:PLAYER_BYTES], "big")
