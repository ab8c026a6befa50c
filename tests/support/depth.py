"""How many jobs wait in a queue, once the server has counted what it has stored.

The server counts a message for its consumer a moment after it has acknowledged it, so a test that
has just enqueued something asks until the number is the one it expects.
"""

from __future__ import annotations

import anyio

PATIENCE = 10.0
"""Seconds for the server to count."""


async def depth(queue, expected: int) -> int:
    """Return the depth of ``queue``: ``expected``, or what it still is after a while."""
    found = (await queue.stats()).depth
    with anyio.move_on_after(PATIENCE):
        while found != expected:
            await anyio.sleep(0.01)
            found = (await queue.stats()).depth
    return found
