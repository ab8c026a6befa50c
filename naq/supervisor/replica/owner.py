"""The owner of one replica: the only task that ever starts, stops or judges it.

It is a loop over the table of ``model/lifecycle.py``. To each state belongs one activity, which
waits for what can happen there and returns it as an event; the table says which state comes next.

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
from naq.supervisor.replica.looks import DependencyLook, Looks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.supervisor.model.lifecycle import Decision
    from naq.supervisor.replica.looks import Happening, Look
    from naq.supervisor.replica.runs import Runs
    from naq.supervisor.replica.state import ReplicaState

__all__ = ["Owner"]

# A stop that takes longer than this is worth a line, seconds.
_SLOW_STOP = 1.0
# How long a program may take to say where it hangs after SIGABRT, seconds.
_ABORT_WAIT = 5.0

# What a replica says of itself in the state before is still true in these.
_KEEPS_DETAIL = RUNNING | {State.SKIPPED, State.FAILED}

# What STOPPING comes out with, by what led there.
_COMES_OUT = {
    Event.STOP: Event.GONE,
    Event.RECYCLE: Event.GONE_AGAIN,
    Event.FAULT: Event.GONE_FAULT,
}


class Owner:
    """Runs a replica. What others may want of it is in ``replica.py``."""

    def __init__(self, state: ReplicaState, runs: Runs) -> None:
        self._state = state
        self._runs = runs
        self._looks = Looks(state, runs.running)
        self._cause = Cause(kind=CauseKind.OPERATOR)
        self._ended_at = 0.0
        self._retry_in = 0.0
        self._comes_out = Event.GONE

    async def run(self) -> None:
        """Own the replica until it is closed."""
        state = self._state
        async with self._runs.open():
            while not (state.wish.closing and state.status.state in PARKED):
                event = await self._activities[state.status.state](self)
                if event is not None:
                    self._move(event)

    # ------------------------------------------------------------ one activity per state

    async def _park(self) -> Event | None:
        state, wish = self._state, self._state.wish
        # Only DOWN is left by wanting it up: the other states wait for somebody to ask again.
        down = state.status.state is State.DOWN

        def look() -> bool | None:
            return wish.closing or (wish.wanted and (down or wish.anew)) or None

        await state.bell.until(look)
        state.begin_anew()
        return None if wish.closing else Event.UP

    async def _await_dependencies(self) -> Event:
        state = self._state
        dependencies = DependencyLook(state)
        event = None
        with state.host.board.ringing(state.bell, dependencies.services):
            while event is None:
                looks = (self._looks.unwanted, dependencies)
                event = await self._first(*looks, until=dependencies.until)
        if event is Event.UNMET:
            state.say(announce.skipped(state.status.detail))
            state.wish.settle(state.status.detail)
        delay = state.spec.start_delay * (state.status.replica - 1)
        if event is Event.MET and delay and state.status.runs == 0:
            until = trio.current_time() + delay
            event = await self._first(self._looks.unwanted, until=until) or Event.MET
        if event is Event.MET:
            state.publish(detail="")
        return event

    async def _start(self) -> Event:
        state, looks = self._state, self._looks
        timeout = state.spec.start_timeout
        until = trio.current_time() + timeout
        state.begin_anew()
        try:
            run = self._runs.begin()
        except Exception as exc:  # noqa: BLE001 - a kind is foreign code; its failure is the replica's
            self._note(Cause(kind=CauseKind.SPAWN_ERROR, message=reason(exc)))
            return Event.ENDED
        if run.waits:
            state.say(announce.started(state.status.pid))
        event = await self._first(
            looks.ended, looks.faulted, looks.unwanted, looks.outdated, looks.ready, until=until
        )
        if event is None:
            message = f"not ready within {announce.span(timeout)}"
            self._note(Cause(kind=CauseKind.START_TIMEOUT, message=message))
            return Event.FAULT
        return event

    async def _serve(self) -> Event | None:
        state, looks, run = self._state, self._looks, self._runs.running()
        is_ready = state.status.state is State.READY
        bonds = [edge.service for edge in state.spec.depends_on if edge.restart]
        with state.host.board.ringing(state.bell, bonds):
            event = await self._first(
                looks.ended,
                looks.faulted,
                looks.condemned,
                looks.unwanted,
                looks.outdated,
                looks.not_ready if is_ready else looks.ready_again,
                until=run.retire_at,
            )
        if event is None:
            self._note(Cause(kind=CauseKind.AGE))
            event = Event.RECYCLE
        if event is Event.RECYCLE and state.spec.rolling.order is Order.START_FIRST:
            return Event.SUCCEEDED if await self._runs.renew(self._cause) else None
        if event is Event.NOT_READY:
            state.publish(detail=run.why_unready)
        return event

    async def _stop(self) -> Event:
        state = self._state
        grace = state.spec.stop_timeout if state.wish.grace is None else state.wish.grace
        how = None if grace > 0 else signal.SIGKILL
        if self._cause.kind is CauseKind.WATCHDOG:
            abort = state.spec.watchdog is not None and state.spec.watchdog.abort
            how = signal.SIGABRT if abort else signal.SIGKILL
            grace = min(grace, _ABORT_WAIT)
        kill_at = trio.current_time() + grace
        state.say(announce.stopping(self._cause))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_if_slow, kill_at)
            ending = await self._runs.clear(self._cause, grace, how)
            nursery.cancel_scope.cancel()
        state.say(announce.stopped(ending))
        again = self._comes_out is Event.GONE_AGAIN
        return Event.GONE if again and not state.wish.wanted else self._comes_out

    async def _settle(self) -> Event:
        state = self._state
        ending = await self._runs.clear(self._cause, state.spec.stop_timeout)
        if ending is not Ending.QUIET:
            state.say(announce.stopped(ending))
        if state.wish.condemned:
            return self._give_in()
        if not state.wish.wanted:
            return Event.STOP
        before = state.history.failures
        decision = decide(state.spec, self._cause, state.history, self._ended_at)
        state.history = decision.history
        failures = len(decision.history.window)
        state.publish(failures=failures, detail=getattr(decision, "reason", ""))
        state.say(announce.ended(self._cause, decision, state.spec, failures))
        event = self._follow(decision)
        whole = isinstance(decision, RestartGroup)
        if whole or (isinstance(decision, Restart) and decision.history.failures > before):
            state.host.failed(state.status, self._retry_in, whole)
        return event

    async def _delay(self) -> Event:
        state, wish = self._state, self._state.wish

        def condemned() -> Happening | None:
            return (self._give_in(), None) if wish.condemned else None

        def asked() -> Happening | None:
            return (Event.UP, None) if wish.anew else None

        until = trio.current_time() + self._retry_in
        state.publish(retry_at=until)
        event = await self._first(condemned, self._looks.unwanted, asked, until=until)
        state.publish(retry_at=None)
        return event or Event.TIMER

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

    # ------------------------------------------------------------ from one state to the next

    async def _first(self, *looks: Look, until: float = math.inf) -> Event | None:
        """Return the event of the first look that finds one, its cause noted; None at ``until``."""
        found = await self._state.first(*looks, until=until)
        if found is None:
            return None
        event, cause = found
        if cause is not None:
            self._note(cause)
        return event

    def _note(self, cause: Cause) -> None:
        """Record why the run ends, before anything is done about it."""
        self._cause = cause
        self._ended_at = trio.current_time()

    async def _tell_if_slow(self, kill_at: float) -> None:
        await trio.sleep(_SLOW_STOP)
        if kill_at > trio.current_time():
            self._state.say(announce.still_stopping(kill_at - trio.current_time()))

    def _give_in(self) -> Event:
        """Fail because the group has."""
        state = self._state
        state.publish(detail=state.wish.condemned, fatal=state.spec.critical)
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
                self._state.publish(fatal=self._state.spec.critical)
                return Event.FAIL
            case Escalate():
                self._state.publish(fatal=True)
                return Event.FAIL

    def _move(self, event: Event) -> None:
        state = self._state
        before, after = state.status.state, transition(state.status.state, event)
        self._comes_out = _COMES_OUT.get(event, self._comes_out)
        if event in (Event.READY, Event.SUCCEEDED):
            self._note_ready()
        elif event is Event.NOT_READY:
            state.say(announce.unready(state.status.detail))
        if after is State.READY:
            state.wish.settle()
        elif after is State.EXITED or after in PARKED:
            state.wish.settle("" if after is State.COMPLETED else str(self._cause))
        again = before is State.UNREADY and event is Event.READY
        keep = after in _KEEPS_DETAIL and not again
        detail = state.status.detail if keep else ""
        state.publish(state=after, wanted=state.wish.up, detail=detail)

    def _note_ready(self) -> None:
        """Begin what begins with READY."""
        state, run = self._state, self._runs.running()
        now = trio.current_time()
        state.history = state.history.became_ready(now)
        run.started()
        if state.status.state is State.UNREADY:
            state.say(announce.ready_again())
        else:
            took = now - (state.status.started_at or 0.0)
            state.say(announce.ready(state.status.pid, took, waited=run.waits))
        if state.wish.paused:
            run.run.pause(on=True)
