"""Wait for something that sends no event, such as a line in a file."""

from __future__ import annotations

import anyio


async def until(check, timeout=30):
    with anyio.fail_after(timeout):
        while not check():  # noqa: ASYNC110 - a file tells nobody
            await anyio.sleep(0.02)
