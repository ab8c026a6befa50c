"""Run one job and say how it went: :func:`execute` turns a message into an :class:`Outcome`.

This is the one place where user code is isolated: whatever it raises becomes an outcome. Only the
worker's own cancellation passes through. It knows no NATS.

A sync function runs in a thread, which nothing can stop. When its job times out or is cancelled,
the outcome does not wait for it, but the thread goes on and keeps the worker's slot until it ends
(:class:`Threads`), so that stuck functions can never pile up beyond the concurrency.
"""

from __future__ import annotations

import asyncio
import inspect
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import msgspec

from naq.exceptions import JobTimeoutError, SerializationError
from naq.jobs.calls import unwrapped
from naq.jobs.job import TIMEOUT_TYPE, CurrentJob, Failure, running
from naq.jobs.storable import plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from anyio.abc import TaskGroup

    from naq.jobs.codec import Codec
    from naq.jobs.job import JobMessage

__all__ = ["Outcome", "Threads", "execute", "failure_of"]

MAX_TRACEBACK = 16_384
"""Characters of a traceback that are kept: the last ones, where the error is."""
MAX_MESSAGE = 4_096


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

    All of it is plain text, whatever the exception's own methods make of it.
    """
    cls = type(exc)
    return Failure(
        plain(f"{cls.__module__}.{cls.__qualname__}"),
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
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the error
        return f"<{type(exc).__qualname__} whose text cannot be shown>"


def _trace(exc: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(exc), exc, _own_frames(exc)))
    except Exception:  # noqa: BLE001 - so must not a broken cause, or source that cannot be read
        return ""


def _names(cls: type[BaseException]) -> tuple[str, ...]:
    return tuple(f"{base.__module__}:{base.__qualname__}" for base in cls.__mro__[:-1])


async def execute(job: JobMessage, attempt: int, *, codec: Codec, threads: Threads) -> Outcome:
    """Run ``job`` and return how it went. Only cancellation from outside is raised.

    Args:
        job: what was queued.
        attempt: for :func:`current_job`, from 1.
        codec: what this process may decode.
        threads: where sync functions run.
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
            value = await _call(job, codec, threads)
        else:
            with anyio.move_on_after(job.timeout) as scope:
                value = await _call(job, codec, threads)
            if scope.cancelled_caught:
                return _timed_out(job, started)
        data, encoding = codec.encode_value(value)
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - a job's error is its outcome
        return Outcome(
            failure=failure_of(exc),
            raised=_names(type(exc)),
            # What cannot be decoded or encoded now will not be the next time.
            retryable=not isinstance(exc, SerializationError),
            error=exc,
            started_at=started,
            finished_at=time.time(),
        )
    finally:
        running.reset(token)
    return Outcome(value=data, encoding=encoding, started_at=started, finished_at=time.time())


def _timed_out(job: JobMessage, started: float) -> Outcome:
    text = f"it ran longer than its timeout of {job.timeout:g} s"
    return Outcome(
        failure=Failure(TIMEOUT_TYPE, text),
        error=JobTimeoutError(text, job_id=job.id),
        raised=(TIMEOUT_TYPE.replace("exceptions.", "exceptions:"), *_names(TimeoutError)),
        started_at=started,
        finished_at=time.time(),
    )


async def _call(job: JobMessage, codec: Codec, threads: Threads) -> Any:
    function, args, kwargs = codec.decode_call(job)
    function = unwrapped(function)
    if not _is_async(function):
        value = await threads.run(partial(function, *args, **kwargs))
        if not inspect.isawaitable(value):
            return value
        awaitable = value  # a partial or wrapper around an async function
    else:
        awaitable = function(*args, **kwargs)
    try:
        return await awaitable
    except asyncio.CancelledError as exc:
        if _cancelled_from_outside():
            raise
        # Nobody cancelled us: the function raised the exception like any other.
        raise RuntimeError("the job raised asyncio.CancelledError") from exc  # noqa: ASYNC104


def _is_async(function: Callable[..., Any]) -> bool:
    code = getattr(function, "__code__", None)
    if code is not None:
        return bool(code.co_flags & inspect.CO_COROUTINE)  # what iscoroutinefunction asks, at once
    return inspect.iscoroutinefunction(function)


def _cancelled_from_outside() -> bool:
    """Whether somebody cancelled this task, or the function only raised the exception."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


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
        if call.error is not None:
            raise call.error
        return call.value

    async def _serve(self, call: _ThreadCall) -> None:
        try:
            call.value = await anyio.to_thread.run_sync(
                call.function, limiter=self._limiter, abandon_on_cancel=True
            )
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - raised in the job's own task
            call.error = exc
        call.ended.set()
        if call.left:
            self._returned()


class _ThreadCall:
    __slots__ = ("ended", "error", "function", "left", "value")

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.ended = anyio.Event()
        self.value: Any = None
        self.error: BaseException | None = None
        self.left = False
