"""What the benchmarks run."""

from __future__ import annotations


async def noop() -> None:
    """Do nothing."""
