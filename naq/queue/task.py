"""``@naq.task``: a function with the queue and options its jobs get, and perhaps a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from naq.base.names import check_queue
from naq.base.public import public
from naq.exceptions import ConfigurationError
from naq.jobs import calls
from naq.jobs.calls import Declared
from naq.jobs.coding.allowed import register
from naq.jobs.sync import synced
from naq.queue import functions
from naq.schedules import declared
from naq.schedules import options as schedule_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from naq.jobs.job import Job

__all__ = ["Task", "task"]

P = ParamSpec("P")
R = TypeVar("R")


@public
class Task(Declared[P, R]):
    """A function with a queue and options; made by :func:`task`. Calling it just calls it."""

    def with_options(self, *, queue: str | None = None, **options: Any) -> Task[P, R]:
        """Return the task with another queue or other options.

        Raises:
            ConfigurationError: there is no such option, or its value cannot be used.
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
        return await functions.enqueue(self.call(*args, **kwargs))

    async def enqueue_in(self, delay: float | timedelta, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Enqueue a call that becomes runnable after ``delay`` (seconds or timedelta)."""
        return await functions.enqueue_in(delay, self.call(*args, **kwargs))

    async def enqueue_at(self, when: datetime, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Enqueue a call that becomes runnable at ``when``, a datetime with a time zone."""
        return await functions.enqueue_at(when, self.call(*args, **kwargs))

    enqueue_sync = synced(enqueue)
    enqueue_in_sync = synced(enqueue_in)
    enqueue_at_sync = synced(enqueue_at)


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(*, queue: str | None = None, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]: ...


@public
def task(
    function: Callable[..., Any] | None = None, /, *, queue: str | None = None, **options: Any
) -> Any:
    """Decorate a function with the queue and the options of its jobs.

    ``@naq.task`` or ``@naq.task(queue="mail", max_retries=5, timeout=30)``. In JSON mode, only
    decorated functions and those of allowed modules run.

    With ``cron`` or ``interval``, and the other options of :meth:`naq.Queue.schedule`, it is run
    again and again, without arguments: each worker that imports it creates the schedule, whose id
    is ``schedule_id`` or made of module and function.

    Raises:
        ConfigurationError: there is no such option, or its value cannot be used.
    """
    schedule = {
        name: options.pop(name) for name in schedule_options.SCHEDULE_OPTIONS & options.keys()
    }
    _check(options)
    if schedule:
        schedule_options.normalize(schedule, now=0.0)
    if "job_id" in options:
        raise ConfigurationError("job_id belongs to one enqueue, not to a task")
    if queue is not None:
        check_queue(queue)

    def decorate(decorated: Callable[P, R]) -> Task[P, R]:
        ref = f"{decorated.__module__}:{decorated.__qualname__}"
        register(ref)
        made: Task[P, R] = Task(decorated, queue=queue, options=options)
        if schedule:
            schedule_id = schedule.get("schedule_id") or ref.replace(".", "-")
            # It is called without arguments, which no type checker can know.
            call = calls.Call(decorated, (), {}, options)
            declared.tasks[schedule_id] = declared.Declaration(call, queue, schedule)
        return made

    return decorate if function is None else decorate(function)


def _check(options: dict[str, Any]) -> None:
    calls.refuse_unknown(options)
    calls.normalize(options, due=0.0)
