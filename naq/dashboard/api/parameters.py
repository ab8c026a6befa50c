"""The parameters of the API: queries and bodies, checked against the types that describe them.

The same types make the OpenAPI document, so what it says is what is checked; and the forms of the
pages are read as the bodies they stand for.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from naq.base.text import CENTURY, duration
from naq.dashboard.actions import MOST
from naq.dashboard.data.model import State  # noqa: TC001 - msgspec reads the annotation
from naq.exceptions import ConfigurationError
from naq.schedules.options import LEAST_INTERVAL, MOST_TIMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "BODIES",
    "IDS",
    "JOB_ID",
    "MOST_ROWS",
    "BulkBody",
    "JobsQuery",
    "LettersQuery",
    "LinesQuery",
    "MinutesQuery",
    "Nothing",
    "RescheduleBody",
    "ScaleBody",
    "given",
    "read_body",
    "read_form",
    "read_query",
]

MOST_ROWS = 500

_QueueName = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
_JobId = Annotated[str, Meta(pattern=r"^[!-)+,\-/-=?-~]{0,127}[!-)+,\-/-=?A-~]$")]
_Text = Annotated[str, Meta(max_length=200)]
_Cursor = Annotated[
    int, Meta(ge=0, le=999_999_999_999_999_999, description="`next` of the page before")
]
IDS = {
    "queues": _QueueName,
    "services": Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}(\.[0-9]{1,4})?$")],
}
"""What an id in a path may be, by the first word of the path; elsewhere it is that of a job."""
JOB_ID = _JobId

T = TypeVar("T")
S = TypeVar("S", bound=Struct)


class Nothing(Struct, forbid_unknown_fields=True):
    """No parameters."""


class JobsQuery(Struct, forbid_unknown_fields=True):
    """Which jobs."""

    state: State = "pending"
    queue: _QueueName | UnsetType = UNSET
    function: _Text = ""
    """Part of the function's name."""
    cursor: _Cursor | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = 50


class LettersQuery(Struct, forbid_unknown_fields=True):
    """Which dead letters."""

    queue: _QueueName | UnsetType = UNSET
    cursor: _Cursor | UnsetType = UNSET


class MinutesQuery(Struct, forbid_unknown_fields=True):
    """Of which queue; of all if none is given."""

    queue: _QueueName | UnsetType = UNSET


class LinesQuery(Struct, forbid_unknown_fields=True):
    """How many lines."""

    count: Annotated[int, Meta(ge=1, le=1_000)] = 200


class RescheduleBody(Struct, forbid_unknown_fields=True):
    """What to change about a schedule, at least one thing. ``interval`` is in seconds."""

    cron: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    interval: Annotated[float, Meta(ge=LEAST_INTERVAL, le=CENTURY)] | UnsetType = UNSET
    repeat: Annotated[int, Meta(ge=1, le=MOST_TIMES)] | UnsetType = UNSET
    next_run: Annotated[datetime, Meta(tz=True)] | UnsetType = UNSET


class ScaleBody(Struct, forbid_unknown_fields=True):
    """How many replicas a service is to have."""

    replicas: Annotated[int, Meta(ge=0, le=1_000)]


class BulkBody(Struct, forbid_unknown_fields=True):
    """What to do, and to which dead letters."""

    action: Literal["requeue", "delete"]
    ids: Annotated[list[_JobId], Meta(max_length=MOST)]


BODIES: dict[tuple[str, str], type[Struct]] = {
    ("schedules", "reschedule"): RescheduleBody,
    ("services", "scale"): ScaleBody,
}
"""The bodies of actions that need one, by kind and verb."""


def read_query(kind: type[T], pairs: Iterable[tuple[str, str]]) -> T:
    """Return a query as its type.

    Args:
        kind: the type.
        pairs: names and texts as they stand in the address.

    Raises:
        ConfigurationError: something is unknown, given twice or cannot be used.
    """
    found: dict[str, str] = {}
    for name, text in pairs:
        if name in found:
            raise ConfigurationError(f"{name!r} is given twice")
        found[name] = text
    try:
        return msgspec.convert(found, kind, strict=False)
    except msgspec.ValidationError as exc:
        raise ConfigurationError(f"query: {exc}") from exc


def read_body(kind: type[T], body: bytes) -> T:
    """Return a JSON body as its type; no body is an empty object.

    Raises:
        ConfigurationError: it does not fit the type.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"body: {exc}") from exc


def read_form(kind: type[S], form: Mapping[str, Any]) -> S:
    """Return a page's form as the body it stands for; what was left empty is not given.

    An interval may be typed as ``1h30m``; a time without an offset is UTC, as on the pages.

    Raises:
        ConfigurationError: it does not fit the type.
    """
    names = [field.name for field in msgspec.structs.fields(kind)]
    found = {name: form[name] for name in names if form.get(name) not in (None, "")}
    try:
        if "interval" in found:
            found["interval"] = duration(str(found["interval"]))
        if "next_run" in found:
            moment = datetime.fromisoformat(str(found["next_run"]))
            found["next_run"] = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return msgspec.convert(found, kind, strict=False)
    except (ValueError, msgspec.ValidationError) as exc:
        raise ConfigurationError(f"form: {exc}") from exc


def given(value: Struct) -> dict[str, object]:
    """Return the fields that were given."""
    return {name: v for name, v in msgspec.structs.asdict(value).items() if v is not UNSET}
