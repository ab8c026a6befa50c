"""All queues, workers and schedules as numbers that Prometheus collects: one scrape, one text.

They are the server's, the same wherever they are asked for; so one place is to be scraped, not all.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from naq import presence
from naq._counters import totals
from naq._exposition import build_info, gauge, jobs, text
from naq._queues import list_queues
from naq._schedule import ScheduleStatus
from naq.schedules import Schedules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client.core import Metric

    from naq._queues import QueueStats
    from naq.connection import Connection
    from naq.presence import WorkerInfo

__all__ = ["queue_metrics"]

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
    queues = await list_queues(connection)
    counted = await totals(connection)
    everyone = await presence.list_all(connection)
    schedules = Counter(record.status for record in await Schedules(connection).list())
    metrics = [
        build_info(),
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
            [([status.value], schedules[status]) for status in ScheduleStatus],
        ),
    ]
    return text(metrics)


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
