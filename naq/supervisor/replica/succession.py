"""The runs of a replica: begun, replaced by another one, brought to their end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from naq.supervisor.model.board import LastExit
from naq.supervisor.model.causes import Ending
from naq.supervisor.model.errors import reason
from naq.supervisor.model.lifecycle import Event, History, State
from naq.supervisor.replica import announce
from naq.supervisor.replica.incarnation import Incarnation
from naq.supervisor.replica.state import Observed

if TYPE_CHECKING:
    from naq.supervisor.kinds.kind import Kind
    from naq.supervisor.model.causes import Cause
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.replica.host import Host

__all__ = ["Tenure"]

# When the new run was not ready, the old one is not replaced for its age before this, seconds.
_TRY_AGAIN = 60.0


class Tenure(Observed):
    """The current run of a replica, and those that end while another one has taken over."""

    _nursery: trio.Nursery

    def __init__(
        self, spec: ServiceSpec, index: int, *, kind: Kind, host: Host, wanted: bool
    ) -> None:
        super().__init__(spec, index, kind=kind, host=host, wanted=wanted)
        self._alarm = trio.CancelScope()
        self._retiring: set[Incarnation] = set()

    def _begin(self) -> Incarnation:
        """Start a run.

        Raises:
            OSError, NaqException: it cannot be started. Of a kind, which is foreign code: anything.
        """
        self._note_dependencies()
        self._source.run = self.status.runs
        return Incarnation(
            self.spec,
            self.status.replica,
            self.status.runs,
            kind=self._kind,
            host=self._host,
            source=self._source,
            nursery=self._nursery,
            changed=self._bell.ring,
            on_status=lambda text: self._publish(detail=text),
            on_extend=self._extend,
        )

    async def _succeed(self) -> Event | None:
        """Start a new run beside the old one, and let it take over when it is ready."""
        cause, old = self._cause, self._running()
        self._say(announce.renewing(cause))
        await self._bell.until(
            lambda: None if self._retiring else True, self._unwanted, self._ended
        )
        if old.ended or not self._wish.wanted:
            return None
        self._accept_turn()
        # Should it fail, the old run goes on, and these must not make us try again at once.
        old.outgrown, old.retire_at = None, trio.current_time() + _TRY_AGAIN
        self._publish(runs=self.status.runs + 1)
        began = trio.current_time()
        try:
            new = self._begin()
        except Exception as exc:  # noqa: BLE001 - as in _start
            self._abandon(reason(exc))
            return None
        problem = await self._until_ready(new, old)
        if problem is not None:
            await self._see_out(new, self.spec.stop_timeout)
            self._abandon(problem)
            return None
        self.current = new
        self._publish(pid=new.run.pid, started_at=began)
        self._history = self._history.spawned(began)
        self._retiring.add(old)
        self._nursery.start_soon(self._retire, old, cause)
        return Event.SUCCEEDED

    async def _until_ready(self, new: Incarnation, old: Incarnation) -> str | None:
        """Wait for a new run to be ready; return what is in the way."""

        def look() -> tuple[str | None] | None:
            if new.ended or new.failure:
                return (str(new.ended or new.failure),)
            if old.ended or not self._wish.wanted:
                return ("the old one has ended",)
            return (None,) if new.is_ready or not new.waits else None

        timeout = self.spec.start_timeout
        with trio.CancelScope(deadline=trio.current_time() + timeout) as self._alarm:
            return (await self._bell.until(look))[0]
        return f"not ready within {announce.span(timeout)}"

    def _abandon(self, problem: str) -> None:
        self._say(announce.not_renewed(problem))
        self._wish.settle(problem)

    async def _retire(self, old: Incarnation, cause: Cause) -> None:
        """Let a run that has been replaced come to its end."""
        ending = await self._see_out(old, self.spec.stop_timeout)
        status = old.ended
        code, number = (status.code, status.signal) if status else (None, None)
        self._publish(last_exit=LastExit(cause, code, number, time.time()))
        self._say(announce.retired(old.run.pid, ending))
        self._retiring.discard(old)
        self._bell.ring()

    async def _see_out(self, run: Incarnation, grace: float, how: int | None = None) -> Ending:
        """End what is left of a run and let go of it."""
        ending = await run.run.finish(grace, signal=how)
        if ending is not Ending.STUCK:
            run.ended = await run.run.wait()
        if note := await run.close():
            self._host.hub.say(f"{self.status.name}: {note}", level="warning")
        return ending

    async def _clear(self, grace: float, how: int | None = None) -> Ending:
        """End what is left of all runs."""
        current = self.current
        code = number = None
        ending = Ending.QUIET
        if current is not None:
            ending = await self._see_out(current, grace, how)
            self.stuck = ending is Ending.STUCK and current.run.pid is None
            if ending is not Ending.STUCK and current.ended is not None:
                code, number = current.ended.code, current.ended.signal
            self.current = None
        await self._bell.until(lambda: None if self._retiring else True)
        if self.status.started_at is not None:
            last = LastExit(self._cause, code, number, time.time())
            self._publish(pid=None, started_at=None, last_exit=last)
        return ending

    def _destroy(self) -> None:
        for run in (*self._retiring, *([self.current] if self.current else [])):
            run.run.destroy()

    def _extend(self, seconds: float) -> None:
        """Give a run more time to start or to stop, because it asked for it."""
        until = trio.current_time() + seconds
        if self.status.state is State.STARTING:
            self._alarm.deadline = max(self._alarm.deadline, until)
        elif self.status.state is State.STOPPING and self.current is not None:
            self.current.run.extend(min(until, self._wish.limit))

    def _accept_turn(self) -> None:
        """Take note of a request to begin anew: what was before does not count any more."""
        if self._turn != self._wish.turn:
            self._turn = self._wish.turn
            self._history = History()
            self._publish(failures=0)
