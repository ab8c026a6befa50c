"""What the benchmarks run."""

from __future__ import annotations

import time


async def noop() -> None:
    """Do nothing."""


async def began() -> float:
    """Return when this was run, seconds since the epoch."""
    return time.time()
