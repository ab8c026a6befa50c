"""Queues and workers: ``naq list-queues``, ``purge``, ``list-workers`` and others."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from naq.base.exits import Exit
from naq.cli import render, visible
from naq.cli.common import ROWS, Common, Json, Limit, run
from naq.cli.consent import Yes, given, require
from naq.jobs.job import utc

if TYPE_CHECKING:
    from naq.jobs.presence import WorkerRow
    from naq.nats.connection import Connection
    from naq.queue.numbers.stats import QueueStats

__all__ = [
    "delete_queue",
    "list_queues",
    "list_workers",
    "metrics",
    "pause_queue",
    "purge",
    "resume_queue",
]


def list_queues(*, limit: Limit = ROWS, json: Json = False, common: Common | None = None) -> int:
    """Show all queues: how many jobs wait, run, are to be tried again, are delayed or dead.

    STATE is "unserved" where no worker takes the jobs of a queue.
    """

    async def ask(connection: Connection) -> list[QueueStats]:
        from naq.queue.numbers.stats import list_queues as ask_all

        return await ask_all(connection)

    found = run(common, ask)
    shown = found[:limit]
    if json:
        render.print_json(shown)
    else:
        rows = [
            (
                stats.queue,
                stats.depth,
                stats.running,
                stats.retrying,
                stats.delayed,
                stats.dead,
                stats.workers,
                stats.state,
                None if stats.oldest_age_s is None else render.duration(stats.oldest_age_s),
            )
            for stats in shown
        ]
        render.table(_COLUMNS, rows, empty="there are no queues yet")
    render.cut(len(shown), len(found), "queues")
    for stats in shown:
        if stats.state == "unserved" and stats.depth and not json:
            jobs = render.number(stats.depth, "job waits", "jobs wait")
            render.line(f"no worker serves queue {stats.queue}, where {jobs}")
    return 0


_COLUMNS = [
    *("QUEUE", "DEPTH", "RUNNING", "RETRYING", "DELAYED", "DEAD", "WORKERS", "STATE", "OLDEST"),
]


def metrics(*, common: Common | None = None) -> int:
    """Print all queues, workers and schedules in the format of Prometheus."""

    async def ask(connection: Connection) -> str:
        from naq.queue.numbers.metrics import queue_metrics

        return await queue_metrics(connection)

    sys.stdout.write(visible.block(run(common, ask)))
    return 0


def pause_queue(queue: str, /, *, common: Common | None = None) -> int:
    """Hold back the jobs of a queue; those that run carry on.

    Args:
        queue: Name of the queue.
    """
    from naq.base.names import check_queue

    check_queue(queue)

    async def ask(connection: Connection) -> None:
        from naq.queue.admin import pause

        await pause(connection, queue)

    run(common, ask)
    render.say(f"{queue} paused")
    return 0


def resume_queue(queue: str, /, *, common: Common | None = None) -> int:
    """Let workers take the jobs of a paused queue again.

    Args:
        queue: Name of the queue.
    """
    from naq.base.names import check_queue

    check_queue(queue)

    async def ask(connection: Connection) -> None:
        from naq.queue.admin import resume

        await resume(connection, queue)

    run(common, ask)
    render.say(f"{queue} resumed")
    return 0


def purge(queue: str, /, *queues: str, yes: Yes = False, common: Common | None = None) -> int:
    """Remove all queued and delayed jobs of queues; print how many of each.

    Jobs that run carry on. Asks first, and says how many there are; without a terminal --yes is
    needed.

    Args:
        queue: Its name.
        queues: More queues.
        yes: Do not ask.
    """
    from naq.base.names import check_queue

    names = [check_queue(name) for name in dict.fromkeys((queue, *queues))]
    require(yes, f"removes the jobs of {', '.join(names)}")
    if not yes:
        jobs = sum(_jobs(stats) for stats in run(common, lambda c: _stats(c, names)))
        question = f"Remove {render.number(jobs, 'job')} of {', '.join(names)}?"
        if not given(yes, question):
            return Exit.FAILED

    async def remove(connection: Connection) -> int:
        from naq.queue.admin import existing
        from naq.queue.admin import purge as remove_all

        for name in names:
            await existing(connection, name)  # all of them, before the first is touched
        total = 0
        for name in names:
            with render.busy(f"removing the jobs of {name}"):
                removed = await remove_all(connection, name)
            render.say(f"{name}: {render.number(removed, 'job')} removed")
            total += removed
        return total

    total = run(common, remove)
    if len(names) > 1:
        render.line(f"{render.number(total, 'job')} removed in all")
    return 0


def delete_queue(
    queue: str, /, *queues: str, yes: Yes = False, common: Common | None = None
) -> int:
    """Delete queues, with their jobs, dead letters and counters.

    A queue that a worker serves, or that a schedule puts jobs into, is refused. Asks first, and
    says how much there is; without a terminal --yes is needed.

    Args:
        queue: Its name.
        queues: More queues.
        yes: Do not ask.
    """
    from naq.base.names import check_queue

    names = [check_queue(name) for name in dict.fromkeys((queue, *queues))]
    require(yes, f"deletes {', '.join(names)}")
    if not yes:
        stats = run(common, lambda c: _stats(c, names))
        jobs, dead = sum(map(_jobs, stats)), sum(one.dead for one in stats)
        question = (
            f"Delete {', '.join(names)} with {render.number(jobs, 'job')} and "
            f"{render.number(dead, 'dead letter')}?"
        )
        if not given(yes, question):
            return Exit.FAILED

    async def remove(connection: Connection) -> None:
        from naq.queue.admin import delete, existing

        for name in names:
            await existing(connection, name)
        for name in names:
            with render.busy(f"deleting {name}"):
                gone = await delete(connection, name)
            render.say(
                f"{name} deleted with {render.number(gone.jobs, 'job')} and "
                f"{render.number(gone.dead, 'dead letter')}"
            )

    run(common, remove)
    return 0


async def _stats(connection: Connection, names: list[str]) -> list[QueueStats]:
    from naq.queue.admin import queue_stats

    return [await queue_stats(connection, name) for name in names]


def _jobs(stats: QueueStats) -> int:
    return stats.depth + stats.running + stats.retrying + stats.delayed


def list_workers(*, limit: Limit = ROWS, json: Json = False, common: Common | None = None) -> int:
    """Show all workers and what they run right now."""

    async def ask(connection: Connection) -> list[WorkerRow]:
        from naq.jobs.presence import WorkerRow
        from naq.jobs.presence import list_workers as ask_all

        return [WorkerRow.of(info) for info in await ask_all(connection)]

    found = run(common, ask)
    shown = found[:limit]
    if json:
        render.print_json(
            [msgspec.structs.asdict(row) | {"started_at": utc(row.started_at)} for row in shown]
        )
    else:
        columns = ["WORKER", "HOST", "PID", "STATUS", "QUEUES", "RUNNING", "JOBS", "HEARTBEAT"]
        rows = [
            (
                row.id,
                row.host,
                row.pid,
                row.status,
                ",".join(row.queues),
                f"{row.running}/{row.concurrency}",
                _some(row),
                f"{render.duration(row.heartbeat_age_s)} ago",
            )
            for row in shown
        ]
        render.table(columns, rows, empty="no worker runs")
    render.cut(len(shown), len(found), "workers")
    return 0


def _some(row: WorkerRow) -> str | None:
    """Return the first jobs of a worker, and how many more it runs."""
    if not row.jobs:
        return None
    more = max(row.running, len(row.jobs)) - 2
    return " ".join(row.jobs[:2]) + (f" +{more}" if more > 0 else "")
