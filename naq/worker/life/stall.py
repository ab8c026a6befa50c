"""A worker's event loop that stands still: which job blocks it, and for how long it may.

The loop leaves a beat every second. Another thread sees that it gets old, finds the job whose code
the loop's thread is in, says so in the log, and marks it in the ledger, in case the process dies of
it. Where that goes on for longer than ``stall_timeout``, faulthandler ends the process and prints
where each thread stands: it needs neither the loop nor the interpreter.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import sys
import threading
import time
from typing import TYPE_CHECKING

import anyio

from naq.worker.execute import execute
from naq.worker.life.ledger import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.jobs.job import JobMessage
    from naq.worker.life.ledger import Ledger

__all__ = ["DEFAULT", "Stall", "arming", "blocking_job"]

log = logging.getLogger("naq.worker")

DEFAULT = 300.0
"""Seconds that a loop may stand still."""
BLOCKED = 5.0
"""Seconds after which it is said to be blocked (half of the limit, if that is less)."""


def arming(limit: float) -> tuple[float, float]:
    """Return how often the end of the process is put off, and for how long.

    A loop that stands still for less than ``limit`` seconds is never ended.
    """
    pause = min(10.0, limit / 4)
    return pause, limit + pause


def blocking_job(thread: int) -> JobMessage | None:
    """Return the job whose code a thread is in at this moment, None if it is in no job's."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented, for debuggers
    while frame is not None:
        if frame.f_code is execute.__code__:
            job: JobMessage = frame.f_locals["job"]
            return job
        frame = frame.f_back
    return None


class Stall:
    """Watches the loop of one worker; made in that loop's thread."""

    def __init__(
        self, ledger: Ledger, *, limit: float | None, place_of: Callable[[str], int]
    ) -> None:
        """Prepare to watch.

        Args:
            ledger: learns which job blocks the loop.
            limit: seconds after which the process is ended; None: never.
            place_of: returns the place of a job in the ledger, 0 if it has none.
        """
        self._ledger = ledger
        self._limit = limit
        self._place_of = place_of
        self._thread = threading.get_ident()
        self._beat = time.monotonic()
        self._after = min(BLOCKED, (limit or DEFAULT) / 2)
        self._period = min(1.0, (limit or DEFAULT) / 8)

    def is_over(self) -> bool:
        """Whether it has stood still for so long that nobody vouches for its jobs any more."""
        return time.monotonic() - self._beat > (self._limit or DEFAULT)

    async def beat(self) -> None:
        """Leave beats, until cancelled; on the loop that is watched."""
        pause, end = arming(self._limit or DEFAULT)
        armed = 0.0
        try:
            while True:
                self._beat = now = time.monotonic()
                if self._limit is not None and now - armed >= pause:
                    armed = now
                    self._ledger.armed(clock())
                    faulthandler.dump_traceback_later(end, exit=True)
                await anyio.sleep(self._period)
        finally:
            self._beat = math.inf
            if self._limit is not None:
                faulthandler.cancel_dump_traceback_later()

    async def watch(self) -> None:
        """Say when the loop is blocked and by what, until cancelled; on another thread."""
        since, who = 0.0, ""
        while True:
            await anyio.sleep(self._period)
            beat = self._beat
            blocked = time.monotonic() - beat
            if since and beat != since:
                self._ledger.culprit(0)
                log.warning(
                    "the event loop runs again; %s blocked it for %.1f s", who, beat - since
                )
                since = 0.0
            elif blocked >= self._after:
                who = self._find(first=not since)
                since = beat

    def _find(self, *, first: bool) -> str:
        """Mark the job that blocks the loop; return a name for it."""
        job = blocking_job(self._thread)
        self._ledger.culprit(self._place_of(job.id) if job else 0)
        who = f"job {job.id} ({job.function})" if job else "code of no job on the loop"
        if first:
            log.warning(
                "the event loop is blocked, for %.0f s by now, by %s: no other job runs here%s",
                time.monotonic() - self._beat,
                who,
                f"; after {self._limit:g} s the worker ends" if self._limit else "",
            )
        return who
