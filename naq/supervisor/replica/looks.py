"""What can happen to a replica, as looks: functions that say whether it has happened.

The owner waits for the first of several looks that finds something; they are asked in a fixed
order whenever anything has changed, so ties are always decided in the same way. A look returns
the event, with the cause where it leads to the end of a run, or None.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import trio

from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.graph import Met, Pending, Unmet, evaluate, reached
from naq.supervisor.model.lifecycle import Event, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from naq.supervisor.model.board import Board
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.replica.state import ReplicaState

    # What has happened, and the cause where it leads to the end of a run.
    Happening = tuple[Event, Cause | None]
    Look = Callable[[], Happening | None]

    # The runs of services that another one is restarted with, by service and replica.
    Bonds = Mapping[str, Mapping[int, int]]

__all__ = ["DependencyLook", "Looks", "Observed", "bonds"]


class Observed(Protocol):
    """What looks need to know of a run; :class:`~naq.supervisor.replica.incarnation.Incarnation`.

    Attributes:
        ended: how it ended, once it has.
        failure: why it must not go on, if so.
        outgrown: why it should be replaced, if so.
        is_ready: whether its readiness check says so.
        why_unready: what that check said when it did not any more.
        waits: whether there is anything to wait for until it is ready.
        bonds: the runs of its dependencies that it is based on.
    """

    ended: Cause | None
    failure: Cause | None
    outgrown: Cause | None
    is_ready: bool
    why_unready: str
    waits: bool
    bonds: Bonds


class Looks:
    """Everything that can happen to a replica that runs, or is wanted to."""

    def __init__(self, state: ReplicaState, current: Callable[[], Observed]) -> None:
        """Prepare looks.

        Args:
            state: of the replica.
            current: returns its current run; only asked by looks at a replica that has one.
        """
        self._state = state
        self._current = current

    def unwanted(self) -> Happening | None:
        """It is not to run any more."""
        wish = self._state.wish
        return None if wish.wanted else (Event.STOP, wish.cause)

    def condemned(self) -> Happening | None:
        """Its group has failed, and it runs."""
        why = self._state.wish.condemned
        return (Event.FAULT, Cause(kind=CauseKind.GROUP, message=why)) if why else None

    def outdated(self) -> Happening | None:
        """Another run of it is wanted, for whatever reason."""
        wish, current = self._state.wish, self._current()
        if wish.anew:
            return Event.RECYCLE, wish.cause
        if current.outgrown is not None:
            return Event.RECYCLE, current.outgrown
        if name := _renewed(self._state.spec, self._state.host.board, current.bonds):
            message = f"{name} was restarted"
            return Event.RECYCLE, Cause(kind=CauseKind.DEPENDENCY, message=message)
        return None

    def ended(self) -> Happening | None:
        """Its run has ended, and nobody asked for that."""
        ended = self._current().ended
        return None if ended is None else (Event.ENDED, ended)

    def faulted(self) -> Happening | None:
        """Its run must not go on."""
        failure = self._current().failure
        return None if failure is None else (Event.FAULT, failure)

    def ready(self) -> Happening | None:
        """Its run is ready for the first time; at once where there is nothing to wait for."""
        current = self._current()
        return (Event.READY, None) if current.is_ready or not current.waits else None

    def ready_again(self) -> Happening | None:
        """Its run is ready again."""
        return (Event.READY, None) if self._current().is_ready else None

    def not_ready(self) -> Happening | None:
        """Its run is not ready any more."""
        return (Event.NOT_READY, None) if self._current().why_unready else None


class DependencyLook:
    """One wait of a replica for its dependencies.

    Attributes:
        services: the dependencies.
    """

    def __init__(self, state: ReplicaState) -> None:
        """Begin the wait now."""
        self.services = [edge.service for edge in state.spec.depends_on]
        self._state = state
        self._began = trio.current_time()

    @property
    def until(self) -> float:
        """When to look again although nothing has changed: a dependency has run out of time."""
        elapsed = trio.current_time() - self._began
        edges = self._state.spec.depends_on
        timeouts = [edge.timeout for edge in edges if edge.timeout and edge.timeout > elapsed]
        return self._began + min(timeouts, default=math.inf)

    def __call__(self) -> Happening | None:
        """Dependencies are as far as they must be, or never will be; until then, say so."""
        state = self._state
        board = state.host.board
        match evaluate(state.spec.depends_on, board.of, trio.current_time() - self._began):
            case Met():
                return Event.MET, None
            case Unmet(reason=reason):
                state.publish(detail=reason)
                return Event.UNMET, None
            case Pending(waiting_for=names):
                down = [name for name in names if _is_down(board, name)]
                text = f"waiting for {', '.join(down or names)}{', which is down' if down else ''}"
                state.publish(detail=text, blocked=bool(down))
                if down:
                    # That may last until somebody starts it; a restart must not be kept waiting.
                    state.wish.settle(text)
        return None


def bonds(spec: ServiceSpec, board: Board) -> Bonds:
    """Return the current runs of the dependencies that a service is restarted with."""
    return {
        edge.service: {status.replica: status.runs for status in board.of(edge.service)}
        for edge in spec.depends_on
        if edge.restart
    }


def _renewed(spec: ServiceSpec, board: Board, based_on: Bonds) -> str:
    """Return a dependency that has been restarted since and is back; empty if there is none."""
    for edge in spec.depends_on:
        if not edge.restart:
            continue
        replicas = board.of(edge.service)
        then = based_on.get(edge.service, {})
        changed = any(s.runs != then.get(s.replica, s.runs) for s in replicas)
        if changed and all(reached(edge.condition, s) for s in replicas):
            return edge.service
    return ""


def _is_down(board: Board, service: str) -> bool:
    statuses = board.of(service)
    return bool(statuses) and all(s.state is State.DOWN and not s.wanted for s in statuses)
