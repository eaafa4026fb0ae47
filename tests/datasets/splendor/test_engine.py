"""The Splendor rules engine, its players and the CSV logs it writes, also against logged games."""

import pickle
import random
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.datasets.splendor import simulate
from stages.datasets.splendor.schema import (
    ACTION_TYPES,
    CARDS,
    GEMS,
    HEADS,
    NOBLES,
    RAW_COLUMNS,
    REMOVED_CLASSES,
    TAKE3_CLASSES,
)
from stages.datasets.splendor.simulate import csv_log, game_csv, player_count, players, write
from stages.datasets.splendor.simulate.engine import (
    BUILD,
    NOTHING,
    RESERVE,
    TAKE2,
    TAKE3,
    Move,
    State,
    is_over,
    legal_moves,
    new_game,
    play,
    winner,
)
from stages.datasets.splendor.simulate.invariants import InvalidState, check_invariants
from tests.helpers.places import REFERENCE_DIR
from tests.helpers.splendor_games import numbers

REFERENCE = REFERENCE_DIR / "splendor"
CARD_INDEX = {(card.level, card.cost): index for index, card in enumerate(CARDS)}
UNITS = [tuple(int(gem == i) for gem in range(6)) for i in range(6)]
UNKNOWN_CARD = -1


def positions(seed: int, n_players: int) -> Iterator[tuple[State, Move]]:
    """Play a game and yield every position with the move chosen in it."""
    rng = random.Random(seed)
    seated = players.seat_players(n_players, rng)
    state = new_game(n_players, rng)
    while not is_over(state):
        move = seated[state.mover](state, rng)
        if move is None:
            return
        yield state, move
        play(state, move)


def constructed(tokens: list[int], bank: list[int], faceup: list[list[int]] | None = None) -> State:
    """Make a two-player position with the mover's tokens, the bank and the face-up cards given."""
    state = new_game(2, random.Random(0))
    state.seats[0].tokens, state.bank = list(tokens), list(bank)
    if faceup is not None:
        state.rows = [list(cards) for cards in faceup]
    return state


def vector(colours: tuple[int, ...]) -> tuple[int, ...]:
    """Count the tokens of every gem in a list of colours."""
    return tuple(colours.count(gem) for gem in range(6))


def payable_cards(state: State) -> dict[int, int]:
    """Return the cards that the mover can pay for, by the number of their target."""
    seat = state.seats[state.mover]
    faceup = [card for row in state.rows for card in row]
    payable = {}
    for target, card in [*enumerate(faceup), *enumerate(seat.reserved, 12)]:
        lacking = [max(0, max(0, c - seat.bonuses[i]) - seat.tokens[i]) for i, c in enumerate(CARDS[card].cost)]
        if sum(lacking) <= seat.tokens[5]:
            payable[target] = card
    return payable


def is_legal(state: State, payable: dict[int, int], move: Move) -> bool:
    """Decide from the rules alone, one move at a time, whether it may be played; for takes and builds."""
    seat = state.seats[state.mover]
    if move.kind == BUILD:
        if move.target not in payable or any(move.returned):
            return False
        owned = np.array(seat.bonuses) + (np.arange(5) == CARDS[payable[move.target]].bonus)
        visiting = [i for i, noble in enumerate(state.nobles) if (owned >= np.array(NOBLES[noble])).all()]
        return move.noble in (visiting or [-1])
    held = sum(seat.tokens)
    if move.noble != -1 or (held >= 10 and payable):
        return False
    colours = (move.target,) * 2 if move.kind == TAKE2 else TAKE3_CLASSES[move.target]
    filled = sum(pile > 0 for pile in state.bank[:5])
    if move.kind == TAKE2:
        may_take = state.bank[move.target] >= 4
    else:
        may_take = 0 < len(colours) == min(3, filled) and all(state.bank[colour] for colour in colours)
    surplus = max(0, held + len(colours) - 10)
    if not may_take or sum(move.returned) != surplus:
        return False
    hand = np.array(seat.tokens) + np.array(vector(colours))
    return bool((hand >= np.array(move.returned)).all())


