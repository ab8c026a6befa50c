"""The thread for calls from code without an event loop: one for the whole process, started on use.

On it runs an asyncio loop (uvloop where there is one), over connections that stay open there, so a
call costs two thread switches and not a connection. It may be called from any thread, also from a
worker thread of a running loop.

After ``fork`` the child has the memory of the parent but not its thread: the runtime starts anew
there. At exit the connections are closed; what was sent has been acknowledged before each call
returned.
"""

from __future__ import annotations

import atexit
import os
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from naq.nats.connection import connect
from naq.nats.locate import place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskStatus

    from naq.nats.connection import Connection

__all__ = ["SyncRuntime", "runtime"]

T = TypeVar("T")

CLOSE_TIMEOUT = 5.0


class SyncRuntime:
    """The thread and what lives on it."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self.close)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._portal: BlockingPortal | None = None
        self._stop: anyio.Event | None = None
        self._connections: dict[object, Connection] = {}
        self._opening: dict[object, anyio.Lock] = {}

    def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run ``await function()`` on the thread and return its result, or raise its error."""
        result: T = self._started().call(function)
        return result

    def run_connected(
        self, nats_url: str | None, function: Callable[[Connection], Awaitable[T]]
    ) -> T:
        """Run ``await function(connection)`` with the connection for ``nats_url``.

        Connections are kept by what decides where the server is, and which part of it is ours.
        """
        key = place(nats_url)

        async def call() -> T:
            return await function(await self._connection(key, nats_url))

        return self.run(call)

    async def _connection(self, key: object, nats_url: str | None) -> Connection:
        async with self._opening.setdefault(key, anyio.Lock()):
            connection = self._connections.get(key)
            if connection is None or not connection.open:
                connection = await self._tasks.start(self._hold, nats_url)
                self._connections[key] = connection
            return connection

    async def _hold(self, nats_url: str | None, *, task_status: TaskStatus[Connection]) -> None:
        assert self._stop is not None
        async with connect(nats_url, name="naq sync") as connection:
            task_status.started(connection)
            await self._stop.wait()

    def _started(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None:
                ready = threading.Event()
                problem: list[BaseException] = []
                self._thread = threading.Thread(
                    target=self._run_thread,
                    args=(ready, problem),
                    name="naq sync",
                    daemon=True,  # a program must be able to end without asking us
                )
                self._thread.start()
                ready.wait()
                if problem:
                    raise problem[0]
            assert self._portal is not None
            return self._portal

    def _run_thread(self, ready: threading.Event, problem: list[BaseException]) -> None:
        try:
            anyio.run(
                self._main,
                ready,
                backend="asyncio",
                backend_options={"use_uvloop": find_spec("uvloop") is not None},
            )
        except BaseException as exc:
            problem.append(exc)
            ready.set()
            raise

    async def _main(self, ready: threading.Event) -> None:
        async with BlockingPortal() as portal, anyio.create_task_group() as self._tasks:
            self._stop = anyio.Event()
            self._portal = portal
            ready.set()
            await self._stop.wait()

    def close(self) -> None:
        """Close the connections and end the thread, if there is one."""
        thread, portal, stop = self._thread, self._portal, self._stop
        if thread is None or portal is None or stop is None or not thread.is_alive():
            return
        portal.start_task_soon(stop.set)
        thread.join(CLOSE_TIMEOUT)
        self._reset()


_runtime: SyncRuntime | None = None
_guard = threading.Lock()


def runtime() -> SyncRuntime:
    """Return the process's runtime."""
    global _runtime  # noqa: PLW0603 - one thread for the process is the point
    with _guard:
        if _runtime is None:
            _runtime = SyncRuntime()
        return _runtime


def _after_fork() -> None:
    global _guard  # noqa: PLW0603 - it may have been held by a thread that is not here
    _guard = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
