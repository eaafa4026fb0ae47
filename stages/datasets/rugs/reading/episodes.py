"""Needed rows in canonical order, block by block -> the episodes: which rows each owns, and what it carries in.

What stays of the rows is some numbers for each episode, for each session and for each file of it, and for each stretch
of rows that one game owns: an episode is one stretch, but where late rows of other games lie between its own.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

Span = tuple[int | None, int | None]


@dataclass(slots=True)
class EpisodeRows:
    """A game that owns rows.

    Attributes
    ----------
    game
        Its code.
    first, order
        Its first row, counted in canonical order; time (ns since 1970 UTC) and seq of it.
    player
        Pseudonym of the own player before that row, 0 for none.
    cash
        Last cash of the session up to the first frame, NaN for none.
    n_rows
        How many rows it owns.
    has_frame
        Whether one of them is a frame.
    spans
        First and last seq of the rows that name no game, by session in order; None for none.
    """

    game: int
    first: int
    order: tuple[int, int]
    player: int
    cash: float = np.nan
    n_rows: int = 0
    has_frame: bool = False
    spans: dict[int, Span] = field(default_factory=dict)


@dataclass
class _Carried:
    """What a session carries from one block to the next."""

    session: int = -1
    game: int = -1  # the current one, and those that a frame of this session named
    seen: set[int] = field(default_factory=set)
    cash: float = np.nan
    player: int = 0


class Episodes:
    """Takes the needed rows block by block; `by_game` are the episodes by the codes of their games, also without frame.

    Parameters
    ----------
    first_game
        int32 (S,): the game of the first frame of each session that names one, -1 for none.
    """

    def __init__(self, first_game: np.ndarray) -> None:
        self._first_game = first_game
        self._carried = _Carried()
        self._n_rows = 0
        self._files = list[np.ndarray]()
        self._stretches = list[np.ndarray]()
        self.by_game: dict[int, EpisodeRows] = {}

    def add(self, rows: np.ndarray) -> None:
        """Take the next rows, records of `stages.datasets.rugs.find.NEEDED`."""
        session, last = rows["session"], self._carried
        marks = self._marks(rows)
        owner = self._owners(rows, marks)
        same = session == last.session
        cash = _last_seen(rows["cash"], ~np.isnan(rows["cash"]), session, np.where(same, last.cash, np.nan))
        player = _last_seen(rows["player"], rows["player"] > 0, session, np.where(same, last.player, 0))
        self._begin(rows, owner, _before(player, session, last))
        self._see_frames(rows, owner, cash)
        self._see_spans(rows, owner)
        self._see_places(rows, owner)
        self._carry(rows, marks, float(cash[-1]), int(player[-1]))
        self._n_rows += len(rows)

    def in_order(self) -> list[EpisodeRows]:
        """Return the episodes that have a frame, in the order of their first rows."""
        return sorted((one for one in self.by_game.values() if one.has_frame), key=lambda one: one.first)

    def n_owned(self) -> int:
        """Return how many rows belong to an episode with a frame."""
        return sum(one.n_rows for one in self.by_game.values() if one.has_frame)

    def files(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each game with the files that hold its rows, sorted."""
        pairs = np.unique(np.concatenate([np.empty(0, np.int64), *self._files]))
        return _by_game(pairs >> 32, pairs & 0xFFFFFFFF)

    def stretches(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each game with the stretches of rows that it owns, int64 (K, 2), in canonical order."""
        stretches = np.concatenate([np.empty((0, 3), np.int64), *self._stretches])
        stretches = stretches[np.argsort(stretches[:, 0], kind="stable")]
        return _by_game(stretches[:, 0], stretches[:, 1:])

    def _owners(self, rows: np.ndarray, marks: np.ndarray) -> np.ndarray:
        """Return the game that owns each row, int64 (N,), -1 for none; see `order.owners`, the same for all at once."""
        session, game, last = rows["session"], rows["game"], self._carried
        # Before the first frame of a block the game is that of the block before, or the first one of the session.
        current = self._first_game[session]
        if last.game >= 0:
            current = np.where(session == last.session, last.game, current)
        if len(marks):
            mark = np.searchsorted(marks, np.arange(len(rows)), side="right") - 1
            has_mark = (mark >= 0) & (session[marks[mark]] == session)
            current = np.where(has_mark, game[marks[mark]], current)
        return np.where(game >= 0, game, current).astype(np.int64)

    def _marks(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows with the first frame of a game in their session."""
        frames = np.flatnonzero(rows["is_frame"] & (rows["game"] >= 0))
        names = rows["session"][frames].astype(np.int64) << 32 | rows["game"][frames]
        marks = frames[np.sort(np.unique(names, return_index=True)[1])]
        last = self._carried
        is_old = (rows["session"][marks] == last.session) & np.isin(rows["game"][marks], list(last.seen))
        return marks[~is_old]

    def _begin(self, rows: np.ndarray, owner: np.ndarray, player_before: np.ndarray) -> None:
        """Note the episodes that begin, and count the rows of all."""
        games, first, counts = np.unique(owner, return_index=True, return_counts=True)
        for game, row, count in zip(games.tolist(), first.tolist(), counts.tolist(), strict=True):
            if game < 0:
                continue
            if game not in self.by_game:
                place = int(rows["ts_ns"][row]), int(rows["seq"][row])
                self.by_game[game] = EpisodeRows(game, self._n_rows + row, place, int(player_before[row]))
            self.by_game[game].n_rows += count

    def _see_frames(self, rows: np.ndarray, owner: np.ndarray, cash: np.ndarray) -> None:
        """Note the first frame of each episode."""
        frames = np.flatnonzero(rows["is_frame"] & (owner >= 0))
        games, first = np.unique(owner[frames], return_index=True)
        for game, row in zip(games.tolist(), frames[first].tolist(), strict=True):
            one = self.by_game[game]
            if not one.has_frame:
                one.has_frame, one.cash = True, float(cash[row])

    def _see_spans(self, rows: np.ndarray, owner: np.ndarray) -> None:
        """Note the sessions of each episode, and the span of the rows in it that name no game."""
        owned = np.flatnonzero(owner >= 0)
        pairs = owner[owned] << 32 | rows["session"][owned]
        for row in owned[np.sort(np.unique(pairs, return_index=True)[1])].tolist():
            self.by_game[int(owner[row])].spans.setdefault(int(rows["session"][row]), (None, None))
        loose = owned[rows["game"][owned] < 0]
        pairs = owner[loose] << 32 | rows["session"][loose]
        first = loose[np.unique(pairs, return_index=True)[1]]
        last = loose[::-1][np.unique(pairs[::-1], return_index=True)[1]]
        for low, high in zip(first.tolist(), last.tolist(), strict=True):
            spans, session = self.by_game[int(owner[low])].spans, int(rows["session"][low])
            begin = spans[session][0]
            spans[session] = (int(rows["seq"][low]) if begin is None else begin, int(rows["seq"][high]))

    def _see_places(self, rows: np.ndarray, owner: np.ndarray) -> None:
        """Note which files hold the rows of each game, and in which stretches they lie."""
        owned = owner >= 0
        self._files.append(np.unique(owner[owned] << 32 | rows["file"][owned]))
        start = np.flatnonzero(np.diff(owner, prepend=-2))
        stop = np.append(start[1:], len(owner))
        found = np.stack([owner[start], start + self._n_rows, stop + self._n_rows], axis=1)
        self._stretches.append(found[found[:, 0] >= 0])

    def _carry(self, rows: np.ndarray, marks: np.ndarray, cash: float, player: int) -> None:
        """Keep what the next block needs of these rows."""
        session = int(rows["session"][-1])
        if session != self._carried.session:
            self._carried = _Carried(session)
        last = self._carried
        named = rows["game"][marks[rows["session"][marks] == session]].tolist()
        last.seen.update(named)
        last.game = named[-1] if named else last.game
        last.cash, last.player = cash, player


def first_games(rows: np.ndarray, found: np.ndarray) -> None:
    """Put the game of the first frame of each session, of rows in canonical order, where `found` has none yet."""
    frames = np.flatnonzero(rows["is_frame"] & (rows["game"] >= 0))
    sessions, first = np.unique(rows["session"][frames], return_index=True)
    is_new = found[sessions] < 0
    found[sessions[is_new]] = rows["game"][frames[first[is_new]]]


def _last_seen(values: np.ndarray, is_seen: np.ndarray, session: np.ndarray, carried: np.ndarray) -> np.ndarray:
    """Return for each row the value of the last row up to it of its session that is marked, else what is carried."""
    last = np.maximum.accumulate(np.where(is_seen, np.arange(len(values)), -1))
    is_there = (last >= 0) & (session[last] == session)
    return np.where(is_there, values[last], carried.astype(values.dtype))


def _before(player: np.ndarray, session: np.ndarray, last: _Carried) -> np.ndarray:
    """Return the player as known at the row before each, 0 where that is of another session."""
    before = np.concatenate([np.array([last.player], np.uint64), player[:-1]])
    of_same = np.concatenate([[last.session], session[:-1]]) == session
    return np.where(of_same, before, np.uint64(0))


def _by_game(games: np.ndarray, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each game, of games in order, with its values."""
    edges = [*np.flatnonzero(np.diff(games, prepend=-1)).tolist(), len(games)]
    for start, stop in itertools.pairwise(edges):
        yield int(games[start]), values[start:stop]
