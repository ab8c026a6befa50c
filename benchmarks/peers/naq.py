"""naq, on asyncio's own loop, uvloop or Trio (``BENCH_VARIANT``)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import anyio

import naq
from benchmarks.peers.programs import jobs
from benchmarks.peers.programs.driver import URL, Peer, serve

try:
    from naq.jobs.results import Results
except ImportError:  # a revision from before the packages
    from naq.results import Results  # type: ignore[import-not-found, no-redef]

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

VARIANT = os.environ.get("BENCH_VARIANT", "uvloop")
BACKEND = "trio" if VARIANT == "trio" else "asyncio"


class Naq(Peer):
    """naq: a result per job, stored and acknowledged before the job is."""

    worker = [  # noqa: RUF012 - a constant
        sys.executable,
        "-m",
        "benchmarks.measures.no_uvloop" if VARIANT == "asyncio" else "naq",
        *("worker", "default", "--backend", BACKEND, "--concurrency", "{concurrency}"),
        *("--log-level", "error"),
    ]
    settings = "defaults; file storage, synced every 2 minutes (the server's default)"

    async def open(self) -> None:
        """Connect."""
        self._queue = naq.Queue("default", nats_url=URL)
        await self._queue.__aenter__()
        self._results = Results(self._queue._connection)  # noqa: SLF001

    async def close(self) -> None:
        """Disconnect."""
        await self._queue.__aexit__(None, None, None)

    async def put(self, job: str, args: list[Any]) -> Any:
        """Enqueue one."""
        return await self._queue.enqueue(getattr(jobs, job), *args)

    async def put_many(self, job: str, args: list[Any], count: int) -> list[Any]:
        """Enqueue many."""
        function = getattr(jobs, job)
        return await self._queue.enqueue_many([naq.call(function, *args) for _ in range(count)])

    async def put_in(self, seconds: float, job: str, args: list[Any]) -> Any:
        """Enqueue one that is due later."""
        return await self._queue.enqueue_in(seconds, getattr(jobs, job), *args)

    async def ready(self, handle: Any) -> bool:
        """Whether there is a final record."""
        record, _ = await self._results.get(handle.id)
        return record is not None and record.status.final

    async def result(self, handle: Any) -> Any:
        """Wait; the server wakes us."""
        return await handle.result(timeout=60)

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run on the loop that is measured."""
        options = {"use_uvloop": VARIANT == "uvloop"} if BACKEND == "asyncio" else {}
        anyio.run(main, backend=BACKEND, backend_options=options)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)

    async def together(
        self, number: int, function: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Run ``function`` ``number`` times at once."""
        async with anyio.create_task_group() as tasks:
            for _ in range(number):
                tasks.start_soon(function)


if __name__ == "__main__":
    serve(Naq())
