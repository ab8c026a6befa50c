"""Run one job and say how it went: :func:`execute` turns a message into an :class:`Outcome`.

This is the one place where user code is isolated: whatever leaves it becomes an outcome, unless naq
itself has stopped the job. It knows no NATS.

A sync function runs in a thread, which nothing can stop. When its job times out or is cancelled,
the outcome does not wait for it, but the thread goes on and keeps the worker's slot until it ends
(:class:`Threads`), so that stuck functions can never pile up beyond the concurrency.
"""

from __future__ import annotations

import inspect
import time
import traceback
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import msgspec

from naq.exceptions import JobTimeoutError, SerializationError
from naq.jobs.calls import unwrapped
from naq.jobs.coding.storable import plain
from naq.jobs.job import TIMEOUT_TYPE, CurrentJob, Failure, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from anyio.abc import TaskGroup

    from naq.jobs.coding.codec import Codec
    from naq.jobs.job import JobMessage

__all__ = ["Outcome", "Threads", "execute", "failure_of"]

MAX_TRACEBACK = 16_384
"""Characters of a traceback that are kept: the last ones, where the error is."""
MAX_MESSAGE = 4_096
FAMILIAR = 10_000
"""Functions that are remembered as imported."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt went.

    Attributes:
        value: the serialized value, when there is no failure.
        encoding: of the value.
        failure: the error, for people and for the record.
        raised: names of the error's class and bases, ``module:qualname``, for the retry policy.
        retryable: False when another attempt cannot help.
        error: the exception itself, for the log.
        started_at: seconds since the epoch.
        finished_at: seconds since the epoch.
    """

    value: bytes = b""
    encoding: str = ""
    failure: Failure | None = None
    raised: tuple[str, ...] = ()
    retryable: bool = True
    error: BaseException | None = None
    started_at: float = 0.0
    finished_at: float = 0.0

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None] | None:
        """The exception as ``logging`` takes it, without naq's own frames."""
        error = self.error
        return None if error is None else (type(error), error, _own_frames(error))


def failure_of(exc: BaseException) -> Failure:
    """Describe an exception: qualified type, text, and the traceback without naq's own frames.

    All of it is plain text, whatever the exception's own methods raise or make of it.
    """
    cls = type(exc)
    return Failure(
        plain(_qualified(cls, ".")),
        plain(_text(exc))[:MAX_MESSAGE],
        plain(_trace(exc))[-MAX_TRACEBACK:],
    )


def _own_frames(exc: BaseException) -> TracebackType | None:
    """Return the traceback of an exception from where the user's code begins."""
    frames = exc.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__") == __name__:
        frames = frames.tb_next
    return frames


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except BaseException:  # noqa: BLE001, ASYNC103 - a broken one must not hide the error
        return f"<{_qualified(type(exc), '.')} whose text cannot be shown>"  # noqa: ASYNC104


def _qualified(cls: type, separator: str) -> str:
    try:
        return f"{cls.__module__}{separator}{cls.__qualname__}"
    except BaseException:  # noqa: BLE001, ASYNC103 - a metaclass may refuse
        return f"?{separator}{type.__getattribute__(cls, '__name__')}"  # noqa: ASYNC104


def _trace(exc: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(exc), exc, _own_frames(exc)))
    except BaseException:  # noqa: BLE001, ASYNC103 - nor a broken cause, or source that is gone
        return ""  # noqa: ASYNC104


def _names(cls: type[BaseException]) -> tuple[str, ...]:
    return tuple(_qualified(base, ":") for base in type.mro(cls)[:-1])


async def execute(
    job: JobMessage,
    attempt: int,
    *,
    codec: Codec,
    threads: Threads,
    scope: anyio.CancelScope | None = None,
) -> Outcome | None:
    """Run ``job`` and return how it went; None if it was stopped through ``scope``.

    Whatever leaves the job's code is its outcome, be it no ``Exception``, an exit or a
    cancellation, unless naq itself has cancelled it. That is known from naq's own scopes: what the
    exception is, and what the event loop counts, says nothing of who wanted it.

    Args:
        job: what was queued.
        attempt: for :func:`current_job`, from 1.
        codec: what this process may decode.
        threads: where sync functions run.
        scope: naq's own around it; None: nobody will stop it.
    """
    started = time.time()
    token = running.set(
        CurrentJob(
            id=job.id,
            queue=job.queue,
            function_name=job.function,
            attempt=attempt,
            meta=job.meta,
        )
    )
    try:
        if job.timeout is None:
            ended, timed_out = await _attempt(job, started, codec, threads), False
        else:
            ended = None
            # Nothing is raised inside: what comes out at the end is about a scope that the job has
            # left open. It is no failure; the slot looks after it.
            with suppress(RuntimeError), anyio.move_on_after(job.timeout) as limit:
                ended = await _attempt(job, started, codec, threads)
            timed_out = limit.cancel_called
    finally:
        running.reset(token)
    assert ended is not None
    if isinstance(ended, Outcome):
        return ended
    if scope is not None and scope.cancel_called:
        return None
    if timed_out:
        return _timed_out(job, started)
    return _failed(ended, started)


