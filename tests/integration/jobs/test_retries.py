"""Failures: tried again as asked, or dead letters with a reason."""

from __future__ import annotations

import anyio
import pytest

import naq
from naq.exceptions import JobExecutionError, JobNotFoundError, NaqConnectionError
from naq.jobs.deadletters import DeadLetters
from naq.jobs.job import DeadLetter, JobStatus


async def fail_until(attempt, kind="ValueError"):
    now = naq.current_job().attempt
    if now < attempt:
        raise {"ValueError": ValueError, "KeyError": KeyError}[kind](f"attempt {now}")
    return now


def exit_with(code):
    raise SystemExit(code)


async def raise_a_group():
    raise ExceptionGroup("several", [ValueError("a"), KeyError("b")])


async def cancel_itself():
    import asyncio

    raise asyncio.CancelledError


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("no")


async def raise_the_unspeakable():
    raise UnspeakableError


async def test_a_failed_attempt_is_repeated(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(fail_until, 3, max_retries=2)

        assert await job.result(timeout=10) == 3
        info = await job.refresh()

    assert info.attempts == 3
    assert [past.attempt for past in info.record.history] == [1, 2]
    assert [past.error for past in info.record.history] == [
        "ValueError: attempt 1",
        "ValueError: attempt 2",
    ]
    assert all(past.worker and past.finished_at for past in info.record.history)


async def test_delays_are_kept(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(fail_until, 3, max_retries=2, retry_delay=[0.1, 0.3])

        await job.result(timeout=10)
        record = (await job.refresh()).record

    first, second = record.history
    assert second.started_at >= first.finished_at + 0.1
    assert record.started_at >= second.finished_at + 0.3


async def test_a_job_between_attempts_is_retrying(queue, run_worker, eventually):
    async with run_worker():
        job = await queue.enqueue(fail_until, 2, max_retries=1, retry_delay=2)
        await eventually(lambda: is_retrying(job))
        info = await job.refresh()

        assert info.error.message == "attempt 1"
        assert info.due_at is not None
        assert await job.result(timeout=10) == 2


async def test_a_long_delay_waits_in_the_stream_and_can_be_cancelled(queue, run_worker, eventually):
    async with run_worker():
        job = await queue.enqueue(fail_until, 2, max_retries=1, retry_delay=3600)
        await eventually(lambda: waits_in_the_stream(queue))

        assert await job.status() is JobStatus.RETRYING
        assert await job.cancel()
        assert await job.status() is JobStatus.CANCELLED
        assert (await queue.stats()).retrying == 0


async def test_a_retry_by_schedule_goes_on_counting(queue, run_worker):
    async with run_worker(short_delay=0.1):
        job = await queue.enqueue(fail_until, 3, max_retries=2, retry_delay=0.3)

        assert await job.result(timeout=10) == 3


@pytest.mark.cluster
async def test_attempts_spent_end_as_a_dead_letter(queue, run_worker, connection):
    async with run_worker():
        job = await queue.enqueue(fail_until, 99, max_retries=1)

        with pytest.raises(JobExecutionError, match="after 2 attempts") as caught:
            await job.result(timeout=10)
        assert caught.value.error_message == "attempt 2"
        letter = await DeadLetters(connection).get(job.id)

    assert letter.reason == "attempts spent"
    assert (letter.queue, letter.attempts) == ("default", 2)
    assert [past.attempt for past in letter.history] == [1, 2]
    assert letter.function.endswith("test_retries:fail_until")
    assert letter.error.message == "attempt 2"
    assert "Traceback" in letter.error.traceback
    assert queue._codec.seal(job.message)[0] == letter.body
    assert (await queue.stats()).dead == 1


async def fail_at_length(size, given=b""):
    if naq.current_job().attempt < 6:
        raise ValueError("why " * 1000)
    return bytes(size)


async def test_what_went_before_takes_no_room_from_a_result(queue, run_worker, connection):
    size = connection.max_payload - 1200
    async with run_worker():
        job = await queue.enqueue(fail_at_length, size, max_retries=5)

        assert len(await job.result(timeout=10)) == size


async def test_what_went_before_takes_no_room_from_a_dead_letter(queue, run_worker, connection):
    given = bytes(connection.max_payload - 2000)
    async with run_worker():
        job = await queue.enqueue(fail_at_length, 0, given, max_retries=4)

        with pytest.raises(JobExecutionError):
            await job.result(timeout=10)
        letter = await DeadLetters(connection).get(job.id)

    assert letter.reason == "attempts spent"
    assert queue._codec.seal(job.message)[0] == letter.body


async def is_retrying(job):
    return await job.status() is JobStatus.RETRYING


async def waits_in_the_stream(queue):
    names = queue._connection.names
    waiting = await queue._connection.streams.count(names.jobs_stream, names.delayed("*", "*"))
    return waiting > 0 and (await queue.stats()).retrying > 0


async def test_only_listed_errors_are_retried(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(fail_until, 2, "KeyError", max_retries=5, retry_on=[OSError])

        with pytest.raises(JobExecutionError, match="after 1 attempt"):
            await job.result(timeout=10)


async def test_a_base_class_is_listed_for_all_its_kind(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(fail_until, 2, "KeyError", max_retries=5, retry_on=[LookupError])

        assert await job.result(timeout=10) == 2


async def test_ignored_errors_are_not_retried(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(fail_until, 2, max_retries=5, ignore_on="ValueError")

        with pytest.raises(JobExecutionError, match="after 1 attempt"):
            await job.result(timeout=10)


@pytest.mark.parametrize(
    ("function", "args", "error"),
    [
        (exit_with, (3,), "builtins.SystemExit"),
        (raise_a_group, (), "builtins.ExceptionGroup"),
        (raise_the_unspeakable, (), "UnspeakableError"),
        (cancel_itself, (), ""),
    ],
)
async def test_whatever_a_job_raises_ends_the_job_and_not_the_worker(
    queue, run_worker, function, args, error
):
    async with run_worker(concurrency=1):
        job = await queue.enqueue(function, *args)

        with pytest.raises(JobExecutionError) as caught:
            await job.result(timeout=10)
        assert error in caught.value.error_type
        ok = await queue.enqueue(fail_until, 1)
        assert await ok.result(timeout=10) == 1


async def test_a_timeout_is_a_failure_that_can_be_retried(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(sleep_at_first, max_retries=1, timeout=0.2, retry_on=TimeoutError)

        assert await job.result(timeout=10) == 2


async def sleep_at_first():
    attempt = naq.current_job().attempt
    if attempt == 1:
        await anyio.sleep(60)
    return attempt


# --------------------------------------------------------------------------- dead letters


async def test_a_requeued_job_has_all_its_attempts_again(queue, run_worker, connection):
    async with run_worker():
        job = await queue.enqueue(fail_until, 2)
        with pytest.raises(JobExecutionError):
            await job.result(timeout=10)

        await DeadLetters(connection).requeue(job.id)
        with pytest.raises(JobExecutionError, match="after 1 attempt"):
            await job.result(timeout=10)
        assert (await queue.stats()).dead == 1


async def test_a_requeued_job_waits_for_its_long_retries_again(queue, run_worker, connection):
    async with run_worker(short_delay=0.1):
        job = await queue.enqueue(fail_until, 3, max_retries=1, retry_delay=0.3)
        with pytest.raises(JobExecutionError, match="after 2 attempts"):
            await job.result(timeout=10)

        await DeadLetters(connection).requeue(job.id)
        with pytest.raises(JobExecutionError, match="after 2 attempts"):
            await job.result(timeout=10)


@pytest.mark.cluster
async def test_a_requeued_job_that_works_leaves_no_letter(queue, run_worker, connection):
    async with run_worker():
        job = await queue.enqueue(works_once_allowed)
        with pytest.raises(JobExecutionError):
            await job.result(timeout=10)
        ALLOWED.append(True)
        await DeadLetters(connection).requeue(job.id)

        assert await job.result(timeout=10) == "done"
        assert (await queue.stats()).dead == 0
    ALLOWED.clear()


ALLOWED = []


async def works_once_allowed():
    if not ALLOWED:
        raise PermissionError("not yet")
    if isinstance(ALLOWED[0], list):
        ALLOWED[0].append("run")
    return "done"


@pytest.fixture
async def not_gone(queue, connection):
    """A job whose letter is stored, and whose message is not acknowledged yet."""
    job = await queue.enqueue(exit_with, 0)
    body, headers = queue._codec.seal(job.message)
    letter = DeadLetter(
        id=job.id, queue="default", reason="for a test", failed_at=0.0, body=body, headers=headers
    )
    names = connection.names
    await connection.store(names.dead_letter("default", job.id), *queue._codec.seal(letter))
    return job


async def test_a_job_is_requeued_once_its_message_is_gone(queue, connection, not_gone):
    """The letter is stored first: what is there belongs to the past, and is about to go."""
    stream, subject = connection.names.jobs_stream, connection.names.job("default", not_gone.id)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(DeadLetters(connection).requeue, not_gone.id)
        await anyio.sleep(0.1)
        old = await connection.streams.get(stream, subject)
        await connection.streams.remove(stream, old.seq)

    assert (await connection.streams.get(stream, subject)).data == old.data
    with pytest.raises(JobNotFoundError):
        await DeadLetters(connection).get(not_gone.id)


async def test_a_letter_stays_while_its_message_does(connection, not_gone, monkeypatch):
    monkeypatch.setattr("naq.jobs.deadletters.SETTLED_WITHIN", 0.1)
    letters = DeadLetters(connection)

    with pytest.raises(NaqConnectionError, match="requeue it once that has ended"):
        await letters.requeue(not_gone.id)

    assert (await letters.get(not_gone.id)).reason == "for a test"


async def test_a_letter_can_be_deleted(queue, run_worker, connection):
    letters = DeadLetters(connection)
    async with run_worker():
        job = await queue.enqueue(fail_until, 2)
        with pytest.raises(JobExecutionError):
            await job.result(timeout=10)

    await letters.delete(job.id)

    with pytest.raises(JobNotFoundError):
        await letters.get(job.id)
    with pytest.raises(JobNotFoundError):
        await letters.requeue(job.id)


async def test_letters_come_in_pages(queue, run_worker, connection):
    async with run_worker(concurrency=20):
        jobs = await queue.enqueue_many([naq.call(fail_until, 2) for _ in range(25)])
        for job in jobs:
            with pytest.raises(JobExecutionError):
                await job.result(timeout=20)

    letters = DeadLetters(connection)
    first, after = await letters.page(limit=10)
    second, after = await letters.page(after=after, limit=10)
    third, end = await letters.page("default", after=after, limit=10)

    assert [len(first), len(second), len(third), end] == [10, 10, 5, 0]
    assert {letter.id for letter in first + second + third} == {job.id for job in jobs}
    assert (await letters.page("other"))[0] == []


class Killed(Exception):  # noqa: N818 - as in a signal
    pass


@pytest.mark.parametrize("step", range(1, 4))
@pytest.mark.parametrize("meanwhile", ["nothing", "it runs", "it runs, long ago"])
async def test_a_requeue_that_died_at_a_step_is_repeated(  # noqa: PLR0917
    queue, run_worker, connection, monkeypatch, step, meanwhile
):
    """The job is queued once more, and not again after it has run."""
    letters, ran = DeadLetters(connection), []
    async with run_worker():
        job = await queue.enqueue(works_once_allowed)
        with pytest.raises(JobExecutionError):
            await job.result(timeout=10)
    done, store, api = 0, connection.store, connection.streams.api

    def dying(write):
        async def written(*args, **kwargs):
            nonlocal done
            answer = await write(*args, **kwargs)
            done += 1
            if done == step:
                raise Killed
            return answer

        return written

    with monkeypatch.context() as patch:
        patch.setattr(connection, "store", dying(store))
        patch.setattr(connection.streams, "api", dying(api))
        with pytest.raises(Killed):
            await letters.requeue(job.id)

    ALLOWED.append(ran)
    try:
        if meanwhile != "nothing" and step > 1:
            async with run_worker():
                assert await job.result(timeout=10) == "done"
        if meanwhile == "it runs, long ago":  # the server has forgotten the id of the message
            await connection.streams.api(
                f"$JS.API.STREAM.UPDATE.{connection.names.jobs_stream}",
                await with_window(connection, 0.1),
            )
            await anyio.sleep(0.2)
        try:
            await letters.requeue(job.id)
        except JobNotFoundError:
            assert step == 3  # nothing was left to be done
        async with run_worker():
            assert await job.result(timeout=10) == "done"
            assert len(ran) == 1
        assert (await queue.stats()).dead == 0
    finally:
        ALLOWED.clear()


async def with_window(connection, seconds):
    """Return the configuration of the stream of jobs with a shorter memory of message ids."""
    info = await connection.streams.api(f"$JS.API.STREAM.INFO.{connection.names.jobs_stream}")
    return {**info["config"], "duplicate_window": int(seconds * 1e9)}
