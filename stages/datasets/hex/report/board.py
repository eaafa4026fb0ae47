"""Draw the board: regular hexagons at any width of the page, both sides' edges and the names of columns and rows.

A row of data names its cell, such as ``c7``; where that lies and its outline are computed by Vega, so that the rows
stay small and can be read as a table. In units of a cell's width the middle of column c (from 0) in row r (from 1) is
at x = c + r / 2 and y = r * sqrt(3) / 2, downwards.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.datasets.hex.schema import CELL_NAMES, LETTERS, PLAYERS, SIZE

HEIGHT = 260
ROW = 0.75**0.5  # from the middle of a row to that of the next
CORNERS = ((0, -2), (3, -1), (3, 1), (0, 2), (-3, 1), (-3, -1))  # clockwise; sixths of a width, thirds of ROW
VERSUS = {"domain": list(PLAYERS), "range": "versus"}


def spec(rows: Sequence[Mapping[str, Any]], layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the board with some layers on it, each a mark and its encoding, drawn of the cells that `rows` name."""
    cells = {"data": {"values": [{"cell": name} for name in CELL_NAMES]}, "mark": {"type": "geoshape", "style": "cell"}}
    return {
        "data": {"values": list(rows)},
        "height": HEIGHT,
        "projection": {"type": "identity"},
        "resolve": {"scale": {"color": "independent"}},
        "layer": [_on_cells(cells), *(_on_cells(layer) for layer in layers), _edges(), _names()],
    }


def _on_cells(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Add to a layer where its cells are and what shape they have."""
    corners = [f"[datum.x + {x / 6:.4f}, datum.y + {y / 3 * ROW:.4f}]" for x, y in (*CORNERS, CORNERS[0])]
    number = "toNumber(slice(datum.cell, 1))"
    formulas = {
        "x": f"indexof('{LETTERS}', datum.cell[0]) + {number} / 2",
        "y": f"{number} * {ROW:.4f}",
        "shape": f"{{type: 'Feature', geometry: {{type: 'Polygon', coordinates: [[{', '.join(corners)}]]}}}}",
    }
    steps = [{"calculate": formula, "as": name} for name, formula in formulas.items()]
    shape = {"shape": {"field": "shape", "type": "geojson"}}
    own = layer.get("transform", [])
    return {**layer, "transform": [*own, *steps], "encoding": {**shape, **layer.get("encoding", {})}}


def _edges() -> dict[str, Any]:
    """Draw the edges that each side joins."""
    steps = range(SIZE)
    lines = (
        ("blue", [_corner(0, c, k) for c in steps for k in (5, 0, 1)]),
        ("blue", [_corner(SIZE - 1, c, k) for c in steps for k in (4, 3, 2)]),
        ("red", [_corner(r, 0, k) for r in steps for k in (5, 4)]),
        ("red", [_corner(r, SIZE - 1, k) for r in steps for k in (1, 2)]),
    )
    rows = [
        {"side": side, "shape": {"type": "Feature", "geometry": {"type": "LineString", "coordinates": line}}}
        for side, line in lines
    ]
    return {
        "data": {"values": rows},
        "mark": {"type": "geoshape", "filled": False, "strokeWidth": 3},
        "encoding": {
            "shape": {"field": "shape", "type": "geojson"},
            "color": {"field": "side", "type": "nominal", "scale": VERSUS, "legend": None},
        },
    }


def _corner(row: int, column: int, corner: int) -> list[float]:
    """Return a corner of a cell; `row` and `column` from 0."""
    x, y = CORNERS[corner]
    return [round(column + (row + 1) / 2 + x / 6, 4), round((row + 1) * ROW + y / 3 * ROW, 4)]


def _names() -> dict[str, Any]:
    """Write the letters above the first row and the numbers to the left of the first column."""
    letters = [{"name": letter, "x": column, "y": 0.0} for column, letter in enumerate(LETTERS)]
    numbers = [{"name": str(row), "x": row / 2 - 1.1, "y": round(row * ROW, 4)} for row in range(1, SIZE + 1)]
    place = {
        "longitude": {"field": "x", "type": "quantitative"},
        "latitude": {"field": "y", "type": "quantitative"},
    }
    return {
        "data": {"values": letters + numbers},
        "mark": {"type": "text", "fontSize": 10},
        "encoding": {**place, "text": {"field": "name"}},
    }