def card_indices(row: dict[str, str], prefixes: list[str]) -> list[int]:
    """Find the cards of the card slots that are not empty."""
    present = [prefix for prefix in prefixes if row[f"{prefix}_level"] != "nan"]
    return [CARD_INDEX[int(row[f"{p}_level"]), tuple(numbers(row, f"{p}_cost"))] for p in present]


def read_position(line: str) -> State:
    """Rebuild the position of a log line; the cards of the decks are unknown."""
    return pickle.loads(pickled_position(line))


@cache
def pickled_position(line: str) -> bytes:
    """Return what `read_position` gives anew at each call, since moves change it."""
    row = dict(zip(RAW_COLUMNS, line.split(","), strict=True))
    n_players = int(row["num_players"])
    state = new_game(n_players, random.Random(0))
    state.round, state.mover = int(row["turn_number"]), int(row["current_player"])
    state.bank = numbers(row, "gems_board", GEMS)
    state.rows = [card_indices(row, [f"card{4 * level + i}" for i in range(4)]) for level in range(3)]
    state.decks = [[UNKNOWN_CARD] * int(row[f"deck_level{level}_remaining"]) for level in (1, 2, 3)]
    present = [i for i in range(5) if row[f"noble{i}_vp"] != "nan"]
    state.nobles = [NOBLES.index(tuple(numbers(row, f"noble{i}_req"))) for i in present]
    for i in range(n_players):
        seat = state.seats[int(row[f"player{i}_position"])]
        seat.vp = int(row[f"player{i}_vp"])
        seat.tokens = numbers(row, f"player{i}_gems", GEMS)
        seat.bonuses = numbers(row, f"player{i}_reduction")
        seat.reserved = card_indices(row, [f"player{i}_reserved{slot}" for slot in range(3)])
    state.is_last_round = any(seat.vp >= 15 for seat in state.seats)
    return pickle.dumps(state)


def read_moves(line: str) -> list[Move]:
    """Read the move of a log line: one reading, or two for card 11, which may be the deck of level 1."""
    row = dict(zip(RAW_COLUMNS, line.split(","), strict=True))
    kind = ACTION_TYPES.index(row["action_type"])
    if kind == BUILD:
        targets = [int(row["card_selection"])]
    elif kind == RESERVE:
        written = int(row["card_reservation"])
        targets = [11, 12] if written == 11 else [written + (written > 11)]
    else:
        taken = numbers(row, "gem_take2" if kind == TAKE2 else "gem_take3")
        colours = tuple(i for i, count in enumerate(taken) if count)
        targets = [colours[0] if kind == TAKE2 else TAKE3_CLASSES.index(colours)]
    returned, noble = tuple(numbers(row, "gems_removed", GEMS)), int(row["noble_selection"])
    return [Move(kind, target, returned, noble) for target in targets]


def outcome(line: str, move: Move, following: str | None) -> State:
    """Play a move in a logged position; the cards it turns up are those that the next line shows."""
    state = read_position(line)
    after = read_position(following) if following else state
    for level, deck in enumerate(state.decks):
        if deck and move.kind == RESERVE and move.target == 12 + level:
            deck[-1] = (after.seats[state.mover].reserved or [UNKNOWN_CARD])[-1]
        elif deck:
            deck[-1] = after.rows[level][-1]
    play(state, move)
    return state


def marginals(moves: list[Move]) -> dict[str, set[int]]:
    """Collect the class of every head that occurs in some move, in the numbering of the logs."""
    found: dict[str, set[int]] = {head: set() for head in HEADS} | {"gems_removed": {0}}
    heads = {BUILD: "card_selection", RESERVE: "card_reservation", TAKE2: "gem_take2", TAKE3: "gem_take3"}
    for move in moves:
        is_blind = move.kind == RESERVE and move.target >= 12
        found["action_type"].add(move.kind)
        found[heads[move.kind]].add(move.target - is_blind)
        found["noble"] |= {move.noble} - {-1}
        found["gems_removed"].add(REMOVED_CLASSES.index(move.returned))
    return found


