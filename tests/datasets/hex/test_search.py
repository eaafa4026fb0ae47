"""The search of Hex self-play: boards, the embedded evaluator, its cache and the minimax."""

import heapq
import math
import zlib

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.datasets.hex.schema import BLUE, CELL_NAMES, N_CELLS, RED, SIZE
from stages.datasets.hex.schema.connection import winner
from stages.datasets.hex.simulate import evaluate, foreign
from stages.datasets.hex.simulate.board import played, won
from stages.datasets.hex.simulate.cache import CachedEvaluator, cached
from stages.datasets.hex.simulate.evaluate import DistanceEvaluator
from stages.datasets.hex.simulate.search import Draw, Search, choose, drawn
from tests.helpers.hex_boards import STEPS, boards_of, legal, movers_of


def random_boards(n, most=110, seed=0):
    rng = np.random.default_rng(seed)
    boards = boards_of([rng.permutation(N_CELLS)[: rng.integers(0, most)] for _ in range(n)])
    return boards[winner(boards) < 0]


def greedy(n):
    return Draw([np.random.default_rng(i) for i in range(n)], np.zeros(n))


def wall(blue, red):
    """A board with these cells."""
    board = np.zeros((1, 2, SIZE, SIZE), np.uint8)
    board.reshape(2, -1)[BLUE, blue] = 1
    board.reshape(2, -1)[RED, red] = 1
    return board


class Scrambled:
    """Policies and values that have nothing to do with the board but depend on every stone."""

    name = "scrambled"
    digest = None

    def policy(self, boards, movers):
        seeds = [zlib.crc32(board.tobytes() + bytes([mover])) for board, mover in zip(boards, movers, strict=True)]
        logits = np.array([np.random.default_rng(seed).random(N_CELLS) for seed in seeds], np.float32)
        return np.where(legal(boards), logits.reshape(-1, N_CELLS), np.float32(-np.inf))

    def value(self, boards, movers):
        hashes = [zlib.crc32(board.tobytes() + bytes([mover])) for board, mover in zip(boards, movers, strict=True)]
        return np.array([(1 + h % 998) / 1000 for h in hashes], np.float32)


class Lure(Scrambled):
    """Sees two blue moves, a13 and g10, and thinks blue nearly wins with a13; red's replies are m1, then g10."""

    def policy(self, boards, movers):
        row = np.zeros(N_CELLS, np.float32)
        row[[CELL_NAMES.index("a13"), CELL_NAMES.index("m1"), CELL_NAMES.index("g10")]] = [3, 2, 1]
        rows = np.where(movers[:, None] == BLUE, row * (np.arange(N_CELLS) != CELL_NAMES.index("m1")), row)
        return np.where(legal(boards), rows, np.float32(-np.inf))

    def value(self, boards, movers):
        return np.where(boards[:, BLUE, 12, 0] == 1, 0.1, 0.5).astype(np.float32)


def minimax(board, mover, widths, evaluator, sides=(min, max)):
    """P(red wins) and the move, one node after the other; `sides` are what blue and red make of the values."""
    one = board[None]
    if winner(one)[0] >= 0:
        return float(winner(one)[0]), None
    if not widths:
        return float(evaluator.value(one, np.array([mover]))[0]), None
    logits = evaluator.policy(one, np.array([mover]))[0]
    moves = [m for m in sorted(range(N_CELLS), key=lambda m: -logits[m]) if np.isfinite(logits[m])][: widths[0]]
    after = [played(one, np.array([mover]), np.array([move]))[0] for move in moves]
    values = [minimax(child, 1 - mover, widths[1:], evaluator, sides)[0] for child in after]
    best = sides[mover](values)
    return best, moves[values.index(best)]


def dijkstra(own, other):
    """The cost of the cheapest path from row 0 to row 12: 4 an empty cell, 1 a bridge."""
    queue, done = [(0, -1, c) for c in range(SIZE)], set()
    while queue:
        length, r, c = heapq.heappop(queue)
        if r == SIZE:
            return length
        if (r, c) in done:
            continue
        done.add((r, c))
        for y, x, price in links(own, other, r, c):
            if y == SIZE:
                heapq.heappush(queue, (length + price, y, x))
            elif y >= 0 and 0 <= x < SIZE and not other[y, x]:
                heapq.heappush(queue, (length + price + (0 if own[y, x] else 4), y, x))
    return evaluate._FAR


