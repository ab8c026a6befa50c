"""The life of one replica: its states, what moves it, and whether it starts again.

Everything that decides about a replica is in this file, as values and one table. There is no I/O,
no clock and no event loop: ``replica/owner.py`` waits, kills and spawns, and asks here what to do.


Two layers
==========

As in systemd and Kubernetes, what is wanted (up or down) is kept apart from what is actually going
on. The state below is the latter, one per replica. A wish becomes an event only when the owner of
the replica acts on it; so a wish to stop cannot race with an exit, it is looked at after it.


States
======

Nothing runs in these, and they last until somebody wants something (``PARKED``)::

    DOWN        stopped on request, or not started yet
    COMPLETED   ended well, and not to be started again
    FAILED      ended badly, and not to be started again
    SKIPPED     never started: a dependency cannot be met any more

Nothing runs in these, and they end by themselves::

    WAITING     for dependencies
    BACKOFF     for the delay before the next start
    CRASHLOOP   the same, at the longest delay: the restart budget is spent (on_exhausted = degrade)
    EXITED      what is left of the last run is being cleared away, then decide() says what next

A process or task exists in these (``RUNNING``)::

    STARTING    spawned, not ready
    READY
    UNREADY     was ready; its readiness probe fails. Readiness never kills.
    STOPPING    asked to end; after the grace it is killed, and this state stays until nothing of
                it is left


Events
======

``ENDED`` is an end nobody asked for. All others that lead to an end go through ``STOPPING``, and
the one that led there says where it comes out: ``STOP`` ends in DOWN (``GONE``), ``RECYCLE`` in
another start (``GONE_AGAIN``), ``FAULT`` (start timeout, failed liveness, missed watchdog) in a
decision like any crash (``GONE_FAULT``). ``SUCCEEDED`` is another way to begin afresh: the new run
is ready beside the old one and takes its place (``start-first``). The cause is recorded before
acting, never guessed from an exit code: a program that is stopped because its liveness probe failed
and one that is stopped by an operator both die of SIGTERM.

An event that the table does not have for a state is an error, not a thing to ignore: it means
that the owner of the replica does not know what it is doing.


Restarts
========

:func:`decide` takes what happened and the history, and says what next. Only ends that nobody
asked for get there. Of these, failures are counted; so is a clean end of a run that was shorter
than a second, since under ``always`` a program that ends at once with 0 is a crash loop with a
friendly face. Counted ends make the delay grow and spend the budget: more than ``max_restarts``
of them within ``within`` seconds is a crash loop. A run that was READY for ``reset_after`` clears
both. Time is the caller's monotonic clock throughout.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from naq.base.backoff import exponential, jittered
from naq.supervisor.model.causes import CauseKind
from naq.supervisor.model.spec import OnExhausted, Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.supervisor.model.causes import Cause
    from naq.supervisor.model.spec import ServiceSpec

__all__ = [
    "CLEARING",
    "DELAYED",
    "ENDED",
    "FINISHED",
    "PARKED",
    "RUNNING",
    "SERVING",
    "TABLE",
    "UNDECIDED",
    "Complete",
    "Decision",
    "Escalate",
    "Event",
    "Fail",
    "History",
    "LifecycleError",
    "Restart",
    "RestartGroup",
    "State",
    "decide",
    "transition",
]


class State(StrEnum):
    """What a replica is doing."""

    DOWN = "DOWN"
    WAITING = "WAITING"
    STARTING = "STARTING"
    READY = "READY"
    UNREADY = "UNREADY"
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    BACKOFF = "BACKOFF"
    CRASHLOOP = "CRASHLOOP"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


#: A process or task of it exists.
RUNNING = frozenset({State.STARTING, State.READY, State.UNREADY, State.STOPPING})
#: Its current run has been ready, and is not being stopped.
SERVING = frozenset({State.READY, State.UNREADY})
#: What is left of a run is being brought to its end.
CLEARING = frozenset({State.STOPPING, State.EXITED})
#: It waits for the next try after a failure.
DELAYED = frozenset({State.BACKOFF, State.CRASHLOOP})
#: Nothing runs, and nothing will until somebody asks for it.
PARKED = frozenset({State.DOWN, State.COMPLETED, State.FAILED, State.SKIPPED})
#: It is done for good: all of the parked states but the one that somebody has asked for.
FINISHED = PARKED - {State.DOWN}
#: It will become ready or fail by itself.
UNDECIDED = frozenset({State.WAITING, State.STARTING, State.EXITED, State.BACKOFF})
#: A run of it has ended by itself, and nothing of that run is left.
ENDED = DELAYED | {State.COMPLETED, State.FAILED}


class Event(StrEnum):
    """What moves a replica from one state to the next."""

    UP = "up"  # it is wanted
    MET = "met"  # every dependency is where it must be
    UNMET = "unmet"  # a dependency never will be
    READY = "ready"
    NOT_READY = "not ready"
    ENDED = "ended"  # exit, crash or failure to spawn that nobody asked for
    STOP = "stop"  # it is not wanted any more
    RECYCLE = "recycle"  # another run of it is wanted
    SUCCEEDED = "succeeded"  # another run has taken its place, without a gap
    FAULT = "fault"  # it runs, but must not go on like this
    GONE = "gone"
    GONE_AGAIN = "gone, again"
    GONE_FAULT = "gone, fault"
    RETRY = "retry"
    DEGRADE = "degrade"
    COMPLETE = "complete"
    FAIL = "fail"
    TIMER = "timer"


_PARKED_MOVES = {Event.UP: State.WAITING}
_LIVE_MOVES = {
    Event.ENDED: State.EXITED,
    Event.STOP: State.STOPPING,
    Event.RECYCLE: State.STOPPING,
    Event.FAULT: State.STOPPING,
}
_DELAY_MOVES = {
    Event.TIMER: State.STARTING,
    Event.UP: State.STARTING,  # an operator's `start` skips the wait
    Event.STOP: State.DOWN,
    Event.FAIL: State.FAILED,  # its group has failed
}

TABLE: dict[State, dict[Event, State]] = {
    State.DOWN: _PARKED_MOVES,
    State.COMPLETED: _PARKED_MOVES,
    State.FAILED: _PARKED_MOVES,
    State.SKIPPED: _PARKED_MOVES,
    State.WAITING: {
        Event.MET: State.STARTING,
        Event.UNMET: State.SKIPPED,
        Event.STOP: State.DOWN,
    },
    State.STARTING: {**_LIVE_MOVES, Event.READY: State.READY},
    State.READY: {
        **_LIVE_MOVES,
        Event.NOT_READY: State.UNREADY,
        Event.SUCCEEDED: State.READY,
    },
    State.UNREADY: {
        **_LIVE_MOVES,
        Event.READY: State.READY,
        Event.SUCCEEDED: State.READY,
    },
    State.STOPPING: {
        Event.GONE: State.DOWN,
        Event.GONE_AGAIN: State.STARTING,
        Event.GONE_FAULT: State.EXITED,
    },
    State.EXITED: {
        Event.RETRY: State.BACKOFF,
        Event.DEGRADE: State.CRASHLOOP,
        Event.COMPLETE: State.COMPLETED,
        Event.FAIL: State.FAILED,
        Event.STOP: State.DOWN,
    },
    State.BACKOFF: _DELAY_MOVES,
    State.CRASHLOOP: _DELAY_MOVES,
}


class LifecycleError(Exception):
    """An event came in a state that does not expect it: a bug in the caller."""


def transition(state: State, event: Event) -> State:
    """Return the state after ``event``.

    Raises:
        LifecycleError: the table has no entry for it.
    """
    try:
        return TABLE[state][event]
    except KeyError:
        raise LifecycleError(f"a replica that is {state} cannot take the event {event!r}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The past of a replica, as far as the next decision needs it.

    Attributes:
        failures: counted ends since the last long READY time.
        window: monotonic times of counted ends, oldest first.
        started_at: monotonic time at which the current run began.
        ready_at: monotonic time at which that was READY for the first time; None before.
    """

    failures: int = 0
    window: tuple[float, ...] = ()
    started_at: float | None = None
    ready_at: float | None = None

    def spawned(self, now: float) -> History:
        """Return the history with a run that begins ``now``."""
        return replace(self, started_at=now, ready_at=None)

    def became_ready(self, now: float) -> History:
        """Return the history with the current run READY ``now``; only the first time counts."""
        return self if self.ready_at is not None else replace(self, ready_at=now)


