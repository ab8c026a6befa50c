"""What things are called on the server: streams, subjects, consumers, headers of jobs.

And which names users may give. The layout, and why it is this one, is in
docs/design/nats-layout.md; headers that NATS itself understands are in :mod:`naq.nats.jetstream`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from naq.exceptions import ConfigurationError

__all__ = [
    "ATTEMPT",
    "CALL",
    "CHECK",
    "FIRE_MARK",
    "OWN_HEADER",
    "PRIORITY",
    "REVISION",
    "SIGNATURE",
    "Counter",
    "Kind",
    "Names",
    "Parts",
    "check_job_id",
    "check_queue",
    "new_id",
]

PRIORITY = "normal"  # subjects have a place for high and low, which come with priorities

OWN_HEADER = "Naq-"
"""What the names of naq's own headers begin with."""
SIGNATURE = "Naq-Sig"
"""The signature of a message's body."""
CHECK = "Naq-Check"
"""On a job that may have run before, so its record is read first: its id was chosen by somebody, or
this is not the first copy that was sent of it."""
CALL = "Naq-Call"
"""On a job whose id was chosen: which call of enqueue has queued it."""
ATTEMPT = "Naq-Attempt"
"""On a scheduled retry, with its number: the job's record must be read before it runs."""
REVISION = "Naq-Revision"
"""On an alarm, and on what it fires: the revision of the record it was made for."""

_QUEUE = re.compile(r"[A-Za-z0-9_-]{1,64}")
# One NATS subject token: no dot, wildcard, white space or control character. An id that ends with
# "@" is the firing of a schedule.
_JOB_ID = re.compile(r"[!-)+,\-/-=?-~]{0,127}[!-)+,\-/-=?A-~]")
FIRE_MARK = "@"


def check_queue(name: object) -> str:
    """Return ``name`` if it can name a queue.

    Raises:
        ConfigurationError: it is not 1 to 64 of ``A-Z a-z 0-9 _ -``.
    """
    if isinstance(name, str) and _QUEUE.fullmatch(name):
        return name
    raise ConfigurationError(
        f"queue name {name!r} is not allowed: use 1 to 64 letters, digits, '_' or '-'"
    )


def check_job_id(job_id: object) -> str:
    """Return ``job_id`` if it can be one.

    Raises:
        ConfigurationError: it is not 1 to 128 printable ASCII characters without ``.``, ``*``,
            ``>`` or white space, or it ends with ``@``.
    """
    if isinstance(job_id, str) and _JOB_ID.fullmatch(job_id):
        return job_id
    raise ConfigurationError(
        f"job id {job_id!r} is not allowed: use 1 to 128 printable ASCII characters "
        "other than '.', '*', '>' and spaces, without '@' at the end"
    )


class _Ids:
    """Random ids, made in blocks: one system call for many."""

    def __init__(self) -> None:
        self._block: list[str] = []
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._block = []  # the parent hands out the same ids

    def take(self) -> str:
        """Return an id that no other call returns."""
        try:
            return self._block.pop()
        except IndexError:
            digits = os.urandom(12 * 128).hex()
            block = [digits[i : i + 24] for i in range(0, len(digits), 24)]
            last = block.pop()
            self._block = block
            return last


_ids = _Ids()


def new_id() -> str:
    """Return a new random id: 24 hexadecimal digits, 96 bits."""
    return _ids.take()


class Kind(StrEnum):
    """What lies under a subject; the value is its second token."""

    JOB = "j"
    DELAYED = "s"
    SCHEDULE = "c"
    ALARM = "cs"
    TICK = "t"
    RESULT = "r"
    DEAD_LETTER = "d"


class Parts(NamedTuple):
    """What the subject of a job or schedule says; ``queue`` is empty where it names none."""

    kind: Kind
    id: str
    queue: str = ""


class Counter(NamedTuple):
    """What the subject of a counter says.

    ``minute`` is None for a counter of all time, ``queue`` for one of all queues.
    """

    metric: str
    minute: int | None
    queue: str | None


