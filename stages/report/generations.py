"""What is known of the generations of a dataset, and how strong each is; nothing here needs torch.

In: data/generations/<dataset>-g<number>/gate.json, as stages/generations/gate.py writes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stages.core import paths
from stages.processed.reader import read_json
from stages.report.figure import Figure, kind, quantity

MATCHES = {"search": "the network before, with search", "raw": "the network before, without", "anchor": "the anchor"}


@dataclass(frozen=True)
class GenerationScore:
    """A generation by its number, with the content of its gate.json."""

    number: int
    gate: dict[str, Any]

    def of(self, match: str) -> dict[str, Any]:
        """Return the score of a match of `MATCHES`."""
        score: dict[str, Any] = self.gate[match]
        return score


def read_generations(dataset: str) -> list[GenerationScore]:
    """Return the generations that were decided, in order; none where there are none."""
    found = sorted(paths.GENERATIONS_DIR.glob(f"{dataset}-g*/gate.json"))
    return [GenerationScore(int(path.parent.name.rpartition("-g")[2]), read_json(path)) for path in found]


def strength(generations: Sequence[GenerationScore]) -> Figure:
    """Draw the share of games that each generation won, with the lower end of its 95 % interval."""
    rows = [
        {
            "generation": one.number,
            "against": name,
            "share": one.of(match)["share"],
            "at least": one.of(match)["wilson"],
            "kept": "yes" if one.gate["kept"] else "no",
        }
        for one in generations
        for match, name in MATCHES.items()
    ]
    x = quantity("generation", "generation", axis={"tickMinStep": 1, "format": "d"}, scale={"nice": False})
    y = quantity("share", "share of distinct games won", scale={"domain": [0, 1]})
    tip = [{"field": name} for name in rows[0]]
    colour = kind("against", scale={"domain": list(MATCHES.values())})
    shares = {"mark": {"type": "line", "point": True}, "encoding": {"x": x, "y": y, "color": colour, "tooltip": tip}}
    bounds = {
        "mark": {"type": "rule"},
        "encoding": {"x": x, "y": y, "y2": {"field": "at least"}, "color": colour, "tooltip": tip},
    }
    first, last = generations[0].of("anchor")["share"], generations[-1].of("anchor")["share"]
    return Figure(
        "Strength over the generations",
        "The candidate against the network before it, with search and without, and the kept network against the "
        "anchor, an opponent that never changes. A line down ends at the lower end of the 95 % interval (Wilson).",
        {"data": {"values": rows}, "height": 240, "layer": [shares, bounds]},
        f"Against the anchor from {first:.2f} to {last:.2f} in {len(generations)} generations.",
    )
