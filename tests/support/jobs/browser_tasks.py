"""Tasks of the project that the browser tests look at."""

from __future__ import annotations

import anyio

import naq


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def broken(text: str) -> None:
    """Fail with what was given."""
    raise ValueError(text)


@naq.task(max_retries=3, retry_delay=600)
def later(text: str) -> None:
    """Fail, to be tried again in a while."""
    raise LookupError(text)


def echo(value: object) -> object:
    """Return what was given."""
    return value


async def nap(seconds: float) -> None:
    """Sleep."""
    await anyio.sleep(seconds)