def links(own, other, r, c):
    """The six cells next to a cell and those behind two empty cells that are next to it and to each other."""
    around = [(r + down, c + right) for down, right in STEPS]
    empty = {(y, x) for y, x in around if 0 <= y < SIZE and 0 <= x < SIZE and not own[y, x] and not other[y, x]}
    pairs = [(one, two) for one in empty for two in empty if (two[0] - one[0], two[1] - one[1]) in STEPS]
    return [(*cell, 0) for cell in around] + [(one[0] + two[0] - r, one[1] + two[1] - c, 1) for one, two in pairs]


def test_a_board_has_the_stones_of_both_sides_where_they_were_played():
    """Blue has the first and third cell, red the second; red is to move."""
    boards = boards_of([[0, 14, 168], []])
    assert boards[0].reshape(2, -1)[BLUE].nonzero()[0].tolist() == [0, 168]
    assert boards[0].reshape(2, -1)[RED].nonzero()[0].tolist() == [14]
    assert movers_of(boards).tolist() == [RED, BLUE]
    assert np.flatnonzero(~legal(boards)[0]).tolist() == [0, 14, 168]


def test_won_is_what_the_connection_test_says_throughout_games():
    """The short cuts of `won` never hide a win."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        cells = rng.permutation(N_CELLS)
        boards = boards_of([cells[:n] for n in range(1, N_CELLS + 1)])
        last = (np.arange(N_CELLS) % 2).astype(np.uint8)
        assert np.array_equal(won(boards, last), winner(boards) == last)


def test_lengths_are_those_of_the_cheapest_paths():
    """A queue that follows cells and bridges one by one finds the same costs for both sides."""
    boards = random_boards(120)
    expected = [[dijkstra(b[BLUE], b[RED]) for b in boards], [dijkstra(b[RED].T, b[BLUE].T) for b in boards]]
    assert np.array_equal(evaluate._lengths(boards), expected)
    assert len(np.unique(expected)) > 10


def test_a_logit_is_minus_a_quarter_of_the_cheapest_paths_through_a_cell():
    """Of both sides together: the queue finds the path from one edge to the other that a stone of either side shortens.

    A stone on a cell that a path of cost c crosses leaves c - 4; it shortens nothing else.
    """
    boards = random_boards(12, most=60, seed=4)
    logits = DistanceEvaluator().policy(boards, movers_of(boards))
    n_checked = 0
    for board, row in zip(boards, logits, strict=True):
        for cell in np.argsort(-row, kind="stable")[:4]:
            costs = []
            for side in (BLUE, RED):
                own, other = board[side].copy(), board[1 - side]
                without = dijkstra(*_turned(own, other, side))
                own.reshape(-1)[cell] = 1
                costs.append((without, dijkstra(*_turned(own, other, side)) + 4))
            if all(through - 4 < without for without, through in costs):
                assert row[cell] == -sum(through for _, through in costs) / 4
                n_checked += 1
    assert n_checked > 20


def _turned(own, other, side):
    return (own, other) if side == BLUE else (own.T, other.T)


def test_a_value_is_the_logistic_of_the_difference_with_half_a_stone_for_the_mover():
    """On the empty board both sides are as far, so that only the right to move counts."""
    values = DistanceEvaluator().value(np.zeros((2, 2, SIZE, SIZE), np.uint8), np.array([BLUE, RED], np.uint8))
    assert values.tolist() == pytest.approx([1 / (1 + math.exp(0.5)), 1 / (1 + math.exp(-0.5))])


def test_mirrored_boards_with_colours_exchanged_are_judged_alike():
    """The long diagonal exchanges the sides: values are complements, logits move with the cells."""
    boards = random_boards(60)
    movers = movers_of(boards)
    mirrored = boards[:, ::-1].swapaxes(2, 3)
    judge = DistanceEvaluator()
    assert np.allclose(judge.value(mirrored, 1 - movers), 1 - judge.value(boards, movers), atol=1e-7)
    logits = judge.policy(boards, movers).reshape(-1, SIZE, SIZE).swapaxes(1, 2).reshape(-1, N_CELLS)
    assert np.array_equal(judge.policy(mirrored, 1 - movers), logits)


def test_what_is_said_about_a_board_does_not_depend_on_the_batch():
    """One by one, in sevens and all at once: the same bits."""
    boards = random_boards(400)
    movers = movers_of(boards)
    judge = DistanceEvaluator()
    for size in (1, 7):
        parts = [slice(i, i + size) for i in range(0, len(boards), size)]
        assert np.array_equal(
            np.concatenate([judge.value(boards[p], movers[p]) for p in parts]), judge.value(boards, movers)
        )
        logits = np.concatenate([judge.policy(boards[p], movers[p]) for p in parts])
        assert np.array_equal(logits, judge.policy(boards, movers))
    assert np.array_equal(np.isneginf(judge.policy(boards, movers)), ~legal(boards))


def test_an_evaluator_is_loaded_by_name():
    """The embedded one, one of a module, and a name that there is not."""
    boards = random_boards(40)
    movers, judge = movers_of(boards), foreign.load()
    own = foreign.load("stages.datasets.hex.simulate.evaluate:DistanceEvaluator")
    assert np.array_equal(own.policy(boards, movers), judge.policy(boards, movers))
    assert np.array_equal(own.value(boards, movers), judge.value(boards, movers))
    for name in ("resistance", "no_such_module:build", "math:build", ":", ".a:b", "a.b:", ""):
        with pytest.raises(ExpectedError, match=f"simulate.hex.evaluator: no '{name}' .*correct the name"):
            foreign.load(name)


def test_a_cache_changes_no_answer_and_asks_once_for_each_board():
    """Duplicates within a batch and boards of earlier batches are hits; the mover is part of the question."""
    boards = random_boards(40)
    movers = movers_of(boards)
    cache, plain = CachedEvaluator(Scrambled(), 1000), Scrambled()
    rows = np.random.default_rng(2).integers(0, len(boards), 100)
    for _ in range(2):
        assert np.array_equal(cache.value(boards[rows], movers[rows]), plain.value(boards[rows], movers[rows]))
        assert np.array_equal(cache.policy(boards[rows], movers[rows]), plain.policy(boards[rows], movers[rows]))
    distinct = len(np.unique(boards[rows].reshape(len(rows), -1), axis=0))
    assert (cache.misses, cache.hits) == (2 * distinct, 400 - 2 * distinct)
    assert np.array_equal(cache.value(boards, 1 - movers), plain.value(boards, 1 - movers))


def test_a_cache_forgets_what_was_used_least_lately():
    """With room for two, the board asked for again stays and the other one goes."""
    boards = boards_of([[0], [1], [2]])
    movers = movers_of(boards)
    cache = CachedEvaluator(Scrambled(), 2)
    for row in (0, 1, 0, 2, 0):
        cache.value(boards[[row]], movers[[row]])
    assert (cache.hits, cache.misses) == (2, 3)
    cache.value(boards[[1]], movers[[1]])
    assert (cache.hits, cache.misses) == (2, 4)


@pytest.mark.parametrize("widths", [(1,), (4,), (3, 3), (4, 2, 3), (2, 3, 2, 2)])
def test_moves_are_those_of_a_minimax_that_visits_one_node_after_the_other(widths):
    """Both sides to move, early boards and boards that are won within the tree, all in one batch."""
    boards = random_boards(300, most=169, seed=3)
    by_stones = np.argsort(boards.sum(axis=(1, 2, 3)), kind="stable")
    boards = boards[np.concatenate([by_stones[:5], by_stones[-15:]])]
    movers = movers_of(boards)
    expected = [minimax(b, m, widths, Scrambled())[1] for b, m in zip(boards, movers, strict=True)]
    assert choose(boards, movers, greedy(len(boards)), widths, Scrambled()).tolist() == expected


def test_red_is_expected_to_reply_with_what_is_best_for_red():
    """Red needs g10 only; the maximum of blue's chances at every depth would play a13 and lose, the minimax blocks."""
    row = [9 * SIZE + c for c in range(SIZE) if c != 6]
    board = wall([c for c in range(24) if c % 2], row)
    assert minimax(board[0], BLUE, (2, 2), Lure(), sides=(min, min))[1] == CELL_NAMES.index("a13")
    assert choose(board, np.array([BLUE]), greedy(1), (2, 2), Lure()).tolist() == [CELL_NAMES.index("g10")]


