"""``@naq.task``: a policy beside a function. ``naq.call``: a call that has not been made yet."""

from __future__ import annotations

import inspect
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from naq import _options
from naq._names import check_queue
from naq._schedule_options import SCHEDULE_OPTIONS
from naq._schedule_options import normalize as normalize_schedule
from naq.exceptions import ConfigurationError
from naq.serializers import register

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from naq.job import Job

__all__ = ["Call", "Task", "call", "scheduled_tasks", "task"]

P = ParamSpec("P")
R = TypeVar("R")


_NONE: dict[str, Any] = {}
"""The options of a call without any; one for all of them, and never changed."""


class Call:
    """A function with its arguments, to be enqueued; made by :func:`call`."""

    __slots__ = ("args", "function", "kwargs", "options")

    def __init__(
        self,
        function: Callable[..., Any] | str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any] | None = None,
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.options = options or _NONE

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", self.function)
        return f"<naq.call {name}>"

    def with_options(self, **options: Any) -> Call:
        """Return this call with options of its own, which win over those of the enqueue.

        Raises:
            ConfigurationError: not an option of enqueue.
        """
        _refuse_unknown(options)
        return Call(self.function, self.args, self.kwargs, {**self.options, **options})


def call(function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Call:
    """Bind arguments for a later enqueue; every keyword is the function's own.

    ``_functions.enqueue_many([naq.call(add, i, 1) for i in range(10_000)])``
    """
    return Call(function, args, kwargs)


class Task(Generic[P, R]):
    """A function with a queue and options; made by :func:`task`. Calling it just calls it."""

    def __init__(
        self, function: Callable[P, R], *, queue: str | None, options: dict[str, Any]
    ) -> None:
        self.function = function
        self.queue = queue
        self.options = options
        update_wrapper(self, function)
        if inspect.iscoroutinefunction(function):
            # So that inspect and frameworks see what calling it gives.
            inspect.markcoroutinefunction(self) if hasattr(
                inspect, "markcoroutinefunction"
            ) else None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<naq.task {self.function.__module__}:{self.function.__qualname__}>"

    def with_options(self, *, queue: str | None = None, **options: Any) -> Task[P, R]:
        """Return the task with another queue or other options.

        Raises:
            ConfigurationError: not an option of enqueue, or one that cannot be used.
        """
        _check(options)
        new: Task[P, R] = Task(
            self.function,
            queue=self.queue if queue is None else check_queue(queue),
            options={**self.options, **options},
        )
        return new

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """Bind arguments for ``enqueue_many``."""
        return Call(self.function, args, dict(kwargs), self.options)

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Enqueue a call; raises as :meth:`naq.Queue.enqueue` does."""
        from naq import _functions  # noqa: PLC0415 - it knows tasks

        return await _functions.enqueue(self.call(*args, **kwargs), queue_name=self.queue)

    async def enqueue_in(self, delay: float | timedelta, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Enqueue a call that becomes runnable after ``delay`` (seconds or timedelta)."""
        from naq import _functions  # noqa: PLC0415

        return await _functions.enqueue_in(delay, self.call(*args, **kwargs), queue_name=self.queue)

    async def enqueue_at(self, when: datetime, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Enqueue a call that becomes runnable at ``when``, a datetime with a time zone."""
        from naq import _functions  # noqa: PLC0415

        return await _functions.enqueue_at(when, self.call(*args, **kwargs), queue_name=self.queue)

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """:meth:`enqueue` for code without an event loop."""
        from naq import _functions  # noqa: PLC0415

        return _functions.enqueue_sync(self.call(*args, **kwargs), queue_name=self.queue)

    def enqueue_in_sync(self, delay: float | timedelta, *args: P.args, **kwargs: P.kwargs) -> Job:
        """:meth:`enqueue_in` for code without an event loop."""
        from naq import _functions  # noqa: PLC0415

        return _functions.enqueue_in_sync(delay, self.call(*args, **kwargs), queue_name=self.queue)

    def enqueue_at_sync(self, when: datetime, *args: P.args, **kwargs: P.kwargs) -> Job:
        """:meth:`enqueue_at` for code without an event loop."""
        from naq import _functions  # noqa: PLC0415

        return _functions.enqueue_at_sync(when, self.call(*args, **kwargs), queue_name=self.queue)


_scheduled: dict[str, tuple[Task[..., Any], dict[str, Any]]] = {}


def scheduled_tasks() -> list[tuple[str, Task[..., Any], dict[str, Any]]]:
    """Return id, task and options of each schedule that a decorator has declared here."""
    return [(name, task, options) for name, (task, options) in _scheduled.items()]


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(*, queue: str | None = None, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(
    function: Callable[..., Any] | None = None, /, *, queue: str | None = None, **options: Any
) -> Any:
    """Decorate a function with the queue and options its jobs get.

    ``@naq.task`` or ``@naq.task(queue="mail", max_retries=5, timeout=30)``. In ``json`` mode only
    decorated functions (and those of allowed modules) run.

    With ``cron`` or ``interval``, and the other options of :meth:`naq.Queue.schedule`, it is run
    again and again, without arguments: each worker that has imported it makes the schedule, under
    ``schedule_id`` or a name made of module and function.

    Raises:
        ConfigurationError: not an option of enqueue, or one that cannot be used.
    """
    schedule = {name: options.pop(name) for name in SCHEDULE_OPTIONS & options.keys()}
    _check(options)
    if schedule:
        normalize_schedule(schedule, now=0.0)
    if "job_id" in options:
        raise ConfigurationError("job_id belongs to one enqueue, not to a task")
    if queue is not None:
        check_queue(queue)

    def decorate(decorated: Callable[P, R]) -> Task[P, R]:
        ref = f"{decorated.__module__}:{decorated.__qualname__}"
        register(ref)
        made: Task[P, R] = Task(decorated, queue=queue, options=options)
        if schedule:
            _scheduled[schedule.get("schedule_id") or ref.replace(".", "-")] = made, schedule
        return made

    return decorate if function is None else decorate(function)


def _check(options: dict[str, Any]) -> None:
    _refuse_unknown(options)
    _options.normalize(options, due=0.0)


def _refuse_unknown(options: dict[str, Any]) -> None:
    unknown = sorted(options.keys() - _options.OPTIONS)
    if unknown:
        known = ", ".join(sorted(_options.OPTIONS))
        raise ConfigurationError(f"{', '.join(unknown)}: no such option; there are {known}")
