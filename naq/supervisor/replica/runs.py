"""The runs of a replica: started, replaced by a successor, brought to their end."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from naq.supervisor.model.board import LastExit
from naq.supervisor.model.causes import Ending
from naq.supervisor.model.errors import reason
from naq.supervisor.model.lifecycle import SERVING, State
from naq.supervisor.replica import announce
from naq.supervisor.replica.incarnation import Incarnation
from naq.supervisor.replica.looks import bonds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from naq.supervisor.model.causes import Cause
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.replica.state import ReplicaState

__all__ = ["Runs"]

# How soon the age of a run counts again after a successor did not become ready, seconds.
_TRY_AGAIN = 60.0


class Runs:
    """The current run of a replica, and those that are ending.

    Attributes:
        current: the run, where there is one.
        stuck: its last run is a task that still runs, although it was cancelled long ago.
    """

    def __init__(self, state: ReplicaState) -> None:
        self.current: Incarnation | None = None
        self.stuck = False
        self._state = state
        self._nursery: trio.Nursery | None = None
        self._ending: set[Incarnation] = set()
        self._successor: Incarnation | None = None
        self._successor_limit = trio.CancelScope()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Allow runs to be started; at the end, nothing may be left of them."""
        async with trio.open_nursery() as self._nursery:
            try:
                yield
            finally:
                self.destroy()  # finds something only after a bug: then nothing must stay behind
            self._nursery.cancel_scope.cancel()

    def running(self) -> Incarnation:
        """Return the current run, where there must be one."""
        assert self.current is not None, "nothing runs in this state"
        return self.current

    # ------------------------------------------------------------ begin and end

    def begin(self) -> Incarnation:
        """Start a run as the current one.

        Raises:
            OSError, NaqException: it cannot be started. A kind is foreign code and may raise
                anything else.
        """
        state = self._state
        now = trio.current_time()
        state.publish(runs=state.status.runs + 1, started_at=now)
        state.history = state.history.spawned(now)
        self.current = self._spawn()
        state.publish(pid=self.current.run.pid)
        return self.current

    async def renew(self, cause: Cause) -> bool:
        """Start a successor of the current run, which takes over once it is ready.

        Returns:
            Whether it has; if not, the current run goes on, or has ended, or is not wanted.
        """
        state, old = self._state, self.running()

        def free() -> bool | None:
            return not self._ending or old.ended is not None or not state.wish.wanted or None

        state.say(announce.renewing(cause))
        await state.bell.until(free)
        if old.ended or not state.wish.wanted:
            return False
        state.begin_anew()
        # If the successor fails, what called for it must not call again at once.
        old.outgrown, old.retire_at = None, trio.current_time() + _TRY_AGAIN
        old.bonds = bonds(state.spec, state.host.board)
        state.publish(runs=state.status.runs + 1)
        began = trio.current_time()
        if problem := await self._succeed(old):
            state.say(announce.not_renewed(problem))
            state.wish.settle(problem)
            return False
        new = self.running()
        state.publish(pid=new.run.pid, started_at=began)
        state.history = state.history.spawned(began)
        self._ending.add(old)
        self._tasks.start_soon(self._retire, old, cause)
        return True

    async def clear(self, cause: Cause, grace: float, signal: int | None = None) -> Ending:
        """Bring every run to its end.

        Args:
            cause: why the current one ends.
            grace: seconds until it is killed.
            signal: how to ask a process; None: as its service says.
        """
        state = self._state
        ending, ended = Ending.QUIET, None
        if (current := self.current) is not None:
            ending = await self._see_out(current, grace, signal)
            self.stuck = ending is Ending.STUCK and current.run.pid is None
            ended = None if ending is Ending.STUCK else current.ended
            self.current = None
        await state.bell.until(lambda: not self._ending or None)
        if state.status.started_at is not None:
            state.publish(pid=None, started_at=None, last_exit=_last_exit(cause, ended))
        return ending

    # ------------------------------------------------------------ what may change meanwhile

    def take_over(self, before: ServiceSpec) -> None:
        """Let the current run have what can change while it runs.

        Args:
            before: the service as it was.
        """
        spec = self._state.spec
        if self.current is None:
            return
        if (before.ready, before.live, before.limits) != (spec.ready, spec.live, spec.limits):
            self.current.take_over(spec)
        if self._state.status.state in SERVING:
            self._state.alarm.deadline = self.current.retire_at

    def hasten(self, until: float) -> None:
        """Let what is ending end by ``until``, monotonic seconds."""
        for ending in self._ending:
            ending.run.hasten(until)

    def hurry(self) -> None:
        """Let what is ending end now."""
        for ending in self._ending:
            ending.run.hurry()

    def destroy(self) -> None:
        """Kill everything and do not wait."""
        for run in (self.current, self._successor, *self._ending):
            if run is not None:
                run.run.destroy()

    # ------------------------------------------------------------ one run

    @property
    def _tasks(self) -> trio.Nursery:
        assert self._nursery is not None, "runs are started inside of open()"
        return self._nursery

    def _spawn(self) -> Incarnation:
        return Incarnation(self._state, nursery=self._tasks, on_extend=self._extend)

    async def _succeed(self, old: Incarnation) -> str:
        """Start a run and make it the current one once it is ready; return what is in the way."""
        try:
            new = self._successor = self._spawn()
        except Exception as exc:  # noqa: BLE001 - a kind is foreign code; its failure is the run's
            return reason(exc)
        try:
            if problem := await self._until_ready(new, old):
                await self._see_out(new, self._state.spec.stop_timeout)
                return problem
            self.current = new
        finally:
            self._successor = None
        return ""

    async def _until_ready(self, new: Incarnation, old: Incarnation) -> str:
        """Wait until a successor is ready; return what is in the way."""

        def look() -> str | None:
            if bad := new.ended or new.failure:
                return str(bad)
            if old.ended or not self._state.wish.wanted:
                return "the old one has ended"
            return "" if new.is_ready or not new.waits else None

        timeout = self._state.spec.start_timeout
        with trio.move_on_after(timeout) as self._successor_limit:
            return await self._state.bell.until(look)
        return f"not ready within {announce.span(timeout)}"

    async def _retire(self, old: Incarnation, cause: Cause) -> None:
        """Let a run that has been replaced come to its end."""
        state = self._state
        ending = await self._see_out(old, state.spec.stop_timeout)
        state.publish(last_exit=_last_exit(cause, old.ended))
        state.say(announce.retired(old.run.pid, ending))
        state.bell.ring()

    async def _see_out(self, run: Incarnation, grace: float, signal: int | None = None) -> Ending:
        """Bring a run to its end and let go of it."""
        self._ending.add(run)
        try:
            ending = await run.run.finish(grace, signal=signal)
            if ending is not Ending.STUCK:
                run.ended = await run.run.wait()
            if note := await run.close():
                state = self._state
                state.host.hub.say(f"{state.status.name}: {note}", level="warning")
        finally:
            self._ending.discard(run)
        return ending

    def _extend(self, run: Incarnation, seconds: float) -> None:
        """Give a run more time to start or to stop, because it asked for it."""
        until = trio.current_time() + seconds
        state = self._state
        if run in self._ending:
            run.run.extend(min(until, state.wish.limit))
        elif run is self._successor:
            limit = self._successor_limit
            limit.deadline = max(limit.deadline, until)
        elif state.status.state is State.STARTING:
            state.alarm.deadline = max(state.alarm.deadline, until)


def _last_exit(cause: Cause, ended: Cause | None) -> LastExit:
    code, signal = (None, None) if ended is None else (ended.code, ended.signal)
    return LastExit(cause, code, signal, time.time())
