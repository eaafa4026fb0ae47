"""The protocol of Hex programs: lines in, answers out; and a match of two processes that speak it."""

import os
import subprocess
import sys

import numpy as np
import pytest

from stages.datasets.hex.play.game import HexGame, drawing
from stages.datasets.hex.play.htp import HtpEngine
from stages.datasets.hex.play.opponent import Opponent
from stages.datasets.hex.schema import BLUE, CELL_NAMES, RED
from stages.datasets.hex.schema.connection import winner
from stages.datasets.hex.simulate.evaluate import DistanceEvaluator
from stages.datasets.hex.simulate.search import Draw, Search, choose_by_prior
from tests.helpers.places import REPOSITORY

COMMANDS = [
    *("name", "version", "protocol_version", "list_commands", "known_command", "boardsize", "clear_board", "play"),
    *("genmove", "undo", "showboard", "final_score", "quit"),
]
COLUMN = [f"g{row}" for row in range(1, 14)]
LINE = [f"{letter}7" for letter in "abcdefghijklm"]


@pytest.fixture
def engine():
    return HtpEngine(Opponent(DistanceEvaluator(), Search(), "distance", "1"))


def said(engine, *lines):
    """Return the answers to some lines, each without the empty line at its end, which is checked."""
    answers = [engine.answer(line) for line in lines]
    assert all(answer.endswith("\n\n") and "\n\n" not in answer[:-2] for answer in answers)
    return [answer[:-2] for answer in answers]


def test_it_tells_what_it_is_and_what_it_knows(engine):
    assert said(engine, "name", "version", "protocol_version") == ["= distance", "= 1", "= 2"]
    assert said(engine, "list_commands") == ["= " + "\n".join(COMMANDS)]
    assert said(engine, "known_command play", "known_command reg_genmove") == ["= true", "= false"]


def test_the_number_of_a_line_comes_back(engine):
    found = said(engine, "7 name", "08 play b g7", "9 play w g7", "10 dance", "11", "12")
    assert [answer.split(" ")[0] for answer in found] == ["=7", "=08", "?9", "?10", "?11", "?12"]


def test_comments_tabs_and_line_ends_are_as_in_gtp(engine):
    assert [engine.answer(line) for line in ("", "  \r\n", "# name", "\t#x", "\x07\n")] == [""] * 5
    assert said(engine, "\tplay \t b\tg7 # the middle\r\n", "1\x01 protocol_version\n") == ["= ", "=1 2"]


@pytest.mark.parametrize("line", ["boardsize 13", "boardsize 13 13", "clear_board"])
def test_a_board_of_13_is_cleared(engine, line):
    assert said(engine, "play b g7", line, "play w g7") == ["= "] * 3


@pytest.mark.parametrize("size", ["11", "13 11", "0", "-13", "x", "9" * 500])
def test_another_size_is_refused_and_changes_nothing(engine, size):
    found = said(engine, "play b g7", f"boardsize {size}", "play w g7")
    assert [answer[0] for answer in found] == ["=", "?", "?"]
    assert found[1].startswith("? unacceptable size: ")
    assert found[1].endswith(", expected 13")
    assert len(found[1]) < 100


@pytest.mark.parametrize(
    ("colours", "side"), [(("black", "B", "blue", "Blue"), BLUE), (("white", "w", "red", "R"), RED)]
)
def test_each_side_has_several_names(engine, colours, side):
    said(engine, *(f"play {colour} {cell}" for colour, cell in zip(colours, ("a1", "B1", "m13", "M1"), strict=True)))
    assert engine.game.moves == ((side, 0), (side, 1), (side, 168), (side, 12))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("play b g7", "? illegal move: g7 is taken, expected an empty cell"),
        ("play b n1", "? illegal move: 'n1': no cell, expected one from a1 to m13"),
        ("play b a14", "? illegal move: 'a14': no cell, expected one from a1 to m13"),
        ("play b a01", "? illegal move: 'a01': no cell, expected one from a1 to m13"),
        ("play w swap-pieces", "? illegal move: swap-pieces is not played here, expected a cell or resign"),
        ("play green a1", "? 'green': no colour, expected one of blue, black, b, red, white, w, r"),
        ("play b", "? play: 1 arguments, expected play <colour> <cell>"),
        ("genmove", "? genmove: 0 arguments, expected genmove <colour>"),
        ("undo 2", "? undo: 1 arguments, expected undo"),
        ("boardsize 1 2 3", "? boardsize: 3 arguments, expected boardsize <size>"),
        ("Play b a1", "? unknown command: 'Play', expected one of list_commands"),
        ("final_score", "? cannot score: nobody has won yet"),
    ],
)
def test_what_is_wrong_is_one_line_and_changes_nothing(engine, line, message):
    said(engine, "play b g7")
    before = engine.game
    assert said(engine, line) == [message]
    assert engine.game == before


def test_undo_takes_back_moves_to_the_first_and_no_further(engine):
    said(engine, "play b g7", "genmove w")
    assert said(engine, "undo", "undo", "undo") == ["= ", "= ", "? cannot undo: no move yet, expected one to take back"]
    assert engine.game == HexGame()


@pytest.mark.parametrize(("colour", "cells", "score"), [("b", COLUMN, "= B+"), ("w", LINE, "= W+")])
def test_who_joins_his_edges_wins_and_nothing_follows(engine, colour, cells, score):
    said(engine, *(f"play {colour} {cell}" for cell in cells))
    assert said(engine, "final_score", "genmove b", "genmove w") == [score, "= resign", "= resign"]
    (refused,) = said(engine, "play w a1")
    assert refused.startswith("? illegal move: the game is over, ")
    said(engine, "undo")
    assert said(engine, "final_score", "play w a1") == ["? cannot score: nobody has won yet", "= "]


