"""Where AnyIO code meets the asyncio client: in one loop, or across two threads.

Under asyncio the client lives in the caller's loop, and a call is just that
(:class:`DirectSeam`). Under Trio it lives on an asyncio loop (uvloop where there is one) on a
thread owned by the connection's ``async with`` (:class:`ThreadSeam`).

**Calls cross in batches.** Each direction is a :class:`Mailbox`: calls are appended to a deque, and
only the first one since the last delivery wakes the other side, which then takes all there are.
Under load a wake-up, the expensive part (a write to a pipe and a switch of threads), is shared by
dozens of jobs; when idle nothing is delayed.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from anyio.abc import TaskGroup, TaskStatus

    from naq.nats.link.client import Client

__all__ = ["Seam", "beside", "on_trio", "open_seam"]

S = TypeVar("S")


class Seam(Protocol):
    """How the caller's side and the client's side call each other."""

    loop: asyncio.AbstractEventLoop

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        """Call ``function`` on the client's side; from the caller's side, without waiting."""

    def delivering(self, function: Callable[..., None]) -> Callable[..., None]:
        """Return what, called on the client's side, calls ``function`` on the caller's side."""

    def is_here(self) -> bool:
        """Whether the current code runs on the caller's side."""

    def keep(self) -> bool:
        """Go on when the caller is cancelled, until the client is closed.

        Returns False if the caller was cancelled before it heard of the client, which has ended.
        """

    async def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call ``function(done, *args)`` on the client's side and wait for ``done(value)``.

        Returns the value, or raises it when it is an exception.
        """

    @property
    def is_threaded(self) -> bool:
        """Whether the client's side is another thread."""


class Mailbox:
    """Calls on their way to another thread; one wake-up for as many as have gathered."""

    __slots__ = ("_armed", "_calls", "_wake")

    def __init__(self, wake: Callable[[Callable[[], None]], object]) -> None:
        self._calls: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._armed = False
        self._wake = wake

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        """Have ``function(*args)`` called on the other side."""
        self._calls.append((function, args))
        if not self._armed:
            self._armed = True
            self._wake(self._deliver)

    def end(self, wake: Callable[[Callable[[], None]], object]) -> None:
        """Have calls made on this side from now on, by ``wake``: the other side has ended."""
        self._wake = wake
        wake(self._deliver)

    def _deliver(self) -> None:
        # Disarmed before taking: a call appended from now on wakes us again, at worst for nothing.
        self._armed = False
        calls = self._calls
        for _ in range(len(calls)):
            function, args = calls.popleft()
            function(*args)


class DirectSeam:
    """Both sides are the same asyncio loop; the client runs within ``scope``."""

    is_threaded = False

    def __init__(self, loop: asyncio.AbstractEventLoop, scope: anyio.CancelScope) -> None:
        self.loop = loop
        self._scope = scope

    def keep(self) -> bool:
        self._scope.shield = True
        return True

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        function(*args)

    def delivering(self, function: Callable[..., None]) -> Callable[..., None]:
        return function

    def is_here(self) -> bool:
        try:
            return asyncio.get_running_loop() is self.loop
        except RuntimeError:
            return False

    async def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        future = self.loop.create_future()

        def done(value: Any) -> None:
            if not future.done():
                future.set_result(value)

        function(done, *args)
        value = await future
        if isinstance(value, Exception):
            raise value
        return value


