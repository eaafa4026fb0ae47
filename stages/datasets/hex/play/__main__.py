"""Play a trained network: the command behind `make play`.

Environment: ``MODEL``, a folder with weights.npz, by default that of the newest generation of `make iterate`, or else
what `make train` made; ``COLOUR``, the person's side, by default blue, who moves first; ``HTP=yes``: stdin and stdout
speak the protocol, see `htp`, and nothing else.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stages.core import paths
from stages.core.errors import ExpectedError
from stages.datasets.hex.play.game import side_of
from stages.datasets.hex.play.htp import HtpEngine
from stages.datasets.hex.play.opponent import Opponent
from stages.datasets.hex.play.person import Talk
from stages.datasets.hex.simulate.foreign import sha256_of
from stages.runtime import cli

NAME: Final = "batchwise hex"
CURE: Final = "run `make train DATASET=hex`"
WEIGHTS: Final = "weights.npz"
_DIGITS = 12  # of the SHA-256 of the weights, which is the version


def newest_model(generations: Path = paths.GENERATIONS_DIR) -> Path:
    """Return the folder of the newest network: the best of the last generation that has one, or the trained model."""
    found = {path.parent.parent.name: path.parent for path in generations.glob(f"hex-g*/best/{WEIGHTS}")}
    numbers = {int(number): best for name, best in found.items() if (number := name.removeprefix("hex-g")).isdecimal()}
    return numbers[max(numbers)] if numbers else paths.model_dir("hex")


def opponent_of(folder: Path) -> Opponent:
    """Return a network with the search of the matches that decide which one is kept.

    Raises
    ------
    ExpectedError
        When torch or the weights are missing, or they are of something else.
    """
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ExpectedError(f"{weights}: not found, expected a trained network; {CURE}")
    if importlib.util.find_spec("torch") is None:
        raise ExpectedError(f"torch: not installed, expected it to ask the network; {CURE}")
    from stages.datasets.hex.training.generation import MatchSettings
    from stages.datasets.hex.training.network import load

    return Opponent(load(weights), MatchSettings().search, NAME, sha256_of(weights)[:_DIGITS])


def speak(opponent: Opponent) -> None:
    """Answer the lines of stdin on stdout until there are no more, or one says quit."""
    engine = HtpEngine(opponent)
    for line in _lines():
        _write(engine.answer(line))
        if engine.has_quit:
            return


def _lines() -> Iterator[str]:
    """Yield the lines of stdin as they come; bytes that are no ASCII stand as escapes."""
    for line in sys.stdin.buffer:
        yield line.decode("ascii", "backslashreplace")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _is_htp() -> bool:
    value = os.environ.get("HTP") or "no"
    if value not in ("yes", "no"):
        raise ExpectedError(f"HTP: {value!r}, expected yes or no; correct it")
    return value == "yes"


def _person() -> int:
    try:
        return side_of(os.environ.get("COLOUR") or "blue")
    except ExpectedError as error:
        raise ExpectedError(f"COLOUR: {error}; correct it") from None


def play() -> None:
    """Play as the environment says."""
    is_htp, person = _is_htp(), _person()
    opponent = opponent_of(Path(os.environ.get("MODEL") or newest_model()))
    if is_htp:
        speak(opponent)
        return
    try:
        Talk(opponent, person, _lines(), _write).run()
    except KeyboardInterrupt:  # another way to quit
        _write("\n")


def main() -> int:
    """Run the command."""
    cli.parser("datasets.hex.play", "Play a trained network of hex.").parse_args()
    return cli.run(play, lambda: "no game is kept")


if __name__ == "__main__":
    sys.exit(main())
