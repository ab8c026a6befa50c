"""The owner of one replica: the only task that ever starts, stops or judges it.

It is a loop over the table of ``lifecycle.py``. To each state belongs one activity, which waits for
what can happen there and returns it as an event; the table says which state comes next.

Commands are wishes that are set from outside and looked at by the activities, not messages in a
queue: a wish cannot get lost between an exit and a stop that come in the same instant, and ten of
them cost no more than one.
"""

from __future__ import annotations

import math
import signal
from typing import TYPE_CHECKING, ClassVar

import trio

from naq.supervisor.model.causes import Cause, CauseKind, Ending
from naq.supervisor.model.errors import reason
from naq.supervisor.model.lifecycle import (
    PARKED,
    RUNNING,
    Complete,
    Escalate,
    Event,
    Fail,
    Restart,
    RestartGroup,
    State,
    decide,
    transition,
)
from naq.supervisor.model.spec import Order
from naq.supervisor.replica import announce
from naq.supervisor.replica.succession import Tenure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.supervisor.kinds.kind import Kind
    from naq.supervisor.model.lifecycle import Decision
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.replica.host import Host
    from naq.supervisor.replica.state import Happening

__all__ = ["Owner"]

# A stop that takes longer than this is worth a line, seconds.
_SLOW_STOP = 1.0
# How long a program may take to say where it hangs after SIGABRT, seconds.
_ABORT_WAIT = 5.0

_KEEPS_DETAIL = RUNNING | {State.SKIPPED, State.FAILED}

# What STOPPING comes out of with, by what led there.
_COMES_OUT = {
    Event.STOP: Event.GONE,
    Event.RECYCLE: Event.GONE_AGAIN,
    Event.FAULT: Event.GONE_FAULT,
}