@pytest.mark.parametrize("mover", [BLUE, RED])
def test_a_win_is_taken_and_else_the_opponents_win_is_prevented(mover):
    """Red's row 10 lacks g10; red wins there, blue blocks there."""
    board = wall([c for c in range(24) if c % 2], [9 * SIZE + c for c in range(SIZE) if c != 6])
    boards = np.concatenate([board, board[:, ::-1].swapaxes(2, 3)])
    cells = choose(boards, np.array([mover, 1 - mover]), greedy(2), (13, 8), DistanceEvaluator())
    assert cells.tolist() == [9 * SIZE + 6, 6 * SIZE + 9]


@pytest.mark.parametrize("widths", [(1, 3), (2, 3), (2, 3, 2)])
def test_a_win_is_taken_when_every_move_that_is_looked_at_wins(widths):
    """Red wins with g8 and with g10: no node is left to look further from. A game beside it may go on."""
    rows = [row * SIZE + c for row in (7, 9) for c in range(SIZE) if c != 6]
    board = wall(range(8 * SIZE, 9 * SIZE), rows)
    wins = [7 * SIZE + 6, 9 * SIZE + 6]
    assert sorted(drawn(DistanceEvaluator().policy(board, [RED]), np.array([0]), greedy(1), 2)[0].tolist()) == wins
    alone = choose(board, np.array([RED]), greedy(1), widths, DistanceEvaluator())
    assert alone[0] in wins
    boards = np.concatenate([board, np.zeros_like(board)])
    beside = choose(boards, np.array([RED, BLUE]), greedy(2), widths, DistanceEvaluator())
    assert beside[0] == alone[0]