@pytest.mark.parametrize(("colour", "edge"), [("w", COLUMN), ("b", LINE)])
def test_the_edges_of_the_other_side_are_no_win(engine, colour, edge):
    said(engine, *(f"play {colour} {cell}" for cell in edge))
    assert said(engine, "final_score")[0][0] == "?"


def test_who_resigns_has_lost_until_it_is_undone(engine):
    assert said(engine, "play b g7", "play white resign", "final_score") == ["= ", "= ", "= B+"]
    assert said(engine, "play b a1", "undo", "play b a1")[1:] == ["= ", "= "]


@pytest.mark.parametrize(("colour", "side", "move"), [("b", BLUE, "g8"), ("w", RED, "f9")])
def test_a_move_is_that_of_the_search_and_is_played(colour, side, move):
    """For either side, whoever moved last."""
    search = Search((4,), 2.0)
    engine = HtpEngine(Opponent(DistanceEvaluator(), search, "distance", "1"))
    said(engine, "play b g7", "play w c3", "play w d9")
    draw = Draw([np.random.default_rng(1)], np.zeros(1))
    (expected,) = search.choose(engine.game.board, np.array([side], np.uint8), draw, DistanceEvaluator())
    assert CELL_NAMES[expected] == move
    assert said(engine, f"genmove {colour}") == [f"= {move}"]
    assert engine.game.moves[-1] == (side, expected)


def test_the_board_is_shown_with_the_last_stone_in_brackets(engine):
    shown = said(engine, "play b a1", "play w m2", "play b b13", "showboard")[-1].splitlines()
    assert shown[0] == "= "
    assert shown[1] == "     a b c d e f g h i j k l m"
    assert shown[2] == "  1  B . . . . . . . . . . . .  1"
    assert shown[3] == "   2  . . . . . . . . . . . . R  2"
    assert shown[14] == "             13  .[B]. . . . . . . . . . .  13"
    assert len(shown) == 16


@pytest.mark.parametrize("cell", [0, 12, 168])
def test_a_last_stone_at_an_end_of_a_row_is_in_brackets_there_alone(cell):
    text = drawing(HexGame().put(RED, cell))
    assert text.count("[R]") == text.count("[") == text.count("]") == 1
    assert [len(line) for line in text.splitlines()] == [len(line) for line in drawing(HexGame()).splitlines()]


def test_after_quit_nothing_is_to_be_answered(engine):
    assert not engine.has_quit
    assert said(engine, "3 quit") == ["=3 "]
    assert engine.has_quit


class Program:
    """A process that speaks the protocol."""

    def __init__(self, model):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stages.datasets.hex.play"],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "MODEL": str(model), "HTP": "yes", "COLOUR": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, line):
        """Return the text of the answer to a line, which must not fail."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        answer = ""
        while not answer.endswith("\n\n"):
            read = self.process.stdout.readline()
            assert read, self.process.stderr.read()
            answer += read
        assert answer.startswith("= "), answer
        return answer[2:-2]

    def end(self):
        """Quit; return what came behind the last answer, what was told beside, and the exit code."""
        self.ask("quit")
        out, errors = self.process.communicate(timeout=60)
        return out, errors, self.process.returncode


@pytest.mark.train
def test_two_processes_play_to_the_end(tmp_path):
    """Each move is that of the search of a match, both see the same winner, and stdout has the protocol alone."""
    torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
    from stages.datasets.hex.training.generation import MatchSettings
    from stages.datasets.hex.training.model import HexNet
    from stages.datasets.hex.training.network import load
    from stages.training.weights import write_model

    for seed, name in enumerate(("black", "white")):
        torch.manual_seed(seed)
        write_model(tmp_path / name, HexNet(8, 1).state_dict(), {})
    programs = [Program(tmp_path / name) for name in ("black", "white")]
    networks = [load(tmp_path / name / "weights.npz") for name in ("black", "white")]
    try:
        cells = play_match(programs)
        scores = {program.ask("final_score") for program in programs}
        assert programs[0].ask("version") != programs[1].ask("version")
        assert [program.end() for program in programs] == [("", "", 0)] * 2
    finally:
        for program in programs:
            program.process.kill()
            program.process.communicate()

    board, draw = np.zeros((1, 2, 169), np.uint8), Draw([np.random.default_rng(1)], np.zeros(1))
    search = MatchSettings().search
    for ply, cell in enumerate(cells):
        assert winner(board.reshape(-1, 2, 13, 13))[0] == -1
        side = ply % 2
        (expected,) = choose_by_prior(board.reshape(1, 2, 13, 13), np.array([side]), draw, search, networks[side])
        assert cell == expected
        assert not board[0, :, cell].any()
        board[0, side, cell] = 1
    assert scores == {("B+", "W+")[winner(board.reshape(-1, 2, 13, 13))[0]]}


def play_match(programs):
    """Let two programs play, the first one black; return the cells in order."""
    for program in programs:
        program.ask("boardsize 13")
        program.ask("clear_board")
    cells = []
    while len(cells) < 169:
        side = len(cells) % 2
        move = programs[side].ask(f"genmove {'bw'[side]}")
        if move == "resign":
            break
        programs[1 - side].ask(f"play {'bw'[side]} {move}")
        cells.append(CELL_NAMES.index(move))
    return cells
