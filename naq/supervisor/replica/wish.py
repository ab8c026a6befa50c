"""What is wanted of a replica, as opposed to what it is doing."""

from __future__ import annotations

import math

from naq.supervisor.model.board import Bell
from naq.supervisor.model.causes import Cause, CauseKind

__all__ = ["Renewal", "Wish"]


class Renewal:
    """A request for a new run, and what became of it.

    Attributes:
        over: whether that is known.
        problem: why the new run is not ready; empty if it is.
    """

    def __init__(self) -> None:
        self.over = False
        self.problem = ""
        self._bell = Bell()

    def settle(self, problem: str = "") -> None:
        """Say what became of it; only the first word counts."""
        if not self.over:
            self.over, self.problem = True, problem
            self._bell.ring()

    async def wait(self) -> str:
        """Wait until that is known; return the problem, empty if there is none."""
        await self._bell.until(lambda: self.over or None)
        return self.problem


class Wish:
    """What is wanted of a replica; the newest word counts.

    Attributes:
        up: whether people want it to run.
        held: whether its group keeps it down for a moment.
        anew: whether a new run is wanted; its owner resets this when it acts on it.
        condemned: why it must fail; empty if it need not.
        paused: whether it is to take nothing new.
        final: why it cannot be started any more; empty if it can.
        closing: whether its owner is to end.
        cause: why it is to end, for the record.
        grace: seconds until KILL; None: as its service says.
        limit: monotonic time after which it gets no grace at all, whatever it asks for.
        renewal: the last request for a new run; None if there was none.
    """

    def __init__(self, *, up: bool) -> None:
        self.up = up
        self.held = False
        self.anew = False
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
        """Want a new run. Requests that come before it has begun are one.

        Args:
            cause: why, for the record.
            grace: seconds until KILL for the old run; None: as its service says.
        """
        self.up = True
        self.anew = True
        self.cause = cause
        self.grace = grace
        if self.renewal is None or self.renewal.over:
            self.renewal = Renewal()
        return self.renewal

    def settle(self, problem: str = "") -> None:
        """Say what became of the new run that was asked for, if one was."""
        if self.renewal is not None:
            self.renewal.settle(problem)
