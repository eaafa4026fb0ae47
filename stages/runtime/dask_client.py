"""Reach the scheduler of a Dask cluster, and what is said of a worker that cannot be used."""

import asyncio
import logging
import os
import warnings
from pathlib import Path
from typing import Any

from stages.core.errors import ExpectedError

CONNECT_S = 6.0  # to reach the scheduler


def scheduler_address() -> str:
    """Return the address that ``DASK_SCHEDULER`` holds."""
    address = os.environ.get("DASK_SCHEDULER", "")
    if not address:
        raise ExpectedError("DASK_SCHEDULER: not set, expected the scheduler's address such as tcp://10.0.0.5:8786")
    return address


def connect(address: str) -> Any:
    """Connect to a scheduler; raise an `ExpectedError` in bounded time where none answers."""
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise ExpectedError(
            "BACKEND: dask needs the package distributed, not found; run `pip install --editable '.[cluster]'`"
        ) from None
    _quieten()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what differs between client and workers is told by `refusal`
        try:
            asyncio.run(_find_scheduler(address))
            return Client(address, timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split()) or f"no answer within {CONNECT_S:.0f} s"
            raise ExpectedError(
                f"DASK_SCHEDULER: {address}: no scheduler there ({reason}); correct it, or start one: dask scheduler"
            ) from None


async def _find_scheduler(address: str) -> None:
    """See in bounded time that a scheduler answers; a `Client` takes up to half a minute to give up."""
    from distributed.core import rpc

    async with asyncio.timeout(CONNECT_S), rpc(address) as server:  # type: ignore[no-untyped-call]
        kind = (await server.identity())["type"]
    if kind != "Scheduler":
        raise ValueError(f"it is a {kind.lower()}'s")


def _quieten() -> None:
    """Keep Dask's own log lines back, unless with ``LOG=debug``: what a user must know is told in an error."""
    if logging.getLogger("batchwise").isEnabledFor(logging.DEBUG):
        return
    for name in ("distributed", "distributed.client", "tornado.application", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def refused(reason: str) -> ExpectedError:
    """Return the error for a worker whose bytes could differ."""
    return ExpectedError(
        f"DASK_SCHEDULER: {reason}; its bytes could differ: start it again in the run's folder and environment"
    )


def unable(worker: str, error: BaseException) -> ExpectedError:
    """Return the error for a worker that cannot run this code."""
    return ExpectedError(
        f"DASK_SCHEDULER: {worker} cannot run the code of this folder ({type(error).__name__}: {error}); start it "
        f"again in {Path.cwd()}, with the same environment"
    )
