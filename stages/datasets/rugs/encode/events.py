"""Units -> the table of the events of their episodes: one row an event that an encoder needs, one column a number.

`read` makes it, `encode` reads it. Rows of an episode are contiguous and in canonical order (sessions by their smallest
`ts`, then `seq`); episodes are in the order of the units. NaN stands for what is missing: null, no such key, NaN or
infinite, text that is no number. Numbers as text are numbers; booleans are 0 and 1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, Final

import numpy as np

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import Unit, digest_of
from stages.datasets.base import Finding
from stages.datasets.rugs import schema
from stages.datasets.rugs.encode import columns
from stages.datasets.rugs.encode.reader import OwnRows, own_rows
from stages.datasets.rugs.reading import order, payload
from stages.datasets.rugs.reading.store import Rows, hashes
from stages.datasets.rugs.schema import GSU, OTHER, PLAYER, PRESS, TRADE, WHERE, Options
from stages.runtime.notes import working_on

NOT_JSON: Final = "the payload is not JSON"
SHARED: Final = "session, seq and doc type are those of a row of another game, too; both are kept"


@dataclass(frozen=True)
class Events:
    """The events of E episodes, R rows.

    Columns are float64 (R,) with NaN for missing unless another dtype is named; a column is NaN in the rows of other
    kinds than its own.

    Attributes
    ----------
    episode
        int32 (R,): index of the row's episode in the chunk.
    kind
        int8 (R,): `GSU`, `PLAYER`, `TRADE`, `PRESS` or `OTHER` of `schema`.
    ts_ms
        int64 (R,): when the row was recorded, ms since 1970 UTC, floored.
    line
        int32 (R,): number of the row among all rows of its episode in canonical order, from 1.
    tick, price, timer, active, rugged, presale, connected, avg_mult, c2, c10, c50, c100, highest, pool
        Frames: tickCount; price; cooldownTimer (ms); active; rugged; allowPreRoundBuys; connectedPlayers;
        averageMultiplier; count2x, count10x, count50x, count100x; highestToday; rugpool.rugpoolAmount.
    pool_threshold, instarug, price_partial
        Frames: rugpool.threshold; rugpool.instarugCount; partialPrices.values[str(tickCount)], where there is no price.
    cash, qty, avg, pnl, invested
        Player updates: cash (SOL); positionQty; avgCost; cumulativePnL (SOL); totalInvested (SOL).
    side, trade_tick, trade_price, is_own
        Trades: index in `schema.SIDES`; tickIndex; price; 1 if the player is the own one as known by then, else 0.
    button, category, press_tick, bet, client_ms, server_ms
        Presses: index in `schema.BUTTONS`; index in `schema.CATEGORIES`; tick; bet_amount before the press (SOL);
        client_timestamp (ms since 1970); server_ts (ms since 1970).
    game_ids
        E game ids.
    cash_carried
        float64 (E,): last cash of the session before the episode's first frame; NaN if there is none.
    start_ns
        int64 (E,): when the episode's first row was recorded, ns since 1970 UTC.
    players
        uint64 (E,): pseudonym of the own player; 0 without a key or a known player.
    offsets
        int64 (E+1,): first row of each episode, and R.
    findings
        What was wrong within the episodes and left out.
    """

    episode: np.ndarray
    kind: np.ndarray
    ts_ms: np.ndarray
    line: np.ndarray

    tick: np.ndarray
    price: np.ndarray
    timer: np.ndarray
    active: np.ndarray
    rugged: np.ndarray
    presale: np.ndarray
    connected: np.ndarray
    avg_mult: np.ndarray
    c2: np.ndarray
    c10: np.ndarray
    c50: np.ndarray
    c100: np.ndarray
    highest: np.ndarray
    pool: np.ndarray
    pool_threshold: np.ndarray
    instarug: np.ndarray
    price_partial: np.ndarray

    cash: np.ndarray
    qty: np.ndarray
    avg: np.ndarray
    pnl: np.ndarray
    invested: np.ndarray

    side: np.ndarray
    trade_tick: np.ndarray
    trade_price: np.ndarray
    is_own: np.ndarray

    button: np.ndarray
    category: np.ndarray
    press_tick: np.ndarray
    bet: np.ndarray
    client_ms: np.ndarray
    server_ms: np.ndarray

    game_ids: tuple[str, ...]
    cash_carried: np.ndarray
    start_ns: np.ndarray
    players: np.ndarray
    offsets: np.ndarray
    findings: tuple[Finding, ...]


def read_events(raw_dir: Path, units: Sequence[Unit], options: Mapping[str, Any]) -> Events:
    """Read the events of a chunk of units, each file once.

    Raises
    ------
    BadUnit
        When discover could not read a unit, or more of its rows than `max_bad_rows` are bad.
    ExpectedError
        When a file changed since discover.
    """
    checked = schema.parse_options(options)
    key = order.player_key(checked)
    working_on(units[0].key)
    own = own_rows(raw_dir, units, partial(_columns, key=key))
    _check(raw_dir, units, own, key)
    is_broken = own.columns.pop("is_broken")
    findings = _findings(raw_dir, units, own, is_broken, checked)

    episode = own.columns.pop("unit").astype(np.int32)
    line = _lines(episode, own.offsets)

    known = _known(units, own.offsets, episode, own.columns.pop("own"))
    kind, ts_ns = own.columns.pop("kind"), own.columns.pop("ts_ns")
    own.columns["is_own"] = _is_own(own.columns.pop("trader"), known, kind)

    # Without the broken rows; a column goes as soon as its other one is there.
    good = ~is_broken if is_broken.any() else slice(None)
    return Events(
        episode=episode[good],
        kind=kind[good],
        ts_ms=ts_ns[good] // 10**6,
        line=line[good],
        **{name: own.columns.pop(name)[good] for name in (*columns.NAMES, "is_own")},
        game_ids=tuple(unit.key for unit in units),
        cash_carried=np.array([unit.context["cash"] for unit in units], np.float64),
        start_ns=ts_ns[own.offsets[:-1]],
        players=_players(known, own.offsets, key),
        offsets=_starts(episode[good], len(units)),
        findings=tuple(findings),
    )


def _starts(episode: np.ndarray, n: int) -> np.ndarray:
    """Return where each of n episodes begins among sorted rows, and their end, int64 (n + 1,)."""
    return np.searchsorted(episode, np.arange(n + 1))


def _players(known: np.ndarray, offsets: np.ndarray, key: bytes) -> np.ndarray:
    """Return the pseudonym of each episode's own player as its last row knows it, uint64 (U,); 0 without a key."""
    return known[offsets[1:] - 1] if key else np.zeros(len(offsets) - 1, np.uint64)


