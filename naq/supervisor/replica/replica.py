"""A replica as others see it: what may be wanted of it. Its owner acts on that in its own time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.lifecycle import PARKED, RUNNING, SERVING, State
from naq.supervisor.replica.owner import Owner
from naq.supervisor.replica.runs import Runs
from naq.supervisor.replica.state import ReplicaState
from naq.supervisor.replica.wish import Renewal

if TYPE_CHECKING:
    from naq.supervisor.kinds.kind import Kind
    from naq.supervisor.model.board import Status
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.output.lines import Line
    from naq.supervisor.replica.host import Host

__all__ = ["Replica"]


class Replica:
    """One replica of a service. Nothing here waits; :meth:`run` belongs in a task."""

    def __init__(
        self, spec: ServiceSpec, index: int, *, kind: Kind, host: Host, wanted: bool
    ) -> None:
        """Make a replica that is DOWN.

        Args:
            spec: its service.
            index: which replica of it, from 1.
            kind: knows what to run.
            host: what it shares with all other replicas.
            wanted: whether it is to run.
        """
        self._state = ReplicaState(spec, index, kind=kind, host=host, wanted=wanted)
        self._wish = self._state.wish
        self._runs = Runs(self._state)
        self._owner = Owner(self._state, self._runs)

    async def run(self) -> None:
        """Own it until it is closed."""
        await self._owner.run()

    # ------------------------------------------------------------ what may be wanted of it

    def start(self) -> None:
        """Want it up. One that is waiting for its next try is started now, with a new budget."""
        if self._wish.final:
            return
        self._wish.up = True
        self._wish.condemned = ""
        if self.status.state not in RUNNING | {State.WAITING}:
            self._wish.anew = True
        self._state.publish(wanted=True, active=True)
        self._state.bell.ring()

    def stop(self, cause: Cause, *, grace: float | None = None, limit: float | None = None) -> None:
        """Want it down.

        Args:
            cause: why, for the record.
            grace: seconds until KILL; None: as its service says.
            limit: monotonic time at which it is killed whatever it asks for; from then on it
                cannot be started any more.
        """
        wish = self._wish
        wish.up = False
        wish.cause = cause
        wish.grace = grace
        if limit is not None:
            wish.final, wish.limit = "the project stops", limit
        if grace is not None:
            self._runs.hasten(trio.current_time() + grace)
        if self.status.state in PARKED:
            wish.settle(str(cause))  # it had not begun, and now it will not
        self._state.publish(wanted=False)
        self._state.bell.ring()

    def dismiss(self, cause: Cause) -> None:
        """Want it down for good: it is about to be removed, and cannot be started any more."""
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
        self._state.publish(wanted=True, active=True)
        self._state.bell.ring()
        return renewal

    def update(self, spec: ServiceSpec, kind: Kind) -> None:
        """Take over another definition: what can change at once does, the rest at the next run."""
        before = self.spec
        self._state.adopt(spec, kind)
        self._runs.take_over(before)
        self._state.bell.ring()

    def hold(self) -> None:
        """Keep it down for a moment: its group is being restarted."""
        self._wish.held = True
        self._wish.cause = Cause(kind=CauseKind.GROUP)
        self._wish.grace = None
        self._state.bell.ring()

    def release(self) -> None:
        """Let it run again, with its group."""
        self._wish.held = False
        again = self.status.state is State.COMPLETED and self.spec.rerun
        if self._wish.up and (again or self.status.state is State.SKIPPED):
            self._wish.anew = True
        self._state.bell.ring()

    def condemn(self, why: str) -> None:
        """Let it fail, because its group has."""
        self._wish.held = False
        self._wish.condemned = why
        self._state.bell.ring()

    def pause(self, *, on: bool) -> None:
        """Tell it to take nothing new, or to go on; a new run is told as well."""
        self._wish.paused = on
        if self._runs.current is not None and self.status.state in SERVING:
            self._runs.current.run.pause(on=on)
        self._state.publish(paused=on)

    def signal(self, number: int) -> bool:
        """Send a signal to its process; whether there is one."""
        current = self._runs.current
        return current is not None and current.run.signal(number)

    def hurry(self) -> None:
        """Skip the grace, or what is left of it."""
        self._wish.grace = 0.0
        self._runs.hurry()

    def destroy(self) -> None:
        """Kill it this instant and do not wait: for a supervisor that is about to end itself."""
        self._runs.destroy()

    def close(self) -> None:
        """Let :meth:`run` return as soon as nothing runs."""
        self._wish.closing = True
        self._wish.final = self._wish.final or "it has ended"
        self._wish.held = False
        self._state.bell.ring()

    def remove(self) -> None:
        """Close it and take it off the board, now that nothing of it runs."""
        self.close()
        self._state.remove()

    def give_up(self, why: str) -> None:
        """Call it FAILED: its owner has ended because of a bug, and others wait for it."""
        self._state.publish(state=State.FAILED, fatal=True, pid=None, detail=why)

    # ------------------------------------------------------------ what may be asked about it

    @property
    def spec(self) -> ServiceSpec:
        """Its service; the newest definition, which its run may not have."""
        return self._state.spec

    @property
    def status(self) -> Status:
        """What it is doing now."""
        return self._state.status

    @property
    def stuck(self) -> bool:
        """Whether a task of it still runs although it was cancelled long ago."""
        return self._runs.stuck

    @property
    def pauses(self) -> bool:
        """Whether it can pause."""
        return self._state.kind.pauses is not None

    @property
    def env_digest(self) -> str | None:
        """The digest of the environment files of its current run; None without a run."""
        return None if self._runs.current is None else self._runs.current.env_digest

    def lines(self) -> tuple[Line, ...]:
        """Return the lines that are still kept."""
        return self._state.source.tail()

    def keep_lines(self, number: int) -> None:
        """Change how many lines are kept."""
        self._state.source.keep_at_most(number)
