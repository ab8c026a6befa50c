"""A pytest plugin: a test that hangs ends the run, is named, and shows what everything waits for.

No exception is thrown into the test. An event loop may not survive one that a signal handler
raises, a shielded scope swallows a cancellation, and a call that blocks in C sees neither. So a
thread of its own reports, kills what the process has started, and ends it. Should that thread not
get to run, because something holds the interpreter's lock, faulthandler does the same without it.

The limit covers a test with the fixtures it sets up and tears down, the collection, and the time
the process takes to exit after the last test. It is ``time_limit`` in pytest's configuration, or
``@pytest.mark.time_limit(150)`` on a test. A worker process of pytest-xdist ends alone: its test is
reported as failed, and with ``--max-worker-restart=0`` the run stops.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import sys
import threading
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil
import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

GRACE = 5.0  # seconds after which faulthandler ends the process, if the thread has not


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("time_limit", "seconds that a test may take with its fixtures", default="60")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "time_limit(seconds): a limit of its own for this test")
    config.pluginmanager.register(TimeLimit(config), "naq time limit")


class TimeLimit:
    """Watches one thing at a time: the collection, a test, the exit."""

    def __init__(self, config: pytest.Config) -> None:
        self._default = float(config.getini("time_limit"))
        self._is_worker = hasattr(config, "workerinput")
        self._capture = config.pluginmanager.getplugin("capturemanager")
        self._terminal = os.dup(sys.__stderr__.fileno())  # while nothing is captured yet
        self._timer: threading.Timer | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Iterator[None]:
        with self._limit("the collection of tests", self._default):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        marker = item.get_closest_marker("time_limit")
        with self._limit(item.nodeid, marker.args[0] if marker else self._default):
            return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        if not self._is_worker:  # one that has no more tests waits for the others
            self._start("the exit after the last test", self._default)

    def pytest_enter_pdb(self) -> None:
        self._cancel()

    @contextmanager
    def _limit(self, what: str, seconds: float) -> Iterator[None]:
        self._start(what, seconds)
        try:
            yield
        finally:
            self._cancel()

    def _start(self, what: str, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._end, [what, seconds])
        self._timer.name = "naq time limit"
        self._timer.daemon = True
        self._timer.start()
        faulthandler.dump_traceback_later(seconds + GRACE, file=self._terminal, exit=True)

    def _cancel(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._timer.cancel()

    def _end(self, what: str, seconds: float) -> None:
        """Say what hangs, and where; then end this process and all it has started."""
        self._say(f"\n\n=== {what} has taken more than {seconds:g} seconds; it ends here\n")
        faulthandler.dump_traceback(self._terminal)
        with suppress(Exception):  # what follows helps to understand, and must not stop the end
            self._say("".join(_describe(task) for task in _tasks()))
        with suppress(Exception):
            self._capture.suspend_global_capture()
            for name, text in zip(("out", "err"), self._capture.read_global_capture(), strict=True):
                self._say(f"\nCaptured std{name}:\n{text}" if text else "")
        with suppress(psutil.Error):
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    child.kill()
        os._exit(1)

    def _say(self, text: str) -> None:
        os.write(self._terminal, text.encode(errors="replace"))


def _tasks() -> list[asyncio.Task | trio.lowlevel.Task]:
    """All tasks that have not ended, of every event loop in the process."""
    kinds = (asyncio.Task, trio.lowlevel.Task)
    found = [thing for thing in gc.get_objects() if isinstance(thing, kinds)]
    return [task for task in found if _coroutine(task).cr_frame is not None]


def _coroutine(task):
    return task.coro if isinstance(task, trio.lowlevel.Task) else task.get_coro()


def _describe(task) -> str:
    """A task's name and the chain of awaits down to what it waits for."""
    name = task.name if isinstance(task, trio.lowlevel.Task) else task.get_name()
    stack, waiting = [], _coroutine(task)
    while waiting is not None:
        frame = _first(waiting, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            stack.append((frame, frame.f_lineno))
        waiting = _first(waiting, "cr_await", "gi_yieldfrom", "ag_await")
    shown = traceback.StackSummary.extract(iter(stack))
    return f"\nTask {name!r}:\n{''.join(shown.format())}"


def _first(thing, *names):
    """The first of these attributes that it has."""
    return next((getattr(thing, name) for name in names if hasattr(thing, name)), None)