class ThreadSeam:
    """The caller's side is Trio, the client's an asyncio loop on another thread."""

    is_threaded = True

    def __init__(self, loop: asyncio.AbstractEventLoop, token: Any, opening: _Opening) -> None:
        """Make the seam; called on the client's side, whose context its calls run in.

        Without a context of its own a callback would run in that of the Trio task that posted it,
        and AnyIO would take the asyncio loop for Trio.
        """
        self.loop = loop
        context = copy_context()

        def wake(deliver: Callable[[], None]) -> None:
            # Its loop may be closed before we hear that the thread has ended; end() wakes us then.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(deliver, context=context)

        self._calls = Mailbox(wake)
        self.post = self._calls.post
        self._deliver = Mailbox(token.run_sync_soon).post
        self._token = token
        self._opening = opening

    def end(self) -> None:
        """Let calls be made here: the thread has ended; the client answers that it is closed."""
        self._calls.end(self._token.run_sync_soon)

    def keep(self) -> bool:
        return self._opening.keep()

    def delivering(self, function: Callable[..., None]) -> Callable[..., None]:
        return partial(self._deliver, function)

    def is_here(self) -> bool:
        import trio  # noqa: PLC0415

        return trio.lowlevel.in_trio_run() and trio.lowlevel.current_trio_token() is self._token

    async def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        import outcome  # noqa: PLC0415
        import trio  # noqa: PLC0415

        lowlevel = trio.lowlevel
        sleeper: list[Any] = [lowlevel.current_task()]

        def wake(value: Any) -> None:
            if sleeper:
                lowlevel.reschedule(sleeper.pop(), outcome.Value(value))

        def abort(_: object) -> Any:
            sleeper.clear()
            return lowlevel.Abort.SUCCEEDED

        self.post(function, self.delivering(wake), *args)
        value = await lowlevel.wait_task_rescheduled(abort)
        if isinstance(value, Exception):
            raise value
        return value


@asynccontextmanager
async def open_seam(client: Client) -> AsyncIterator[Seam]:
    """Run ``client`` where asyncio is; yield the seam to it once it is connected.

    An exception of the block comes out as it is, not wrapped in a group. A block that is cancelled
    has its client until it ends, as cleanup still sends and asks.

    Raises:
        NaqConnectionError: the client cannot connect.
    """
    serve = _serve_on_a_thread if on_trio() else _serve_here
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            seam = await tasks.start(serve, client, name="naq connection")
            if not seam.keep():
                await anyio.lowlevel.checkpoint()  # it raises the cancellation
            hurry = False
            try:
                yield seam
            except anyio.get_cancelled_exc_class():
                hurry = True
                raise
            finally:
                seam.post(client.close, hurry)
        except Exception as exc:  # noqa: BLE001 - raised again below, outside the group
            error = exc
    if error is not None:
        raise error


def on_trio() -> bool:
    """Whether the current task runs on Trio."""
    trio = sys.modules.get("trio")  # asyncio programs need not import it to be told apart
    return trio is not None and trio.lowlevel.in_trio_task()


# The next two report readiness through _Started, once the client is connected.
async def _serve_here(  # noqa: ASYNC128
    client: Client, *, task_status: TaskStatus[Seam]
) -> None:
    with anyio.CancelScope() as scope:
        make = partial(DirectSeam, scope=scope)
        await client.run(task_status=_Started(task_status.started, make))


async def _serve_on_a_thread(  # noqa: ASYNC128
    client: Client, *, task_status: TaskStatus[Seam]
) -> None:
    """Run the client's loop in a thread; it ends when the client is closed.

    The thread cannot be cancelled. Whoever leaves the block closes the client, and closing takes a
    bounded time; whoever is cancelled before there is a block gives up the opening.
    """
    import trio  # noqa: PLC0415

    token = trio.lowlevel.current_trio_token()
    made: list[ThreadSeam] = []

    def started(seam: ThreadSeam) -> None:
        made.append(seam)
        token.run_sync_soon(task_status.started, seam)

    opening = _Opening()
    status = _Started(started, partial(ThreadSeam, token=token, opening=opening))
    run_loop = partial(
        anyio.run,
        partial(opening.run, partial(client.run, task_status=status)),
        backend="asyncio",
        backend_options={"use_uvloop": find_spec("uvloop") is not None},
    )
    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(opening.watch)
        try:
            await anyio.to_thread.run_sync(run_loop, limiter=anyio.CapacityLimiter(1))
        except Exception as exc:  # noqa: BLE001 - raised again below, outside the group
            error = exc
        tasks.cancel_scope.cancel()
    for seam in made:
        seam.end()
    if error is not None:
        raise error


