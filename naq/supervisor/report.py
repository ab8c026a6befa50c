"""What `naq ps` shows: the board in plain JSON values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from naq.supervisor._system import usage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from naq.supervisor.board import LastExit, Status

__all__ = ["describe", "describe_exit", "timestamp"]


def describe(statuses: Iterable[Status], now: float) -> list[dict[str, Any]]:
    """Return one object per replica.

    Args:
        statuses: of the replicas.
        now: monotonic time, seconds.
    """
    return [_describe(status, now) for status in statuses]


def _describe(status: Status, now: float) -> dict[str, Any]:
    uptime = None if status.started_at is None else now - status.started_at
    used = usage(status.pid) if status.pid is not None else None
    return {
        "service": status.service,
        "replica": status.replica,
        "name": status.name,
        "state": str(status.state),
        "want": "UP" if status.wanted else "DOWN",
        "ready": status.satisfied,
        "pid": status.pid,
        "restarts": max(0, status.runs - 1),
        "failures": status.failures,
        "uptime_s": None if uptime is None else round(uptime, 3),
        "retry_in_s": status.retry_at and round(max(0.0, status.retry_at - now), 3),
        "rss_bytes": used and used.rss_bytes,
        "cpu_s": used and round(used.cpu_s, 2),
        "cpu_percent": used and uptime and round(100 * used.cpu_s / max(uptime, 0.01), 1),
        "detail": status.detail,
        "paused": status.paused,
        "active": status.active,
        "last_exit": status.last_exit and describe_exit(status.last_exit),
    }


def describe_exit(end: LastExit) -> dict[str, Any]:
    """Return the end of a run as plain JSON values."""
    return {
        "cause": str(end.cause.kind),
        "code": end.code,
        "signal": end.signal,
        "at": timestamp(end.at),
        "message": str(end.cause),
    }


def timestamp(at: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
