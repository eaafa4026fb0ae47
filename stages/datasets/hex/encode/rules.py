"""What the moves of games say: cells played twice, who has won and when, and what is done about faults."""

from dataclasses import dataclass

import numpy as np

from stages.datasets.hex.encode.grammar import NOBODY
from stages.datasets.hex.encode.lines import Records
from stages.datasets.hex.schema import N_CELLS, SIZE, Options
from stages.datasets.hex.schema.connection import connected, winner_of_words

REPEATED, AFTER_WIN, UNFINISHED, CONTRADICTION = (1 << bit for bit in range(4))
REFUSED = {
    REPEATED: "cell played twice",
    AFTER_WIN: "moves after the win",
    UNFINISHED: "nobody has won",
    CONTRADICTION: "winner is not the board's",
}
REPAIRED = {
    REPEATED: "cut before a cell played twice",
    AFTER_WIN: "cut after the win",
    UNFINISHED: "",  # what `keep` keeps is the line as it is
    CONTRADICTION: "winner taken from the board",
}
ROW, COLUMN = np.divmod(np.arange(N_CELLS), SIZE)
WORD = np.stack([ROW, COLUMN])  # of blue's and of red's stones, by cell
BIT = np.exp2(np.stack([COLUMN, ROW]))


@dataclass(frozen=True)
class Verdict:
    """What is done with G games.

    Attributes
    ----------
    n_plies
        int64 (G,): moves that are left.
    winner
        int8 (G,): 0 blue, 1 red; -1 only where the game is refused.
    faults
        uint8 (G,): sum of the keys of `REFUSED` that apply; later ones are not looked for in refused games.
    refused
        uint8 (G,): the fault that a game is refused for, 0 if it is not.
    """

    n_plies: np.ndarray
    winner: np.ndarray
    faults: np.ndarray
    refused: np.ndarray

    def reason(self, game: int) -> str:
        """Return what was wrong with a game and what was done about it; empty for nothing."""
        refused, faults = int(self.refused[game]), int(self.faults[game])
        texts = [(REFUSED if fault == refused else REPAIRED)[fault] for fault in REFUSED if faults & fault]
        return ", ".join(text for text in texts if text)


def judge(games: Records, options: Options) -> Verdict:
    """Judge games by the rules, in the order of `REFUSED`.

    A game that is cut before a repeated cell is judged as what is left of it: usually nobody has won then. A game that
    nobody has won and whose line names no winner is refused even if such games are kept.
    """
    # What is wrong with each game.
    n_plies = _plies_before_repeat(games)
    won_at, on_board = _first_win(games, n_plies)
    is_won = won_at > 0
    is_late = is_won & (won_at < n_plies)
    found = {
        REPEATED: n_plies < np.diff(games.offsets),
        AFTER_WIN: is_late,
        UNFINISHED: ~is_won,
        CONTRADICTION: is_won & (games.winner != NOBODY) & (games.winner != on_board),
    }
    faults = np.zeros(len(n_plies), np.uint8)
    for fault, is_found in found.items():
        faults[is_found] |= fault

    # What each is refused for: the first of its faults that the options do not allow; those behind it are dropped.
    refuses = {
        REPEATED: options.repeated == "refuse",
        AFTER_WIN: options.after_win == "refuse",
        UNFINISHED: (options.unfinished == "refuse") | (games.winner == NOBODY),
        CONTRADICTION: options.contradiction == "refuse",
    }
    refused = np.zeros(len(faults), np.uint8)
    for fault, is_refused in refuses.items():
        faults[refused > 0] &= fault - 1
        refused[(refused == 0) & (faults & fault > 0) & is_refused] = fault
    return Verdict(
        n_plies=np.where(is_late, won_at, n_plies),
        winner=np.where(is_won, on_board, games.winner).astype(np.int8),
        faults=faults,
        refused=refused,
    )


def select(games: Records, verdict: Verdict) -> Records:
    """Return the games that are not refused, cut and with the winners of their verdict; `refused` stays empty."""
    is_kept = verdict.refused == 0
    n_plies = np.where(is_kept, verdict.n_plies, 0)
    ply = np.arange(len(games.cells)) - np.repeat(games.offsets[:-1], np.diff(games.offsets))
    return Records(
        cells=games.cells[ply < np.repeat(n_plies, np.diff(games.offsets))],
        offsets=np.concatenate([[0], np.cumsum(n_plies[is_kept])]).astype(np.int64),
        winner=verdict.winner[is_kept],
        unit=games.unit[is_kept],
        line=games.line[is_kept],
        refused=[],
    )


def _plies_before_repeat(games: Records) -> np.ndarray:
    """Return how many moves each game has before the first one on an occupied cell, int64 (G,)."""
    n_plies = np.diff(games.offsets)
    stone = np.arange(len(games.cells))
    game = np.repeat(np.arange(len(n_plies)), n_plies)
    place = game * N_CELLS + games.cells
    first_stone = np.empty(len(n_plies) * N_CELLS, np.int64)
    first_stone[place[::-1]] = stone[::-1]  # of a place that occurs twice, the last assignment stays: the first stone
    repeats = np.flatnonzero(first_stone[place] != stone)
    np.minimum.at(n_plies, game[repeats], repeats - games.offsets[game[repeats]])
    return n_plies


def _first_win(games: Records, n_plies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return after how many moves each game is won, 0 if it is not, int64 (G,), and by whom, int8 (G,).

    Nearly all games end with the win: only those that were won a move before their end are searched, by halving.
    """
    all_games = np.arange(len(n_plies))
    on_board = winner_of_words(_words_after(games, all_games, n_plies))
    won_at = np.where(on_board != NOBODY, n_plies, 0)

    def is_won(chosen: np.ndarray, after: np.ndarray) -> np.ndarray:
        return connected(_words_after(games, chosen, after)[np.arange(len(chosen)), on_board[chosen]])

    ended = np.flatnonzero(won_at)
    early = ended[is_won(ended, won_at[ended] - 1)]
    low, high = np.zeros(len(early), np.int64), won_at[early] - 1  # not won after `low`, won after `high`
    while (high - low > 1).any():
        middle = (low + high) // 2
        is_high = is_won(early, middle)
        low, high = np.where(is_high, low, middle), np.where(is_high, middle, high)
    won_at[early] = high
    return won_at, on_board


def _words_after(games: Records, chosen: np.ndarray, n_plies: np.ndarray) -> np.ndarray:
    """Return the stones of games after some moves each, uint16 (N, 2, 13) as in `connection`.

    `chosen` are the games, int64 (N,), and `n_plies` how many moves of each are played, none of them twice on a cell.
    """
    game = np.repeat(np.arange(len(chosen)), n_plies)
    ply = np.arange(len(game)) - np.repeat(np.cumsum(n_plies) - n_plies, n_plies)
    cell = games.cells[np.repeat(games.offsets[:-1][chosen], n_plies) + ply]
    place = (game * 2 + (ply & 1)) * SIZE + WORD[ply & 1, cell]
    sums = np.bincount(place, weights=BIT[ply & 1, cell], minlength=len(chosen) * 2 * SIZE)
    return sums.astype(np.uint16).reshape(-1, 2, SIZE)