def test_a_games_moves_do_not_depend_on_the_games_beside_it():
    """Drawn candidates, games of all lengths and temperatures: alone and together, twice in a row."""
    boards = random_boards(40, most=150)[-12:]
    movers, temperature = movers_of(boards), np.linspace(0, 2, len(boards))
    judge = DistanceEvaluator()
    together = Draw([np.random.default_rng(i) for i in range(len(boards))], temperature)
    alone = [Draw([np.random.default_rng(i)], temperature[[i]]) for i in range(len(boards))]
    for _ in range(2):
        cells = choose(boards, movers, together, (5, 4), judge)
        single = [int(choose(boards[[i]], movers[[i]], d, (5, 4), judge)[0]) for i, d in enumerate(alone)]
        assert cells.tolist() == single
    assert legal(boards)[np.arange(len(boards)), cells].all()


def test_candidates_are_drawn_without_replacement_from_the_softmax():
    """First draws have the probabilities of softmax(logits / T); no cell twice; -1 when the moves run out."""
    logits = np.full((20_000, N_CELLS), -np.inf, np.float32)
    logits[:, [3, 50, 120]] = [0.0, 1.0, 2.0]
    draw = Draw([np.random.default_rng(5)], np.array([2.0]))
    cells = drawn(logits, np.zeros(len(logits), np.intp), draw, 4)
    assert np.array_equal(np.sort(cells, axis=1), np.tile([-1, 3, 50, 120], (len(logits), 1)))
    weights = np.exp([0, 0.5, 1])
    counts = [(cells[:, 0] == c).mean() for c in (3, 50, 120)]
    assert np.allclose(counts, weights / weights.sum(), atol=0.012)
    left = cells[cells[:, 0] == 120, 1]
    assert (left == 50).mean() == pytest.approx(weights[1] / weights[:2].sum(), abs=0.02)


def test_of_equal_scores_the_lower_cell_is_drawn_first():
    """As a stable sort orders them, down to where no legal move is left."""
    rng = np.random.default_rng(6)
    logits = rng.integers(0, 5, (50, N_CELLS)).astype(np.float32)
    logits[rng.random(logits.shape) < 0.95] = -np.inf
    order = np.argsort(-logits, axis=1, kind="stable")
    expected = np.where(np.isneginf(np.take_along_axis(logits, order, axis=1)), -1, order)
    for width in (1, 6, N_CELLS):
        assert np.array_equal(drawn(logits, np.arange(50), greedy(50), width), expected[:, :width])


