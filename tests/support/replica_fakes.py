"""What the unit tests of a replica stand on: a host without processes, and runs that do as told."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import trio
import trio.testing

from naq.supervisor.model.board import Board, Status
from naq.supervisor.model.causes import Cause, CauseKind, Ending
from naq.supervisor.model.spec import Logging, ServiceSpec
from naq.supervisor.output.hub import LogHub
from naq.supervisor.replica.state import ReplicaState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.supervisor.model.lifecycle import State


def run(fn: Callable[[], Awaitable[None]]) -> None:
    """Run an async function with a clock that jumps to the next deadline."""
    trio.run(fn, clock=trio.testing.MockClock(autojump_threshold=0))


class FakeHost:
    """As much of a host as a replica needs that runs nothing; keeps what it is told."""

    def __init__(self) -> None:
        self.hub = LogHub(Logging())
        self.board = Board()
        self.states: list[State] = []
        self.failures: list[tuple[float, bool]] = []

    def changed(self, before: Status, after: Status) -> None:
        if before.state is not after.state:
            self.states.append(after.state)

    def failed(self, status: Status, delay: float, whole: bool) -> None:
        self.failures.append((delay, whole))


class FakeRun:
    """A run that does nothing but what a test sets its attributes to."""

    def __init__(self, *, waits: bool = True) -> None:
        self.ended: Cause | None = None
        self.failure: Cause | None = None
        self.outgrown: Cause | None = None
        self.is_ready = False
        self.why_unready = ""
        self.waits = waits
        self.retire_at = math.inf
        self.bonds: dict[str, dict[int, int]] = {}
        self.paused: list[bool] = []
        self.run = SimpleNamespace(pause=self._pause)

    def started(self) -> None:
        self.is_ready = True

    def _pause(self, *, on: bool) -> None:
        self.paused.append(on)


class FakeRuns:
    """Runs of a replica; the newest is ``current``. ``graces`` has how each was to be ended."""

    def __init__(self, state: ReplicaState) -> None:
        self.current: FakeRun | None = None
        self.begun = 0
        self.graces: list[float] = []
        self.renews = True
        self._state = state

    @asynccontextmanager
    async def open(self):
        yield

    def running(self) -> FakeRun:
        assert self.current is not None
        return self.current

    def begin(self) -> FakeRun:
        self.begun += 1
        now = trio.current_time()
        self._state.publish(runs=self._state.status.runs + 1, started_at=now)
        self._state.history = self._state.history.spawned(now)
        self.current = FakeRun()
        return self.current

    async def renew(self, cause: Cause) -> bool:
        await trio.lowlevel.checkpoint()
        self.running().outgrown = None
        if self.renews:
            self.current = FakeRun()
        return self.renews

    async def clear(self, cause: Cause, grace: float, signal: int | None = None) -> Ending:
        await trio.lowlevel.checkpoint()
        self.graces.append(grace)
        self.current = None
        return Ending.QUIET


def new_state(host: FakeHost | None = None, *, index: int = 1, **spec) -> ReplicaState:
    """Return the state of a replica of the service ``s`` that is wanted."""
    return ReplicaState(
        ServiceSpec(name="s", **spec), index, kind=None, host=host or FakeHost(), wanted=True
    )


def exited(code: int) -> Cause:
    return Cause(kind=CauseKind.EXIT, code=code)
