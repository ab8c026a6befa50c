"""What the jobs of a benchmark do, the same for every contestant; only the standard library.

Asynchronous contestants register the functions of :data:`ASYNC`, the others those of :data:`SYNC`.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_numbers = itertools.count()
BLOCK = b"x" * 1024


async def pause(seconds: float) -> None:
    """Sleep on whichever event loop this is."""
    if "trio" in sys.modules:
        import anyio

        await anyio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


def _enter(directory: str) -> None:
    """Say that this process has a slot at work."""
    Path(directory, f"{os.getpid()}.{next(_numbers)}").touch()


def _log(path: str, text: str) -> None:
    """Append a line; one write, so that lines of several processes do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{text} {os.getpid()} {time.monotonic()}\n".encode())
    finally:
        os.close(descriptor)


async def noop() -> None:
    """Do nothing."""


async def sleep(seconds: float) -> None:
    """Wait."""
    await pause(seconds)


async def began() -> float:
    """Return when this runs, seconds since the epoch."""
    return time.time()


async def sha() -> str:
    """Compute for about a millisecond."""
    return sha_sync()


async def gate(directory: str, look: float) -> None:
    """Hold a slot until the harness opens the gate, so that every measurement begins at once."""
    _enter(directory)
    opened = os.path.join(directory, "open")  # noqa: PTH118 - looked at thousands of times
    while not os.path.exists(opened):  # noqa: ASYNC240, PTH110
        await pause(look)


async def mark(path: str, name: int, seconds: float) -> None:
    """Log the beginning and the end."""
    _log(path, f"begin {name}")
    await pause(seconds)
    _log(path, f"end {name}")


def noop_sync() -> None:
    """Do nothing."""


def sleep_sync(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def began_sync() -> float:
    """Return when this runs, seconds since the epoch."""
    return time.time()


def sha_sync() -> str:
    """Compute for about a millisecond."""
    digest = b""
    for _ in range(1000):
        digest = hashlib.sha256(BLOCK + digest).digest()
    return digest.hex()


def gate_sync(directory: str, look: float) -> None:
    """Hold a slot until the harness opens the gate."""
    _enter(directory)
    opened = Path(directory, "open")
    while not opened.exists():
        time.sleep(look)


def mark_sync(path: str, name: int, seconds: float) -> None:
    """Log the beginning and the end."""
    _log(path, f"begin {name}")
    time.sleep(seconds)
    _log(path, f"end {name}")


ASYNC: tuple[Callable[..., Any], ...] = (noop, sleep, began, sha, gate, mark)
SYNC: tuple[Callable[..., Any], ...] = (
    noop_sync,
    sleep_sync,
    began_sync,
    sha_sync,
    gate_sync,
    mark_sync,
)
