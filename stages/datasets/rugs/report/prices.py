"""Draw the price of one episode, with what the human pressed."""

from typing import Any

import numpy as np

from stages.datasets.rugs.report.tally import PricePath
from stages.datasets.rugs.schema import ACTIONS, HOLD
from stages.report.figure import Figure, kind, quantity

MAX_POINTS = 400  # of a path
WIDE = 30  # from the lowest to the highest price: then only powers of ten are named on the axis
PRICE_TIP = [{"field": "tick"}, quantity("price", "price", format=".4~g")]


def price_path(path: PricePath) -> Figure:
    """Draw the price of one episode and the presses."""
    n = len(path.tick)
    top = int(path.price.argmax())
    end = f"rugs at tick {path.tick[-1]} with {path.price[-1]:.3g}" if path.is_rugged else "is cut off, no rug was seen"
    counted = ", ".join(f"{(path.action == i).sum()} {name}" for i, name in enumerate(ACTIONS) if i)
    return Figure(
        f"Price of {path.game}",
        "Price as a multiple of the entry price, on a logarithmic scale, at each step; marks are what the human "
        "pressed there. One of the episodes of train with the most presses. The arrays are standardised: the price is "
        "theirs times the scale plus the mean of normalizer.npz.",
        {
            "height": 180,
            "encoding": {
                "x": quantity("tick", "tick"),
                "y": quantity("price", "price", scale={"type": "log", "nice": False}, axis=_price_axis(path.price)),
            },
            "layer": [_price_line(path), _press_marks(path)],
        },
        f"{n:,} steps; the price reaches {path.price[top]:.3g} at tick {path.tick[top]} and the game {end}. Presses: "
        f"{counted}.",
    )


def _price_line(path: PricePath) -> dict[str, Any]:
    """Draw the price at some steps, the last one among them."""
    n = len(path.tick)
    shown = np.unique(np.append(np.arange(0, n, max(1, -(-n // MAX_POINTS))), n - 1))
    return {
        "data": {"values": [_point(path, i) for i in shown.tolist()]},
        "mark": {"type": "line", "strokeWidth": 1.5},
        "encoding": {"tooltip": PRICE_TIP},
    }


def _press_marks(path: PricePath) -> dict[str, Any]:
    """Draw every press."""
    pressed = np.flatnonzero(path.action > HOLD).tolist()
    names = list(ACTIONS[1:])
    return {
        "data": {"values": [{**_point(path, i), "press": ACTIONS[path.action[i]]} for i in pressed]},
        "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
        "encoding": {
            "color": kind("press", scale={"domain": names}),
            "shape": kind("press", scale={"domain": names, "range": ["triangle-up", "triangle-down", "diamond"]}),
            "tooltip": [{"field": "press"}, *PRICE_TIP],
        },
    }


def _price_axis(price: np.ndarray) -> dict[str, Any]:
    factors = (1,) if price.max() > WIDE * price.min() else (1, 2, 5)
    values = [float(f"{factor * 10.0**power:g}") for power in range(-4, 5) for factor in factors]
    return {"values": values, "format": "~g"}


def _point(path: PricePath, step: int) -> dict[str, Any]:
    return {"tick": int(path.tick[step]), "price": float(f"{path.price[step]:.5g}")}
