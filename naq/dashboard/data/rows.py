"""Turns what is stored into what is shown (``model``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from naq.dashboard.data.model import JobDetail, JobRow, LetterRow
from naq.jobs.inspect.arguments import shown
from naq.jobs.job import UNKNOWN, JobMessage

if TYPE_CHECKING:
    from naq.jobs.job import DeadLetter, Failure, JobInfo, JobRecord

__all__ = [
    "add_message",
    "letter_row",
    "of_info",
    "of_letter",
    "record_row",
]

_OPTIONS = (
    "max_retries",
    "retry_delay",
    "retry_strategy",
    "retry_jitter",
    "retry_on",
    "ignore_on",
    "timeout",
    "expires_at",
    "result_ttl",
)


def _short(error: Failure) -> str:
    return f"{error.type.rpartition('.')[2]}: {error.message}"[:200]


def record_row(record: JobRecord) -> JobRow:
    """Return the row of a job that has ended, or waits for another attempt."""
    took = None
    if record.started_at and record.finished_at:
        took = record.finished_at - record.started_at
    return JobRow(
        id=record.id,
        queue=record.queue,
        function=record.function,
        status=str(record.status),
        at=record.retry_at or record.finished_at,
        attempts=record.attempts,
        worker=record.worker or None,
        took=took,
        error=_short(record.error) if record.error else None,
    )


def of_info(info: JobInfo) -> JobDetail:
    """Return what is known about a job."""
    record = info.record
    detail = JobDetail(
        id=info.id,
        queue=info.queue,
        function=info.function,
        status=str(info.status),
        attempts=info.attempts,
        worker=info.worker,
    )
    for name in ("enqueued_at", "due_at", "started_at", "finished_at"):
        moment = getattr(info, name)
        setattr(detail, name, None if moment is None else moment.timestamp())
    if info.error is not None:
        detail.error_type, detail.error_message = info.error.type, info.error.message
        detail.traceback = info.error.traceback or None
    if record is not None:
        detail.retry_at = record.retry_at
        detail.history = record.history
        if record.status == "completed":
            detail.value = _value(record)
    return detail


def _value(record: JobRecord) -> str:
    if record.encoding == "json":
        return record.value.decode(errors="replace")[:4_000]
    return shown(record.value, record.encoding)


def of_letter(letter: DeadLetter) -> JobDetail:
    """Return what is known about a job of which only a dead letter is left."""
    error = letter.error
    return JobDetail(
        id=letter.id,
        queue=letter.queue,
        function=letter.function or UNKNOWN,
        status="failed",
        attempts=letter.attempts,
        worker=letter.worker or None,
        finished_at=letter.failed_at,
        error_type=error.type if error else None,
        error_message=error.message if error else None,
        traceback=(error.traceback or None) if error else None,
        history=letter.history,
    )


def add_message(detail: JobDetail, message: JobMessage) -> None:
    """Add the arguments and options that a job was enqueued with."""
    detail.function = message.function
    detail.arguments = shown(message.payload, message.encoding)
    detail.encoding = message.encoding
    detail.meta = message.meta
    defaults = {f.name: f.default for f in msgspec.structs.fields(JobMessage)}
    for name in _OPTIONS:
        value = getattr(message, name)
        if value not in (defaults.get(name), []):
            detail.options[name] = value
    if detail.enqueued_at is None:
        detail.enqueued_at = message.enqueued_at


def letter_row(letter: DeadLetter) -> LetterRow:
    """Return the row of a dead letter."""
    return LetterRow(
        id=letter.id,
        queue=letter.queue,
        function=letter.function or UNKNOWN,
        reason=letter.reason,
        failed_at=letter.failed_at,
        attempts=letter.attempts,
        worker=letter.worker or None,
        error=_short(letter.error) if letter.error else None,
    )
