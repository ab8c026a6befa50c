"""What is known about a replica, and what can be seen in it. Nothing here waits or acts.

The owner (``service.py``) waits for a look to find something: a look is a method that returns the
event that has happened, with its cause where it leads to the end of a run, or None.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from naq.supervisor.model.board import Bell, Status
from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.graph import Met, Pending, Unmet, evaluate, reached
from naq.supervisor.model.lifecycle import Event, History, State
from naq.supervisor.replica import announce
from naq.supervisor.replica.wish import Wish

if TYPE_CHECKING:
    from naq.supervisor.kinds.kind import Kind
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.replica.announce import Said
    from naq.supervisor.replica.host import Host
    from naq.supervisor.replica.incarnation import Incarnation

    # What has happened, and the cause where it leads to the end of a run.
    Happening = tuple[Event, Cause | None]

__all__ = ["Observed"]


class Observed:
    """The state of one replica.

    Attributes:
        spec: its service; the newest, which the current run may not have.
        status: what is the case now; also on the board.
        stuck: a task of it does not let itself be cancelled.
        current: its run, where one exists.
    """

    def __init__(
        self, spec: ServiceSpec, index: int, *, kind: Kind, host: Host, wanted: bool
    ) -> None:
        self.spec = spec
        self.stuck = False
        self.current: Incarnation | None = None
        self._removed = False
        self._kind = kind
        self._host = host
        self._bell = Bell()
        self._wish = Wish(up=wanted)
        self._turn = 0
        self._source = host.hub.source(spec.name, index if spec.replicas > 1 else 0)
        self._history = History()
        self._cause = Cause(kind=CauseKind.OPERATOR)
        self._ended_at = 0.0
        self._began_waiting = 0.0
        self._dependency_runs: dict[str, dict[int, int]] = {}
        self.status = Status(
            service=spec.name,
            replica=index,
            name=_name(spec, index),
            oneshot=spec.oneshot,
            wanted=wanted,
            active=wanted,
        )
        host.board.publish(self.status)

    # ------------------------------------------------------------ looks

    def _dependencies(self) -> Happening | None:
        """Whether dependencies are as far as they must be, or never will be."""
        elapsed = trio.current_time() - self._began_waiting
        match evaluate(self.spec.depends_on, self._host.board.of, elapsed):
            case Met():
                return Event.MET, None
            case Unmet(reason=reason):
                self._publish(detail=reason)
                return Event.UNMET, None
            case Pending(waiting_for=names):
                down = [name for name in names if self._is_down(name)]
                text = f"waiting for {', '.join(down or names)}{', which is down' if down else ''}"
                self._publish(detail=text, blocked=bool(down))
                if down:
                    # That may take until somebody starts it: nobody shall wait for it here.
                    self._wish.settle(text)
        return None

    def _is_down(self, service: str) -> bool:
        statuses = self._host.board.of(service)
        return bool(statuses) and all(s.state is State.DOWN and not s.wanted for s in statuses)

    def _ended(self) -> Happening | None:
        ended = self._running().ended
        return None if ended is None else (Event.ENDED, ended)

    def _faulted(self) -> Happening | None:
        failure = self._running().failure
        return None if failure is None else (Event.FAULT, failure)

    def _condemned(self) -> Happening | None:
        if not self._wish.condemned:
            return None
        return Event.FAULT, Cause(kind=CauseKind.GROUP, message=self._wish.condemned)

    def _unwanted(self) -> Happening | None:
        return None if self._wish.wanted else (Event.STOP, self._wish.cause)

    def _outdated(self) -> Happening | None:
        """Whether another run is wanted, for whatever reason."""
        if self._wish.turn != self._turn:
            return Event.RECYCLE, self._wish.cause
        outgrown = None if self.current is None else self.current.outgrown
        if outgrown is not None:
            return Event.RECYCLE, outgrown
        if name := self._renewed_dependency():
            message = f"{name} was restarted"
            return Event.RECYCLE, Cause(kind=CauseKind.DEPENDENCY, message=message)
        return None

    def _ready(self) -> Happening | None:
        current = self._running()
        return (Event.READY, None) if current.is_ready or not current.waits else None

    def _readiness_lost(self) -> Happening | None:
        return (Event.NOT_READY, None) if self._running().why_unready else None

    def _readiness_back(self) -> Happening | None:
        return (Event.READY, None) if self._running().is_ready else None

    def _renewed_dependency(self) -> str:
        """Return a dependency that was restarted since our start and is back; with ``restart``."""
        for edge in self.spec.depends_on:
            if not edge.restart:
                continue
            replicas = self._host.board.of(edge.service)
            then = self._dependency_runs.get(edge.service, {})
            changed = any(s.runs != then.get(s.replica, s.runs) for s in replicas)
            if changed and all(reached(edge.condition, s) for s in replicas):
                return edge.service
        return ""

    # ------------------------------------------------------------ keeping it up to date

    def _note_dependencies(self) -> None:
        """Remember which runs of the dependencies the run that begins now is based on."""
        self._dependency_runs = {
            edge.service: {s.replica: s.runs for s in self._host.board.of(edge.service)}
            for edge in self.spec.depends_on
            if edge.restart
        }

    def _running(self) -> Incarnation:
        assert self.current is not None, "nothing runs in this state"
        return self.current

    def _note(self, cause: Cause) -> None:
        """Record why the run ends, before anything is done about it."""
        self._cause = cause
        self._ended_at = trio.current_time()

    def _rename(self) -> None:
        """Be called by the number where there are several, and else not."""
        many = self.spec.replicas > 1
        self._source.relabel(self.status.replica if many else 0)
        self._publish(name=_name(self.spec, self.status.replica), oneshot=self.spec.oneshot)

    def _publish(self, **changes: Any) -> None:
        before, self.status = self.status, replace(self.status, **changes)
        if before != self.status and not self._removed:
            self._host.board.publish(self.status)
            self._host.changed(before, self.status)

    def _say(self, said: Said) -> None:
        self._host.hub.say(f"{self.status.name} {said.text}", level=said.level)

    def _say_ready(self) -> None:
        if self.status.state is State.UNREADY:
            self._say(announce.ready_again())
            return
        took = trio.current_time() - (self.status.started_at or 0.0)
        self._say(announce.ready(self.status.pid, took, waited=self._running().waits))


def _name(spec: ServiceSpec, index: int) -> str:
    return f"{spec.name}.{index}" if spec.replicas > 1 else spec.name
