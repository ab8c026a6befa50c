"""All queues, workers and schedules as numbers that Prometheus collects: one scrape, one text.

They are the server's, the same wherever they are asked for; so one place is to be scraped, not all.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from naq import presence
from naq._counters import totals
from naq._exposition import build_info, gauge, jobs, text
from naq._followed import Followed
from naq._queues import Counts, list_queues
from naq._records import Records
from naq._schedule import ScheduleStatus
from naq._topology import ensure_streams
from naq.exceptions import SerializationError
from naq.serializers import Codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from naq._queues import QueueStats
    from naq.connection import Connection, Stored
    from naq.presence import WorkerInfo

__all__ = ["QueueMetrics", "queue_metrics"]

_QUEUES: Sequence[tuple[str, str, Callable[[QueueStats], float]]] = (
    ("naq_queue_depth", "Jobs nobody has taken yet.", lambda s: s.depth),
    (
        "naq_queue_oldest_age_seconds",
        "Since when the oldest job waits or runs; 0 if there is none.",
        lambda s: s.oldest_age_s or 0,
    ),
    ("naq_queue_running", "Jobs that workers hold.", lambda s: s.running),
    ("naq_queue_delayed", "Jobs that wait for their time.", lambda s: s.delayed),
    ("naq_queue_paused", "1 if no jobs are given to workers.", lambda s: s.paused),
    ("naq_dead_letters", "Dead letters that are kept.", lambda s: s.dead),
)

_WORKER_STATUS = ("idle", "busy", "paused", "draining", "unresponsive")


async def queue_metrics(connection: Connection) -> str:
    """Return all numbers of the queue in Prometheus' text format.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    return text([build_info(), *await QueueMetrics(connection).collect()])


class QueueMetrics:
    """All numbers of the queue; to be kept by whoever collects them again and again."""

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
                for name, help_, value in _QUEUES
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
    """How many schedules there are of each status; that stands in the record only."""

    def __init__(self, connection: Connection) -> None:
        self._connection, names = connection, connection.names
        self._records = Records(connection, Codec.from_settings(connection.settings))
        self._all = Followed(connection, names.jobs_stream, names.schedule("*"), self._status)

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
