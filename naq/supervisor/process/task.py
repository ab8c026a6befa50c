"""Tasks in the supervisor's own process, kept from harming each other and the supervisor.

A run of a service on the supervisor's loop is a :class:`TaskRun`. Whatever it does (raise,
``sys.exit()``, fail inside three nurseries) becomes a ``Cause`` in :func:`guarded` and goes no
further. Only two things pass through: cancellation, which is the supervisor's, and
KeyboardInterrupt, which is the user's.

All tasks share one interpreter, and so one root logger. A context variable says whose record it is;
what a service starts inherits it: its tasks, and the threads it sends work to. So what a service
logs becomes lines of its own, as if it were a process (:class:`ServiceLog`).
"""

from __future__ import annotations

import logging
import math
import threading
import traceback
from collections import deque
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from naq.supervisor.model.causes import Cause, CauseKind, Ending
from naq.supervisor.model.errors import leaves, summary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from naq.supervisor.kinds.kind import StopRequest, Switch

__all__ = ["ServiceLog", "Started", "TaskRun", "guarded", "keep", "speaking"]

# A task of the supervisor's own that fails is started again after a pause, in seconds, unless it
# has failed so often within so many seconds.
_RETRY_PAUSE = 1.0
_MAX_FAILURES = 5
_FAILURE_WINDOW = 60.0
# How long a cancelled task may take to clean up before the supervisor goes on without it, seconds.
CANCEL_WAIT = 10.0


class Started:
    """The ``task_status`` a task gets. Trio's own would put it into the caller's cancellation."""

    def __init__(self, on_started: Callable[[], object]) -> None:
        self._on_started = on_started
        self._called = False

    def started(self, value: Any = None, /) -> None:  # noqa: ARG002 - part of the protocol
        """Say that the task is ready.

        Raises:
            RuntimeError: it has been said before.
        """
        if self._called:
            raise RuntimeError("task_status.started() was called twice")
        self._called = True
        self._on_started()


async def guarded(fn: Callable[[], Awaitable[None]], say: Callable[[str], None]) -> Cause:
    """Run ``fn`` and return how it ended.

    Args:
        fn: what to run.
        say: gets the traceback of a crash.
    """
    cause = Cause(kind=CauseKind.EXIT, code=0)
    try:
        await fn()
    except* (trio.Cancelled, KeyboardInterrupt):
        raise
    except* SystemExit as group:
        cause = _exit(next(leaves(group)), say)
    except* BaseException as group:  # noqa: BLE001 - the one place where a service is isolated
        say("".join(traceback.format_exception(_unwrapped(group))))
        cause = Cause(kind=CauseKind.CRASH, code=1, message=summary(group))
    return cause


