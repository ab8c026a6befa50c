"""Whether a replica may start: what its dependencies have reached.

Pure. A dependency is a milestone for the start and no bond for life: once met, it is not looked at
again before the next start on request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from naq.supervisor.lifecycle import PARKED, State
from naq.supervisor.spec import Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from naq.supervisor.board import Status
    from naq.supervisor.spec import Dependency

__all__ = ["Met", "Pending", "Unmet", "evaluate", "reached"]


@dataclass(frozen=True, slots=True)
class Met:
    """Go ahead."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """It will never be met; ``reason`` says what is in the way."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pending:
    """Not yet. Look again after a change, and ``until`` seconds after the wait began."""

    until: float | None
    waiting_for: tuple[str, ...]


def evaluate(
    edges: Iterable[Dependency],
    statuses: Callable[[str], Sequence[Status]],
    elapsed: float,
) -> Met | Unmet | Pending:
    """Say whether all of ``edges`` are met.

    Args:
        edges: the dependencies of one service.
        statuses: the replicas of a service, by its name.
        elapsed: seconds since the wait began.
    """
    deadlines = []
    waiting_for = []
    for edge in edges:
        replicas = statuses(edge.service)
        if all(reached(edge.condition, status) for status in replicas):
            continue
        reason = next(filter(None, (_hopeless(edge.condition, s) for s in replicas)), "")
        if not reason and edge.timeout is not None and elapsed >= edge.timeout:
            reason = f"{edge.service} is not {edge.condition} after {edge.timeout:g} s"
        if reason and edge.required:
            return Unmet(reason)
        if not reason:
            waiting_for.append(edge.service)
            if edge.timeout is not None:
                deadlines.append(edge.timeout)
    if not waiting_for:
        return Met()
    return Pending(min(deadlines, default=None), tuple(waiting_for))


def reached(condition: Condition, status: Status) -> bool:
    """Whether a replica is, or has been, where a dependency wants it."""
    match condition:
        case Condition.STARTED:
            return status.runs > 0
        case Condition.READY:
            return status.state is State.READY
        case Condition.COMPLETED:
            return status.state is State.COMPLETED
        case Condition.EXITED:
            return status.state in (State.COMPLETED, State.FAILED)


def _hopeless(condition: Condition, status: Status) -> str:
    """Say why ``condition``, which is not reached, will not be reached by itself."""
    # DOWN is not hopeless: somebody stopped it and may start it again.
    if status.state not in PARKED or status.state is State.DOWN:
        return ""
    if condition is Condition.READY and status.state is State.COMPLETED:
        return f"{status.name} has completed and will not be ready"
    return f"{status.name} is {status.state}"
