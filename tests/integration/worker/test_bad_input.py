"""Bad input: a named exception or a failed job with a reason, and everything goes on."""

from __future__ import annotations

import logging
import pickle
import threading
from datetime import datetime, timedelta

import anyio
import pytest

import naq
from examples.tasks import add, greet
from naq.exceptions import (
    ConfigurationError,
    JobExecutionError,
    PayloadTooLargeError,
    SerializationError,
)
from naq.jobs.coding.codec import Codec
from naq.jobs.deadletters import DeadLetters
from naq.queue import admin as _queues
from naq.queue.queue import Queue
from naq.worker.worker import Worker


async def gives_a_lock():
    return threading.Lock()


async def gives_too_much():
    return b"x" * (2 << 20)


class CannotBeRead:
    """Pickles, and raises when it is unpickled."""

    def __reduce__(self):
        return (_raise, ())


def _raise():
    raise RuntimeError("cannot be read")


async def alive(queue):
    job = await queue.enqueue(add, 20, 22)
    return await job.result(timeout=10) == 42


async def test_an_argument_that_cannot_be_sent(queue, run_worker):
    async with run_worker():
        with pytest.raises(SerializationError, match="cannot be pickled"):
            await queue.enqueue(add, threading.Lock(), 1)

        assert (await queue.stats()).depth == 0
        assert await alive(queue)


@pytest.mark.parametrize("size", [1_048_576, 1_046_000, 5_000_000])
async def test_a_job_that_is_too_large(queue, run_worker, size):
    async with run_worker():
        with pytest.raises(PayloadTooLargeError, match="bytes"):
            await queue.enqueue(add, b"x" * (size + 3000), 1)
        with pytest.raises(PayloadTooLargeError):
            await queue.enqueue(add, 1, 1, meta={"x": "y" * (size + 3000)})
        with pytest.raises(PayloadTooLargeError):
            await queue.enqueue_many([naq.call(add, 1, 1), naq.call(add, b"x" * (size + 3000), 1)])

        assert (await queue.stats()).depth == 0
        assert await alive(queue)


async def test_the_largest_job_that_is_taken_can_still_become_a_dead_letter(
    queue, run_worker, connection
):
    async with run_worker():
        size = connection.max_payload - 1024 - 400
        job = await queue.enqueue(greet.function, b"x" * size, b"two")  # too many arguments

        with pytest.raises(JobExecutionError, match="TypeError"):
            await job.result(timeout=10)
        letter = await DeadLetters(connection).get(job.id)
        assert len(letter.body) > size


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("no.such.module:f", "ModuleNotFoundError"),
        ("examples.tasks:nothing", "AttributeError"),
        ("examples.tasks:__doc__", "SerializationError"),
    ],
)
async def test_a_function_that_is_not_there(queue, run_worker, target, error):
    async with run_worker():
        job = await queue.enqueue(target, 1)

        with pytest.raises(JobExecutionError) as caught:
            await job.result(timeout=10)
        assert error in caught.value.error_type
        assert await alive(queue)


async def test_a_target_that_is_none(queue):
    for target in ("add", "examples.tasks", 5, None):
        with pytest.raises(ConfigurationError):
            await queue.enqueue(target)