@pytest.mark.parametrize("n_players", [2, 3, 4])
def test_every_position_of_played_games_satisfies_the_invariants(n_players: int) -> None:
    """No game creates, loses or duplicates tokens, cards, nobles or points."""
    for seed in range(20):
        for state, _ in positions(seed, n_players):
            check_invariants(state)


@pytest.mark.parametrize("n_players", [2, 3, 4])
def test_chosen_moves_are_legal(n_players: int) -> None:
    """Both kinds of player only choose moves that the rules list."""
    for seed in range(12):
        for state, move in positions(seed, n_players):
            assert move in legal_moves(state)


def test_greedy_returns_are_legal_for_any_full_hand() -> None:
    """With any ten tokens and a card that asks for fourteen, what is given back is held or just taken."""
    rng = random.Random(8)
    for seed in range(300):
        state = new_game(4, random.Random(seed))
        state.rows = [[], [], [rng.randrange(70, 75)]]
        gold = rng.randrange(6)
        hand = vector(tuple(rng.choices(range(rng.randint(1, 5)), k=10 - gold)))
        state.seats[0].tokens = [*hand[:5], gold]
        state.bank = [rng.randrange(8) for _ in range(5)] + [5 - gold]
        assert players.choose_greedy(state, rng) in legal_moves(state)


@pytest.mark.parametrize("n_players", [2, 3, 4])
def test_legal_moves_are_all_that_the_rules_allow_and_no_more(n_players: int) -> None:
    """Every conceivable build and take is listed exactly once if it is legal and never otherwise."""
    builds = [Move(BUILD, card, NOTHING, noble) for card, noble in product(range(15), range(-1, 5))]
    takes = [Move(TAKE3, chosen, returned) for chosen, returned in product(range(26), REMOVED_CLASSES)]
    takes += [Move(TAKE2, colour, returned) for colour, returned in product(range(5), REMOVED_CLASSES)]
    rng = random.Random(n_players)
    for seed in range(6):
        for state, _ in positions(100 + seed, n_players):
            if rng.random() < 0.04:
                payable = payable_cards(state)
                expected = {move for move in builds + takes if is_legal(state, payable, move)}
                moves = legal_moves(state)
                assert len(set(moves)) == len(moves)
                assert {move for move in moves if move.kind != RESERVE} == expected
                assert not (expected and any(move.kind == RESERVE for move in moves))


def test_gold_pays_only_what_colours_cannot() -> None:
    """Bonuses reduce the cost, coloured tokens pay first and gold the rest; without enough gold no build."""
    faceup = [[35], [], []]
    state = constructed([0, 0, 3, 0, 0, 2], [4, 4, 1, 4, 4, 3], faceup)
    play(state, Move(BUILD, 0))
    assert state.seats[0].tokens == [0, 0, 0, 0, 0, 1]
    assert state.bank == [4, 4, 4, 4, 4, 4]
    state = constructed([0, 0, 3, 0, 0, 1], [4, 4, 1, 4, 4, 4], faceup)
    state.seats[0].bonuses[2] = 1
    play(state, Move(BUILD, 0))
    assert state.seats[0].tokens == [0, 0, 0, 0, 0, 1]
    poor = constructed([0, 0, 2, 0, 0, 1], [4, 4, 2, 4, 4, 4], faceup)
    assert all(move.kind != BUILD for move in legal_moves(poor))


def test_a_noble_is_mandatory_and_the_player_chooses_which() -> None:
    """A build that attracts two nobles is two moves, none of them without a noble."""
    state = constructed([0, 0, 4, 0, 0, 0], [4, 4, 0, 4, 4, 5], [[35], [], []])
    state.nobles = [2, 0, 6]
    state.seats[0].bonuses = [3, 4, 0, 0, 0]
    state.seats[0].bonuses[2] = 3
    builds = [move for move in legal_moves(state) if move.kind == BUILD]
    assert builds == [Move(BUILD, 0, NOTHING, 1), Move(BUILD, 0, NOTHING, 2)]
    play(state, builds[0])
    assert (state.nobles, state.seats[0].nobles, state.seats[0].vp) == ([2, 6], [0], 4)


