"""What is wanted of a replica, as opposed to what is the case."""

from __future__ import annotations

import math

from naq.supervisor.model.board import Bell
from naq.supervisor.model.causes import Cause, CauseKind

__all__ = ["Renewal", "Wish"]


class Renewal:
    """A request to run afresh, and what became of it.

    Attributes:
        over: whether that is known.
        problem: why the new run is not ready; empty if it is.
    """

    def __init__(self) -> None:
        self.over = False
        self.problem = ""
        self._bell = Bell()

    def settle(self, problem: str = "") -> None:
        """Say what became of it; the first word counts."""
        if not self.over:
            self.over, self.problem = True, problem
            self._bell.ring()

    async def wait(self) -> str:
        """Wait until it is known what became of it; return the problem, if there is one."""
        await self._bell.until(lambda: self.over or None)
        return self.problem


class Wish:
    """What is wanted of a replica; the newest word counts.

    Attributes:
        up: whether it is to run, as far as people are concerned.
        held: whether its group keeps it down for a moment.
        turn: grows with every request to begin anew.
        condemned: why it must not go on for good; empty if it may.
        paused: whether it is to take nothing new.
        final: why nobody can want it up any more; empty if one can.
        closing: whether its owner is to end.
        cause: why it is to end, for the record.
        grace: seconds until KILL; None: as its service says.
        limit: monotonic time after which it gets no grace at all, whatever it asks for.
    """

    def __init__(self, *, up: bool) -> None:
        self.up = up
        self.held = False
        self.turn = 0
        self.condemned = ""
        self.paused = False
        self.final = ""
        self.closing = False
        self.cause = Cause(kind=CauseKind.OPERATOR)
        self.grace: float | None = None
        self.limit = math.inf
        self.renewal: Renewal | None = None

    @property
    def wanted(self) -> bool:
        """Whether it is to run right now."""
        return self.up and not self.held

    def begin_anew(self, cause: Cause, *, grace: float | None = None) -> Renewal:
        """Want a new run; requests that come before it has begun are one."""
        self.up = True
        self.turn += 1
        self.cause = cause
        self.grace = grace
        if self.renewal is None or self.renewal.over:
            self.renewal = Renewal()
        return self.renewal

    def settle(self, problem: str = "") -> None:
        """Say what became of the renewal that was asked for, if one was."""
        if self.renewal is not None:
            self.renewal.settle(problem)
