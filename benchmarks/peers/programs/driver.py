"""The producer's half of a contestant: commands as JSON lines in, answers as JSON lines out.

A contestant's file subclasses :class:`Peer` (asyncio) or :class:`SyncPeer` (threads), implements
the few methods that its library is about, and calls :func:`serve`. All timing is here, so that it
is the same for everybody. Only the standard library: this runs in each contestant's environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["URL", "Peer", "SyncPeer", "idle_seconds", "serve"]

URL = os.environ.get("BENCH_URL", "")
LOOK = 0.002
"""Seconds between two looks for a result."""
IN_FLIGHT = 32
TAIL = 200
"""How many of the last jobs are watched for the end of a run."""


class Peer:
    """A library on asyncio.

    Attributes:
        worker: command of a worker with one process; ``{concurrency}`` is replaced.
        helpers: commands of what else must run, for delayed jobs for example.
        settings: what is not the default, and how durable what is stored is.
        cannot: workload → why this contestant is not in it.
        suffix: of the names of its jobs, in ``jobs``.
        slots: how many jobs a worker runs at a time; None for as many as it is told.
        stores: whether there are results to read.
    """

    worker: list[str]
    helpers: tuple[list[str], ...] = ()
    settings = ""
    cannot: dict[str, str] = {}  # noqa: RUF012 - constants of subclasses
    suffix = ""
    slots: int | None = None
    stores = True

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect."""

    async def put(self, job: str, args: list[Any]) -> Any:
        """Enqueue one job; return what :meth:`ready` and :meth:`result` need."""
        raise NotImplementedError

    async def prepare(self, job: str, args: list[Any], count: int) -> None:
        """Do what is not measured before :meth:`put_many`; only the limit line does."""

    async def put_many(self, job: str, args: list[Any], count: int) -> list[Any]:
        """Enqueue many by the library's own means for that."""
        raise NotImplementedError

    async def put_in(self, seconds: float, job: str, args: list[Any]) -> Any:
        """Enqueue one that is due later."""
        raise NotImplementedError

    async def ready(self, handle: Any) -> bool:
        """Whether the result is stored and can be read."""
        raise NotImplementedError

    async def result(self, handle: Any) -> Any:
        """Wait for the result and read it, by the library's fastest means."""
        while not await self.ready(handle):
            await self.sleep(LOOK / 2)
        return await self.value(handle)

    async def round_trip(self, job: str) -> None:
        """Enqueue a job and have its result."""
        await self.result(await self.put(job, []))

    async def value(self, handle: Any) -> Any:
        """Read a result that is ready."""
        raise NotImplementedError

    async def outstanding(self) -> int | None:
        """How many jobs the broker holds, for a contestant that stores no results."""
        return None

    # ---------------------------------------------------------------- the event loop

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the producer, on uvloop if that is in the contestant's environment."""
        if util.find_spec("uvloop") is None:
            asyncio.run(main())
        else:
            import uvloop

            uvloop.run(main())

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def together(
        self, number: int, function: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Run ``function`` ``number`` times at once."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(number):
                tasks.create_task(function())


class SyncPeer(Peer):
    """A library that blocks. Its coroutines never suspend, so they run without an event loop."""

    suffix = "_sync"

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine that never suspends."""
        try:
            main().send(None)
        except StopIteration:
            return

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)  # noqa: ASYNC251 - there is no event loop

    async def together(
        self, number: int, function: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Run ``function`` in ``number`` threads."""
        with ThreadPoolExecutor(number) as pool:
            for done in [pool.submit(self.run, function) for _ in range(number)]:
                done.result()


class Driver:
    """Obeys the harness."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._handles: list[Any] = []
        self._broker = Path("/proc", os.environ.get("BENCH_BROKER", ""), "stat")
        self._commands: dict[str, Callable[..., Awaitable[Any]]] = {
            "fill": self.fill,
            "finished": self.finished,
            "latency": self.latency,
            "delayed": self.delayed,
        }

    async def main(self) -> None:
        """Read commands until there are no more."""
        peer = self._peer
        say(
            worker=peer.worker,
            helpers=peer.helpers,
            settings=peer.settings,
            cannot=peer.cannot,
            suffix=peer.suffix,
            slots=peer.slots,
            stores=peer.stores,
        )
        # Reading blocks the loop, which is right: nothing is measured between two commands. A
        # connection that must answer pings meanwhile has minutes for that.
        for line in sys.stdin:
            command = json.loads(line)
            name = command.pop("do")
            if name == "open":
                await peer.open()
                say(opened=True)
            else:
                say(**await self._commands[name](**command))
        await peer.close()

    async def fill(
        self, job: str, args: list[Any], count: int, how: str, *, watch: bool = True
    ) -> dict[str, Any]:
        """Enqueue; ``watch`` makes them the jobs that :meth:`finished` looks at."""
        job += self._peer.suffix
        handles: list[Any] = []
        if how == "bulk":
            await self._peer.prepare(job, args, count)
        began = time.perf_counter()
        if how == "bulk":
            handles = await self._peer.put_many(job, args, count)
        elif how == "one":
            for _ in range(count):
                handles.append(await self._peer.put(job, args))
        else:
            numbers = iter(range(count))

            async def caller() -> None:
                # With several threads each takes the next number under the interpreter's lock.
                for number in numbers:
                    made = [number if value == "#" else value for value in args]
                    handles.append(await self._peer.put(job, made))

            await self._peer.together(IN_FLIGHT, caller)
        seconds = time.perf_counter() - began
        if watch:
            self._handles = handles
        return {"seconds": seconds}

    async def finished(self, upto: int, patience: float) -> dict[str, Any]:
        """Wait until the first ``upto`` jobs have results; say when, on the machine's clock.

        The last ones are watched while the others run; that all the others are done is looked
        at afterwards. One that was not moves the time of the end.
        """
        until = time.monotonic() + patience
        peer = self._peer
        if await peer.outstanding() is not None:
            return await self._drained(until)
        handles = self._handles[:upto]
        while not await peer.ready(handles[-1]):
            if time.monotonic() > until:
                return self._at(await self._missing(handles))
            await peer.sleep(LOOK)
        end = self._at(0)
        for handle in [*handles[-TAIL:], *handles[:-TAIL]]:
            while not await peer.ready(handle):
                end = self._at(0)
                if time.monotonic() > until:
                    return self._at(await self._missing(handles))
                await peer.sleep(LOOK)
        return end

    async def _drained(self, until: float) -> dict[str, Any]:
        while left := await self._peer.outstanding():
            if time.monotonic() > until:
                return self._at(left)
            await self._peer.sleep(LOOK)
        return self._at(0)

    def _at(self, missing: int) -> dict[str, Any]:
        """Return the time, and what the broker has taken of it."""
        at, cpu = time.monotonic(), 0.0
        if self._broker.exists():
            user, system = self._broker.read_text().rpartition(")")[2].split()[11:13]
            cpu = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        return {"at": at, "missing": missing, "cpu": cpu, "idle": idle_seconds()}

    async def _missing(self, handles: list[Any]) -> int:
        return sum([not await self._peer.ready(handle) for handle in handles])

    async def latency(self, count: int, gap: float) -> dict[str, Any]:
        """One job at a time on an idle queue: milliseconds from enqueue to having the result."""
        times = []
        for _ in range(count):
            began = time.perf_counter()
            await self._peer.round_trip("noop" + self._peer.suffix)
            times.append((time.perf_counter() - began) * 1000)
            await self._peer.sleep(gap)
        return {"ms": times}

    async def delayed(self, count: int, seconds: float, gap: float) -> dict[str, Any]:
        """How late jobs begin that are due ``seconds`` from now and each ``gap`` later."""
        first = time.time() + seconds
        handles = []
        job = "began" + self._peer.suffix
        for number in range(count):
            due = first + number * gap
            handles.append((due, await self._peer.put_in(due - time.time(), job, [])))
        late = []
        for due, handle in handles:
            late.append((await self._peer.result(handle) - due) * 1000)
        return {"ms": late}


def idle_seconds() -> float:
    """Return how long the processors of this machine have had nothing to do, all together."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:  # not Linux
        return 0.0
    return (int(words[4]) + int(words[5])) / os.sysconf("SC_CLK_TCK")


def say(**answer: Any) -> None:
    """Answer the harness."""
    print(json.dumps(answer), flush=True)


def serve(peer: Peer) -> None:
    """Run the producer of a contestant."""
    peer.run(Driver(peer).main)
