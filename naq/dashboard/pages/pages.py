"""The pages: which address shows what, for requests and live updates alike."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from naq.dashboard.data.model import STATES
from naq.dashboard.data.timeline import timeline
from naq.exceptions import (
    ConfigurationError,
    JobNotFoundError,
    NaqConnectionError,
    QueueNotFoundError,
    SupervisorError,
)
from naq.queue.admin import not_found

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from naq.dashboard.state import State

    Show = Callable[["State", dict[str, str], "Mapping[str, str]"], Awaitable["Shown"]]

__all__ = ["NAV", "Shown", "find"]

T = TypeVar("T")

NAV = (
    ("overview", "Overview", "/"),
    ("jobs", "Jobs", "/jobs"),
    ("schedules", "Schedules", "/schedules"),
    ("dead", "Dead letters", "/dead"),
    ("workers", "Workers", "/workers"),
    ("services", "Services", "/services"),
)


ROWS = 200
"""The most schedules or workers on a page."""


class Shown(NamedTuple):
    """A page: its template, its place in the navigation, and the template's context."""

    template: str
    page: str
    context: dict[str, Any]


async def overview(state: State, _: dict[str, str], __: Mapping[str, str]) -> Shown:
    """All queues."""
    found = await state.cached("overview", lambda q: q.overview())
    minutes = await state.minutes()
    return Shown("overview.html", "overview", {"o": found, "minutes": minutes})


async def queue(state: State, parts: dict[str, str], __: Mapping[str, str]) -> Shown:
    """One queue."""
    name = parts["queue"]
    found = await state.cached("overview", lambda q: q.overview())
    stats = next((stats for stats in found.queues if stats.queue == name), None)
    if stats is None:
        queues = [stats.queue for stats in found.queues]
        raise QueueNotFoundError(not_found(name, queues), queue=name)
    return Shown("queue.html", "overview", {"stats": stats, "minutes": await state.minutes(name)})


async def jobs(state: State, _: dict[str, str], query: Mapping[str, str]) -> Shown:
    """Some jobs."""
    filters = {
        "state": query.get("state", "pending"),
        "queue": query.get("queue", ""),
        "function": query.get("function", ""),
        "q": query.get("q", ""),
    }
    if filters["state"] not in STATES:
        raise ConfigurationError(f"state={filters['state']!r}: must be one of {', '.join(STATES)}")
    queries = state.link.here()[1]
    found = await queries.jobs(
        filters["state"],
        queue=filters["queue"] or None,
        function=filters["function"],
        cursor=whole(query.get("cursor")),
    )
    names = await state.cached("overview", lambda q: q.overview())
    context = {
        "states": STATES,
        "queues": [stats.queue for stats in names.queues],
        "filters": filters,
        "found": found,
        "next_href": _href("/jobs", filters, found.next),
    }
    return Shown("jobs.html", "jobs", context)


async def job(state: State, parts: dict[str, str], __: Mapping[str, str]) -> Shown:
    """One job."""
    queries = state.link.here()[1]
    found = await queries.job(parts["job"])
    return Shown("job.html", "jobs", {"job": found, "timeline": timeline(found)})


async def schedules(state: State, _: dict[str, str], query: Mapping[str, str]) -> Shown:
    """Schedules, delayed jobs, long retries."""
    found = await state.cached("schedules", lambda q: q.schedules())
    context = _part("/schedules", found.rows, query, lambda row: (row.id, row.function, row.queue))
    return Shown("schedules.html", "schedules", {**context, "left_out": found.left_out})


async def dead(state: State, _: dict[str, str], query: Mapping[str, str]) -> Shown:
    """Some dead letters."""
    name = query.get("queue", "")
    queries = state.link.here()[1]
    found = await queries.letters(name or None, whole(query.get("cursor")))
    names = await state.cached("overview", lambda q: q.overview())
    context = {
        "found": found,
        "queue": name,
        "queues": [stats.queue for stats in names.queues],
        "next_href": _href("/dead", {"queue": name}, found.next),
    }
    return Shown("dead.html", "dead", context)


async def workers(state: State, _: dict[str, str], query: Mapping[str, str]) -> Shown:
    """Workers and schedulers."""
    everyone = await state.cached("workers", lambda q: q.workers())
    context = _part("/workers", everyone, query, lambda row: (row.id, row.host, *row.queues))
    return Shown("workers.html", "workers", context)


def _part(
    path: str, rows: list[T], query: Mapping[str, str], texts: Callable[[T], Iterable[str]]
) -> dict[str, Any]:
    """Return a page of the rows that fit the filter ``q``, from ``cursor`` on."""
    wanted, begin = query.get("q", "").lower(), whole(query.get("cursor")) or 0
    fitting = [row for row in rows if any(wanted in text.lower() for text in texts(row))]
    end = begin + ROWS
    return {
        "rows": fitting[begin:end],
        "total": len(fitting),
        "q": query.get("q", ""),
        "next_href": _href(path, {"q": query.get("q", "")}, end if end < len(fitting) else None),
    }


async def services(state: State, _: dict[str, str], __: Mapping[str, str]) -> Shown:
    """The supervisor's tree."""
    rows = await state.services.rows()
    context = {"rows": rows or [], "available": rows is not None}
    return Shown("services.html", "services", context)


async def service(state: State, parts: dict[str, str], __: Mapping[str, str]) -> Shown:
    """One service, and what it prints."""
    name = parts["service"]
    rows = [row for row in await state.services.rows() or [] if name in {row.name, row.service}]
    if not rows:
        raise JobNotFoundError(f"there is no service {name}")
    lines = await state.services.lines(name)
    return Shown("service.html", "services", {"rows": rows, "name": name, "lines": lines})


_TABLE: list[tuple[re.Pattern[str], Show]] = [
    (re.compile(r"/"), overview),
    (re.compile(r"/queues/(?P<queue>[^/]+)"), queue),
    (re.compile(r"/jobs"), jobs),
    (re.compile(r"/jobs/(?P<job>.+)"), job),
    (re.compile(r"/schedules"), schedules),
    (re.compile(r"/dead"), dead),
    (re.compile(r"/workers"), workers),
    (re.compile(r"/services"), services),
    (re.compile(r"/services/(?P<service>[^/]+)"), service),
]


async def find(state: State, target: str) -> Shown | None:
    """Return the page at an address, path and query; None if there is none.

    Without a server or supervisor, pages that need it show why they are empty.

    Raises:
        JobNotFoundError: there is no page because there is nothing of that name.
        ConfigurationError: the query cannot be used.
    """
    split = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(split.query).items()}
    for pattern, show in _TABLE:
        if found := pattern.fullmatch(split.path):
            parts = {name: unquote(text) for name, text in found.groupdict().items()}
            try:
                return await show(state, parts, query)
            except (NaqConnectionError, SupervisorError) as exc:
                nav = split.path.strip("/").partition("/")[0] or "overview"
                return Shown("frame/away.html", nav, {"text": str(exc)})
    return None


def whole(text: str | None) -> int | None:
    """Return a cursor; None if there is none.

    Raises:
        ConfigurationError: it is not a number.
    """
    if text is None or text == "":
        return None
    if not text.isdecimal() or len(text) > 18:
        raise ConfigurationError(f"cursor={text!r}: not a number")
    return int(text)


def _href(path: str, filters: Mapping[str, str], cursor: int | None) -> str | None:
    if cursor is None:
        return None
    chosen = {name: value for name, value in filters.items() if value}
    return f"{path}?{urlencode({**chosen, 'cursor': cursor})}"
