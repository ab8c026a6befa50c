"""The slots of a worker: a few long-lived tasks that run one job after another.

A task per job would cost more than a small job does, so a slot is a *runner* that takes the next
job when it is done with one. What makes jobs independent of each other is kept:

* **Cancelling a job** cancels its runner's scope. The runner ends with the job and another takes
  its place.
* **What a job leaves in its task** would be met by the next job: changed context variables, a scope
  it has not closed, a cancellation of its own that is still to come or to be taken back. A runner
  that is not as it was before the job (:func:`_footing`) is replaced as well.
* **A thread that outlives its job** (a sync function cannot be stopped) keeps the slot: no runner
  takes its place until it returns.

Runners are started when there is work for them, up to the limit. When several jobs arrive at once
one runner is woken; each runner that finds more jobs waiting wakes the next before it starts its
own. So a batch of jobs that never wait is run by one task without a single switch, and jobs that
do wait all run side by side.

One job may be given precedence: it starts before the others, beside them or with nothing beside it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import anyio
import anyio.lowlevel

from naq.nats.link.seam import on_trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio._backends._asyncio import TaskState
    from anyio.abc import TaskGroup

    from naq.worker.intake.demand import Turns

__all__ = ["Slots"]

FAR = 1e9
"""Seconds to a deadline that never comes: it tells a slot's own scope from any other."""


class _Work(Protocol):
    queue: str
    scope: anyio.CancelScope | None


W = TypeVar("W", bound=_Work)


class Slots(Generic[W]):
    """Runs what is submitted, at most ``limit`` at a time."""

    def __init__(
        self,
        tasks: TaskGroup,
        limit: int,
        *,
        run: Callable[[W], Awaitable[bool]],
        interrupted: Callable[[W], Awaitable[None]],
        freed: Callable[[], None],
        prepare: Callable[[], None],
        turns: Turns | None = None,
    ) -> None:
        """Make room for ``limit`` jobs.

        Args:
            tasks: where runners live; cancelling it ends them.
            limit: how many jobs run at the same time.
            run: runs one job, and returns False if it was stopped through its scope; raises
                nothing else than that cancellation.
            interrupted: called for a job that was stopped.
            freed: called when a slot has come free.
            prepare: called once in each runner, to set the context variables jobs shall see.
            turns: says whose job is next; None: first come, first served.
        """
        self.busy = 0
        self.blocked = 0
        """Slots held by threads whose job is gone."""
        self.waiting: deque[W] = deque()
        self._tasks = tasks
        self._limit = limit
        self._run = run
        self._interrupted = interrupted
        self._freed = freed
        self._prepare = prepare
        self._turns = turns
        self._first: W | None = None
        self._alone = self._beside_threads = False
        self._count = 0
        self._woken = 0
        self._idle: list[anyio.Event] = []

    @property
    def free(self) -> int:
        """Slots that neither run a job nor have one waiting for them; may be negative."""
        if self._alone:
            return 0
        return self._limit - self.busy - self.blocked - len(self.waiting)

    def submit(self, work: W) -> None:
        """Run ``work`` when there is a slot."""
        self.waiting.append(work)
        self._wake()

    @property
    def closed(self) -> bool:
        """Whether nothing starts any more but one job."""
        return self._alone

    def submit_first(self, work: W, *, alone: bool = False, beside_threads: bool = False) -> None:
        """Run ``work`` before all others, one such job at a time.

        Args:
            work: what to run.
            alone: start nothing until :meth:`reopen`, and this when all that runs has ended.
            beside_threads: then do not wait for threads whose job is gone.
        """
        self._first, self._alone, self._beside_threads = work, alone, beside_threads
        self._wake()

    def is_first(self, work: W) -> bool:
        """Whether ``work`` of :meth:`submit_first` has not been started."""
        return self._first is work

    def withdraw(self, work: W) -> bool:
        """Forget ``work`` of :meth:`submit_first`; whether it had not been started."""
        if self._first is not work:
            return False
        self._first = None
        return True

    def reopen(self) -> None:
        """Start others again."""
        if self._alone:
            self._alone = False
            self._wake()
            self._freed()

    def _ready(self) -> bool:
        """Whether a job may start now."""
        if self.busy + self.blocked >= self._limit:
            return False
        if self._alone:
            free = not self.busy and (self._beside_threads or not self.blocked)
            return free and self._first is not None
        return bool(self.waiting) or self._first is not None

    def _wake(self) -> None:
        """See to it that somebody takes the next waiting job, if there is a slot for it.

        Only one runner at a time is on its way; it wakes the next if there is more to do.
        """
        if self._woken or not self._ready():
            return
        if self._idle:
            self._woken += 1
            self._idle.pop().set()
        elif self._count < self._limit:
            self._woken += 1
            self._count += 1
            self._tasks.start_soon(self._runner, name="naq runner")

    def block(self) -> None:
        """Keep a slot for a thread that goes on without its job."""
        self.blocked += 1

    def unblock(self) -> None:
        """Free the slot of such a thread: it has returned."""
        self.blocked -= 1
        self._wake()
        self._freed()

    async def _runner(self) -> None:
        """Be one slot, until a job leaves it unfit for the next."""
        stopped: W | None = None
        problem: Exception | None = None
        self._woken -= 1
        scope = anyio.CancelScope(deadline=anyio.current_time() + FAR)
        # Trio complains here of scopes that a job has left open: that is not our error.
        with suppress(RuntimeError), scope:
            try:
                stopped = await self._run_jobs(scope)
                _close_scopes(scope)
            except Exception as exc:  # noqa: BLE001 - raised below
                problem = exc
        await _clear_task()
        self._count -= 1
        if problem is not None:
            raise problem
        self._wake()
        if stopped is not None:
            await self._interrupted(stopped)
            self._freed()

    async def _run_jobs(self, scope: anyio.CancelScope) -> W | None:
        """Run one job after another; return the one that was stopped, None if a slot wore out."""
        self._prepare()
        # A worker that is cancelled stops its jobs itself, and hands them back.
        scope.shield = True
        firm = _footing(scope)
        turns = self._turns
        while True:
            if not self._ready():
                scope.shield = False
                await self._until_ready()
                scope.shield = True
            work = self._take()
            work.scope = scope
            if turns is not None:
                turns.started(work)
            self.busy += 1
            if self.waiting:
                self._wake()
            try:
                if not await self._run(work):
                    return work
            except anyio.get_cancelled_exc_class():
                if scope.cancel_called:
                    return work  # noqa: ASYNC104
                raise
            finally:
                self.busy -= 1
                if turns is not None:
                    turns.ended(work)
                work.scope = None  # cancelling this job must not hit the next one
            self._freed()
            if not firm():
                return None

    async def _until_ready(self) -> None:
        while not self._ready():
            event = anyio.Event()
            self._idle.append(event)
            await event.wait()
            self._woken -= 1

    def _take(self) -> W:
        if self._first is not None:
            work, self._first = self._first, None
            return work
        if self._turns is None or len(self.waiting) == 1:
            return self.waiting.popleft()
        index = self._turns.next(self.waiting)
        work = self.waiting[index]
        del self.waiting[index]
        return work


