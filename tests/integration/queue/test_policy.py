"""What a task says of its jobs arrives with them, in whichever way it is enqueued or scheduled."""

from __future__ import annotations

import msgspec
import pytest
from policy_tasks import POLICY, everything, nothing

import naq
from naq.cli.queue.calls import typed_call
from naq.nats.connection import use_connection
from naq.queue.queue import Queue
from naq.schedules.declared import apply
from naq.services.schedules import _declared

NAME = "policy_tasks:everything"
WRITTEN = {
    "task": lambda: everything,
    "call(task)": lambda: naq.call(everything, 1, text="y"),
    "task.call()": lambda: everything.call(1, text="y"),
    "text": lambda: NAME,
    "command line": lambda: typed_call(NAME, ["1"], ["text=y"]).call,
}


async def _many(call):
    function = call if isinstance(call, naq.Call) else naq.call(call, 1, text="y")
    return (await naq.enqueue_many([function]))[0]


def _with_arguments(call):
    return ((call,), {}) if isinstance(call, naq.Call) else ((call, 1), {"text": "y"})


async def _one(call):
    args, kwargs = _with_arguments(call)
    return await naq.enqueue(*args, **kwargs)


async def _later(call):
    args, kwargs = _with_arguments(call)
    return await naq.enqueue_in(100, *args, **kwargs)


async def _scheduled(call):
    args, kwargs = _with_arguments(call)
    made = await naq.schedule(*args, interval=3600, **kwargs)
    job = made.record.job
    # What a run expires after stands in the schedule.
    return naq.Job(msgspec.structs.replace(job, expires_in=made.record.expires_in), backend=None)


HOW = {"enqueue": _one, "enqueue_many": _many, "enqueue_in": _later, "schedule": _scheduled}


def said(message):
    """What a task may say, in a message."""
    gone = {"id": "", "enqueued_at": 0.0, "due_at": None, "expires_at": None}
    return msgspec.structs.replace(message, **gone)


@pytest.mark.parametrize("how", HOW)
async def test_every_way_gives_the_same_message(connection, how):
    async with Queue("mail", connection=connection) as queue:
        direct = await queue.enqueue(naq.call(everything.function, 1, text="y"), **POLICY)
    for call in WRITTEN.values():
        use_connection(connection)
        job = await HOW[how](call())
        assert said(job.message) == said(direct.message)


async def test_each_call_goes_to_the_queue_of_its_task(connection):
    use_connection(connection)
    calls = [naq.call(everything, 1), naq.call(nothing, 1), everything.call(2)]

    jobs = await naq.enqueue_many(calls)
    assert [job.queue for job in jobs] == ["mail", "default", "mail"]
    jobs = await naq.enqueue_many(calls, queue_name="here")
    assert [job.queue for job in jobs] == ["here"] * 3


async def test_a_table_of_schedules_takes_what_tasks_say(connection):
    use_connection(connection)
    entry = {
        "function": NAME,
        "args": (1,),
        "kwargs": {"text": "y"},
        "queue": None,
        "cron": "@daily",
    }
    policy = naq.call(NAME).policy
    declared = _declared({"own": entry | {"max_retries": 1}, "its": entry}, {NAME: policy})

    applied = await apply(connection, declared, source="project x", prune=True)

    assert not applied.problems
    own, its = await naq.get_schedule("own"), await naq.get_schedule("its")
    assert (own.queue, own.record.job.max_retries, own.record.job.timeout) == ("mail", 1, 60)
    assert (its.record.job.max_retries, its.record.expires_in) == (4, 3600)
