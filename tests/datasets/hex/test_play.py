"""A person plays: the talk line by line, and the command in a terminal."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.datasets.hex.play.__main__ import newest_model, opponent_of
from stages.datasets.hex.play.opponent import Opponent
from stages.datasets.hex.play.person import Talk
from stages.datasets.hex.schema import BLUE, CELL_NAMES, RED
from stages.datasets.hex.simulate.evaluate import DistanceEvaluator
from stages.datasets.hex.simulate.search import Draw, Search
from tests.helpers.places import REPOSITORY
from tests.helpers.terminal import Terminal

COMMAND = [sys.executable, "-m", "stages.datasets.hex.play"]
MOVE = re.compile(r"The network plays (\w+)")


def environment(**variables):
    plain = {name: value for name, value in os.environ.items() if name not in ("MODEL", "HTP", "COLOUR", "LOG")}
    return {**plain, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", **variables}


def talk(person, *lines):
    """Return the game and all that is told when a person types some lines, against the distance evaluator."""
    told = []
    one = Talk(Opponent(DistanceEvaluator(), Search(), "distance", "1"), person, iter(lines), told.append)
    one.run()
    return one.game, "".join(told)


def best_move(board, side):
    """Return the move of a person who looks two moves ahead."""
    draw = Draw([np.random.default_rng(0)], np.zeros(1))
    return int(Search((6, 3)).choose(board.reshape(1, 2, 13, 13), np.array([side]), draw, DistanceEvaluator())[0])


def test_who_is_blue_moves_first_and_reads_what_the_network_expects():
    game, told = talk(BLUE, "g7", "quit")
    assert [side for side, _ in game.moves] == [BLUE, RED]
    assert "You are blue and join the top (row 1) with the bottom;" in told
    chance = 1 - (1 - DistanceEvaluator().value(game.board, np.array([BLUE], np.uint8))[0])
    assert f"The network plays {CELL_NAMES[game.moves[1][1]]} and expects to win with {chance:.0%}.\n" in told


def test_who_is_red_answers():
    game, told = talk(RED, "quit")
    assert [side for side, _ in game.moves] == [BLUE]
    red_wins = DistanceEvaluator().value(game.board, np.array([RED], np.uint8))[0]
    assert f"and expects to win with {1 - red_wins:.0%}.\n" in told


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("g7", "g7 is taken, expected an empty cell"),
        ("z9", "'z9': no cell, expected one from a1 to m13"),
        ("", "'': no cell, expected one from a1 to m13"),
        ("\x1b[2J", "'\\x1b[2J': no cell, expected one from a1 to m13"),
        ("x" * 500, f"'{'x' * 40}...': no cell, expected one from a1 to m13"),
    ],
)
def test_a_wrong_move_is_one_line_and_asked_for_again(typed, message):
    game, told = talk(BLUE, "g7", typed, "quit")
    assert len(game.moves) == 2
    assert told.endswith(f"\n\nblue: {message}\nblue: ")


@pytest.mark.parametrize(("person", "left"), [(BLUE, 0), (RED, 1)])
def test_undo_takes_back_the_own_move_and_the_answer(person, left):
    game, told = talk(person, "b3", "undo", "undo", "quit")
    assert len(game.moves) == left
    assert told.endswith(": no move of yours yet, expected one to take back\n" + ("blue: ", "red: ")[person])


def test_the_end_of_the_input_ends_the_game():
    game, told = talk(BLUE, "g7")
    assert len(game.moves) == 2
    assert told.endswith("blue: \n")


def test_the_network_wins_against_who_does_not_mind():
    """Of a person who fills the corner; the last board is shown."""
    corner = [f"{letter}{row}" for letter in "ab" for row in range(1, 14)]
    game, told = talk(BLUE, *corner)
    assert game.winner == RED
    assert told.endswith("13\n" + " " * 18 + "a b c d e f g h i j k l m\n\nThe network has won.\n")


def test_the_newest_generation_with_a_network_is_played(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(newest_model()) == "data/models/hex"
    for name in ("hex-g002", "hex-g010", "hex-g1000", "hex-gx", "chess-g2000"):
        (tmp_path / "data/generations" / name / "best").mkdir(parents=True)
    for name in ("hex-g002", "hex-g010", "hex-gx", "chess-g2000"):
        (tmp_path / "data/generations" / name / "best/weights.npz").touch()
    assert str(newest_model()) == "data/generations/hex-g010/best"


def run(folder, **variables):
    command = {"cwd": folder, "env": environment(**variables), "capture_output": True, "text": True}
    return subprocess.run(COMMAND, **command, check=False, timeout=120, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "data/models/hex/weights.npz: not found, expected a trained network; run `make train DATASET=hex`"),
        ({"MODEL": "x; y"}, "x; y/weights.npz: not found, expected a trained network; run `make train DATASET=hex`"),
        ({"HTP": "on"}, "HTP: 'on', expected yes or no; correct it"),
        ({"COLOUR": "g"}, "COLOUR: 'g': no colour, expected one of blue, black, b, red, white, w, r; correct it"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(tmp_path, variables, message):
    done = run(tmp_path, **variables)
    assert (done.stdout, done.stderr, done.returncode) == ("", f"error: {message}\n", 1)


def test_without_torch_it_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as where it is not installed
    (tmp_path / "weights.npz").touch()
    message = r"^torch: not installed, expected it to ask the network; run `make train DATASET=hex`$"
    with pytest.raises(ExpectedError, match=message):
        opponent_of(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a small network that has learnt nothing."""
    torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
    from stages.datasets.hex.training.model import HexNet
    from stages.training.weights import write_model

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    write_model(folder, HexNet(8, 1).state_dict(), {})
    return folder


