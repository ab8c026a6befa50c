"""Schedules that are declared, beside a function or in a file, instead of made by a call.

Whoever declares them names itself as their source, and changes and removes only what is its own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from naq.exceptions import ConfigurationError, NaqConnectionError, SerializationError
from naq.queue.queue import Queue
from naq.queue.task import scheduled_tasks
from naq.schedules.manage import Schedules
from naq.schedules.schedule import ScheduleStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq.jobs.calls import Call
    from naq.nats.connection import Connection
    from naq.schedules.schedule import ScheduleRecord

__all__ = ["TASK_SOURCE", "Applied", "Declaration", "apply", "apply_tasks"]

log = logging.getLogger("naq.scheduler")

TASK_SOURCE = "task"
"""Source of what ``@naq.task(cron=…)`` declares."""


class Declaration(NamedTuple):
    """One schedule as it is declared: what to call, where, and the options of ``schedule``."""

    call: Call
    queue: str | None
    options: Mapping[str, Any]


class Applied(NamedTuple):
    """What became of declarations: names of schedules, and problems by name."""

    made: list[str]
    changed: list[str]
    removed: list[str]
    problems: dict[str, str]


async def apply(
    connection: Connection, declared: Mapping[str, Declaration], *, source: str, prune: bool
) -> Applied:
    """Make the schedules of one source what is declared.

    Args:
        connection: the server.
        declared: schedules by id.
        source: who declares them.
        prune: remove those of this source that are not declared any more.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
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
    options = {**declaration.options, "schedule_id": schedule_id}
    async with Queue(declaration.queue, connection=connection) as queue:
        wanted = await queue.make_schedule(declaration.call, (), {}, options, source=source)
    return await schedules.make(wanted)


async def apply_tasks(connection: Connection) -> None:
    """Make the schedules that decorators of imported modules declare, as far as that works.

    None is ever removed: other workers may have other modules. What does not work is logged.
    """
    declared = {
        schedule_id: Declaration(task.call(), task.queue, options)
        for schedule_id, task, options in scheduled_tasks()
    }
    if not declared:
        return
    try:
        applied = await apply(connection, declared, source=TASK_SOURCE, prune=False)
    except NaqConnectionError as exc:
        log.warning("cannot make the schedules of tasks: %s", exc)
        return
    for schedule_id in applied.made + applied.changed:
        log.info("schedule %s is set", schedule_id)
    for schedule_id, problem in applied.problems.items():
        log.error("schedule %s: %s", schedule_id, problem)
