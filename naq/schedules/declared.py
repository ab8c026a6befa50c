"""Schedules that are declared, beside a function or in a file, rather than made by a call.

Each has a source, the decorator or the file. Applying the declarations of one source changes and
removes only schedules of that source.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from naq.base.names import check_queue
from naq.exceptions import ConfigurationError, NaqConnectionError, SerializationError
from naq.jobs.calls import queue_of
from naq.jobs.coding.codec import Codec
from naq.schedules.schedule import ScheduleStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq.jobs.calls import Call
    from naq.nats.connection import Connection
    from naq.schedules.manage import Schedules
    from naq.schedules.schedule import ScheduleRecord

__all__ = ["TASK_SOURCE", "Applied", "Declaration", "apply", "apply_tasks", "tasks"]

log = logging.getLogger("naq.scheduler")

TASK_SOURCE = "task"
"""Source of what ``@naq.task(cron=…)`` declares."""


class Declaration(NamedTuple):
    """One schedule as it is declared: what to call, where, and the options of ``schedule``."""

    call: Call
    queue: str | None
    options: Mapping[str, Any]


tasks: dict[str, Declaration] = {}
"""What ``@naq.task(cron=…)`` declares in the modules that are imported, by schedule id."""


class Applied(NamedTuple):
    """What became of declarations: ids of schedules, and problems by id."""

    made: list[str]
    changed: list[str]
    removed: list[str]
    problems: dict[str, str]


async def apply(
    connection: Connection, declared: Mapping[str, Declaration], *, source: str, prune: bool
) -> Applied:
    """Make the schedules of one source as declared.

    Args:
        connection: to the server.
        declared: the declarations, by schedule id.
        source: where they are declared.
        prune: remove schedules of this source that are no longer declared.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    from naq.schedules.manage import Schedules  # noqa: PLC0415 - most workers declare none

    schedules = Schedules(connection)
    applied = Applied([], [], [], {})
    for schedule_id, declaration in declared.items():
        try:
            there = await schedules.find(schedule_id)
            record = await _made(connection, schedules, schedule_id, declaration, source)
        except (ConfigurationError, SerializationError) as exc:
            applied.problems[schedule_id] = str(exc)
            continue
        if there is None:
            applied.made.append(schedule_id)
        elif there.revision != record.revision:
            applied.changed.append(schedule_id)
    if prune:
        for record in await schedules.list():
            if record.source == source and record.id not in declared:
                await schedules.remove(record.id)
                if record.status in {ScheduleStatus.ACTIVE, ScheduleStatus.PAUSED}:
                    applied.removed.append(record.id)
    return applied


async def _made(
    connection: Connection,
    schedules: Schedules,
    schedule_id: str,
    declaration: Declaration,
    source: str,
) -> ScheduleRecord:
    from naq.schedules.manage import wanted  # noqa: PLC0415

    settings, queue = connection.settings, declaration.queue or queue_of(declaration.call)
    record = await wanted(
        connection,
        Codec.from_settings(settings),
        check_queue(settings.default_queue if queue is None else queue),
        declaration.call,
        {**declaration.options, "schedule_id": schedule_id},
        source=source,
    )
    return await schedules.make(record)


async def apply_tasks(connection: Connection) -> None:
    """Make the schedules that decorators in imported modules declare.

    None is ever removed: other workers may import other modules. Problems are logged.
    """
    if not tasks:
        return
    try:
        applied = await apply(connection, dict(tasks), source=TASK_SOURCE, prune=False)
    except NaqConnectionError as exc:
        log.warning("cannot make the schedules of tasks: %s", exc)
        return
    for schedule_id in applied.made + applied.changed:
        log.info("schedule %s is set", schedule_id)
    for schedule_id, problem in applied.problems.items():
        log.error("schedule %s: %s", schedule_id, problem)
