"""``/api/``: everything the pages show and do, as JSON; described by ``openapi``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from naq.base.names import check_job_id
from naq.dashboard import actions
from naq.dashboard.api.parameters import (
    BODIES,
    BulkBody,
    JobsQuery,
    LettersQuery,
    LinesQuery,
    MinutesQuery,
    Nothing,
    given,
)
from naq.dashboard.data.model import (
    JobDetail,
    JobsPage,
    LettersPage,
    MinuteRow,
    Overview,
    ServiceRow,
)
from naq.exceptions import JobNotFoundError, QueueNotFoundError
from naq.jobs.presence import WorkerRow
from naq.queue.admin import not_found
from naq.queue.numbers.stats import QueueStats
from naq.queue.scheduled import SchedulesPage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.dashboard.state import State

__all__ = ["OPERATIONS", "Asked", "Done", "Operation", "Problem", "find"]


class Problem(msgspec.Struct):
    """What went wrong."""

    error: str


class Done(msgspec.Struct):
    """What an action did."""

    done: str


class Lines(msgspec.Struct):
    """What a service has printed, oldest first."""

    lines: list[str]


class Asked(NamedTuple):
    """A request: the ``id`` in its path, its query, its body, and who sent it."""

    id: str
    query: Any
    body: Any
    who: str


class Operation(NamedTuple):
    """One thing that can be asked for, and the types of what goes in and out."""

    summary: str
    answer: Any
    call: Callable[[State, Asked], Awaitable[Any]]
    query: type = Nothing
    body: type | None = None
    """None if there is none."""


async def _overview(state: State, _: Asked) -> Overview:
    return await state.cached("overview", lambda q: q.overview())


async def _queues(state: State, asked: Asked) -> list[QueueStats]:
    return (await _overview(state, asked)).queues


async def _check_queue(state: State, queue: str | None) -> None:
    """Refuse a queue that does not exist, rather than answer with a list that is empty."""
    queues = [row.queue for row in (await state.cached("overview", lambda q: q.overview())).queues]
    if queue is not None and queue not in queues:
        raise QueueNotFoundError(not_found(queue, queues), queue=queue)


async def _minutes(state: State, asked: Asked) -> list[MinuteRow]:
    queue = asked.query.queue or None
    await _check_queue(state, queue)
    return await state.minutes(queue)


async def _jobs(state: State, asked: Asked) -> JobsPage:
    query: Any = given(asked.query)
    await _check_queue(state, query.get("queue"))
    return await state.link.here()[1].jobs(**query)


async def _job(state: State, asked: Asked) -> JobDetail:
    return await state.link.here()[1].job(check_job_id(asked.id))


async def _schedules(state: State, _: Asked) -> SchedulesPage:
    return await state.cached("schedules", lambda q: q.schedules())


async def _letters(state: State, asked: Asked) -> LettersPage:
    query: Any = given(asked.query)
    found = await state.link.here()[1].letters(**query)
    if not found.total:
        await _check_queue(state, query.get("queue"))
    return found


async def _workers(state: State, _: Asked) -> list[WorkerRow]:
    return await state.cached("workers", lambda q: q.workers())


async def _services(state: State, _: Asked) -> list[ServiceRow]:
    rows = await state.services.rows()
    if rows is None:
        raise JobNotFoundError("no `naq up` is running here")
    return rows


async def _lines(state: State, asked: Asked) -> Lines:
    known = {name for row in await _services(state, asked) for name in (row.name, row.service)}
    if asked.id not in known:
        raise JobNotFoundError(f"there is no service {asked.id}")
    return Lines(await state.services.lines(asked.id, asked.query.count))


async def _act(kind: str, verb: str, state: State, asked: Asked) -> Done:
    fields = given(asked.body) if asked.body is not None else {}
    return Done(await actions.act(state, asked.who, (kind, asked.id, verb), fields))


async def _bulk(state: State, asked: Asked) -> Done:
    return Done(await actions.bulk(state, asked.who, asked.body.action, asked.body.ids))


_PATH = {"dead": "dead-letters"}
OPERATIONS: dict[str, dict[str, Operation]] = {
    "overview": {
        "GET": Operation("All queues, and how many of everything else", Overview, _overview)
    },
    "queues": {"GET": Operation("All queues", list[QueueStats], _queues)},
    "minutes": {
        "GET": Operation("The last hour, minute by minute", list[MinuteRow], _minutes, MinutesQuery)
    },
    "jobs": {"GET": Operation("Some jobs of a state", JobsPage, _jobs, JobsQuery)},
    "jobs/{id}": {"GET": Operation("One job", JobDetail, _job)},
    "schedules": {"GET": Operation("Schedules and delayed jobs", SchedulesPage, _schedules)},
    "dead-letters": {
        "GET": Operation("Some dead letters, newest first", LettersPage, _letters, LettersQuery)
    },
    "dead-letters/bulk": {
        "POST": Operation("Requeue or delete several", Done, _bulk, Nothing, BulkBody)
    },
    "workers": {"GET": Operation("Workers and schedulers", list[WorkerRow], _workers)},
    "services": {"GET": Operation("The supervisor's services", list[ServiceRow], _services)},
    "services/{id}/lines": {
        "GET": Operation("What a service has printed", Lines, _lines, LinesQuery)
    },
} | {
    f"{_PATH.get(kind, kind)}/{{id}}/{verb}": {
        "POST": Operation(
            f"{verb} one of {_PATH.get(kind, kind)}",
            Done,
            partial(_act, kind, verb),
            Nothing,
            BODIES.get((kind, verb)),
        )
    }
    for kind, verb in actions.ACTIONS
}
"""What can be asked for, by path and method."""


def find(parts: list[str]) -> tuple[dict[str, Operation], str] | None:
    """Return the operations at a path and the id in it; None if there is nothing.

    Args:
        parts: of the path after ``/api/``, each unquoted: an id may contain a slash.
    """
    for path, operations in OPERATIONS.items():
        wanted = path.split("/")
        if len(wanted) == len(parts) and all(
            want == part or (want == "{id}" and part)
            for want, part in zip(wanted, parts, strict=True)
        ):
            return operations, parts[1] if "{id}" in wanted else ""
    return None
