"""The owner of one replica: the only task that ever starts, stops or judges it.

It is a loop over the table of ``lifecycle.py``. To each state belongs one activity, which waits for
what can happen there and returns it as an event; the table says which state comes next.

Commands are wishes that are set from outside and looked at by the activities, not messages in a
queue: a wish cannot get lost between an exit and a stop that come in the same instant, and ten of
them cost no more than one.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import trio

from naq.supervisor import announce
from naq.supervisor.board import LastExit, Status
from naq.supervisor.causes import Cause, CauseKind, Ending
from naq.supervisor.dependencies import Unmet
from naq.supervisor.gate import wait_for_dependencies
from naq.supervisor.incarnation import Incarnation
from naq.supervisor.lifecycle import (
    PARKED,
    RUNNING,
    Complete,
    Escalate,
    Event,
    Fail,
    History,
    Restart,
    State,
    decide,
    transition,
)
from naq.supervisor.tasks import reason
from naq.supervisor.wish import Wish

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.supervisor.announce import Said
    from naq.supervisor.host import Host
    from naq.supervisor.kinds import Kind
    from naq.supervisor.lifecycle import Decision
    from naq.supervisor.spec import ServiceSpec

    # What ended a wait, and the cause where it leads to the end of a run.
    Happening = tuple[Event, Cause | None]

__all__ = ["Replica"]

# A stop that takes longer than this is worth a line, seconds.
_SLOW_STOP = 1.0

_CLEARING = frozenset({State.STOPPING, State.EXITED})

_KEEPS_DETAIL = RUNNING | {State.SKIPPED, State.FAILED}

# What STOPPING comes out of with, by what led there.
_COMES_OUT = {
    Event.STOP: Event.GONE,
    Event.RECYCLE: Event.GONE_AGAIN,
    Event.FAULT: Event.GONE_FAULT,
}


class Replica:
    """One replica of a service. :meth:`run` owns it; the methods before say what is wanted.

    Attributes:
        status: what is the case now; also on the board.
        stuck: a task of it does not let itself be cancelled.
    """

    def __init__(self, spec: ServiceSpec, index: int, *, kind: Kind, host: Host) -> None:
        many = spec.replicas > 1
        name = f"{spec.name}.{index}" if many else spec.name
        self.spec = spec
        self.status = Status(service=spec.name, replica=index, name=name, oneshot=spec.oneshot)
        self.stuck = False
        self._kind = kind
        self._host = host
        self._source = host.hub.source(spec.name, index if many else 0)
        self._wish = Wish()
        self._history = History()
        self._current: Incarnation | None = None
        self._cause = Cause(kind=CauseKind.OPERATOR)
        self._ended_at = 0.0
        self._retry_in = 0.0
        self._comes_out = Event.GONE
        host.board.publish(self.status)

    def stop(self, cause: Cause, *, grace: float) -> None:
        """Want it down.

        Args:
            cause: why, for the record.
            grace: seconds until KILL.
        """
        self._wish.up = False
        self._wish.cause = cause
        self._wish.grace = grace
        self._wish.say()

    def hurry(self) -> None:
        """Skip what is left of the grace, if it is ending or already gone."""
        self._wish.grace = 0.0
        if self._current is not None and self.status.state in _CLEARING:
            self._current.run.hurry()

    def close(self) -> None:
        """Let :meth:`run` return as soon as nothing runs."""
        self._wish.closing = True
        self._wish.say()

    def destroy(self) -> None:
        """Kill it this instant and do not wait: for a supervisor that is about to end itself."""
        if self._current is not None:
            self._current.run.destroy()

    def give_up(self, why: str) -> None:
        """Take it out of the table: its owner has ended with a bug, and others wait for it."""
        self._publish(state=State.FAILED, fatal=True, pid=None, detail=why)

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
                self.destroy()  # does something only on a bug: then nothing must stay behind
            nursery.cancel_scope.cancel()

    # ------------------------------------------------------------ one activity per state

    async def _park(self) -> Event | None:
        # Only DOWN is left by wanting it up: the other states wait for somebody to ask again.
        wish = self._wish
        down = self.status.state is State.DOWN
        await wish.until(lambda: wish.closing or (wish.up and down))
        return None if wish.closing else Event.UP

    async def _await_dependencies(self) -> Event:
        return await self._first(self._dependencies, self._unwanted)

    async def _start(self) -> Event:
        now = trio.current_time()
        number = self.status.runs + 1
        self._publish(runs=number, started_at=now)
        self._history = self._history.spawned(now)
        try:
            self._current = Incarnation(
                self.spec,
                self.status.replica,
                number,
                kind=self._kind,
                host=self._host,
                source=self._source,
                nursery=self._nursery,
                on_status=lambda text: self._publish(detail=text),
            )
        except Exception as exc:  # noqa: BLE001 - a kind is foreign code; its failure is the replica's
            self._note(Cause(kind=CauseKind.SPAWN_ERROR, message=reason(exc)))
            return Event.ENDED
        self._publish(pid=self._current.run.pid)
        if not self._current.waits:
            return Event.READY
        self._say(announce.started(self.status.pid))
        with trio.move_on_after(self.spec.start_timeout):
            return await self._first(self._ready, self._ended, self._faulted, self._unwanted)
        message = f"not ready within {announce.span(self.spec.start_timeout)}"
        self._note(Cause(kind=CauseKind.START_TIMEOUT, message=message))
        return Event.FAULT

    async def _serve(self) -> Event:
        return await self._first(self._ended, self._faulted, self._unwanted)

    async def _stop(self) -> Event:
        grace = self.spec.stop_timeout if self._wish.grace is None else self._wish.grace
        kill_at = trio.current_time() + grace
        self._say(announce.stopping(self._cause))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_if_slow, kill_at)
            ending = await self._clear(grace)
            nursery.cancel_scope.cancel()
        self._say(announce.stopped(ending))
        return self._comes_out

    async def _settle(self) -> Event:
        ending = await self._clear(self.spec.stop_timeout)
        if ending is not Ending.QUIET:
            self._say(announce.stopped(ending))
        if not self._wish.up:
            return Event.STOP
        decision = decide(self.spec, self._cause, self._history, self._ended_at)
        self._history = decision.history
        failures = len(decision.history.window)
        self._publish(failures=failures, detail=getattr(decision, "reason", ""))
        self._say(announce.ended(self._cause, decision, self.spec, failures))
        return self._follow(decision)

    async def _delay(self) -> Event:
        with trio.move_on_after(self._retry_in):
            return await self._first(self._unwanted)
        return Event.TIMER

    _activities: ClassVar[dict[State, Callable[[Replica], Awaitable[Event | None]]]] = {
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

    # ------------------------------------------------------------ what can happen

    async def _dependencies(self) -> Happening:
        verdict = await wait_for_dependencies(
            self.spec.depends_on, self._host.board, on_wait=lambda text: self._publish(detail=text)
        )
        if isinstance(verdict, Unmet):
            self._say(announce.skipped(verdict.reason))
            self._publish(detail=verdict.reason)
            return Event.UNMET, None
        if self.status.runs == 0:
            await trio.sleep(self.spec.start_delay * (self.status.replica - 1))
        self._publish(detail="")
        return Event.MET, None

    async def _ready(self) -> Happening:
        current = self._running()
        await current.is_ready.wait()
        return Event.READY, None

    async def _ended(self) -> Happening:
        return Event.ENDED, await self._running().run.wait()

    async def _faulted(self) -> Happening:
        current = self._running()
        await current.has_failed.wait()
        return Event.FAULT, current.fault

    async def _unwanted(self) -> Happening:
        await self._wish.until(lambda: not self._wish.up)
        return Event.STOP, self._wish.cause

    async def _first(self, *waits: Callable[[], Awaitable[Happening]]) -> Event:
        """Return the event of the wait that ends first, with its cause noted; drop the others."""
        found: list[Happening] = []

        async def run(wait: Callable[[], Awaitable[Happening]]) -> None:
            found.append(await wait())
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for wait in waits:
                nursery.start_soon(run, wait)
        event, cause = found[0]
        if cause is not None:
            self._note(cause)
        return event

    # ------------------------------------------------------------ helpers

    async def _tell_if_slow(self, kill_at: float) -> None:
        await trio.sleep(_SLOW_STOP)
        if kill_at > trio.current_time():
            self._say(announce.still_stopping(kill_at - trio.current_time()))

    def _running(self) -> Incarnation:
        assert self._current is not None, "nothing runs in this state"
        return self._current

    def _note(self, cause: Cause) -> None:
        """Record why the run ends, before anything is done about it."""
        self._cause = cause
        self._ended_at = trio.current_time()

    async def _clear(self, grace: float) -> Ending:
        """End what is left of the run and let go of it."""
        current = self._current
        code = number = None
        ending = Ending.QUIET
        if current is not None:
            ending = await current.run.finish(grace)
            self.stuck = ending is Ending.STUCK and current.run.pid is None
            if ending is not Ending.STUCK:
                status = await current.run.wait()
                code, number = status.code, status.signal
            if note := await current.close():
                self._host.hub.say(f"{self.status.name}: {note}", level="warning")
            self._current = None
        if self.status.started_at is not None:
            last = LastExit(self._cause, code, number, time.time())
            self._publish(pid=None, started_at=None, last_exit=last)
        return ending

    def _follow(self, decision: Decision) -> Event:
        """Turn a decision into the event that carries it out."""
        match decision:
            case Restart():
                self._retry_in = decision.delay
                return Event.DEGRADE if decision.degraded else Event.RETRY
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
        if event is Event.READY:
            now = trio.current_time()
            self._history = self._history.became_ready(now)
            took = now - (self.status.started_at or now)
            waited = self._running().waits
            self._say(announce.ready(self.status.pid, took, waited=waited))
        # What a state says of itself ends with it.
        detail = self.status.detail if state in _KEEPS_DETAIL else ""
        self._publish(state=state, wanted=self._wish.up, detail=detail)

    def _publish(self, **changes: Any) -> None:
        before, self.status = self.status, replace(self.status, **changes)
        self._host.board.publish(self.status)
        self._host.changed(before, self.status)

    def _say(self, said: Said) -> None:
        self._host.hub.say(f"{self.status.name} {said.text}", level=said.level)