def test_tokens_above_ten_are_returned_exactly() -> None:
    """With nine tokens a take of three returns two, of any kind held or just taken."""
    state = constructed([4, 0, 0, 0, 0, 5], [0, 4, 3, 3, 0, 0], [[], [], []])
    triples = {move.returned for move in legal_moves(state) if move.kind == TAKE3}
    hand = (4, 1, 1, 1, 0, 5)
    assert triples == {
        tokens
        for tokens in REMOVED_CLASSES
        if sum(tokens) == 2 and all(token <= held for token, held in zip(tokens, hand, strict=True))
    }
    assert {sum(move.returned) for move in legal_moves(state) if move.kind == TAKE2} == {1}


def test_a_full_hand_that_can_build_must_build() -> None:
    """Takes are dropped with ten tokens and a card that can be paid, and offered with nine."""
    state = constructed([0, 0, 4, 3, 3, 0], [4, 4, 0, 1, 1, 5], [[35], [], []])
    assert {move.kind for move in legal_moves(state)} == {BUILD}
    state.seats[0].tokens[4] = 2
    assert {move.kind for move in legal_moves(state)} == {BUILD, TAKE2, TAKE3}


def test_reserving_is_legal_only_when_nothing_else_is() -> None:
    """Face-up cards and decks can be reserved level by level once there is nothing to take or build."""
    state = constructed([0] * 6, [0, 0, 0, 0, 0, 5], [[30, 31], [40], []])
    state.decks = [[32], [41], []]
    assert legal_moves(state) == [Move(RESERVE, target) for target in (0, 1, 12, 2, 13)]
    state.bank[3] = 1
    assert {move.kind for move in legal_moves(state)} == {TAKE3}
    state.bank[3] = 0
    state.seats[0].reserved = [33, 34, 35]
    assert legal_moves(state) == []


def test_reserving_with_a_full_hand_returns_a_token_held_before() -> None:
    """The gold just taken cannot be the one returned; without gold in the bank nothing is returned."""
    state = constructed([5, 5, 0, 0, 0, 0], [0, 0, 0, 0, 0, 2], [[89], [], []])
    state.decks = [[], [], []]
    assert [move.returned for move in legal_moves(state)] == [UNITS[0], UNITS[1]]
    play(state, legal_moves(state)[0])
    assert state.seats[0].tokens == [4, 5, 0, 0, 0, 1]
    state = constructed([5, 5, 0, 0, 0, 0], [0] * 6, [[89], [], []])
    state.decks = [[], [], []]
    assert legal_moves(state) == [Move(RESERVE, 0)]


def test_a_taken_card_is_replaced_on_the_right() -> None:
    """The row closes up; the new card comes from the deck, and a blind reservation leaves the rows alone."""
    state = constructed([0] * 6, [0, 0, 0, 0, 0, 5])
    rows, decks = [row.copy() for row in state.rows], [deck.copy() for deck in state.decks]
    play(state, Move(RESERVE, 5))
    assert state.rows[1] == [rows[1][0], *rows[1][2:], decks[1][-1]]
    play(state, Move(RESERVE, 14))
    assert state.seats[1].reserved == [decks[2][-1]]
    assert state.rows[2] == rows[2]


def test_the_round_is_finished_before_the_game_ends() -> None:
    """Fifteen points of the first seat still leave the other seat its move; then no move is legal."""
    state = constructed([0, 0, 4, 0, 0, 0], [4, 4, 0, 4, 4, 5], [[35], [], []])
    state.seats[0].vp = 14
    play(state, Move(BUILD, 0))
    assert not is_over(state)
    play(state, legal_moves(state)[0])
    assert is_over(state)
    assert legal_moves(state) == []