async def _attempt(
    job: JobMessage, started: float, codec: Codec, threads: Threads
) -> Outcome | BaseException:
    """Call the job's function; return the outcome, or the cancellation that came out of it."""
    try:
        if job.function in threads.familiar:
            function, args, kwargs = codec.decode_call(job)
        else:
            function, args, kwargs = await _decode_first(job, codec, threads)
        function = unwrapped(function)
        if _is_async(function):
            value = await function(*args, **kwargs)
        else:
            value = await threads.run(partial(function, *args, **kwargs))
            if inspect.isawaitable(value):
                value = await value  # a partial or wrapper around an async function
        data, encoding = codec.encode_value(value)
    except BaseException as exc:  # noqa: BLE001, ASYNC103 - a job's error is its outcome
        return exc if _is_cancellation(exc) else _failed(exc, started)  # noqa: ASYNC104
    return Outcome(value=data, encoding=encoding, started_at=started, finished_at=time.time())


def _is_cancellation(exc: BaseException) -> bool:
    """Whether an exception is a cancellation, whoever wanted it, or a group of nothing else."""
    if isinstance(exc, BaseExceptionGroup):
        return all(map(_is_cancellation, exc.exceptions))
    return isinstance(exc, anyio.get_cancelled_exc_class())


def _failed(exc: BaseException, started: float) -> Outcome:
    failure = failure_of(exc)
    return Outcome(
        failure=failure,
        raised=_names(type(exc)),
        # What cannot be decoded or encoded now will not be the next time.
        retryable=not isinstance(exc, SerializationError),
        error=exc if failure.traceback else None,  # what cannot be shown, the log cannot show
        started_at=started,
        finished_at=time.time(),
    )


def _timed_out(job: JobMessage, started: float) -> Outcome:
    text = f"it ran longer than its timeout of {job.timeout:g} s"
    return Outcome(
        failure=Failure(TIMEOUT_TYPE, text),
        error=JobTimeoutError(text, job_id=job.id),
        raised=(TIMEOUT_TYPE.replace("exceptions.", "exceptions:"), *_names(TimeoutError)),
        started_at=started,
        finished_at=time.time(),
    )


async def _decode_first(
    job: JobMessage, codec: Codec, threads: Threads
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Decode the first call of a function, which may import modules, beside the loop."""
    call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
    try:
        call = await threads.run(partial(codec.decode_call, job))
    except Exception:  # noqa: BLE001 - its error here is the one that counts
        # There are modules that can only be imported on the main thread.
        call = codec.decode_call(job)
    if len(threads.familiar) < FAMILIAR:
        threads.familiar.add(job.function)
    return call


def _is_async(function: Callable[..., Any]) -> bool:
    code = getattr(function, "__code__", None)
    if code is not None:
        return bool(code.co_flags & inspect.CO_COROUTINE)  # what iscoroutinefunction asks, at once
    return inspect.iscoroutinefunction(function)


class Threads:
    """The threads of one worker."""

    def __init__(
        self,
        tasks: TaskGroup,
        limit: int,
        *,
        left: Callable[[], None],
        returned: Callable[[], None],
    ) -> None:
        """Make room for ``limit`` threads.

        Args:
            tasks: who waits for the threads; outlives the jobs, is cancelled at the very end.
            limit: how many there may be.
            left: called when a job ends without its thread.
            returned: called when such a thread has returned after all.
        """
        self.familiar: set[str] = set()
        """Functions that have been called: what they and their arguments need is imported."""
        self._tasks = tasks
        self._left = left
        self._returned = returned
        self._limiter = anyio.CapacityLimiter(limit)

    async def run(self, function: Callable[[], Any]) -> Any:
        """Run ``function`` in a thread; cancellation leaves it running."""
        call = _ThreadCall(function)
        self._tasks.start_soon(self._serve, call, name="naq thread")
        try:
            await call.ended.wait()
        finally:
            if not call.ended.is_set():
                call.left = True
                self._left()
        if call.error is None:
            return call.value
        if isinstance(call.error, StopIteration):  # which cannot leave a coroutine
            raise RuntimeError("the function raised StopIteration") from call.error  # noqa: TRY004
        raise call.error

    async def _serve(self, call: _ThreadCall) -> None:
        try:
            await anyio.to_thread.run_sync(call, limiter=self._limiter, abandon_on_cancel=True)
        except Exception as exc:  # noqa: BLE001 - the job's error: there was no thread for it
            call.error = exc
        call.ended.set()
        if call.left:
            self._returned()


class _ThreadCall:
    """Call a function in a thread and keep what comes out of it.

    Nothing is raised there. A cancellation or an exit of the function's would be taken for one of
    those who wait for the thread.
    """

    __slots__ = ("ended", "error", "function", "left", "value")

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.ended = anyio.Event()
        self.value: Any = None
        self.error: BaseException | None = None
        self.left = False

    def __call__(self) -> None:
        try:
            self.value = self.function()
        except BaseException as exc:  # noqa: BLE001, ASYNC103 - raised in the job's own task
            self.error = exc
