"""``@naq.task``: a policy beside a function. ``naq.call``: a call that has not been made yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from naq.base.names import check_queue
from naq.exceptions import ConfigurationError
from naq.jobs import calls as _options
from naq.jobs.calls import Declared, refuse_unknown
from naq.jobs.codec import register
from naq.queue import functions
from naq.schedules.options import SCHEDULE_OPTIONS
from naq.schedules.options import normalize as normalize_schedule

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from naq.jobs.job import Job

__all__ = ["Task", "scheduled_tasks", "task"]

P = ParamSpec("P")
R = TypeVar("R")


class Task(Declared[P, R]):
    """A function with a queue and options; made by :func:`task`. Calling it just calls it."""

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

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Enqueue a call; raises as :meth:`naq.Queue.enqueue` does."""
        return await functions.enqueue(self.call(*args, **kwargs), queue_name=self.queue)

    async def enqueue_in(self, delay: float | timedelta, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Enqueue a call that becomes runnable after ``delay`` (seconds or timedelta)."""
        return await functions.enqueue_in(delay, self.call(*args, **kwargs), queue_name=self.queue)

    async def enqueue_at(self, when: datetime, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Enqueue a call that becomes runnable at ``when``, a datetime with a time zone."""
        return await functions.enqueue_at(when, self.call(*args, **kwargs), queue_name=self.queue)

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """:meth:`enqueue` for code without an event loop."""
        return functions.enqueue_sync(self.call(*args, **kwargs), queue_name=self.queue)

    def enqueue_in_sync(self, delay: float | timedelta, *args: P.args, **kwargs: P.kwargs) -> Job:
        """:meth:`enqueue_in` for code without an event loop."""
        return functions.enqueue_in_sync(delay, self.call(*args, **kwargs), queue_name=self.queue)

    def enqueue_at_sync(self, when: datetime, *args: P.args, **kwargs: P.kwargs) -> Job:
        """:meth:`enqueue_at` for code without an event loop."""
        return functions.enqueue_at_sync(when, self.call(*args, **kwargs), queue_name=self.queue)


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
    refuse_unknown(options)
    _options.normalize(options, due=0.0)
