"""Records that are read before their jobs get a slot, for many jobs at once.

A delivery that may be a repetition needs its record. Read one by one, in slots, that costs each job
a round trip; read together when they arrive, it costs a few microseconds.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

import anyio

from naq.base import backoff
from naq.exceptions import NaqConnectionError
from naq.jobs.job import JobRecord
from naq.worker.held import about

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.jobs.results import Results
    from naq.worker.held import Held

__all__ = ["Lookups"]

log = logging.getLogger("naq.worker")

TOGETHER = 50
"""Records that are read by one request; more do not make it cheaper."""


class Lookups:
    """Reads the records of jobs in hand, in the order in which they came."""

    def __init__(self, results: Results, *, known: Callable[[Held], None]) -> None:
        """Prepare to read.

        Args:
            results: where records are.
            known: called with each job whose record was read; it has it then.
        """
        self._results = results
        self._known = known
        self._waiting: deque[Held] = deque()
        self._reading: list[Held] = []
        self._scope = anyio.CancelScope()
        self._added = anyio.Event()

    def __len__(self) -> int:
        """Return how many jobs wait for their record."""
        return len(self._waiting) + len(self._reading)

    def add(self, held: Held) -> None:
        """Read the record of a job that has arrived."""
        self._waiting.append(held)
        self._added.set()

    def drain(self) -> list[Held]:
        """Return the jobs that wait for their record, and forget them."""
        left = [*self._reading, *self._waiting]
        self._reading = []
        self._waiting.clear()
        self._scope.cancel()
        return left

    async def run(self) -> None:
        """Read records until cancelled."""
        while True:
            await self._added.wait()
            self._added = anyio.Event()
            while self._waiting:
                with anyio.CancelScope() as self._scope:
                    self._reading = [
                        self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))
                    ]
                    await self._read(self._reading)
                read, self._reading = self._reading, []
                for held in read:
                    self._known(held)

    async def _read(self, batch: list[Held]) -> None:
        """Read the records of a batch, for as long as it takes: without them nothing may run."""
        attempt = 0
        while True:
            try:
                found = await self._results.look_up([held.id for held in batch])
                break
            except NaqConnectionError as exc:
                log.debug("cannot read what is known of %d jobs: %s", len(batch), exc)
                delay = backoff.exponential(attempt, initial=0.05, maximum=2.0, jitter=0.3)
                attempt += 1
                await anyio.sleep(delay)
        for held in batch:
            record, held.expected = found.get(held.id, (None, 0))
            held.record = record if isinstance(record, JobRecord) else None
            held.known = True
            held.plain = held.plain and record is None
            if isinstance(record, Exception):
                with about(held):
                    log.warning("job %s: its record cannot be read: %s", held.id, record)
