"""The server's clock, which is the one that fires: what is due is asked of it, not of ours."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from naq.connection import Connection

__all__ = ["server_now"]

FRESH = 60.0
"""Seconds a comparison of the clocks is good for."""


async def server_now(connection: Connection) -> float:
    """Return the server's time, seconds since the epoch.

    Its clock is read once a minute, to half of a round trip; our monotonic clock does the rest, so
    that a step of the local clock does not matter. After a
    reconnect it may be another server's, and is read again (``Connection.forget``).

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    now = time.monotonic()
    if connection.clock is None or now - connection.clock.read_at > FRESH:
        answer = await connection.api(f"STREAM.INFO.{connection.names.jobs_stream}")
        back = time.monotonic()
        theirs = datetime.fromisoformat(answer["ts"]).timestamp()
        connection.set_clock(theirs - (now + back) / 2, back)
    assert connection.clock is not None
    return time.monotonic() + connection.clock.offset
