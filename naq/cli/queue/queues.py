"""Queues and workers: ``naq list-queues``, ``purge``, ``list-workers`` and their like."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from naq.cli import render
from naq.cli.common import Common, Json, run

if TYPE_CHECKING:
    from naq.nats.connection import Connection

__all__ = ["list_queues", "list_workers", "metrics", "pause_queue", "purge", "resume_queue"]


def list_queues(*, json: Json = False, common: Common | None = None) -> int:
    """Show all queues: how many jobs wait, run, are delayed or dead, and the age of the oldest."""

    async def ask(connection: Connection) -> list[Any]:
        from naq.queue.admin import list_queues as ask_all

        return await ask_all(connection)

    found = run(common, ask)
    if json:
        render.print_json(found)
        return 0
    columns = ["QUEUE", "DEPTH", "RUNNING", "DELAYED", "DEAD", "PAUSED", "OLDEST"]
    rows = [
        (
            stats.queue,
            stats.depth,
            stats.running,
            stats.delayed,
            stats.dead,
            "yes" if stats.paused else "no",
            None if stats.oldest_age_s is None else render.duration(stats.oldest_age_s),
        )
        for stats in found
    ]
    render.table(columns, rows, empty="there are no queues yet")
    return 0


def metrics(*, common: Common | None = None) -> int:
    """Print all queues, workers and schedules in the format of Prometheus."""

    async def ask(connection: Connection) -> str:
        from naq.queue.metrics import queue_metrics

        return await queue_metrics(connection)

    sys.stdout.write(run(common, ask))
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


def purge(
    queue: str,
    /,
    *queues: str,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative=())] = False,
    common: Common | None = None,
) -> int:
    """Remove all queued and delayed jobs of queues; print how many of each.

    Args:
        queue: Name of the queue.
        queues: More queues.
        yes: Do not ask for confirmation.
    """
    from naq.base.names import check_queue

    names = [check_queue(name) for name in dict.fromkeys((queue, *queues))]
    if sys.stdin.isatty() and not yes:
        answer = input(f"Remove all jobs of {', '.join(names)}? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            render.line("nothing removed")
            return 1

    async def ask(connection: Connection) -> None:
        from naq.queue.admin import purge as remove

        for name in names:
            render.say(f"{name}: {await remove(connection, name)} jobs removed")

    run(common, ask)
    return 0


def list_workers(*, json: Json = False, common: Common | None = None) -> int:
    """Show all workers and what they are running right now."""

    async def ask(connection: Connection) -> list[Any]:
        from naq.jobs.presence import list_workers as ask_all

        return await ask_all(connection)

    found = run(common, ask)
    if json:
        render.print_json(
            [
                {
                    "id": info.id,
                    "host": info.host,
                    "pid": info.pid,
                    "status": info.status,
                    "queues": info.queues,
                    "jobs": info.jobs,
                    "running": info.running,
                    "concurrency": info.concurrency,
                    "backend": info.backend,
                    "heartbeat_age_s": round(info.heartbeat_age(), 3),
                }
                for info in found
            ]
        )
        return 0
    columns = ["WORKER", "HOST", "PID", "STATUS", "QUEUES", "RUNNING", "JOBS", "HEARTBEAT"]
    rows = [
        (
            info.id,
            info.host,
            info.pid,
            info.status,
            ",".join(info.queues),
            f"{info.running}/{info.concurrency}",
            _some(info.jobs),
            f"{render.duration(info.heartbeat_age())} ago",
        )
        for info in found
    ]
    render.table(columns, rows, empty="no worker runs")
    return 0


def _some(jobs: list[str]) -> str | None:
    if not jobs:
        return None
    more = f" +{len(jobs) - 2}" if len(jobs) > 2 else ""
    return " ".join(jobs[:2]) + more
