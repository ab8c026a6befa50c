"""The jobs of the soak: each start leaves a line, ``<id> <attempt>``, before anything else."""

from __future__ import annotations

import os
import time

import anyio

import naq

STARTS = os.environ.get("SOAK_STARTS", os.devnull)
_file = os.open(STARTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _begin() -> int:
    job = naq.current_job()
    os.write(_file, f"{job.id} {job.attempt}\n".encode())
    return job.attempt


async def quick(n):
    _begin()
    return n


async def patient(n):
    _begin()
    await anyio.sleep(0.05)
    return n


def in_a_thread(n):
    _begin()
    time.sleep(0.02)
    return n


async def fails_first(n):
    if _begin() == 1:
        raise ValueError("the first attempt")
    return n


async def blocks_the_loop(n, seconds):
    _begin()
    time.sleep(seconds)  # noqa: ASYNC251 - longer than a lease: nobody may take it for dead
    return n


async def kills_first(n, once):
    """Take the worker down, the first time it gets here."""
    _begin()
    try:
        os.close(os.open(once, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return n
    os._exit(9)


async def fails(n):
    _begin()
    raise LookupError(n)


async def kills(n):
    """Take the worker down each time: the one kind that deserves to be called poison."""
    _begin()
    os._exit(9)
