"""All queues, workers and schedules as numbers that Prometheus collects.

The numbers are the server's, the same wherever they are asked for; so one place is to be scraped,
not all. What happened to jobs is written by :func:`jobs`, for the queue and for a single worker.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client.core import HistogramMetricFamily

from naq.base.exposition import build_info, counter, gauge, text
from naq.exceptions import SerializationError
from naq.jobs import presence
from naq.jobs.coding.codec import Codec
from naq.jobs.layout import ensure_streams
from naq.nats.streams import Followed
from naq.queue.numbers.counters import totals
from naq.queue.numbers.stats import Counts, list_queues
from naq.queue.numbers.tally import BOUNDS_MS, WAIT_BOUNDS_MS
from naq.schedules.records import Records
from naq.schedules.schedule import ScheduleStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from naq.jobs.presence import WorkerInfo
    from naq.nats.connection import Connection, Stored
    from naq.queue.numbers.stats import QueueStats
    from naq.queue.numbers.tally import Totals

__all__ = ["QueueMetrics", "jobs", "queue_metrics"]

_OF_QUEUES: Sequence[tuple[str, str, Callable[[QueueStats], float]]] = (
    ("naq_queue_depth", "Jobs that wait for a worker.", lambda s: s.depth),
    (
        "naq_queue_oldest_age_seconds",
        "Age of the oldest job that waits or runs; 0 if there is none.",
        lambda s: s.oldest_age_s or 0,
    ),
    ("naq_queue_running", "Jobs that run.", lambda s: s.running),
    ("naq_queue_retrying", "Jobs that wait for their next attempt.", lambda s: s.retrying),
    ("naq_queue_delayed", "Jobs that wait for their time.", lambda s: s.delayed),
    ("naq_queue_paused", "1 if no jobs are given to workers.", lambda s: s.paused),
    ("naq_queue_workers", "Workers that take its jobs.", lambda s: s.workers),
    ("naq_dead_letters", "Dead letters that are kept.", lambda s: s.dead),
)

_OF_JOBS: Sequence[tuple[str, str, Callable[[Totals], int]]] = (
    (
        "processed",
        "Jobs that ended, with a value or for good without one.",
        lambda t: t.done + t.failed,
    ),
    ("failed", "Jobs that ended without a value, for good.", lambda t: t.failed),
    ("retried", "Attempts that failed and were followed by another.", lambda t: t.retried),
    ("dead", "Dead letters made.", lambda t: t.dead),
)

_WORKER_STATUS = ("idle", "busy", "paused", "draining", "stuck", "unresponsive")


async def queue_metrics(connection: Connection) -> str:
    """Return all numbers of the queue in Prometheus' text format.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    return text([build_info(), *await QueueMetrics(connection).collect()])


class QueueMetrics:
    """All numbers of the queue; keep one to collect them again and again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._schedules = _Schedules(connection)
        self._counts = Counts()

    async def collect(self) -> list[Metric]:
        """Return them as they are now.

        Raises:
            NaqConnectionError: the server cannot be reached.
        """
        queues = await list_queues(self._connection, self._counts)
        counted = await totals(self._connection)
        everyone = await presence.list_all(self._connection)
        schedules = await self._schedules.count()
        return [
            *(
                gauge(name, help_, ["queue"], [([s.queue], value(s)) for s in queues])
                for name, help_, value in _OF_QUEUES
            ),
            *jobs("naq_", counted.values()),
            *_processes(everyone),
            gauge(
                "naq_schedules",
                "Schedules by status.",
                ["status"],
                [([status.value], schedules.get(status, 0)) for status in ScheduleStatus],
            ),
        ]


class _Schedules:
    """How many schedules there are of each status, which only their records say."""

    def __init__(self, connection: Connection) -> None:
        self._connection, names = connection, connection.names
        self._records = Records(connection, Codec.from_settings(connection.settings))
        self._all = Followed(
            connection.streams, names.jobs_stream, names.schedule("*"), self._status
        )

    async def count(self) -> Mapping[ScheduleStatus, int]:
        """Return the numbers; raises NaqConnectionError if the server cannot be reached."""
        await ensure_streams(self._connection)
        return Counter(await self._all.look())

    def _status(self, stored: Stored) -> ScheduleStatus:
        try:
            return self._records.open(stored).status
        except SerializationError:
            return ScheduleStatus.FAILED  # as in lists of schedules


def _processes(everyone: list[WorkerInfo]) -> Iterator[Metric]:
    workers = [info for info in everyone if info.kind == "worker"]
    status = Counter(info.status for info in workers)
    yield gauge(
        "naq_workers",
        "Workers by status.",
        ["status"],
        [([name], status[name]) for name in _WORKER_STATUS],
    )
    slots = sum(info.concurrency for info in workers if info.status != "unresponsive")
    yield gauge("naq_workers_slots", "Jobs all workers can run at once.", [], [([], slots)])
    schedulers = sum(info.kind == "scheduler" for info in everyone)
    yield gauge("naq_schedulers", "Schedulers that are there.", [], [([], schedulers)])


def jobs(prefix: str, found: Iterable[Totals]) -> Iterator[Metric]:
    """Yield what happened to jobs, per queue; the names begin with ``prefix``."""
    found = list(found)
    for name, help_, number in _OF_JOBS:
        samples = [([one.queue], number(one)) for one in found]
        yield counter(f"{prefix}jobs_{name}", help_, ["queue"], samples)
    run = HistogramMetricFamily(
        f"{prefix}job_run_seconds", "How long attempts ran.", labels=["queue"]
    )
    waits = HistogramMetricFamily(
        f"{prefix}job_wait_seconds",
        "From when jobs were due to their first start.",
        labels=["queue"],
    )
    for one in found:
        labels = [one.queue]
        run.add_metric(labels, _cumulative(one.buckets, BOUNDS_MS), one.run_ms / 1000)
        buckets = _cumulative(one.wait_buckets, WAIT_BOUNDS_MS)
        waits.add_metric(labels, buckets, one.wait_ms / 1000)
    yield run
    yield waits


def _cumulative(buckets: Sequence[int], bounds_ms: Sequence[int]) -> list[tuple[str, float]]:
    """Return buckets as Prometheus wants them: each includes the smaller ones."""
    bounds = [*(str(bound / 1000) for bound in bounds_ms), "+Inf"]
    found: list[tuple[str, float]] = []
    number = 0
    for bound, count in zip(bounds, buckets, strict=True):
        number += count
        found.append((bound, number))
    return found