@dataclass(frozen=True, slots=True)
class Names:
    """Every name on the server, under one prefix, so that several installations can share it."""

    prefix: str = "naq"

    @property
    def jobs_stream(self) -> str:
        """The work queue: runnable and delayed jobs."""
        return self.prefix.upper()

    @property
    def results_stream(self) -> str:
        """Results and dead letters."""
        return f"{self.prefix.upper()}_R"

    @property
    def counts_stream(self) -> str:
        """What happened to jobs, minute by minute."""
        return f"{self.prefix.upper()}_M"

    @property
    def totals_stream(self) -> str:
        """What has happened to jobs in total."""
        return f"{self.prefix.upper()}_T"

    @property
    def workers_bucket(self) -> str:
        """The bucket in which workers announce themselves."""
        return f"{self.prefix}_workers"

    @property
    def event_root(self) -> str:
        """Below which the server republishes what it stores in the results stream."""
        return f"{self.prefix}ev"

    def job(self, queue: str, job_id: str) -> str:
        """Subject of a runnable job."""
        return f"{self.prefix}.j.{queue}.{PRIORITY}.{job_id}"

    def delayed(self, queue: str, job_id: str) -> str:
        """Subject of a job that waits for its time."""
        return f"{self.prefix}.s.{queue}.{job_id}"

    def schedule(self, schedule_id: str) -> str:
        """Subject of a schedule's record."""
        return f"{self.prefix}.c.{schedule_id}"

    def alarm(self, schedule_id: str) -> str:
        """Subject of a schedule's alarm, which the server fires."""
        return f"{self.prefix}.cs.{schedule_id}"

    def gap_alarm(self, schedule_id: str) -> str:
        """Subject of a schedule's alarm for a wall time that does not exist."""
        return f"{self.prefix}.cs.{schedule_id}.gap"

    def fire(self, queue: str, schedule_id: str) -> str:
        """Where the alarm of a plain schedule goes: its queue, where any worker makes it a job."""
        return self.job(queue, f"{schedule_id}{FIRE_MARK}")

    def tick(self, schedule_id: str) -> str:
        """Where the alarm of a schedule with a policy goes: to the schedulers."""
        return f"{self.prefix}.t.{schedule_id}"

    @property
    def ticks_consumer(self) -> str:
        """Durable name of the consumer all schedulers share."""
        return "ticks"

    def lock(self, key: str) -> str:
        """Subject of a lock, which one holder at a time may have."""
        return f"{self.prefix}.u.{key}"

    def fence(self, queue: str) -> str:
        """Subject of what workers have found out about a queue's consumer after its last start."""
        return f"{self.prefix}.u.fence.{queue}"

    @property
    def keeper(self) -> str:
        """Subject of the message the stream of jobs begins with; no lock's key has a dot."""
        return f"{self.prefix}.u.first.kept"

    def result(self, job_id: str) -> str:
        """Subject of a job's record: its end, or its last failed attempt."""
        return f"{self.prefix}.r.{job_id}"

    def result_event(self, job_id: str) -> str:
        """Where the server republishes a job's record when it is stored."""
        return f"{self.event_root}.r.{job_id}"

    def dead_letter(self, queue: str, job_id: str) -> str:
        """Subject of a dead letter."""
        return f"{self.prefix}.d.{queue}.{job_id}"

    def count(self, minute: int, metric: str, queue: str | None = None) -> str:
        """Subject of a counter of one minute, for one queue or for all."""
        of = "a" if queue is None else f"q.{queue}"
        return f"{self.prefix}.m.{of}.{minute}.{metric}"

    def total(self, queue: str, metric: str) -> str:
        """Subject of a queue's counter of all time."""
        return f"{self.prefix}.m.t.{queue}.{metric}"

    def parts(self, subject: str) -> Parts:
        """Read the subject of a job, delayed job, schedule, alarm, tick, result or dead letter.

        Raises:
            ValueError: it is none of these.
        """
        match subject.split("."):
            case [_, Kind.JOB, queue, _, id_]:
                return Parts(Kind.JOB, id_, queue)
            case [_, Kind.DELAYED | Kind.DEAD_LETTER as kind, queue, id_]:
                return Parts(Kind(kind), id_, queue)
            case [_, Kind.SCHEDULE | Kind.TICK | Kind.RESULT as kind, id_]:
                return Parts(Kind(kind), id_)
            case [_, Kind.ALARM, id_] | [_, Kind.ALARM, id_, "gap"]:
                return Parts(Kind.ALARM, id_)
        raise ValueError(f"{subject!r} is not the subject of a job or schedule")

    def counter(self, subject: str) -> Counter:
        """Read the subject of a counter.

        Raises:
            ValueError: it is none.
        """
        match subject.split("."):
            case [_, "m", "a", minute, metric]:
                return Counter(metric, int(minute), None)
            case [_, "m", "q", queue, minute, metric]:
                return Counter(metric, int(minute), queue)
            case [_, "m", "t", queue, metric]:
                return Counter(metric, None, queue)
        raise ValueError(f"{subject!r} is not the subject of a counter")

    def queue_filter(self, queue: str) -> str:
        """Filter of a queue's consumer; the only wildcard a purge may use."""
        return f"{self.prefix}.j.{queue}.{PRIORITY}.>"

    def consumer(self, queue: str) -> str:
        """Durable name of a queue's consumer, shared by all its workers."""
        return f"q_{queue}_{PRIORITY}"

    def queue_of_consumer(self, consumer: str) -> str | None:
        """The queue a consumer belongs to, or None when it is not a queue's."""
        tail = f"_{PRIORITY}"
        if consumer.startswith("q_") and consumer.endswith(tail):
            return consumer[2 : -len(tail)]
        return None

    def control(self, verb: str, target: str = "") -> str:
        """Core subject of a command to workers: ``where``, ``cancel``, ``ping``."""
        return f"{self.prefix}ctl.{verb}.{target}" if target else f"{self.prefix}ctl.{verb}"

    @property
    def workers_stream(self) -> str:
        """The stream behind the bucket of workers."""
        return f"KV_{self.workers_bucket}"

    def presence(self, worker_id: str) -> str:
        """Subject under which a worker announces itself in the bucket."""
        return f"$KV.{self.workers_bucket}.{worker_id}"
