"""What every replica is doing now, in one place, and how to wait for a change.

A :class:`Board` holds one :class:`Status` per replica, and is state to look at, not a stream of
messages: whoever waits has a :class:`Bell` rung at every change and looks again. So one task can
wait for many things at the same time, and no change between two looks is lost.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import trio

from naq.supervisor.model.lifecycle import RUNNING, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from naq.supervisor.model.causes import Cause

__all__ = ["Bell", "Board", "LastExit", "Status"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LastExit:
    """The end of a replica's last run.

    Attributes:
        cause: why it ended.
        code: exit code of the process, where there was one.
        signal: number of the signal that killed it.
        at: wall clock, seconds since the epoch.
    """

    cause: Cause
    code: int | None
    signal: int | None
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One replica as it is now.

    Attributes:
        name: ``service`` or ``service.N``.
        wanted: whether it is meant to be up.
        active: whether it ever was; what is not does not count for the project as a whole.
        paused: whether it takes nothing new.
        runs: how often it was started.
        failures: failures that count in the current window.
        started_at: monotonic start of the current run, seconds.
        retry_at: monotonic time of the next try, seconds, while it waits for that.
        blocked: it waits for something that somebody has stopped.
        detail: what it says of itself, or why it is in this state.
        oneshot: whether it is meant to complete.
        fatal: it has failed, and the project must stop because of it.
    """

    service: str
    replica: int
    name: str
    state: State = State.DOWN
    wanted: bool = True
    active: bool = True
    paused: bool = False
    pid: int | None = None
    runs: int = 0
    failures: int = 0
    started_at: float | None = None
    retry_at: float | None = None
    last_exit: LastExit | None = None
    detail: str = ""
    blocked: bool = False
    oneshot: bool = False
    fatal: bool = False

    @property
    def running(self) -> bool:
        """Whether a process or task of it exists."""
        return self.state in RUNNING

    @property
    def exit_code(self) -> int:
        """The exit code of its last run, as a shell would report it; 1 if it never ran."""
        return 1 if self.last_exit is None else self.last_exit.cause.exit_code

    @property
    def satisfied(self) -> bool:
        """Whether it is as it should be: READY, or COMPLETED."""
        if not self.active:
            return True
        if self.oneshot:
            return self.state is State.COMPLETED
        return self.state in {State.READY, State.COMPLETED}

    @property
    def hopeless(self) -> bool:
        """Whether nothing will come of it unless somebody starts it, or what it needs."""
        return (
            self.state in {State.FAILED, State.SKIPPED}
            or (self.state is State.DOWN and not self.wanted)
            or (self.state is State.WAITING and self.blocked)
        )


class Bell:
    """Rung when something has changed; whoever waits looks again.

    Ten rings while nobody looks cost one look, and a change between two looks is not lost.
    """

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """Make everybody who waits look again."""
        self._event.set()
        self._event = trio.Event()

    async def until(self, *looks: Callable[[], T | None]) -> T:
        """Wait until one of ``looks`` finds something, and return that.

        Args:
            looks: each returns None for "nothing"; an earlier one wins.
        """
        while True:
            event = self._event
            for look in looks:
                if (found := look()) is not None:
                    return found
            await event.wait()


class Board:
    """The statuses of all replicas. Written by their owners, read by everybody."""

    def __init__(self) -> None:
        self._by_service: dict[str, dict[int, Status]] = {}
        self._bells: dict[str, set[Bell]] = {}

    def publish(self, status: Status) -> None:
        """Put up a new status, and wake everybody who waits for its service."""
        self._by_service.setdefault(status.service, {})[status.replica] = status
        self._ring(status.service)

    def remove(self, status: Status) -> None:
        """Remove a replica that no longer exists."""
        replicas = self._by_service.get(status.service, {})
        replicas.pop(status.replica, None)
        if not replicas:
            self._by_service.pop(status.service, None)
        self._ring(status.service)

    def of(self, service: str) -> list[Status]:
        """Return the replicas of a service, in order."""
        replicas = self._by_service.get(service, {})
        return [replicas[number] for number in sorted(replicas)]

    def __iter__(self) -> Iterator[Status]:
        for service in tuple(self._by_service):
            yield from self.of(service)

    @contextmanager
    def ringing(self, bell: Bell, services: Iterable[str]) -> Iterator[None]:
        """Ring ``bell`` at every change of one of ``services``."""
        names = tuple(services)
        for name in names:
            self._bells.setdefault(name, set()).add(bell)
        try:
            yield
        finally:
            for name in names:
                self._bells[name].discard(bell)

    async def wait(self, services: Iterable[str], look: Callable[[], T | None]) -> T:
        """Wait until ``look()`` finds something, and return that.

        Args:
            services: those after whose changes it is asked again.
            look: returns None for "not yet".
        """
        bell = Bell()
        with self.ringing(bell, services):
            return await bell.until(look)

    def _ring(self, service: str) -> None:
        for bell in self._bells.get(service, ()):
            bell.ring()
