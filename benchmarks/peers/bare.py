"""The limit line: naq's messages in naq's streams, handled by a bare loop over nats-py.

Bulk is what the server takes: naq's messages, encoded before the clock starts, pushed through one
socket by the same kind of batch. Everything that costs Python anything is left out.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import anyio

from benchmarks.peers import naq
from benchmarks.peers.programs import flood, jobs
from benchmarks.peers.programs.driver import URL, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

VARIANT = os.environ.get("BENCH_VARIANT", "pipelined")
NOT = "a limit, no job queue"


class Bare(naq.Naq):
    """naq's producer; only the worker and the bulk differ."""

    worker = [sys.executable, "-m", "benchmarks.peers.programs.bare_worker"]  # noqa: RUF012
    settings = (
        "publishes results without waiting, acks a job when its result is acknowledged"
        if VARIANT == "pipelined"
        else "32 coroutines: publish the result, await its ack, ack the job"
    ) + "; file storage"
    slots = 1 if VARIANT == "pipelined" else None
    cannot = dict.fromkeys(
        ("sleep", "sleep100", "cpu", "sync", "delayed", "crash", "memory", "flat", "noop2"), NOT
    )

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run on uvloop; only the worker is measured."""
        anyio.run(main, backend_options={"use_uvloop": True})

    async def prepare(self, job: str, args: list[Any], count: int) -> None:
        """Encode the messages."""
        self._flood = await flood.prepare(self._queue, getattr(jobs, job), args, count)

    async def put_many(self, job: str, args: list[Any], count: int) -> list[Any]:  # noqa: ARG002
        """Push what was prepared."""
        flood.push(URL, self._flood)
        return []


if __name__ == "__main__":
    serve(Bare())
