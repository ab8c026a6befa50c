"""``naq enqueue``, ``naq job``, ``naq cancel``, ``naq forget``: one job."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from naq.cli import render
from naq.cli.common import Common, Duration, Flag, Json, run
from naq.cli.queue.calls import moment_of, typed_call
from naq.exceptions import NaqException, SerializationError

if TYPE_CHECKING:
    from naq.jobs.job import Job, JobInfo
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


async def _await_result(job: Job, timeout: float | None) -> int:
    try:
        value = await job.result(timeout)
    except TimeoutError:
        render.line(f"job {job.id} has not ended within {timeout:g} s; it carries on")
        return 1
    except NaqException as exc:
        render.error(exc)
        remote = getattr(exc, "traceback", "")
        if remote and sys.stderr.isatty():
            sys.stderr.write(remote)
        return 1
    render.say(_shown(value))
    return 0


def job(job_id: str, /, *, json: Json = False, common: Common | None = None) -> int:
    """Show where a job is, its times and attempts, and its result or traceback.

    Exits with 1 if the job failed, and with 66 if there is no such job.

    Args:
        job_id: The job's id.
        json: Print one JSON document.
    """

    async def ask(connection: Connection) -> tuple[JobInfo, dict[str, Any]]:
        from naq.base.names import check_job_id
        from naq.jobs.inspect import job_info

        info = await job_info(connection, check_job_id(job_id))
        return info, _described(info, connection)

    info, described = run(common, ask)
    if json:
        render.print_json(described)
    else:
        _show(described)
    return 1 if info.status in ("failed", "expired") else 0


def _described(info: JobInfo, connection: Connection) -> dict[str, Any]:
    """Return the fields of ``naq job --json``."""
    from naq.jobs.codec import Codec
    from naq.jobs.job import utc

    fields: dict[str, Any] = {
        "id": info.id,
        "queue": info.queue,
        "function": info.function,
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
        codec = Codec.from_settings(connection.settings)
        try:
            fields["result"] = codec.decode_value(info.record.value, info.record.encoding)
        except SerializationError as exc:
            fields["error"] = f"the result cannot be shown: {exc}"
    return fields


def _show(fields: dict[str, Any]) -> None:
    trace = fields.pop("traceback", "")
    for name, value in fields.items():
        if value is None or value == "":
            continue
        if name == "history":
            for past in value:
                at = past["finished_at"]
                when = f"  ({_relative(at)})" if at else ""
                render.say(f"  attempt {past['attempt']}: {past['error']}{when}")
            continue
        if isinstance(value, datetime):
            text = f"{value.astimezone():%Y-%m-%d %H:%M:%S} ({_relative(value)})"
        else:
            text = _shown(value) if name == "result" else str(value)
        render.say(f"{name.replace('_', ' '):<12} {text}")
    if trace:
        render.say(f"\n{trace.rstrip()}")


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

    async def ask(connection: Connection) -> bool:
        from naq.base.names import check_job_id
        from naq.jobs.inspect import cancel_job

        return await cancel_job(connection, check_job_id(job_id))

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
        from naq.jobs.inspect import forget_job

        return await forget_job(connection, check_job_id(job_id))

    if run(common, ask):
        render.say(f"{job_id} forgotten: its id can be enqueued again")
        return 0
    render.line(f"job {job_id} has not ended; cancel it first: naq cancel {job_id}")
    return 1