@dataclass(frozen=True, slots=True)
class Restart:
    """Start again after ``delay`` seconds; ``degraded`` when the budget is spent."""

    delay: float
    history: History
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class Complete:
    """It has done its work: do not start it again."""

    history: History


@dataclass(frozen=True, slots=True)
class Fail:
    """Do not start it again; ``reason`` says why not."""

    reason: str
    history: History


@dataclass(frozen=True, slots=True)
class Escalate:
    """Do not start it again, and stop the project."""

    reason: str
    history: History


@dataclass(frozen=True, slots=True)
class RestartGroup:
    """Start its whole group again, after ``delay`` seconds; its own budget begins anew."""

    reason: str
    delay: float
    history: History


Decision = Restart | Complete | Fail | Escalate | RestartGroup

# A clean end sooner than this after the spawn counts like a failure. supervisord's startsecs and
# s6's minimum between two spawns are a second as well.
SHORT_RUN = 1.0


def decide(
    spec: ServiceSpec,
    cause: Cause,
    history: History,
    now: float,
    *,
    uniform: Callable[[float, float], float] = random.uniform,
) -> Decision:
    """Say what follows an end that nobody asked for.

    Args:
        spec: the service.
        cause: why the run ended.
        history: of the replica, including this run's start and READY time.
        now: monotonic time of the end, seconds.
        uniform: source of randomness for the jitter.
    """
    policy = spec.restart
    clean = cause.kind is CauseKind.EXIT and cause.code in spec.success_exit_codes
    if history.ready_at is not None and now - history.ready_at >= policy.reset_after:
        history = replace(history, failures=0, window=())
    if cause.kind is CauseKind.EXIT and cause.code in spec.fatal_exit_codes and not clean:
        return Fail("a fatal exit code", history)
    if clean and (spec.oneshot or policy.policy is not Policy.ALWAYS):
        return Complete(history)
    if policy.policy is Policy.NEVER:
        return Fail("restart = never", history)
    short = history.started_at is None or now - history.started_at < SHORT_RUN
    if clean and not short:
        return Restart(_delay(spec, 0, uniform), history)
    return _after_failure(spec, history, now, uniform)