def _lines(episode: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return of each row its line in its episode, from 1, int32 (R,); broken rows count."""
    return (np.arange(len(episode)) - offsets[episode] + 1).astype(np.int32)


def _is_own(trader: np.ndarray, known: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Return whether a trade is the player's own, float64 (R,): 1, 0, or NaN where a row is no trade."""
    return np.where(kind == TRADE, (trader == known) & (trader > 0), np.nan)


def _check(raw_dir: Path, units: Sequence[Unit], own: OwnRows, key: bytes) -> None:
    """Check that the rows, and the key of the pseudonyms in the context, are those that discover saw."""
    if any(unit.context.get("key") != (order.fingerprint(key) if key else None) for unit in units):
        raise ExpectedError(f"{WHERE}.player_key_file: not the key that discover used; run `dvc repro -f` for discover")
    found = own.columns.pop("hash")
    for unit, start, stop in zip(units, own.offsets[:-1].tolist(), own.offsets[1:].tolist(), strict=True):
        if digest_of(found[start:stop].tobytes(), unit.context) != unit.digest:
            where = raw_dir / unit.sources[0].path
            raise ExpectedError(f"{where}: rows of {unit.key} changed since discover listed it; run `dvc repro` again")


def _columns(rows: Rows, key: bytes) -> dict[str, np.ndarray]:
    """Return what stays of R rows.

    Returns
    -------
    dict
        The numbers of `columns.NAMES`, float64 (R,); `kind`, `ts_ns`, `file` and `row` of the rows, and their `hash`;
        `is_broken`, bool (R,): the payload is not JSON; `own`, uint64 (R,): pseudonym of the own player where a row
        tells it, else 0; `trader`, uint64 (R,): pseudonym of the player of a trade, 0 in other rows.
    """
    n_rows = len(rows.seq)
    result = columns.missing(n_rows) | {name: getattr(rows, name) for name in ("kind", "ts_ns", "file", "row")}
    result |= {"own": np.zeros(n_rows, np.uint64), "trader": np.zeros(n_rows, np.uint64)}
    result |= {"is_broken": np.zeros(n_rows, bool), "hash": hashes(rows)}
    for kind in (GSU, PLAYER, TRADE, PRESS, OTHER):
        chosen = np.flatnonzero(rows.kind == kind)
        payloads = payload.decode(kind, rows.raw.take(chosen).to_pylist())
        result["is_broken"][chosen] = [found is payload.BROKEN for found in payloads]

        # Rows without a payload, or with a broken one, say nothing.
        is_good = [isinstance(found, payload.STRUCTS[kind]) for found in payloads]
        chosen = chosen[np.array(is_good, bool)]
        payloads = list(compress(payloads, is_good))
        for name, column in columns.numbers(kind, payloads).items():
            result[name][chosen] = column
        if kind in (PLAYER, OTHER, TRADE):
            told = result["trader" if kind == TRADE else "own"]
            told[chosen] = _pseudonyms([getattr(found, "player", None) for found in payloads], key)
    return result


def _pseudonyms(players: Sequence[str | None], key: bytes) -> np.ndarray:
    codes = {player: order.pseudonym(player, key) for player in set(players)}
    return np.array([codes[player] for player in players], np.uint64)


def _known(units: Sequence[Unit], offsets: np.ndarray, episode: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return the pseudonym of the own player as it is known at each row, uint64 (R,), 0 before."""
    own = own.copy()
    for unit, start in zip(units, offsets[:-1].tolist(), strict=True):
        if not own[start] and unit.context["player"]:
            own[start] = int(unit.context["player"], 16)
    last = order.last_seen(own > 0, episode)
    return np.where(last >= 0, own[last], np.uint64(0))


def _findings(
    raw_dir: Path, units: Sequence[Unit], own: OwnRows, is_broken: np.ndarray, options: Options
) -> list[Finding]:
    """Return what is wrong within units; refuse those of which too much is."""
    result = []
    for index in range(len(units)):
        start, stop = own.offsets[index : index + 2].tolist()
        if "shared" in units[index].context:
            result.append(Finding(index, SHARED, *units[index].context["shared"]))
        n_bad = int(is_broken[start:stop].sum())
        most = math.ceil(options.max_bad_rows * (stop - start))
        if not n_bad:
            continue
        line = int(is_broken[start:stop].argmax())
        if n_bad > most:
            path, row = own.paths[own.columns["file"][start + line]], own.columns["row"][start + line]
            raise BadUnit(
                f"{raw_dir / path}:{row}: {NOT_JSON}, as of {n_bad:,} of {stop - start:,} rows of {units[index].key}, "
                f"expected at most {most}; correct them or raise {WHERE}.max_bad_rows"
            )
        result.append(Finding(index, NOT_JSON, n_bad, line + 1))
    return result