def test_ties_go_to_fewer_cards_then_to_the_lower_seat() -> None:
    """Points decide, then the number of built cards, then the seat."""
    state = new_game(3, random.Random(0))
    for seat, (vp, n_built) in zip(state.seats, [(15, 9), (16, 9), (16, 8)], strict=True):
        seat.vp, seat.built = vp, list(range(n_built))
    assert winner(state) == 2
    state.seats[1].built.pop()
    assert winner(state) == 1


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("bank", "tokens in bank"),
        ("rows", "4 cards"),
        ("deck", "every card"),
        ("vp", "points of"),
        ("hand", "10"),
    ],
)
def test_a_broken_position_is_reported(part: str, message: str) -> None:
    """A lost token, a short row, a duplicate card, a wrong score and a full hand are all found."""
    state = new_game(2, random.Random(0))
    check_invariants(state)
    if part == "bank":
        state.bank[0] -= 1
    elif part == "rows":
        state.rows[0].pop()
    elif part == "deck":
        state.decks[0][0] = state.decks[0][1]
    elif part == "vp":
        state.seats[1].vp = 1
    else:
        state.seats[1].tokens = [3, 3, 3, 2, 0, 0]
    with pytest.raises(InvalidState, match=message):
        check_invariants(state)


def test_a_game_is_a_function_of_its_arguments() -> None:
    """The same arguments give the same bytes whatever random state is around; another seed does not."""
    first = game_csv(7, 3, 42)
    random.seed(1)
    assert game_csv(7, 3, 42) == first
    assert len({first, game_csv(7, 3, 43), game_csv(8, 3, 42), game_csv(7, 2, 42)}) == 4


def test_a_game_without_an_end_is_played_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next attempt has another shuffle, the same for the same arguments; the attempts are limited."""
    usual = game_csv(1, 2, 42)
    n_rounds = int(usual.split(b"\r\n")[-2].split(b",")[2])
    monkeypatch.setattr(simulate, "_MAX_ROUNDS", n_rounds - 1)
    other = game_csv(1, 2, 42)
    assert other == game_csv(1, 2, 42) != usual
    assert int(other.split(b"\r\n")[-2].split(b",")[2]) < n_rounds
    monkeypatch.setattr(simulate, "_MAX_ROUNDS", 1)
    with pytest.raises(ExpectedError, match="game 1, seed 42: 100 games without an end"):
        game_csv(1, 2, 42)


@pytest.mark.parametrize("n_players", [2, 3, 4])
def test_a_log_has_the_columns_and_the_dialect_of_the_exporter(n_players: int) -> None:
    """403 unquoted values a line, CRLF, whole rounds, and somebody near the end of the game."""
    lines = game_csv(11, n_players, 1).decode("ascii").split("\r\n")
    assert (lines[0], lines[-1]) == (",".join(RAW_COLUMNS), "")
    rows = [dict(zip(RAW_COLUMNS, line.split(","), strict=True)) for line in lines[1:-1]]
    assert {len(line.split(",")) for line in lines[:-1]} == {403}
    assert len(rows) == n_players * int(rows[-1]["turn_number"])
    assert [int(row["current_player"]) for row in rows] == [i % n_players for i in range(len(rows))]
    assert not any(mark in line for line in lines for mark in ('"', "\n", " ,", ".0"))


def test_games_end_with_a_winner_and_last_about_as_long_as_real_ones() -> None:
    """Somebody has 15 points; the mean length is within 30 % of 58, 81 and 104 rows."""
    for n_players, real_rows in ((2, 58.2), (3, 81.4), (4, 103.5)):
        lengths = []
        for seed in range(20):
            lines = game_csv(seed, n_players, seed).decode("ascii").split("\r\n")[1:-1]
            state = read_position(lines[-1])
            play(state, read_moves(lines[-1])[0])
            assert is_over(state)
            assert max(seat.vp for seat in state.seats) >= 15
            lengths.append(len(lines))
        assert 0.7 * real_rows < np.mean(lengths) < 1.3 * real_rows


def test_blind_reservations_are_written_as_the_original_does() -> None:
    """The top of the deck of level 1, 2, 3 is written as 11, 12, 13 in card_reservation."""
    texts = [csv_log.move_text(Move(RESERVE, target)).split(",") for target in (0, 11, 12, 13, 14)]
    assert [text[2] for text in texts] == ["0", "11", "11", "12", "13"]


def test_player_counts_follow_the_published_data() -> None:
    """7,259 ids are divided 3500 : 2054 : 1705, give or take five; the first three cover all counts."""
    counts = [player_count(game_id) for game_id in range(1, 7260)]
    for n_players, real_games in zip((2, 3, 4), (3500, 2054, 1705), strict=True):
        assert abs(counts.count(n_players) - real_games) <= 5
    assert set(counts[:3]) == {2, 3, 4}


def read_all(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_more_games_keep_the_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raising `games` adds files and changes none; lowering it removes what is not of this run."""
    monkeypatch.setenv("JOBS", "1")
    write(tmp_path, {"games": 5, "seed": 3})
    few = read_all(tmp_path)
    write(tmp_path, {"games": 40, "seed": 3})
    many = read_all(tmp_path)
    assert (len(few), len(many)) == (5, 40)
    assert few.items() <= many.items()
    assert all(int(content.split(b"\r\n")[1].split(b",")[0]) == int(Path(name).stem) for name, content in many.items())
    (tmp_path / "2_games" / ".99.tmp").write_bytes(b"partial")
    write(tmp_path, {"games": 5, "seed": 3})
    assert read_all(tmp_path) == few