@pytest.mark.train
def test_a_person_plays_in_a_terminal_and_wins(model):
    """With a move that is taken, one that is none, and one that is taken back."""
    board, n_typed = np.zeros((2, 169), np.uint8), 0
    with Terminal(COMMAND, REPOSITORY, environment(MODEL=str(model)), 80, 40) as screen:

        def typed(text):
            """Type a line; return all lines when the next one is asked for, or when the command has ended."""
            nonlocal n_typed
            n_typed += 1
            screen.type(f"{text}\n".encode())
            screen.until(lambda: sum(line.startswith("blue:") for line in screen.all_lines()) > n_typed)
            return screen.all_lines()

        screen.until(lambda: screen.lines()[-1:] == ["blue:"])
        first = CELL_NAMES[best_move(board, BLUE)]
        assert typed("n1")[-2:] == ["'n1': no cell, expected one from a1 to m13", "blue:"]
        typed(first)
        assert typed("undo")[-3:] == [" " * 18 + "a b c d e f g h i j k l m", "", "blue:"]
        lines, said = typed(first), first
        while lines[-1] == "blue:":
            network = MOVE.findall("\n".join(lines))[-1]
            board[BLUE, CELL_NAMES.index(said)] = board[RED, CELL_NAMES.index(network)] = 1
            assert "[R]" in "\n".join(lines[-18:])
            if board.sum() == 2:
                assert typed(network)[-2:] == [f"{network} is taken, expected an empty cell", "blue:"]
            said = CELL_NAMES[best_move(board, BLUE)]
            lines = typed(said)
        assert screen.wait() == 0
        assert lines[-1] == "You have won."


@pytest.mark.train
@pytest.mark.parametrize("keys", [b"\x04", b"\x03"], ids=["end of input", "interrupt"])
def test_the_network_begins_where_the_person_is_red(model, keys):
    with Terminal(COMMAND, REPOSITORY, environment(MODEL=str(model), COLOUR="red"), 80, 40) as screen:
        assert screen.until(lambda: screen.lines()[-1:] == ["red:"])
        assert re.search(r"^The network plays \w+ and expects to win with \d+%\.$", screen.text(), re.MULTILINE)
        screen.type(keys)
        assert screen.wait() == 0
        assert "Traceback" not in screen.text()


@pytest.mark.train
def test_a_model_of_something_else_is_one_line(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
    from stages.training.weights import write_model

    write_model(tmp_path, torch.nn.Linear(2, 2).state_dict(), {})
    done = run(tmp_path, MODEL=".")
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("error: weights.npz: not the weights of a network of hex")
