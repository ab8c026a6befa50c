"""``/api/``: everything the pages show, as JSON, and the document that describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from naq import __version__
from naq._queues import QueueStats
from naq.dashboard.actions import ACTIONS
from naq.dashboard.model import (
    STATES,
    JobDetail,
    JobsPage,
    LettersPage,
    Overview,
    ScheduleRow,
    ServiceRow,
    WorkerRow,
)
from naq.dashboard.pages import whole
from naq.exceptions import ConfigurationError, JobNotFoundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from naq.dashboard.state import State

__all__ = ["ENDPOINTS", "Problem", "describe"]

MOST_ROWS = 500


class Problem(msgspec.Struct):
    """What was wrong."""

    error: str


class Done(msgspec.Struct):
    """What has become of an action."""

    done: str


class Endpoint(NamedTuple):
    """One path that is read: its answer and its query."""

    answer: Any
    summary: str
    ask: Callable[[State, str, Mapping[str, str]], Awaitable[Any]]
    query: Mapping[str, Mapping[str, Any]] = {}
    parameter: str = ""


async def _overview(state: State, _: str, __: Mapping[str, str]) -> Overview:
    return await state.cached("overview", lambda q: q.overview())


async def _queues(state: State, _: str, __: Mapping[str, str]) -> list[QueueStats]:
    return (await _overview(state, "", {})).queues


async def _jobs(state: State, _: str, query: Mapping[str, str]) -> JobsPage:
    wanted = query.get("state", "pending")
    if wanted not in STATES:
        raise ConfigurationError(f"state={wanted!r}: must be one of {', '.join(STATES)}")
    limit = whole(query.get("limit"))
    limit = 50 if limit is None else limit
    if not 1 <= limit <= MOST_ROWS:
        raise ConfigurationError(f"limit={limit}: must be between 1 and {MOST_ROWS}")
    return await state.link.here()[1].jobs(
        wanted,
        queue=query.get("queue") or None,
        function=query.get("function", ""),
        cursor=whole(query.get("cursor")),
        limit=limit,
    )


async def _job(state: State, name: str, _: Mapping[str, str]) -> JobDetail:
    return await state.link.here()[1].job(name)


async def _schedules(state: State, _: str, __: Mapping[str, str]) -> list[ScheduleRow]:
    return await state.cached("schedules", lambda q: q.schedules())


async def _letters(state: State, _: str, query: Mapping[str, str]) -> LettersPage:
    queries = state.link.here()[1]
    return await queries.letters(query.get("queue") or None, whole(query.get("cursor")))


async def _workers(state: State, _: str, __: Mapping[str, str]) -> list[WorkerRow]:
    return await state.cached("workers", lambda q: q.workers())


async def _services(state: State, _: str, __: Mapping[str, str]) -> list[ServiceRow]:
    rows = await state.services.rows()
    if rows is None:
        raise JobNotFoundError("no `naq up` runs here")
    return rows


_TEXT = {"type": "string", "maxLength": 200}
_CURSOR = {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999_999}
ENDPOINTS: dict[str, Endpoint] = {
    "overview": Endpoint(Overview, "All queues, and how many of everything else", _overview),
    "queues": Endpoint(list[QueueStats], "All queues", _queues),
    "jobs": Endpoint(
        JobsPage,
        "Some jobs of a state",
        _jobs,
        {
            "state": {"type": "string", "enum": list(STATES)},
            "queue": _TEXT,
            "function": _TEXT,
            "cursor": _CURSOR,
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST_ROWS},
        },
    ),
    "jobs/{id}": Endpoint(JobDetail, "One job", _job, parameter="id"),
    "schedules": Endpoint(list[ScheduleRow], "Schedules and delayed jobs", _schedules),
    "dead-letters": Endpoint(
        LettersPage, "Some dead letters", _letters, {"queue": _TEXT, "cursor": _CURSOR}
    ),
    "workers": Endpoint(list[WorkerRow], "Workers and schedulers", _workers),
    "services": Endpoint(list[ServiceRow], "The supervisor's services", _services),
}


def describe(*, readonly: bool) -> dict[str, Any]:
    """Return the OpenAPI document of this API."""
    types = [endpoint.answer for endpoint in ENDPOINTS.values()]
    answers, components = msgspec.json.schema_components(
        [*types, Problem, Done], ref_template="#/components/schemas/{name}"
    )
    *schemas, problem, done = answers
    paths: dict[str, Any] = {}
    for (path, endpoint), schema in zip(ENDPOINTS.items(), schemas, strict=True):
        parameters = [
            {"name": name, "in": "query", "schema": kind} for name, kind in endpoint.query.items()
        ]
        if endpoint.parameter:
            parameters.append(_path(endpoint.parameter))
        paths[f"/api/{path}"] = {"get": _operation(endpoint.summary, parameters, schema, problem)}
    if not readonly:
        for kind, verb in ACTIONS:
            operation = _operation(f"{verb} one of {kind}", [_path("name")], done, problem)
            operation["requestBody"] = {
                "required": False,
                "content": {"application/json": {"schema": {"type": "object"}}},
            }
            paths[f"/api/{kind}/{{name}}/{verb}"] = {"post": operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "naq", "version": __version__},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _path(name: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": 128}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _operation(
    summary: str, parameters: list[dict[str, Any]], schema: Any, problem: Any
) -> dict[str, Any]:
    def content(of: Any, text: str) -> dict[str, Any]:
        return {"description": text, "content": {"application/json": {"schema": of}}}

    refused = ("400", "wrong"), ("401", "no token"), ("403", "not allowed"), ("404", "not there")
    others = {code: content(problem, text) for code, text in (*refused, ("503", "no server"))}
    return {
        "summary": summary,
        "parameters": parameters,
        "responses": {"200": content(schema, "the answer"), **others},
    }
