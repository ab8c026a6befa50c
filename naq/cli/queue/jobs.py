"""``naq enqueue``, ``naq job``, ``naq cancel``, ``naq forget``: one job."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from naq.base.names import check_job_id
from naq.cli import render, visible
from naq.cli.boundary import say
from naq.cli.common import Common, Duration, Flag, Json, run
from naq.cli.queue.calls import moment_of, typed_call
from naq.exceptions import NaqException

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from naq.jobs.coding.codec import Codec
    from naq.jobs.job import Job, JobInfo, JobMessage
    from naq.nats.connection import Connection

__all__ = ["cancel", "enqueue", "forget", "job"]


def enqueue(
    target: str,
    /,
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=False)],
    kwarg: Annotated[tuple[str, ...], Parameter(name=["--kwarg", "-k"])] = (),
    queue: Annotated[str | None, Parameter(name=["--queue", "-q"])] = None,
    delay: Annotated[Duration | None, Parameter(name="--in")] = None,
    at: str | None = None,
    job_id: str | None = None,
    max_retries: int | None = None,
    wait: Flag = False,
    timeout: Duration | None = None,
    common: Common | None = None,
) -> int:
    """Put a call into a queue and print the job's id, or its result with --wait.

    naq enqueue examples.tasks:add 2 3 --wait

    Args:
        target: A function, as module:function.
        arguments: Its arguments: JSON if they are JSON, otherwise text. Put -- before negative
            numbers.
        kwarg: A keyword argument, NAME=VALUE.
        queue: Name of the queue. Default: that of the task, or NAQ_DEFAULT_QUEUE.
        delay: Run it this much later: 90, 250ms, 10s, 1h30m.
        at: Run it at this time: 2030-01-31T09:00+01:00; local time if there is no offset.
        job_id: An id of your choice; makes the call idempotent.
        max_retries: How many times to try again after a failure.
        wait: Wait for the result and print it.
        timeout: Stop waiting after this time.
    """
    typed = typed_call(target, arguments, kwarg, job_id=job_id, max_retries=max_retries)
    when = moment_of(delay, at)

    async def send(connection: Connection) -> int:
        from naq.queue.queue import Queue

        async with Queue(queue or typed.queue, connection=connection) as opened:
            if when is None:
                enqueued = await opened.enqueue(typed.call)
            else:
                enqueued = await opened.enqueue_at(when, typed.call)
        if enqueued.duplicate:
            await _say_known(enqueued)
        elif not await _served(connection, enqueued.queue):
            render.line(f"no worker serves queue {enqueued.queue}: the job waits until one does")
        if wait:
            return await _await_result(enqueued, timeout)
        render.say(enqueued.id)
        return 0

    return run(common, send)


async def _say_known(job: Job) -> None:
    """Say on stderr that nothing was queued, and what can be done about it."""
    try:
        status = await job.status()
    except NaqException:
        render.line(f"nothing was queued: job {job.id} is known")
        return
    how = f"naq forget {job.id}" if status.final else f"naq cancel {job.id}, then naq forget"
    render.line(
        f"nothing was queued: job {job.id} is known, it is {status} (to free its id: {how})"
    )


async def _served(connection: Connection, queue: str) -> bool:
    """Whether a worker takes the jobs of a queue."""
    from naq.jobs.presence import announced

    return any(
        info.kind == "worker" and queue in info.queues
        for info in (await announced(connection)).values()
    )


async def _await_result(job: Job, timeout: float | None) -> int:
    try:
        value = await job.result(timeout)
    except TimeoutError:
        render.line(f"job {job.id} has not ended within {timeout:g} s; it carries on")
        return 1
    except NaqException as exc:
        say(exc)
        remote = getattr(exc, "traceback", "")
        if remote and sys.stderr.isatty():
            sys.stderr.write(visible.block(remote))
        return 1
    render.say(_shown(value))
    return 0


def job(
    job_id: str, /, *, unpickle: Flag = False, json: Json = False, common: Common | None = None
) -> int:
    """Show where a job is, its arguments, times and attempts, and its result or traceback.

    Exits with 1 if the job failed, and with 66 if there is no such job.

    Args:
        job_id: The job's id.
        unpickle: Show the result as the objects it is made of, which runs code that it names.
            Without this, what is pickled is described and nothing of it is run.
        json: Print one JSON document.
    """
    check_job_id(job_id)

    async def ask(connection: Connection) -> tuple[JobInfo, JobMessage | None, Codec]:
        from naq.jobs.coding.codec import Codec
        from naq.jobs.inspect.info import job_info, job_message

        info = await job_info(connection, job_id)
        message = await job_message(connection, job_id)
        return info, message, Codec.from_settings(connection.settings)

    from naq.jobs.inspect.arguments import value_of

    info, message, codec = run(common, ask)
    described = _described(info, message, codec.decode_value if unpickle else value_of)
    if json:
        render.print_json(described)
    else:
        _show(described)
    return 1 if info.status in ("failed", "expired") else 0


def _described(
    info: JobInfo, message: JobMessage | None, decode: Callable[[bytes, str], Any]
) -> dict[str, Any]:
    """Return the fields of ``naq job --json``; ``decode`` makes the result of its bytes."""
    from naq.jobs.inspect.arguments import shown
    from naq.jobs.job import utc

    fields: dict[str, Any] = {
        "id": info.id,
        "queue": info.queue,
        "function": info.function,
        "arguments": None if message is None else shown(message.payload, message.encoding),
        "status": str(info.status),
        "attempts": info.attempts,
        "worker": info.worker,
        "enqueued_at": info.enqueued_at,
        "due_at": info.due_at,
        "started_at": info.started_at,
        "finished_at": info.finished_at,
    }
    if info.record is not None and info.record.history:
        fields["history"] = [
            {
                "attempt": past.attempt,
                "worker": past.worker or None,
                "started_at": utc(past.started_at),
                "finished_at": utc(past.finished_at),
                "error": past.error,
                "death": past.death or None,
                "exit": past.exit,
                "beside": past.beside,
            }
            for past in info.record.history
        ]
    error = info.error or (info.record.error if info.record else None)
    if error is not None:
        fields["error"] = f"{error.type}: {error.message}".removeprefix(": ")
        fields["traceback"] = error.traceback
    elif info.record is not None and info.status == "completed":
        fields["result"] = decode(info.record.value, info.record.encoding)
    return fields


def _show(fields: dict[str, Any]) -> None:
    """Print what a job is, what has happened to it in the order of time, and what it came to."""
    after = ("error", "result")
    for name, value in fields.items():
        if name not in (*after, *_TIMES, "history", "traceback") and value not in (None, ""):
            render.say(f"{name:<12} {visible.inline(str(value))}")
    for _, text in sorted(_happened(fields), key=lambda line: line[0]):
        render.say(text)
    for name in after:
        if fields.get(name) not in (None, ""):
            value = fields[name]
            text = _shown(value) if name == "result" else visible.inline(value)
            render.say(f"{name:<12} {text}")
    if fields.get("traceback"):
        render.say(f"\n{fields['traceback'].rstrip()}")


_TIMES = ("enqueued_at", "due_at", "started_at", "finished_at")


def _happened(fields: dict[str, Any]) -> Iterator[tuple[datetime, str]]:
    """Yield each time of a job with a line about it."""
    for name in _TIMES:
        at = fields[name]
        if at is not None:
            label = name.replace("_", " ")
            yield at, f"{label:<12} {at.astimezone():%Y-%m-%d %H:%M:%S} ({_relative(at)})"
    before = fields["enqueued_at"] or datetime.min.replace(tzinfo=UTC)
    for past in fields.get("history", ()):
        at = past["finished_at"]
        before = at or past["started_at"] or before
        when = f"  ({_relative(at)})" if at else ""
        yield before, f"  attempt {past['attempt']}: {visible.inline(past['error'])}{when}"


def _relative(moment: datetime) -> str:
    away = moment.timestamp() - datetime.now(UTC).timestamp()
    return f"in {render.duration(away)}" if away > 0 else f"{render.duration(-away)} ago"


def _shown(value: Any) -> str:
    """Return a result as text: a string as it is, others as JSON, or as their ``repr``."""
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, msgspec.MsgspecError):
        return repr(value)


def cancel(job_id: str, /, *, common: Common | None = None) -> int:
    """Cancel a job: a queued one is removed, a running one is stopped.

    Exits with 1 if it has already ended, 66 if there is none.

    Args:
        job_id: The job's id.
    """
    check_job_id(job_id)

    async def ask(connection: Connection) -> bool:
        from naq.jobs.inspect.info import cancel_job

        return await cancel_job(connection, job_id)

    if run(common, ask):
        render.say(f"{job_id} cancelled")
        return 0
    render.line(f"job {job_id} has already ended")
    return 1


def forget(job_id: str, /, *, common: Common | None = None) -> int:
    """Free the id of a job that has ended: its result or dead letter is removed.

    Exits with 1 if it has not ended, 66 if nothing is known of it.

    Args:
        job_id: The job's id.
    """

    async def ask(connection: Connection) -> bool:
        from naq.base.names import check_job_id
        from naq.jobs.inspect.info import forget_job

        return await forget_job(connection, check_job_id(job_id))

    if run(common, ask):
        render.say(f"{job_id} forgotten: its id can be enqueued again")
        return 0
    render.line(f"job {job_id} has not ended; cancel it first: naq cancel {job_id}")
    return 1