def _unwrapped(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that ``except*`` made a nameless group of, or the group that was raised."""
    alone = len(group.exceptions) == 1 and not group.message
    return group.exceptions[0] if alone else group


def _exit(leaf: BaseException, say: Callable[[str], None]) -> Cause:
    """Read ``sys.exit()`` as the interpreter does: nothing is 0, a text is printed and is 1."""
    code = leaf.code if isinstance(leaf, SystemExit) else 1
    if code is None:
        return Cause(kind=CauseKind.EXIT, code=0)
    if isinstance(code, int):
        return Cause(kind=CauseKind.EXIT, code=code & 0xFF)
    say(str(code))
    return Cause(kind=CauseKind.EXIT, code=1)


async def keep(
    fn: Callable[[], Awaitable[object]],
    what: str,
    *,
    say: Callable[[str], None],
    give_up: Callable[[], None],
) -> None:
    """Run ``fn`` for ever; start it again after a failure, but not without end.

    Args:
        fn: runs until cancelled.
        what: its name, for people.
        say: prints an error.
        give_up: called when it has failed too often: without it the supervisor is of no use.
    """
    failures: deque[float] = deque(maxlen=_MAX_FAILURES)
    while True:
        try:
            await fn()
        except Exception as exc:  # noqa: BLE001 - reported, and tried again
            say(f"{what} has failed:\n{''.join(traceback.format_exception(exc))}")
        else:
            return
        now = trio.current_time()
        failures.append(now)
        if len(failures) == _MAX_FAILURES and now - failures[0] < _FAILURE_WINDOW:
            say(f"{what} has failed {_MAX_FAILURES} times: stopping")
            give_up()
            return
        await trio.sleep(_RETRY_PAUSE)


class TaskRun:
    """A run as a task. The same shape as :class:`~naq.supervisor.process.run.ProcessRun`.

    Attributes:
        pid: None; it has no process of its own.
    """

    pid: int | None = None

    def __init__(self, stopping: StopRequest, paused: Switch) -> None:
        """Prepare a run.

        Args:
            stopping: how the task is asked to stop, if it wants to be asked.
            paused: how it is told to pause.
        """
        self._stopping = stopping
        self._paused = paused
        self._scope = trio.CancelScope()
        self._grace = trio.CancelScope()
        self._done = trio.Event()
        self._cause = Cause(kind=CauseKind.EXIT, code=0, message="cancelled")

    async def main(self, fn: Callable[[], Awaitable[None]], say: Callable[[str], None]) -> None:
        """Run ``fn`` to its end, whatever that is. Belongs in the nursery of its owner."""
        try:
            with self._scope, speaking(say):
                self._cause = await guarded(fn, say)
        finally:
            self._done.set()

    async def wait(self) -> Cause:
        """Wait for the end of the task and return how it ended."""
        await self._done.wait()
        return self._cause

    async def finish(self, grace: float, *, signal: int | None = None) -> Ending:
        """End the task: ask, if it wants to be asked; then cancel.

        Args:
            grace: seconds between the two.
            signal: for processes.
        """
        del signal
        if self._stopping.event is not None:
            self._stopping.event.set()
            self._grace.deadline = min(self._grace.deadline, trio.current_time() + grace)
            with self._grace:
                await self._done.wait()
                return Ending.QUIET
        self._scope.cancel()
        with trio.move_on_after(CANCEL_WAIT):
            await self._done.wait()
            return Ending.QUIET if self._stopping.event is None else Ending.KILLED
        return Ending.STUCK

    def extend(self, until: float) -> None:
        """Move the end of a grace that has begun to ``until``, monotonic seconds."""
        if self._grace.deadline != math.inf and not self._grace.cancel_called:
            self._grace.deadline = max(self._grace.deadline, until)

    def hasten(self, until: float) -> None:
        """Move the end of the grace, begun or to come, to ``until``, if it is earlier."""
        self._grace.deadline = min(self._grace.deadline, until)

    def pause(self, *, on: bool) -> None:
        """Tell the task whether it is paused."""
        self._paused.turn(on=on)

    def signal(self, number: int) -> bool:  # noqa: ARG002
        """Do nothing: a task has no process of its own."""
        return False

    def hurry(self) -> None:
        """Cancel without waiting any longer."""
        self._grace.cancel()

    def destroy(self) -> None:
        """Cancel without waiting for it to end."""
        self._scope.cancel()

    async def close(self) -> str:
        """Give back what the run held: nothing."""
        await trio.lowlevel.checkpoint()
        return ""


@dataclass(frozen=True, slots=True)
class _Speaker:
    say: Callable[[str], None]
    token: trio.lowlevel.TrioToken
    thread: int


_speaker: ContextVar[_Speaker | None] = ContextVar("naq_speaker", default=None)


@contextmanager
def speaking(say: Callable[[str], None]) -> Iterator[None]:
    """Make what is logged inside lines of the service that ``say`` belongs to. On Trio."""
    token = trio.lowlevel.current_trio_token()
    before = _speaker.set(_Speaker(say, token, threading.get_ident()))
    try:
        yield
    finally:
        _speaker.reset(before)


class ServiceLog(logging.Handler):
    """Passes records to the service that made them; other warnings go where Python sends them."""

    def __init__(self, make_formatter: Callable[[], logging.Formatter]) -> None:
        """Make a handler.

        Args:
            make_formatter: called at the first record, because it may have much to import.
        """
        super().__init__()
        self._make_formatter = make_formatter

    def emit(self, record: logging.LogRecord) -> None:
        """Give a record to the service it was made in."""
        speaker = _speaker.get()
        if speaker is None:
            if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
                logging.lastResort.handle(record)
            return
        if self.formatter is None:
            self.formatter = self._make_formatter()
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - logging's own rule: a bad record harms nobody
            self.handleError(record)
            return
        if threading.get_ident() == speaker.thread:
            speaker.say(text)
        else:
            with suppress(trio.RunFinishedError):
                speaker.token.run_sync_soon(speaker.say, text)
