"""Settings of the simulators for raw data that are made in a moment."""

import pytest

BARS = {"bar_minutes": 30, "start": "2024-01-02", "dialect": "excel", "price": 100.0, "roll": 0.0}
SETTINGS = {
    "hex": {
        "games": 4,
        "workers": 2,
        "seed": 1,
        "started": "2025-01-01T00:00:00",
        "widths": [2],
        "evaluator": "distance",
    },
    "market": {"seed": 1, "instruments": {"NQ": {**BARS, "bars": 200}}},
    "rugs": {"games": 2, "seed": 1, "sessions": 1},
    "splendor": {"games": 3, "seed": 1},
}


def write_alone(simulator, folder, options):
    """Simulate with one worker: processes take a second to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JOBS", "1")
        simulator.write(folder, options)