class Owner(Tenure):
    """Runs a replica. What others may want of it is in ``replica.py``."""

    def __init__(
        self, spec: ServiceSpec, index: int, *, kind: Kind, host: Host, wanted: bool
    ) -> None:
        super().__init__(spec, index, kind=kind, host=host, wanted=wanted)
        self._retry_in = 0.0
        self._comes_out = Event.GONE

    async def run(self) -> None:
        """Own the replica until it is closed."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                while not (self._wish.closing and self.status.state in PARKED):
                    event = await self._activities[self.status.state](self)
                    if event is not None:
                        self._move(event)
            finally:
                self._destroy()  # does something only on a bug: then nothing must stay behind
            nursery.cancel_scope.cancel()

    # ------------------------------------------------------------ one activity per state

    async def _park(self) -> Event | None:
        # Only DOWN is left by wanting it up: the other states wait for somebody to ask again.
        wish, down = self._wish, self.status.state is State.DOWN

        def look() -> bool | None:
            wanted = wish.wanted and (down or wish.turn != self._turn)
            return True if wish.closing or wanted else None

        await self._bell.until(look)
        self._accept_turn()
        return None if wish.closing else Event.UP

    async def _await_dependencies(self) -> Event:
        self._began_waiting = trio.current_time()
        edges = self.spec.depends_on
        with self._host.board.ringing(self._bell, [edge.service for edge in edges]):
            event = None
            while event is None:
                elapsed = trio.current_time() - self._began_waiting
                timeouts = [e.timeout for e in edges if e.timeout and e.timeout > elapsed]
                until = self._began_waiting + min(timeouts, default=math.inf)
                event = await self._first(self._unwanted, self._dependencies, until=until)
        if event is Event.UNMET:
            self._say(announce.skipped(self.status.detail))
            self._wish.settle(self.status.detail)
        if event is Event.MET and self.status.runs == 0:
            delay = self.spec.start_delay * (self.status.replica - 1)
            if delay:
                until = trio.current_time() + delay
                event = await self._first(self._unwanted, until=until) or Event.MET
        if event is Event.MET:
            self._publish(detail="")
        return event

    async def _start(self) -> Event:
        now = trio.current_time()
        self._accept_turn()
        self._publish(runs=self.status.runs + 1, started_at=now)
        self._history = self._history.spawned(now)
        try:
            self.current = self._begin()
        except Exception as exc:  # noqa: BLE001 - a kind is foreign code; its failure is the replica's
            self._note(Cause(kind=CauseKind.SPAWN_ERROR, message=reason(exc)))
            return Event.ENDED
        self._publish(pid=self.current.run.pid)
        if self.current.waits:
            self._say(announce.started(self.status.pid))
        looks = (self._ended, self._faulted, self._unwanted, self._outdated, self._ready)
        if event := await self._first(*looks, until=now + self.spec.start_timeout):
            return event
        message = f"not ready within {announce.span(self.spec.start_timeout)}"
        self._note(Cause(kind=CauseKind.START_TIMEOUT, message=message))
        return Event.FAULT

    async def _serve(self) -> Event | None:
        looks = [self._ended, self._faulted, self._condemned, self._unwanted, self._outdated]
        ready = self.status.state is State.READY
        looks.append(self._readiness_lost if ready else self._readiness_back)
        bonds = [edge.service for edge in self.spec.depends_on if edge.restart]
        with self._host.board.ringing(self._bell, bonds):
            event = await self._first(*looks, until=self._running().retire_at)
        if event is None:
            self._note(Cause(kind=CauseKind.AGE))
            event = Event.RECYCLE
        if event is Event.RECYCLE and self.spec.rolling.order is Order.START_FIRST:
            return await self._succeed()
        if event is Event.NOT_READY:
            self._publish(detail=self._running().why_unready)
        return event

    async def _stop(self) -> Event:
        grace = self.spec.stop_timeout if self._wish.grace is None else self._wish.grace
        how = None if grace > 0 else signal.SIGKILL
        if self._cause.kind is CauseKind.WATCHDOG:
            abort = self.spec.watchdog is not None and self.spec.watchdog.abort
            how = signal.SIGABRT if abort else signal.SIGKILL
            grace = min(grace, _ABORT_WAIT)
        kill_at = trio.current_time() + grace
        self._say(announce.stopping(self._cause))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_if_slow, kill_at)
            ending = await self._clear(grace, how)
            nursery.cancel_scope.cancel()
        self._say(announce.stopped(ending))
        again = self._comes_out is Event.GONE_AGAIN
        return Event.GONE if again and not self._wish.wanted else self._comes_out

    async def _settle(self) -> Event:
        ending = await self._clear(self.spec.stop_timeout)
        if ending is not Ending.QUIET:
            self._say(announce.stopped(ending))
        if self._wish.condemned:
            return self._give_in()
        if not self._wish.wanted:
            return Event.STOP
        before = self._history.failures
        decision = decide(self.spec, self._cause, self._history, self._ended_at)
        self._history = decision.history
        failures = len(decision.history.window)
        self._publish(failures=failures, detail=getattr(decision, "reason", ""))
        self._say(announce.ended(self._cause, decision, self.spec, failures))
        event = self._follow(decision)
        whole = isinstance(decision, RestartGroup)
        if whole or (isinstance(decision, Restart) and decision.history.failures > before):
            self._host.failed(self.status, self._retry_in, whole)
        return event

    async def _delay(self) -> Event:
        def condemned() -> Happening | None:
            return (self._give_in(), None) if self._wish.condemned else None

        def asked() -> Happening | None:
            return (Event.UP, None) if self._wish.turn != self._turn else None

        until = trio.current_time() + self._retry_in
        self._publish(retry_at=until)
        event = await self._first(condemned, self._unwanted, asked, until=until) or Event.TIMER
        self._publish(retry_at=None)
        return event

    _activities: ClassVar[dict[State, Callable[[Owner], Awaitable[Event | None]]]] = {
        State.DOWN: _park,
        State.COMPLETED: _park,
        State.FAILED: _park,
        State.SKIPPED: _park,
        State.WAITING: _await_dependencies,
        State.STARTING: _start,
        State.READY: _serve,
        State.UNREADY: _serve,
        State.STOPPING: _stop,
        State.EXITED: _settle,
        State.BACKOFF: _delay,
        State.CRASHLOOP: _delay,
    }

    # ------------------------------------------------------------ helpers

    async def _first(
        self, *looks: Callable[[], Happening | None], until: float = math.inf
    ) -> Event | None:
        """Return the event of the first look that finds one, its cause noted; None at ``until``."""
        with trio.CancelScope(deadline=until) as self._alarm:
            event, cause = await self._bell.until(*looks)
            if cause is not None:
                self._note(cause)
            return event
        return None

    async def _tell_if_slow(self, kill_at: float) -> None:
        await trio.sleep(_SLOW_STOP)
        if kill_at > trio.current_time():
            self._say(announce.still_stopping(kill_at - trio.current_time()))

    def _give_in(self) -> Event:
        """Fail because the group has."""
        self._publish(detail=self._wish.condemned, fatal=self.spec.critical)
        return Event.FAIL

    def _follow(self, decision: Decision) -> Event:
        """Turn a decision into the event that carries it out."""
        match decision:
            case Restart() | RestartGroup():
                self._retry_in = decision.delay
                return Event.DEGRADE if getattr(decision, "degraded", False) else Event.RETRY
            case Complete():
                return Event.COMPLETE
            case Fail():
                self._publish(fatal=self.spec.critical)
                return Event.FAIL
            case Escalate():
                self._publish(fatal=True)
                return Event.FAIL

    def _move(self, event: Event) -> None:
        state = transition(self.status.state, event)
        self._comes_out = _COMES_OUT.get(event, self._comes_out)
        if event in (Event.READY, Event.SUCCEEDED):
            self._history = self._history.became_ready(trio.current_time())
            self._running().started()
            self._say_ready()
            if self._wish.paused:
                self._running().run.pause(on=True)
        elif event is Event.NOT_READY:
            self._say(announce.unready(self.status.detail))
        if state is State.READY:
            self._wish.settle()
        elif state in (State.EXITED, *PARKED):
            done = state is State.COMPLETED
            self._wish.settle("" if done else str(self._cause))
        # What a state says of itself ends with it.
        keep = state in _KEEPS_DETAIL and not (
            event is Event.READY and self.status.state is State.UNREADY
        )
        detail = self.status.detail if keep else ""
        self._publish(state=state, wanted=self._wish.up, detail=detail)