def _after_failure(
    spec: ServiceSpec, history: History, now: float, uniform: Callable[[float, float], float]
) -> Decision:
    """Spend one restart of the budget."""
    policy = spec.restart
    window = (*(then for then in history.window if now - then < policy.within), now)
    failures = history.failures + 1
    spent = replace(history, failures=failures, window=_bounded(window, policy.max_restarts))
    if not policy.max_restarts or len(window) <= policy.max_restarts:
        return Restart(_delay(spec, failures - 1, uniform), spent)
    reason = f"more than {policy.max_restarts} restarts within {policy.within:g} s"
    match policy.on_exhausted:
        case OnExhausted.FAIL:
            return Fail(reason, spent)
        case OnExhausted.SHUTDOWN:
            return Escalate(reason, spent)
        case OnExhausted.GROUP:
            return RestartGroup(reason, _longest(spec, uniform), History())
        case OnExhausted.DEGRADE:
            return Restart(_longest(spec, uniform), spent, degraded=True)


def _bounded(window: tuple[float, ...], max_restarts: int) -> tuple[float, ...]:
    # With no limit nothing asks for the window; with one, max_restarts + 1 entries decide.
    return window[-(max_restarts + 1) :] if max_restarts else ()


def _delay(spec: ServiceSpec, failures: int, uniform: Callable[[float, float], float]) -> float:
    backoff = spec.restart.backoff
    return exponential(
        failures,
        initial=backoff.initial,
        factor=backoff.factor,
        maximum=backoff.maximum,
        jitter=backoff.jitter,
        uniform=uniform,
    )


def _longest(spec: ServiceSpec, uniform: Callable[[float, float], float]) -> float:
    """Return the delay in a crash loop: the longest, and never so short that it burns a core."""
    backoff = spec.restart.backoff
    longest = max(backoff.maximum, SHORT_RUN)
    return jittered(longest, backoff.jitter, uniform=uniform)