class _Opening:
    """Ends the opening of a connection on a thread when the task beside it is cancelled."""

    def __init__(self) -> None:
        self._kept = False
        self._given_up = False
        self._where: tuple[asyncio.AbstractEventLoop, anyio.CancelScope] | None = None

    async def run(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run a function on the thread's loop, until it is given up."""
        with anyio.CancelScope() as scope:
            # First this, then the look at the flag; the other side does it the other way round.
            self._where = asyncio.get_running_loop(), scope
            if self._given_up:
                return
            await function()

    def keep(self) -> bool:
        """Say, on the other side, that it is open; False if it was given up before.

        A caller that is cancelled after the client has connected, and before it hears of that,
        has given up like any other: nobody would close the client.
        """
        self._kept = not self._given_up
        return self._kept

    async def watch(self) -> None:
        """Wait, on the other side, to be cancelled."""
        try:
            await anyio.sleep_forever()
        finally:
            self._given_up = True
            if self._where is not None and not self._kept:
                loop, scope = self._where
                with contextlib.suppress(RuntimeError):  # the loop has ended just now
                    loop.call_soon_threadsafe(scope.cancel)


@asynccontextmanager
async def beside(
    seam: Seam, client: Client, main: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """Run ``main`` on an asyncio loop that is not the caller's, for the length of the block.

    That loop goes on when the caller's is blocked. It is the client's own where that has a thread,
    and otherwise one on a thread for this. ``main`` is cancelled at the end, and must end soon then
    and raise nothing.
    """
    place = _on_the_clients_loop if seam.is_threaded else _on_a_thread
    async with anyio.create_task_group() as tasks:
        stop = await place(tasks, seam, client, main)
        try:
            yield
        finally:
            stop()


async def _on_the_clients_loop(
    tasks: TaskGroup, seam: Seam, client: Client, main: Callable[[], Awaitable[None]]
) -> Callable[[], None]:
    """Begin ``main`` there; return what stops it. The task group waits for its end."""
    ended = anyio.Event()
    tell = seam.delivering(ended.set)

    async def run(begun: Callable[[anyio.CancelScope], None]) -> None:
        try:
            with anyio.CancelScope() as scope:
                begun(scope)
                await main()
        finally:
            tell()

    async def until_ended() -> None:
        with anyio.CancelScope(shield=True):  # main ends soon once it is stopped
            await ended.wait()

    scope = await seam.ask(client.start_soon, run)
    tasks.start_soon(until_ended, name="naq beside")
    return partial(seam.post, scope.cancel)


async def _on_a_thread(
    tasks: TaskGroup, _seam: Seam, _client: Client, main: Callable[[], Awaitable[None]]
) -> Callable[[], None]:
    """Begin ``main`` there; return what stops it. The task group waits for the thread's end."""
    caller = asyncio.get_running_loop()
    begun: asyncio.Future[Callable[[], None]] = caller.create_future()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as scope:
            caller.call_soon_threadsafe(begun.set_result, partial(_stop, loop, scope))
            await main()

    async def thread() -> None:
        # It cannot be cancelled, not even before it begins; whoever leaves the block stops it.
        run_loop = partial(anyio.run, run, backend="asyncio")
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(run_loop, limiter=anyio.CapacityLimiter(1))

    tasks.start_soon(thread, name="naq beside")
    with anyio.CancelScope(shield=True):  # the thread begins soon, and must then be stopped
        await begun
    return begun.result()


def _stop(loop: asyncio.AbstractEventLoop, scope: anyio.CancelScope) -> None:
    with suppress(RuntimeError):  # it has ended by itself
        loop.call_soon_threadsafe(scope.cancel)


class _Started(Generic[S]):
    """A task status for :meth:`Client.run` that makes the seam once there is a loop."""

    def __init__(
        self, started: Callable[[S], None], make: Callable[[asyncio.AbstractEventLoop], S]
    ) -> None:
        self._started = started
        self._make = make

    def started(self, value: object = None) -> None:  # noqa: ARG002 - a task status has it
        self._started(self._make(asyncio.get_running_loop()))