@pytest.mark.slow
def test_search_beats_the_policy_that_it_searches_with():
    """32 games from 16 first stones, each stone with both colours: the search wins at least 24 (it won all)."""
    n, judge = 32, DistanceEvaluator()
    boards = boards_of([[c] for c in np.random.default_rng(1).permutation(N_CELLS)[: n // 2].repeat(2)])
    draw = [np.random.default_rng([1, i]) for i in range(n)]
    live, wins, mover = np.arange(n), 0, RED
    while len(live):
        for widths, is_search in (((13, 8), True), ((1,), False)):
            mine = live[(live % 2 == mover) == is_search]
            if len(mine):
                movers = np.full(len(mine), mover, np.uint8)
                rngs = Draw([draw[i] for i in mine], np.full(len(mine), 0.5))
                boards[mine] = played(boards[mine], movers, choose(boards[mine], movers, rngs, widths, judge))
        over = won(boards[live], np.full(len(live), mover, np.uint8))
        wins += int((live[over] % 2 == mover).sum())
        live, mover = live[~over], 1 - mover
    assert wins >= 24, wins


class Judge(Scrambled):
    """Gives policy and value in one answer too, and counts how many boards it was asked about."""

    n_asked = 0
    n_values = 0

    def value(self, boards, movers):
        self.n_values += len(boards)
        return super().value(boards, movers)

    def both(self, boards, movers):
        self.n_asked += len(boards)
        return np.column_stack([self.policy(boards, movers), self.value(boards, movers)])


@pytest.mark.parametrize("least_prior", [0.0, 0.6])
def test_prior_search_takes_the_best_sum_of_policy_and_value(least_prior):
    """Counted move by move; the mover's own chance counts, and a move that wins is taken whatever is said of it."""
    boards, evaluator = random_boards(60, most=150), Scrambled()
    movers = movers_of(boards)
    cells = Search((40,), 1.5, least_prior).choose(boards, movers, greedy(len(boards)), evaluator)
    n_wins = 0
    for board, mover, cell in zip(boards, movers, cells, strict=True):
        logits = evaluator.policy(board[None], mover[None])[0]
        scores = {}
        for move in sorted(range(N_CELLS), key=lambda one: (-logits[one], one))[:40]:
            if np.isneginf(logits[move]):
                continue
            after = played(board[None], mover[None], np.array([move]))
            red = float(evaluator.value(after, 1 - mover[None])[0])
            p = red if mover == RED else 1 - red
            is_won = winner(after)[0] == mover
            n_wins += is_won
            if is_won or math.exp(logits[move] - logits.max()) >= least_prior:
                scores[move] = math.inf if is_won else float(logits[move]) + 1.5 * math.log(p / (1 - p))
        assert cell == max(scores, key=scores.get)
    assert n_wins > 0


def test_prior_search_asks_for_no_value_that_decides_nothing():
    """None of a move that is drawn, none of one that is alone, else one a move that is likely enough."""
    boards, judge = random_boards(20, most=60), Judge()
    movers, n = movers_of(boards), len(boards)
    policy = judge.policy(boards, movers)
    likely = np.sort(policy, axis=1)[:, :-9:-1] >= policy.max(axis=1, keepdims=True) + math.log(0.97)
    n_children = likely.sum(axis=1)
    assert 1 in n_children
    assert n_children.max() > 2

    def n_values(least_prior, temperature):
        judge.n_values = 0
        draw = Draw([np.random.default_rng(i) for i in range(n)], np.full(n, temperature))
        Search((8,), 1.0, least_prior).choose(boards, movers, draw, judge)
        return judge.n_values

    assert n_values(0.97, 0.0) == n_children[n_children > 1].sum()
    assert n_values(0.0, 0.0) == 8 * n
    assert n_values(0.0, 1.0) == 0


def test_prior_search_draws_by_a_game_s_own_numbers():
    """The same moves in any company, others for other numbers; of the policy alone, its likeliest near 0."""
    boards, evaluator = random_boards(30, most=60), Scrambled()
    movers, search, n = movers_of(boards), Search((8,), 1.0), len(boards)

    def moves(rows, temperature, seed=0):
        draw = Draw([np.random.default_rng([seed, i]) for i in rows], np.full(len(rows), temperature))
        return search.choose(boards[rows], movers[rows], draw, evaluator).tolist()

    together, rows = moves(range(n), 2.0), np.arange(n)[::3]
    assert moves(rows, 2.0) == np.array(together)[::3].tolist()
    assert moves(range(n), 2.0, seed=1) != together
    assert moves(range(n), 1e-6) == evaluator.policy(boards, movers).argmax(1).tolist()


def test_policy_and_value_of_a_board_are_asked_for_together():
    boards, judge = random_boards(20), Judge()
    movers, remembered = movers_of(boards), cached(judge, 1000)
    assert np.array_equal(remembered.value(boards, movers), Scrambled().value(boards, movers))
    assert np.array_equal(remembered.policy(boards, movers), Scrambled().policy(boards, movers))
    assert judge.n_asked == len(boards)
