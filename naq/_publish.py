"""A job as the message that puts it into a queue, now or later."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq._names import Names
    from naq.job import JobMessage
    from naq.serializers import Codec

    Envelope = tuple[str, bytes, dict[str, str]]

__all__ = ["CHECK", "at", "carried", "job_envelope", "scheduled_for", "trace_headers"]

CHECK = "Naq-Check"
"""Header of a job whose id somebody chose: it may have run before, so its record is read."""

TRACE = frozenset(
    ["traceparent", "tracestate", "b3", "uber-trace-id"]
    + [f"x-b3-{name}" for name in ("traceid", "spanid", "parentspanid", "sampled", "flags")]
)
"""Headers in which the context of a trace travels: W3C's, and those of B3 and Jaeger.

Not ``baggage``: programs act upon that, and a message's headers are not signed.
"""
MAX_TRACE_HEADER = 512
"""Characters of one of them; a longer one is left out."""

_AT = "@at "


def at(moment: float) -> str:
    """Return the server's pattern for one moment, in seconds since the epoch."""
    return f"{_AT}{datetime.fromtimestamp(moment, UTC).isoformat().replace('+00:00', 'Z')}"


def scheduled_for(headers: dict[str, str] | None) -> float | None:
    """Return the moment a stored schedule fires at once; None if it is another kind."""
    pattern = (headers or {}).get("Nats-Schedule", "")
    if not pattern.startswith(_AT):
        return None
    try:
        return datetime.fromisoformat(pattern[len(_AT) :]).timestamp()
    except ValueError:
        return None


def trace_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those headers that carry the context of a trace and may be sent on."""
    return {
        name: value
        for name, value in headers.items()
        if name.lower() in TRACE
        and len(value) <= MAX_TRACE_HEADER
        and value.isascii()
        and value.isprintable()
    }


def carried(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers a job keeps when its message is stored again: naq's and the trace's.

    The server's own are about one message: their place, their time, their id.
    """
    own = {name: value for name, value in headers.items() if name.startswith("Naq-")}
    return own | trace_headers(headers)


def job_envelope(names: Names, codec: Codec, message: JobMessage, *, chosen: bool) -> Envelope:
    """Return subject, body and headers that queue a job.

    It is queued once, however often it is sent: the compare-and-set refuses it while it is queued,
    the message id for two minutes after.

    Args:
        names: what things are called.
        codec: seals it.
        message: the job; delayed if ``due_at`` is later than ``enqueued_at``.
        chosen: whether its id was chosen by somebody, so that it may have run before.
    """
    body, headers = codec.seal(message)
    headers["Nats-Msg-Id"] = message.id
    headers["Nats-Expected-Last-Subject-Sequence"] = "0"
    if chosen:
        headers[CHECK] = "1"
    subject = names.job(message.queue, message.id)
    due = message.due_at
    if due is not None and due > message.enqueued_at:
        headers["Nats-Schedule"] = at(due)
        headers["Nats-Schedule-Target"] = subject
        subject = names.delayed(message.queue, message.id)
    return subject, body, headers