async def test_arguments_the_function_does_not_take(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(add, 1, 2, 3)

        with pytest.raises(JobExecutionError, match="TypeError"):
            await job.result(timeout=10)


async def test_a_result_that_cannot_be_sent(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(gives_a_lock, max_retries=3)

        with pytest.raises(JobExecutionError, match="after 1 attempt") as caught:
            await job.result(timeout=10)
        assert caught.value.error_type.endswith("SerializationError")
        assert await alive(queue)


async def test_a_result_that_is_too_large(queue, run_worker):
    async with run_worker():
        job = await queue.enqueue(gives_too_much, max_retries=3)

        with pytest.raises(JobExecutionError) as caught:
            await job.result(timeout=10)
        assert caught.value.error_type.endswith("PayloadTooLargeError")
        assert await alive(queue)


async def test_arguments_that_cannot_be_read(queue, run_worker, connection):
    async with run_worker():
        job = await queue.enqueue(add, CannotBeRead(), 1, max_retries=3)

        with pytest.raises(JobExecutionError, match="cannot be unpickled"):
            await job.result(timeout=10)
        assert (await DeadLetters(connection).get(job.id)).reason == "not retryable"
        assert await alive(queue)


@pytest.mark.parametrize(
    "body", [b"", b"garbage", b"\x00" * 100, pickle.dumps([1]), b"\x81\xa2id\xa1x"]
)
async def test_a_message_that_is_none_becomes_a_dead_letter_as_it_is(
    queue, run_worker, connection, body
):
    async with run_worker():
        await connection.store(connection.names.job("default", "odd"), body)
        job = queue.job("odd")

        with pytest.raises(JobExecutionError, match="is no JobMessage"):
            await job.result(timeout=10)
        letter = await DeadLetters(connection).get("odd")
        assert letter.body == body
        assert "cannot be decoded" in letter.reason
        assert await alive(queue)


async def test_a_message_under_another_jobs_name(queue, run_worker, connection):
    job = await queue.enqueue(add, 1, 1)
    body, _ = queue._codec.seal(job.message)
    await connection.store(connection.names.job("default", "imposter"), body)

    async with run_worker():
        with pytest.raises(JobExecutionError, match=f"it is job {job.id}"):
            await queue.job("imposter").result(timeout=10)
        assert await job.result(timeout=10) == 2


async def test_a_record_that_cannot_be_read_does_not_stop_the_job(queue, run_worker, connection):
    job = await queue.enqueue(add, 1, 1, job_id="mine")
    await connection.store(connection.names.result("mine"), b"garbage")
    with pytest.raises(SerializationError, match="is no JobRecord"):
        await job.status()

    async with run_worker(burst=True):
        pass

    assert await job.result(timeout=10) == 2


async def test_moments_and_delays_that_cannot_be(queue):
    with pytest.raises(ConfigurationError, match="time zone"):
        await queue.enqueue_at(datetime(2030, 1, 1), add, 1, 1)  # noqa: DTZ001
    with pytest.raises(ConfigurationError, match="time zone"):
        await queue.enqueue_at("2030-01-01", add, 1, 1)
    for delay in (-1, timedelta(seconds=-1), "soon", float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match="delay"):
            await queue.enqueue_in(delay, add, 1, 1)

    assert (await queue.stats()).depth == 0


async def test_a_misspelt_option_is_an_argument_of_the_function(queue, run_worker):
    """Nothing else could be known; the job fails with the reason Python gives."""
    async with run_worker():
        job = await queue.enqueue(add, 1, 2, max_retrys=3)

        with pytest.raises(JobExecutionError, match="max_retrys"):
            await job.result(timeout=10)


# --------------------------------------------------------------------------- who may what


def with_codec(settings, **fields):
    import dataclasses

    return dataclasses.replace(settings, **fields)


async def test_in_json_mode_only_allowed_functions_run(connection, settings, anyio_backend):
    json = with_codec(settings, job_serializer="json")
    worker = Worker(["default"], connection=connection, settings=json, burst=True)
    async with Queue("default", connection=connection, settings=json) as queue:
        good = await queue.enqueue(greet, "bo")
        evil = await queue.enqueue("os:getpid")
        wrong = await queue.enqueue("examples.tasks:greet", 5)
        pickled_id = "pickled"
        body, headers = Codec().seal(
            good.message.__class__(
                id=pickled_id,
                queue="default",
                function="examples.tasks:add",
                payload=pickle.dumps(((1, 2), {})),
                encoding="pickle",
                enqueued_at=0.0,
            )
        )
        await connection.store(connection.names.job("default", pickled_id), body, headers)
        with anyio.fail_after(20):
            await worker.run()

        assert await good.result(timeout=1) == "hello bo"
        for job, reason in (
            (evil, "not allowed in JSON mode"),
            (wrong, "argument 'name'"),
            (queue.job(pickled_id), "nothing is unpickled"),
        ):
            with pytest.raises(JobExecutionError, match=reason):
                await job.result(timeout=1)


async def test_with_a_key_unsigned_and_forged_jobs_are_never_decoded(
    connection, settings, anyio_backend
):
    keyed = with_codec(settings, secret_key=b"k1")
    forger = with_codec(settings, secret_key=b"k2")
    async with (
        Queue("default", connection=connection, settings=keyed) as queue,
        Queue("default", connection=connection, settings=forger) as forged,
        Queue("default", connection=connection, settings=settings) as plain,
    ):
        good = await queue.enqueue(add, 1, 1)
        bad = await forged.enqueue(add, 2, 2)
        unsigned = await plain.enqueue(add, 3, 3)
        worker = Worker(["default"], connection=connection, settings=keyed, burst=True)
        with anyio.fail_after(20):
            await worker.run()

        assert worker.processed == 1
        letters, _ = await DeadLetters(connection, codec=Codec(key=b"k1")).page()
        reasons = {letter.id: letter.reason for letter in letters}
        assert "signature is wrong" in reasons[bad.id]
        assert "not signed" in reasons[unsigned.id]
        assert good.id not in reasons
        assert (await _queues.queue_stats(connection, "default")).dead == 2


# --------------------------------------------------------------------------- errors


class Lazy(str):
    """A text that is no plain one, as of a translation or of markup."""

    __slots__ = ()


class LazyError(Exception):
    def __str__(self):
        return Lazy("lazy")


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


STRANGE = type("StrangeError", (Exception,), {"__module__": "strange\udce9"})
NOWHERE = type("NowhereError", (Exception,), {"__module__": None})


def error(kind):
    surrogates = "r\udce9sum\udce9"
    caused = ValueError("outer")
    caused.__cause__ = MuteError()
    noted = ValueError("noted")
    noted.add_note(surrogates)
    return {
        "surrogates": ValueError(surrogates),
        "surrogates in bytes": UnicodeDecodeError(surrogates, b"\xe9", 0, 1, surrogates),
        "a subclass of str": LazyError(),
        "no text at all": MuteError(),
        "a cause without text": caused,
        "a note": noted,
        "a strange module": STRANGE("x"),
        "no module": NOWHERE("x"),
        "a huge number": OverflowError(2**4000),
        "nothing": ValueError(),
        "a file name": FileNotFoundError(2, "no such file", surrogates),
        "a group": ExceptionGroup(surrogates, [MuteError(), ValueError(surrogates)]),
    }[kind]


RUNS = []


async def fails(kind):
    RUNS.append(kind)
    raise error(kind)


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize(
    "kind",
    [
        "surrogates",
        "surrogates in bytes",
        "a subclass of str",
        "no text at all",
        "a cause without text",
        "a note",
        "a strange module",
        "no module",
        "a huge number",
        "nothing",
        "a file name",
        "a group",
    ],
)
async def test_whatever_an_error_says_it_is_recorded(  # noqa: PLR0917
    queue, connection, run_worker, kind, retries, monkeypatch
):
    # The log has the exception itself, whose text cannot be sent to another process as it is.
    monkeypatch.setattr(logging.getLogger("naq.worker"), "propagate", False)
    RUNS.clear()
    async with run_worker():
        job = await queue.enqueue(fails, kind, max_retries=retries)
        with pytest.raises(JobExecutionError):
            await job.result(timeout=10)

        assert [kind] * (retries + 1) == RUNS
        assert (await DeadLetters(connection).get(job.id)).attempts == retries + 1
        assert await alive(queue)
    assert (await queue.stats()).depth == 0
