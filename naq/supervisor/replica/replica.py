"""A replica as others see it: what may be wanted of it. Its owner acts on that in its own time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.lifecycle import PARKED, RUNNING, State
from naq.supervisor.replica.owner import Owner
from naq.supervisor.replica.wish import Renewal

if TYPE_CHECKING:
    from naq.supervisor.kinds.kind import Kind
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.output.lines import Line

__all__ = ["Replica"]

_CLEARING = frozenset({State.STOPPING, State.EXITED})
_UP = RUNNING | {State.WAITING}


class Replica(Owner):
    """One replica of a service. Nothing here waits; :meth:`run` belongs in a task."""

    def start(self) -> None:
        """Want it up. One that is waiting for its next try is started now, with a new budget."""
        if self._wish.final:
            return
        self._wish.up = True
        self._wish.condemned = ""
        if self.status.state not in _UP:
            self._wish.turn += 1
        self._publish(wanted=True, active=True)
        self._bell.ring()

    def stop(self, cause: Cause, *, grace: float | None = None, limit: float | None = None) -> None:
        """Want it down.

        Args:
            cause: why, for the record.
            grace: seconds until KILL; None: as its service says.
            limit: monotonic time at which it is killed whatever it asks for; it cannot be started
                any more then.
        """
        wish = self._wish
        wish.up = False
        wish.cause = cause
        wish.grace = grace
        if limit is not None:
            wish.final, wish.limit = "the project stops", limit
        if grace is not None and self.current is not None and self.status.state in _CLEARING:
            self.current.run.hasten(trio.current_time() + grace)
        for run in self._retiring:
            if grace is not None:
                run.run.hasten(trio.current_time() + grace)
        if self.status.state in PARKED:
            wish.settle(str(cause))  # it had not begun, and now it will not
        self._publish(wanted=False)
        self._bell.ring()

    def dismiss(self, cause: Cause) -> None:
        """Want it down for good: it is about to be taken away, and nobody can start it any more."""
        self._wish.final = self._wish.final or "it is being removed"
        self.stop(cause)

    def restart(self, cause: Cause, *, force: bool = False) -> Renewal:
        """Want a new run of it; return what tells when that is ready.

        Args:
            cause: why, for the record.
            force: kill the old one instead of asking it to stop.
        """
        if self._wish.final:
            renewal = Renewal()
            renewal.settle(self._wish.final)
            return renewal
        self._wish.condemned = ""
        renewal = self._wish.begin_anew(cause, grace=0.0 if force else None)
        self._publish(wanted=True, active=True)
        self._bell.ring()
        return renewal

    def update(self, spec: ServiceSpec, kind: Kind) -> None:
        """Take over another definition: what can change at once does, the rest at the next run."""
        before, self.spec, self._kind = self.spec, spec, kind
        if before.replicas != spec.replicas or before.oneshot != spec.oneshot:
            self._rename()
        if self.current is not None:
            if (before.ready, before.live) != (spec.ready, spec.live) or (
                before.limits != spec.limits
            ):
                self.current.take_over(spec)
            if self.status.state in (State.READY, State.UNREADY):
                self._alarm.deadline = self.current.retire_at
        self._bell.ring()

    def hold(self) -> None:
        """Keep it down for a moment: its group is being restarted."""
        self._wish.held = True
        self._wish.cause = Cause(kind=CauseKind.GROUP)
        self._wish.grace = None
        self._bell.ring()

    def release(self) -> None:
        """Let it run again, with its group."""
        self._wish.held = False
        again = self.status.state is State.COMPLETED and self.spec.rerun
        if self._wish.up and (again or self.status.state is State.SKIPPED):
            self._wish.turn += 1
        self._bell.ring()

    def condemn(self, why: str) -> None:
        """Let it fail, because its group has."""
        self._wish.held = False
        self._wish.condemned = why
        self._bell.ring()

    def pause(self, *, on: bool) -> None:
        """Tell it to take nothing new, or to go on; a new run is told as well."""
        self._wish.paused = on
        if self.current is not None and self.status.state in (State.READY, State.UNREADY):
            self.current.run.pause(on=on)
        self._publish(paused=on)

    def signal(self, number: int) -> bool:
        """Send a signal to its process; whether there is one."""
        return self.current is not None and self.current.run.signal(number)

    def hurry(self) -> None:
        """Skip what is left of the grace, if it is ending or already gone."""
        self._wish.grace = 0.0
        if self.current is not None and self.status.state in _CLEARING:
            self.current.run.hurry()
        for run in self._retiring:
            run.run.hurry()

    def remove(self) -> None:
        """Take it away, now that nothing of it runs: from the board, where it never shows again."""
        self.close()
        self._removed = True
        self._host.board.remove(self.status)

    def close(self) -> None:
        """Let :meth:`run` return as soon as nothing runs."""
        self._wish.closing = True
        self._wish.final = self._wish.final or "it has ended"
        self._wish.held = False
        self._bell.ring()

    def destroy(self) -> None:
        """Kill it this instant and do not wait: for a supervisor that is about to end itself."""
        self._destroy()

    def give_up(self, why: str) -> None:
        """Take it out of the table: its owner has ended with a bug, and others wait for it."""
        self._publish(state=State.FAILED, fatal=True, pid=None, detail=why)

    # ------------------------------------------------------------ what others ask

    @property
    def pauses(self) -> bool:
        """Whether it can pause."""
        return self._kind.pauses is not None

    @property
    def env_digest(self) -> str | None:
        """Return the digest of the environment files of its current run; None without a run."""
        return None if self.current is None else self.current.env_digest

    def lines(self) -> tuple[Line, ...]:
        """Return the lines that are still kept."""
        return self._source.tail()

    def keep_lines(self, number: int) -> None:
        """Change how many lines are kept."""
        self._source.keep_at_most(number)
