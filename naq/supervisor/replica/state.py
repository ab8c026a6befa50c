"""What is known about one replica, shared by its owner, its runs and its readers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from naq.supervisor.model.board import Bell, Status
from naq.supervisor.model.lifecycle import History
from naq.supervisor.replica.wish import Wish

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.supervisor.kinds.kind import Kind
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.replica.announce import Said
    from naq.supervisor.replica.host import Host

__all__ = ["ReplicaState"]

T = TypeVar("T")


class ReplicaState:
    """The values of one replica. Every change of its status is published on the board at once.

    Attributes:
        spec: its service; the newest definition, which the current run may not have.
        kind: knows what to run.
        host: what it shares with all other replicas.
        source: where its lines of output go.
        status: what it is doing now.
        wish: what is wanted of it.
        bell: rung when something has changed that its owner may be waiting for.
        alarm: ends the owner's present wait; its deadline may be moved meanwhile.
        history: what the next decision about a restart depends on.
    """

    def __init__(
        self, spec: ServiceSpec, index: int, *, kind: Kind, host: Host, wanted: bool
    ) -> None:
        """Put a replica on the board that is DOWN.

        Args:
            spec: its service.
            index: which replica of it, from 1.
            kind: knows what to run.
            host: what it shares with all other replicas.
            wanted: whether it is to run.
        """
        self.spec = spec
        self.kind = kind
        self.host = host
        self.source = host.hub.source(spec.name, index if spec.replicas > 1 else 0)
        self.wish = Wish(up=wanted)
        self.bell = Bell()
        self.alarm = trio.CancelScope()
        self.history = History()
        self.status = Status(
            service=spec.name,
            replica=index,
            name=_name(spec, index),
            oneshot=spec.oneshot,
            wanted=wanted,
            active=wanted,
        )
        self._removed = False
        host.board.publish(self.status)

    def publish(self, **changes: Any) -> None:
        """Change some fields of the status, and let everybody know."""
        before, self.status = self.status, replace(self.status, **changes)
        if before != self.status and not self._removed:
            self.host.board.publish(self.status)
            self.host.changed(before, self.status)

    def say(self, said: Said) -> None:
        """Print a line of the supervisor's about it."""
        self.host.hub.say(f"{self.status.name} {said.text}", level=said.level)

    def adopt(self, spec: ServiceSpec, kind: Kind) -> None:
        """Take over another definition; the current run does not change by that."""
        before, self.spec, self.kind = self.spec, spec, kind
        if before.replicas != spec.replicas or before.oneshot != spec.oneshot:
            # It is called by its number only where there are several.
            index = self.status.replica
            self.source.relabel(index if spec.replicas > 1 else 0)
            self.publish(name=_name(spec, index), oneshot=spec.oneshot)

    def begin_anew(self) -> None:
        """Forget earlier failures, if somebody has asked for a new beginning."""
        if self.wish.anew:
            self.wish.anew = False
            self.history = History()
            self.publish(failures=0)

    def remove(self) -> None:
        """Take it off the board, where it never shows again."""
        self._removed = True
        self.host.board.remove(self.status)

    async def first(self, *looks: Callable[[], T | None], until: float = math.inf) -> T | None:
        """Return what the first of ``looks`` finds that finds anything; None if none does in time.

        Args:
            looks: asked in this order whenever the bell rings.
            until: monotonic time, seconds; :attr:`alarm` may move it.
        """
        with trio.CancelScope(deadline=until) as self.alarm:
            return await self.bell.until(*looks)
        return None


def _name(spec: ServiceSpec, index: int) -> str:
    return f"{spec.name}.{index}" if spec.replicas > 1 else spec.name
