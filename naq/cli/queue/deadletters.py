"""``naq list-failed``, ``naq requeue``, ``naq delete-failed``: dead letters."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from naq.base.exits import Exit
from naq.base.names import check_job_id, check_queue
from naq.cli import render
from naq.cli.boundary import say
from naq.cli.common import ROWS, Common, Json, Limit, run
from naq.cli.consent import Yes, given, require
from naq.exceptions import ConfigurationError, JobNotFoundError
from naq.jobs.job import utc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from naq.jobs.job import DeadLetter
    from naq.nats.connection import Connection

__all__ = ["delete_failed", "list_failed", "requeue"]

QueueOption = Annotated[str | None, Parameter(name=["--queue", "-q"])]
All = Annotated[bool, Parameter(name="--all", negative=())]


def list_failed(
    *,
    queue: QueueOption = None,
    limit: Limit = ROWS,
    json: Json = False,
    common: Common | None = None,
) -> int:
    """Show dead letters, oldest first: jobs that will not be tried again, and why.

    Args:
        queue: Only of this queue.
        limit: At most this many.
        json: Print one JSON document.
    """
    if queue is not None:
        check_queue(queue)

    async def ask(connection: Connection) -> tuple[list[DeadLetter], int]:
        from naq.jobs.deadletters import DeadLetters

        there = await _count(connection, queue)
        found: list[DeadLetter] = []
        if there:
            letters = DeadLetters(connection)
            async for stored in await letters.all(queue):
                found.append(letters.open(stored))
                if len(found) == limit:
                    break
        return found, there

    letters, there = run(common, ask)
    if json:
        render.print_json([_fields(letter) for letter in letters])
    else:
        columns = ["ID", "QUEUE", "FUNCTION", "REASON", "ERROR", "ATTEMPTS", "FAILED"]
        rows = [
            (
                letter.id,
                letter.queue,
                letter.function or None,
                _short(letter.reason),
                _short(_error(letter)),
                letter.attempts,
                f"{render.ago(utc(letter.failed_at))} ago",
            )
            for letter in letters
        ]
        render.table(columns, rows, empty="there are no dead letters")
    render.cut(len(letters), there, "dead letters")
    return 0


def requeue(
    *job_ids: str, every: All = False, queue: QueueOption = None, common: Common | None = None
) -> int:
    """Put dead letters back into their queues, with all their attempts ahead of them.

    Args:
        job_ids: Ids of jobs.
        every: All dead letters instead, or those of one queue with --queue.
        queue: With --all: only of this queue.
    """
    _check(job_ids, every, queue)

    async def ask(connection: Connection) -> int:
        from naq.jobs.deadletters import DeadLetters

        letters = DeadLetters(connection)
        if not every:
            return await _each(job_ids, letters.requeue, "requeued")
        there, done = await _count(connection, queue), 0
        with render.progress("requeued", there) as step:
            async for stored in await letters.all(queue):
                letter = letters.open(stored)
                with contextlib.suppress(JobNotFoundError):  # somebody else was first
                    await letters.requeue(letter.id)
                    done += 1
                    step(f"{letter.id} requeued")
        render.line(f"{render.number(done, 'dead letter')} requeued")
        return 0

    return run(common, ask)


def delete_failed(
    *job_ids: str,
    every: All = False,
    queue: QueueOption = None,
    yes: Yes = False,
    common: Common | None = None,
) -> int:
    """Delete dead letters for good.

    With --all it asks first, and says how many there are; without a terminal --yes is needed.

    Args:
        job_ids: Ids of jobs.
        every: All dead letters instead, or those of one queue with --queue.
        queue: With --all: only of this queue.
        yes: Do not ask.
    """
    _check(job_ids, every, queue)
    whose = "all queues" if queue is None else f"queue {queue}"
    if every:
        require(yes, f"deletes the dead letters of {whose}")
        if not yes:
            there = run(common, lambda connection: _count(connection, queue))
            if there == 0:
                render.line("there are no dead letters")
                return 0
            question = f"Delete {render.number(there, 'dead letter')} of {whose} for good?"
            if not given(yes, question):
                return Exit.FAILED

    async def ask(connection: Connection) -> int:
        from naq.jobs.deadletters import DeadLetters

        letters = DeadLetters(connection)
        if not every:
            return await _each(job_ids, letters.delete, "deleted")
        await _count(connection, queue)
        with render.busy(f"deleting the dead letters of {whose}"):
            deleted = await letters.delete_all(queue)
        render.say(f"{render.number(deleted, 'dead letter')} deleted")
        return 0

    return run(common, ask)


def _check(job_ids: Sequence[str], every: bool, queue: str | None) -> None:
    if bool(job_ids) == every:
        raise ConfigurationError("give ids of jobs, or --all")
    if queue is not None and not every:
        raise ConfigurationError("--queue: only with --all")
    if queue is not None:
        check_queue(queue)
    for job_id in job_ids:
        check_job_id(job_id)


async def _each(job_ids: Sequence[str], act: Callable[[str], Awaitable[None]], done: str) -> int:
    """Act on each dead letter that was named; one that does not exist stops no other."""
    code = 0
    for job_id in job_ids:
        try:
            await act(job_id)
        except JobNotFoundError as exc:
            code = say(exc)
        else:
            render.say(f"{job_id} {done}")
    return code


async def _count(connection: Connection, queue: str | None) -> int:
    """Return how many dead letters there are.

    Raises:
        QueueNotFoundError: there are none, nor such a queue.
    """
    from naq.jobs.layout import ensure_streams
    from naq.queue.admin import existing

    await ensure_streams(connection)
    names = connection.names
    subject = names.dead_letter(queue or "*", "*")
    there = await connection.streams.count(names.results_stream, subject)
    if not there and queue is not None:
        await existing(connection, queue)
    return there


def _fields(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "queue": letter.queue,
        "function": letter.function,
        "reason": letter.reason,
        "error": _error(letter),
        "traceback": letter.error.traceback if letter.error else "",
        "attempts": letter.attempts,
        "worker": letter.worker,
        "failed_at": utc(letter.failed_at),
    }


def _error(letter: DeadLetter) -> str:
    if letter.error is None:
        return ""
    return f"{letter.error.type.rpartition('.')[2]}: {letter.error.message}".removeprefix(": ")


def _short(text: str, width: int = 60) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= width else f"{one_line[: width - 1]}…"
