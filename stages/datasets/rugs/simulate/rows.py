"""A recorded event on its way into the store."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

HERO = "did:privy:cm0simulatedhero0000000001"
HERO_NAME = "HeroSim"
WS, BUTTON = "ws_event", "button_event"


@dataclass(frozen=True)
class Row:
    """One event.

    Attributes
    ----------
    time
        When it is recorded, in µs since the epoch.
    event
        Its name; that of a `ws_event` is written into the store.
    payload
        What is written as `raw_json`; that of a `ws_event` within its envelope.
    doc_type
        See the format.
    kind
        What it is to the simulator: the shape of a frame, ``settlement`` of what is paid at the rug, ``stale``.
    tick
        That of a frame with a price; None of others.
    """

    time: int
    event: str
    payload: Any
    doc_type: str = WS
    kind: str = ""
    tick: int | None = None

    @property
    def game_id(self) -> str | None:
        """The game as the recorder writes it into its column: null where the payload has none or is wrapped."""
        if not isinstance(self.payload, Mapping):
            return None
        found = self.payload.get("game_id", self.payload.get("gameId"))
        return str(found) if found is not None else "unknown" if self.doc_type == "server_state" else None


def in_time(rows: Iterable[Row]) -> list[Row]:
    """Return rows in the order in which they are recorded."""
    return sorted(rows, key=lambda row: row.time)
