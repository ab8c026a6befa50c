"""Jobs for the fault tests; each run leaves a line in a file, so that runs can be counted."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import anyio

import naq


def _note(path, text):
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def note_run(path):
    """Leave behind which run of a schedule this is."""
    _note(path, naq.current_job().id)


async def noted(path, text):
    _note(path, text)
    return text


async def noted_slowly(path, text, seconds):
    _note(path, text)
    await anyio.sleep(seconds)
    return naq.current_job().attempt


def noted_in_a_thread(path, text, seconds):
    _note(path, text)
    time.sleep(seconds)
    return naq.current_job().attempt


async def kill_at_first(path, times):
    """Take the worker down the first few times."""
    attempt = naq.current_job().attempt
    _note(path, attempt)
    if attempt <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt


async def failing_first(path):
    """Fail at the first attempt."""
    attempt = naq.current_job().attempt
    _note(path, attempt)
    if attempt == 1:
        raise ValueError("the first one")
    return attempt


async def slow_first(path):
    """Take long at the first attempt."""
    attempt = naq.current_job().attempt
    _note(path, attempt)
    if attempt == 1:
        await anyio.sleep(600)
    return attempt


async def blocks(path, text, seconds):
    """Do in a coroutine what should not be done there."""
    _note(path, text)
    time.sleep(seconds)  # noqa: ASYNC251 - that is the point
    return naq.current_job().attempt


def exits(path, text, code):
    """End the process as a crash in C would, leaving no time for anything."""
    _note(path, text)
    os._exit(code)


async def forks(path, seconds):
    """Leave behind a child, its number in the file, and run on."""
    child = multiprocessing.get_context("fork").Process(target=_child, args=(path, seconds))
    child.start()
    await anyio.sleep(seconds)


def _child(path, seconds):
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    plain = handlers == [signal.SIG_DFL, signal.SIG_DFL] and signal.set_wakeup_fd(-1) == -1
    _note(path, f"{os.getpid()} {plain}")
    time.sleep(seconds)