def _footing(scope: anyio.CancelScope) -> Callable[[], bool]:
    """Return what tells whether the task of a slot is as it is now, as every job shall find it.

    No cancellation is then under way, no scope is left open inside of ``scope``, which is shielded
    and has a deadline of its own, and no context variable has another value.
    """
    context = copy_context()
    task = _asyncio_task()
    if task is None:
        deadline = scope.deadline
        return lambda: anyio.current_effective_deadline() == deadline and copy_context() == context
    state = _asyncio_state(task)
    return lambda: (
        state.cancel_scope is scope and not _is_cancelled(task) and copy_context() == context
    )


def _asyncio_task() -> asyncio.Task[object] | None:
    return None if on_trio() else asyncio.current_task()


def _is_cancelled(task: asyncio.Task[object] | None) -> bool:
    # Until Python 3.13 a cancellation that was taken back is raised all the same.
    return task is not None and bool(task.cancelling() or getattr(task, "_must_cancel", False))


def _asyncio_state(task: asyncio.Task[object]) -> TaskState:
    """Return what AnyIO knows of a task: its innermost scope. It has no public name for that."""
    from anyio._backends import _asyncio  # noqa: PLC0415

    return _asyncio._task_states[task]  # noqa: SLF001


def _close_scopes(scope: anyio.CancelScope) -> None:
    """Close the scopes a job has left open inside of ``scope``.

    Trio does that by itself. AnyIO on asyncio does not, and would fail at the end of every scope
    around them, those of its own task groups included.
    """
    task = _asyncio_task()
    if task is None:
        return
    state = _asyncio_state(task)
    while state.cancel_scope is not None and state.cancel_scope is not scope:
        state.cancel_scope.__exit__(None, None, None)


async def _clear_task() -> None:
    """Take back cancellations of the job's: a task that ends by one takes its group along."""
    task = _asyncio_task()
    if task is None or not _is_cancelled(task):
        return
    with suppress(asyncio.CancelledError):
        await anyio.lowlevel.checkpoint()  # what is still to come is raised here
    while task.cancelling():
        task.uncancel()
