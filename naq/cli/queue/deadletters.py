"""``naq list-failed``, ``naq requeue``, ``naq delete-failed``: dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from naq.cli import render
from naq.cli.common import Common, Json, run
from naq.exceptions import ConfigurationError, JobNotFoundError
from naq.jobs.job import utc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.jobs.deadletters import DeadLetters
    from naq.jobs.job import DeadLetter
    from naq.nats.connection import Connection

__all__ = ["delete_failed", "list_failed", "requeue"]

QueueOption = Annotated[str | None, Parameter(name=["--queue", "-q"])]
All = Annotated[bool, Parameter(name="--all", negative=())]


def list_failed(
    *,
    queue: QueueOption = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"])] = 1000,
    json: Json = False,
    common: Common | None = None,
) -> int:
    """Show dead letters, oldest first: jobs that will not be tried again, and why.

    Args:
        queue: Only those of this queue.
        limit: At most this many.
        json: Print one JSON document.
    """

    async def ask(connection: Connection) -> list[DeadLetter]:
        return await _letters(connection, queue, limit)

    letters = run(common, ask)
    if json:
        render.print_json([_fields(letter) for letter in letters])
        return 0
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
    return 0


def requeue(
    *job_ids: str, every: All = False, queue: QueueOption = None, common: Common | None = None
) -> int:
    """Put dead letters back into their queues, with all their attempts ahead of them.

    Args:
        job_ids: Ids of jobs.
        every: All dead letters instead, or those of one queue with --queue.
        queue: With --all: only those of this queue.
    """
    return _for_each(job_ids, every, queue, "requeued", lambda letters: letters.requeue, common)


def delete_failed(
    *job_ids: str, every: All = False, queue: QueueOption = None, common: Common | None = None
) -> int:
    """Delete dead letters for good.

    Args:
        job_ids: Ids of jobs.
        every: All dead letters instead, or those of one queue with --queue.
        queue: With --all: only those of this queue.
    """
    return _for_each(job_ids, every, queue, "deleted", lambda letters: letters.delete, common)


def _for_each(
    job_ids: tuple[str, ...],
    every: bool,
    queue: str | None,
    done: str,
    action: Callable[[DeadLetters], Callable[[str], Awaitable[None]]],
    common: Common | None,
) -> int:
    """Act on each dead letter; one that does not exist does not stop the others."""
    from naq.base.names import check_job_id

    if bool(job_ids) == every:
        raise ConfigurationError("give ids of jobs, or --all")
    ids = [check_job_id(job_id) for job_id in job_ids]

    async def ask(connection: Connection) -> int:
        from naq.jobs.deadletters import DeadLetters

        act = action(DeadLetters(connection))
        if every:
            ids.extend(letter.id for letter in await _letters(connection, queue, None))
        code = 0
        for job_id in ids:
            try:
                await act(job_id)
            except JobNotFoundError as exc:
                code = render.error(exc)
            else:
                render.say(f"{job_id} {done}")
        return code

    return run(common, ask)


async def _letters(
    connection: Connection, queue: str | None, limit: int | None
) -> list[DeadLetter]:
    from naq.base.names import check_queue
    from naq.jobs.deadletters import DeadLetters
    from naq.jobs.layout import ensure_streams

    await ensure_streams(connection)
    found: list[DeadLetter] = []
    after = 0
    while limit is None or len(found) < limit:
        size = 256 if limit is None else min(256, limit - len(found))
        page, after = await DeadLetters(connection).page(
            check_queue(queue) if queue else None, after=after, limit=size
        )
        found += page
        if not after:
            break
    return found


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
