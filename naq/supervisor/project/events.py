"""What has happened to replicas, and what they are doing, in the form that clients are given.

The history is bounded and can be followed; a status becomes plain JSON values for ``naq ps``.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from naq.supervisor.model.lifecycle import State
from naq.supervisor.process.system import usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from naq.supervisor.model.board import LastExit, Status

__all__ = ["Events", "Transition", "describe", "describe_exit", "timestamp"]

_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Transition:
    """A replica went from one state to another.

    Attributes:
        at: wall clock, seconds since the epoch.
        took: seconds from the start of the run to READY, or to the end of a oneshot; None for all
            other transitions.
    """

    at: float
    before: State
    status: Status
    took: float | None = None

    def as_dict(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        status = self.status
        end = status.last_exit
        return {
            "time": timestamp(self.at),
            "service": status.service,
            "replica": status.replica,
            "name": status.name,
            "from": str(self.before),
            "state": str(status.state),
            "pid": status.pid,
            "run": status.runs,
            "detail": status.detail,
            "took_s": None if self.took is None else round(self.took, 3),
            "last_exit": None if end is None else describe_exit(end),
        }


class Events:
    """A bounded history of transitions."""

    def __init__(self) -> None:
        self._kept: deque[Transition] = deque(maxlen=_KEPT)
        self._begun: dict[tuple[str, int], float] = {}
        self._ears: list[Callable[[], None]] = []
        self._followers: list[Callable[[Transition], None]] = []

    def add(self, before: Status, after: Status, now: float) -> Transition:
        """Record a change of state.

        Args:
            before: the status before it.
            after: the one after it.
            now: monotonic time, seconds.
        """
        took = None
        key = (after.service, after.replica)
        if after.state is State.STARTING:
            self._begun[key] = now
        elif after.state is State.READY and after.started_at is not None:
            took = now - after.started_at
        elif after.state is State.COMPLETED and after.oneshot and key in self._begun:
            took = now - self._begun.pop(key)
        transition = Transition(time.time(), before.state, after, took)
        self._kept.append(transition)
        for follower in tuple(self._followers):
            follower(transition)
        return transition

    def recent(self) -> tuple[Transition, ...]:
        """Return what is kept, oldest first."""
        return tuple(self._kept)

    @contextmanager
    def listening(self, ring: Callable[[], None]) -> Iterator[None]:
        """Call ``ring``, which must not block, at every change of any replica from now on."""
        self._ears.append(ring)
        try:
            yield
        finally:
            self._ears.remove(ring)

    def changed(self) -> None:
        """Tell listeners that something about some replica has changed."""
        for ring in self._ears:
            ring()

    @contextmanager
    def following(self, follower: Callable[[Transition], None]) -> Iterator[None]:
        """Call ``follower``, which must not block, with every transition from now on."""
        self._followers.append(follower)
        try:
            yield
        finally:
            self._followers.remove(follower)


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
