"""Tasks that the README, supervisor.toml and the tests use."""

from __future__ import annotations

import time

import anyio

import naq


def add(a: int, b: int) -> int:
    """Add two numbers; a plain function, run in a thread of the worker."""
    return a + b


async def nap(seconds: float = 1.0) -> float:
    """Sleep on the worker's event loop, asyncio's or Trio's."""
    await anyio.sleep(seconds)
    return seconds


def block(seconds: float = 1.0) -> float:
    """Sleep in a thread, as a function that reads a file or calls a slow library does."""
    time.sleep(seconds)
    return seconds


@naq.task(max_retries=3, retry_delay=1, retry_strategy="exponential", retry_jitter=0.2)
async def flaky(times: int = 2) -> str:
    """Fail ``times`` times, then succeed."""
    job = naq.current_job()
    assert job is not None
    if job.attempt <= times:
        raise RuntimeError(f"attempt {job.attempt} failed, as asked")
    return f"worked at attempt {job.attempt}"


@naq.task(queue="default", timeout=30)
async def greet(name: str) -> str:
    """Say hello; shows a policy beside the function."""
    await anyio.sleep(0.01)
    return f"hello {name}"
