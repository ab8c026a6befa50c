"""Give back what a dead worker held: ``python -m naq.worker.life.aftermath``.

It runs once the process has ended, with its environment, started by whoever saw that: the
supervisor, which knows how it ended, or a guardian. For each job in the ledger:

1. read its record; if the job has ended, acknowledge it;
2. write a note into the record by compare-and-set: this delivery has ended, how, and whether the
   job was running (:func:`naq.worker.life.deaths.on_death`);
3. hand the job back, so that another worker has it at once.

It may die between any two steps, or run twice: what is not done is done when the lease lapses, and
a note that is there is not written again. A lease that may have lapsed is left alone, and so is
what was delivered over a link that was lost: settling a delivery that is over would take the job
away from whoever has it now.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING

import anyio

from naq.base import backoff
from naq.exceptions import NaqConnectionError, SerializationError
from naq.jobs.results import Results
from naq.nats.connection import connect
from naq.nats.jetstream import ACK, INFO, nak
from naq.nats.pull import metadata
from naq.supervisor.notify import ledger
from naq.worker.life.deaths import Death, Delivery, Note, Stage, Taken, on_death
from naq.worker.life.ledger import State, clock, oom_kills, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from naq.jobs.job import JobRecord
    from naq.nats.connection import Connection
    from naq.worker.life.ledger import Contents, Entry

__all__ = ["death_of", "hand_back", "lease_holds", "main", "stage_of", "status_of"]

log = logging.getLogger("naq.worker")

TIMEOUT = 8.0
"""Seconds for all of it; what is left then is delivered again when its lease lapses."""
MARGIN = 2.0
"""Seconds before its end from which on a lease may have lapsed (a third of it, if that is less)."""
AT_ONCE = 0.001
"""Delay of a hand-back, seconds: a server that restarts forgets one without."""
TOGETHER = 50
"""Records that are read and written at the same time."""


# ------------------------------------------------------------------- decisions


def death_of(left: Contents, status: int | None, *, now: float, oom: int, at: float) -> Death:
    """Return how a worker died, from what it left and what was seen of its end.

    Args:
        left: its ledger.
        status: its exit code, or minus a signal; None: nobody knows.
        now: the time, by ``naq.worker.life.ledger.clock``.
        oom: what :func:`~naq.worker.life.ledger.oom_kills` returns now.
        at: the time, seconds since the epoch.
    """
    # faulthandler ends a process with 1; a job may do so too, but not that late.
    stalled = status == 1 and 0 < left.stall <= now - left.armed
    stages = [stage_of(entry, left, stalled=stalled) for entry in left.entries]
    return Death(
        status=status,
        out_of_memory=oom > left.oom_kills,
        stalled=stalled,
        started=sum(stage in {Stage.STARTED, Stage.CULPRIT} for stage in stages),
        culprit=Stage.CULPRIT in stages,
        worker=left.worker,
        at=at,
    )


def stage_of(entry: Entry, left: Contents, *, stalled: bool) -> Stage:
    """Say how far a job had come.

    A job that blocked the loop is the culprit only if that is what the process died of.
    """
    if stalled and entry.state is State.STARTED and entry.place == left.culprit:
        return Stage.CULPRIT
    return Stage(entry.state)


def lease_holds(entry: Entry, left: Contents, now: float) -> bool:
    """Say whether a delivery is certainly still this worker's, so that it may be settled."""
    margin = min(MARGIN, left.ack_wait / 3)
    age = now - max(entry.arrived, left.renewed)
    return entry.link == left.link and 0 <= age < left.ack_wait - margin


def status_of(arguments: list[str]) -> int | None:
    """Return how the process ended, from the command line; None if nobody knows.

    A supervisor gives the status. A guardian gives what it saw: a status as wait(2) returns it,
    nothing if it saw nothing, and 0 also where it may not see.
    """
    match arguments:
        case ["--seen", seen]:
            return os.waitstatus_to_exitcode(int(seen)) if seen.strip("0").isdecimal() else None
        case [status]:
            return int(status)
        case _:
            return None


# ---------------------------------------------------------------------- doing


class Aftermath:
    """The aftermath of one worker."""

    def __init__(self, connection: Connection, left: Contents, death: Death) -> None:
        self._connection = connection
        self._results = Results(connection)
        self._left = left
        self._death = death
        self.handed_back = 0
        self._together = anyio.CapacityLimiter(TOGETHER)

    async def run(self) -> None:
        """Give back all jobs; returns when the server has heard of it."""
        async with anyio.create_task_group() as tasks:
            for entry in self._left.entries:
                tasks.start_soon(self._give_back, entry)
        # A server reads what a connection sends in order.
        await self._connection.ask(INFO, timeout=TIMEOUT)

    async def _give_back(self, entry: Entry) -> None:
        """Give back one job; an error concerns it alone."""
        *_, queue, job_id = entry.subject.split(".")
        try:
            async with self._together:
                record = await self._note(entry, job_id, queue)
        except (NaqConnectionError, SerializationError) as exc:
            log.warning("job %s: left to its lease: %s", job_id, exc)
            return
        if record is None or not lease_holds(entry, self._left, clock()):
            return
        if record.status.final:
            self._connection.ack(entry.reply, ACK)
            return
        delay = AT_ONCE if record.retry_at is None else max(AT_ONCE, record.retry_at - time.time())
        self._connection.ack(entry.reply, nak(delay))
        self.handed_back += 1

    async def _note(self, entry: Entry, job_id: str, queue: str) -> JobRecord | None:
        """Write down how an attempt ended; return the record as it is now, None if not ours."""
        stage = stage_of(entry, self._left, stalled=self._death.stalled)
        delivered, seq, _ = metadata(entry.reply)
        while True:
            record, expected = await self._results.get(job_id)
            decision = on_death(
                record, Delivery(seq, delivered), stage, self._death, job_id=job_id, queue=queue
            )
            match decision:
                case Taken():
                    return None
                case Note(record=note):
                    if await self._results.put(note, ttl=None, expected=expected):
                        return note
                case _:
                    return record


async def hand_back(left: Contents, status: int | None) -> None:
    """Give back what a worker held.

    Args:
        left: its ledger.
        status: how its process ended: an exit code, minus a signal, None if nobody knows.
    """
    death = death_of(left, status, now=clock(), oom=oom_kills(), at=time.time())
    pauses = _pauses()
    with anyio.move_on_after(TIMEOUT):
        while True:
            try:
                async with connect(name=f"naq aftermath {left.worker}") as connection:
                    aftermath = Aftermath(connection, left, death)
                    await aftermath.run()
                    break
            except NaqConnectionError as exc:
                log.warning("%s", exc)
            await anyio.sleep(next(pauses))
        log.warning(
            "worker %s died; handed back %d of its %d jobs (%d were running)",
            left.worker,
            aftermath.handed_back,
            len(left.entries),
            death.started,
        )
        return
    log.error("worker %s died; its jobs are left to their leases", left.worker)


def _pauses() -> Iterator[float]:
    attempt = 0
    while True:
        yield backoff.exponential(attempt, initial=0.05, maximum=1.0, jitter=0.3)
        attempt += 1


def main(arguments: list[str]) -> None:
    """Run the aftermath of the worker whose ledger is inherited."""
    fd = ledger()
    if fd is None:
        raise SystemExit("there is no ledger: run by the supervisor or by a guardian")
    left = read(fd)
    if left is None or not left.entries:
        return
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    anyio.run(hand_back, left, status_of(arguments), backend="asyncio")


if __name__ == "__main__":
    main(sys.argv[1:])
