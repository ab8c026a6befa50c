"""What the dashboard asks the server. Messages are decoded; arguments and results never are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naq.base.names import check_job_id, check_queue
from naq.dashboard.data.model import (
    JobDetail,
    JobRow,
    JobsPage,
    LetterRow,
    LettersPage,
    Overview,
)
from naq.dashboard.data.rows import (
    add_message,
    letter_row,
    of_info,
    of_letter,
    record_row,
)
from naq.exceptions import JobNotFoundError, SerializationError
from naq.jobs import presence
from naq.jobs.coding.codec import Codec
from naq.jobs.deadletters import DeadLetters
from naq.jobs.inspect.info import job_info, job_message
from naq.jobs.inspect.states import Moment, states_of
from naq.jobs.job import UNKNOWN, DeadLetter, JobMessage, JobRecord, JobStatus
from naq.nats.jetstream import matches
from naq.queue.delayed import due_of
from naq.queue.numbers.stats import Counts, list_queues
from naq.queue.scheduled import list_scheduled
from naq.schedules.schedule import run_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.jobs.presence import WorkerRow
    from naq.nats.connection import Connection, Stored
    from naq.queue.scheduled import SchedulesPage

__all__ = ["PAGE", "Queries"]

PAGE = 50
"""Rows on a page."""
SCAN = 5_000
"""The most messages searched for one page, when few of them fit."""
DELAYED = 1_000
"""The most delayed jobs that are listed among the schedules."""
_WINDOW = 1_000

_WAITING = {"pending": "job", "scheduled": "delayed"}


class Queries:
    """Questions to one server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._codec = Codec.from_settings(connection.settings)
        self._letters = DeadLetters(connection, codec=self._codec)
        self._counts = Counts()
        self._announced = presence.follow_announced(connection)

    async def overview(self) -> Overview:
        """Return all queues, and the numbers of everything else."""
        connection, names = self._connection, self._connection.names
        queues = await list_queues(connection, self._counts)
        schedules = await connection.streams.count(names.jobs_stream, names.schedule("*"))
        kinds = [info.kind for info in await self._announced.look()]
        return Overview(
            queues=queues,
            workers=kinds.count("worker"),
            schedulers=kinds.count("scheduler"),
            schedules=schedules,
            server=f"{connection.url} (nats-server {connection.server_version})",
        )

    # ------------------------------------------------------------------ jobs

    async def jobs(
        self,
        state: str,
        *,
        queue: str | None = None,
        function: str = "",
        cursor: int | None = None,
        limit: int = PAGE,
    ) -> JobsPage:
        """Return some jobs of a state.

        Those that wait come oldest first, those that have ended newest first. The cost depends on
        how many are searched, not on how many there are.

        Args:
            state: one of :data:`naq.dashboard.data.model.STATES`.
            queue: only those of this queue.
            function: only functions with this in their name.
            cursor: ``next`` of the page before.
            limit: how many jobs to return.

        Raises:
            ConfigurationError: no queue can have that name.
        """
        if queue is not None:
            check_queue(queue)

        def fits(row: JobRow) -> bool:
            return (queue is None or row.queue == queue) and function in row.function

        if state == "running":
            return await self._running(fits, limit)
        if state in _WAITING:
            return await self._waiting(state, queue, fits, cursor, limit)
        page = await self._recorded(state, fits, cursor, limit)
        if state == JobStatus.RETRYING:
            page.jobs = await self._still_retrying(page.jobs)
        return page

    async def _running(self, fits: Callable[[JobRow], bool], limit: int) -> JobsPage:
        rows: list[JobRow] = []
        seen = 0
        for worker in await presence.list_workers(self._connection):
            for job_id in worker.jobs:
                seen += 1
                row = await self._running_row(job_id, worker.id)
                if row is not None and fits(row) and len(rows) < limit:
                    rows.append(row)
        return JobsPage(jobs=rows, scanned=seen)

    async def _running_row(self, job_id: str, worker: str) -> JobRow | None:
        names = self._connection.names
        stored = await self._connection.streams.first(names.jobs_stream, names.job("*", job_id))
        if stored is None:
            return None  # it has just ended
        row = self._waiting_row(stored, self._message_of(stored), "running")
        row.worker = worker
        return row

    async def _waiting(
        self,
        state: str,
        queue: str | None,
        fits: Callable[[JobRow], bool],
        cursor: int | None,
        limit: int,
    ) -> JobsPage:
        names, streams = self._connection.names, self._connection.streams
        subject = getattr(names, _WAITING[state])(queue or "*", "*")
        moment = await Moment.now(self._connection)
        rows: list[JobRow] = []
        after, scanned, window = cursor or 0, 0, 2 * limit
        while scanned < SCAN:
            # The whole stream is read: given a filter, the server would count all matches for each
            # page, which takes a quarter of a second with a million.
            page, _ = await streams.page(names.jobs_stream, ">", after=after, limit=window)
            found = [
                (stored, self._message_of(stored))
                for stored in page
                if matches(subject, stored.subject)
            ]
            states = await states_of(self._connection, moment, found)
            for (stored, message), its in zip(found, states, strict=True):
                scanned += 1
                row = self._waiting_row(stored, message, state)
                if its == state and fits(row):
                    rows.append(row)
                if len(rows) == limit:
                    return JobsPage(jobs=rows, next=stored.seq, scanned=scanned)
            # Skip what does not match.
            after = page[-1].seq if page else after
            further = await streams.next(names.jobs_stream, subject, after=after)
            if further is None:
                return JobsPage(jobs=rows, scanned=scanned)
            after, window = further.seq - 1, min(_WINDOW, 2 * window)
        return JobsPage(jobs=rows, next=after, scanned=scanned)

    def _message_of(self, stored: Stored) -> JobMessage | None:
        return self._opened(stored.data, stored.headers)

    def _waiting_row(self, stored: Stored, job: JobMessage | None, state: str) -> JobRow:
        parts = self._connection.names.parts(stored.subject)
        return JobRow(
            id=parts.id,
            queue=parts.queue,
            function=UNKNOWN if job is None else job.function,
            status=state,
            at=due_of(stored) if state == "scheduled" else stored.time.timestamp(),
        )

    async def _still_retrying(self, rows: list[JobRow]) -> list[JobRow]:
        """Return the jobs that wait for their next attempt: not those that run by now."""
        names, streams = self._connection.names, self._connection.streams
        subjects = [of(row.queue, row.id) for row in rows for of in (names.job, names.delayed)]
        if not subjects:
            return []
        stored = [
            (one, self._message_of(one))
            for one in await streams.last_of(names.jobs_stream, subjects)
        ]
        states = await states_of(self._connection, await Moment.now(self._connection), stored)
        waiting = {
            names.parts(one.subject).id
            for (one, _), its in zip(stored, states, strict=True)
            if its == JobStatus.RETRYING
        }
        return [row for row in rows if row.id in waiting]

    async def _recorded(
        self, state: str, fits: Callable[[JobRow], bool], cursor: int | None, limit: int
    ) -> JobsPage:
        """Search the records, newest first."""
        rows: list[JobRow] = []
        scanned = 0

        def keep(stored: Stored) -> bool:
            nonlocal scanned
            scanned += 1
            row = self._record_row(stored)
            if row is not None and row.status == state and fits(row):
                rows.append(row)
            return len(rows) < limit and scanned < SCAN

        names = self._connection.names
        more = await self._backwards(names.results_stream, names.result("*"), cursor, keep)
        return JobsPage(jobs=rows, next=more, scanned=scanned)

    def _record_row(self, stored: Stored) -> JobRow | None:
        try:
            return record_row(self._codec.open(JobRecord, stored.data, stored.headers))
        except SerializationError:
            return None

    async def _backwards(
        self, stream: str, subject: str, before: int | None, keep: Callable[[Stored], bool]
    ) -> int | None:
        """Call ``keep`` with messages, newest first, until it returns False.

        The server only reads forwards; so windows of sequence numbers are read, each before the
        previous one.

        Returns the sequence number before which to carry on; None at the end.
        """
        state = (await self._connection.streams.stream_info(stream)).state
        upper = state.last_seq + 1
        if before is not None:
            upper = min(before, upper)
        first, window = state.first_seq, 2 * PAGE
        for _ in range(64):  # through a stream of holes there are pages without anything
            if upper <= first:
                return None
            lower = max(first, upper - window)
            messages = self._connection.streams.all(
                stream, subject, after=lower - 1, before=upper, page=window
            )
            for stored in reversed([stored async for stored in messages]):
                if not keep(stored):
                    return stored.seq if stored.seq > first else None
            upper, window = lower, min(_WINDOW, 2 * window)
        return upper

    async def job(self, job_id: str) -> JobDetail:
        """Return everything known about a job.

        Raises:
            JobNotFoundError: nothing is known.
            ConfigurationError: no job can have that id.
        """
        letter = await self._letter(check_job_id(job_id))
        try:
            info = await job_info(self._connection, job_id)
        except JobNotFoundError:
            if letter is None:
                raise
            detail = of_letter(letter)
        else:
            detail = of_info(info)
        message = await job_message(self._connection, job_id, letter)
        if message is not None:
            add_message(detail, message)
        if letter is not None:
            detail.reason = letter.reason
        detail.schedule = run_of(job_id)
        return detail

    async def _letter(self, job_id: str) -> DeadLetter | None:
        names = self._connection.names
        stored = await self._connection.streams.first(
            names.results_stream, names.dead_letter("*", job_id)
        )
        return None if stored is None else self._letters.open(stored)

    def _opened(self, body: bytes, headers: dict[str, str] | None) -> JobMessage | None:
        try:
            return self._codec.open(JobMessage, body, headers)
        except SerializationError:
            return None

    # ------------------------------------------------------ letters, schedules, workers

    async def letters(self, queue: str | None = None, cursor: int | None = None) -> LettersPage:
        """Return some dead letters, newest first; raises as :meth:`jobs`."""
        names = self._connection.names
        subject = names.dead_letter("*" if queue is None else check_queue(queue), "*")
        total = await self._connection.streams.count(names.results_stream, subject)
        rows: list[LetterRow] = []

        def keep(stored: Stored) -> bool:
            rows.append(letter_row(self._letters.open(stored)))
            return len(rows) < PAGE

        more = None
        if total:
            more = await self._backwards(names.results_stream, subject, cursor, keep)
        return LettersPage(letters=rows, total=total, next=more)

    async def schedules(self) -> SchedulesPage:
        """Return schedules, delayed jobs and long retries, the next one due first.

        Of very many delayed jobs it says only how many: nobody would read them here.
        """
        return await list_scheduled(self._connection, most=DELAYED)

    async def workers(self) -> list[WorkerRow]:
        """Return workers and schedulers, oldest first."""
        return [presence.WorkerRow.of(info) for info in await presence.list_all(self._connection)]