def test_workers_do_not_change_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker and two write the same bytes."""
    for jobs in ("1", "2"):
        monkeypatch.setenv("JOBS", jobs)
        write(tmp_path / jobs, {"games": 40, "seed": 5})
    assert read_all(tmp_path / "1") == read_all(tmp_path / "2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"games": 5, "seed": 1, "turns": 3}, r"simulate\.splendor: unknown key 'turns', expected games, seed"),
        ({"games": 5}, r"simulate\.splendor: seed is missing; add it"),
        ({"games": 0, "seed": 1}, r"simulate\.splendor\.games: 0, expected a whole number from 1"),
        ({"games": 2.5, "seed": 1}, r"simulate\.splendor\.games: 2\.5, expected int"),
        ({"games": 2, "seed": True}, r"simulate\.splendor\.seed: True, expected int"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, int], message: str) -> None:
    """The message names the option, what was found and what is expected, and nothing is written."""
    with pytest.raises(ExpectedError, match=message):
        write(tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def reference_games() -> list[tuple[str, list[str]]]:
    """Read the logged games as (folder/name, lines without header), or skip the test."""
    paths = sorted(REFERENCE.glob("games/*_games/*.csv"))
    if not paths:
        pytest.skip("the reference games are not on this machine")
    return [(f"{p.parent.name}/{p.name}", p.read_bytes().decode("ascii").split("\r\n")[1:-1]) for p in paths]


def test_logged_moves_are_legal_and_lead_to_the_next_row() -> None:
    """Every logged position is written back as it was; its move is legal and gives the next position."""
    for name, lines in reference_games():
        for number, (line, following) in enumerate(zip(lines, [*lines[1:], None], strict=True), start=2):
            where, game_id = f"{name}:{number}", int(line.split(",")[0])
            legal = legal_moves(read_position(line))
            moves = [move for move in read_moves(line) if move in legal]
            assert moves, where
            assert line in {csv_log.row(game_id, read_position(line), move) for move in moves}, where
            outcomes = [outcome(line, move, following) for move in moves]
            if following is None:
                assert all(is_over(state) for state in outcomes), where
            else:
                position = ",".join(following.split(",")[:383])
                assert position in {csv_log.position_text(game_id, state) for state in outcomes}, where


def test_legal_moves_give_the_reference_masks() -> None:
    """Per head, the classes that occur in the legal moves are those of the reference's masks."""
    games = reference_games()
    with np.load(REFERENCE / "reference.npz", allow_pickle=False) as reference:
        masks = {head: reference[f"mask_{head}"] for head in HEADS}
        keys = list(zip(reference["game_id"].tolist(), reference["row_in_game"].tolist(), strict=True))
    lines = {(int(game[0].split(",")[0]), i): line for _, game in games for i, line in enumerate(game)}
    assert len(lines) == len(keys)
    for i, key in enumerate(keys):
        found = marginals(legal_moves(read_position(lines[key])))
        assert found == {head: set(np.flatnonzero(mask[i]).tolist()) for head, mask in masks.items()}, key
