"""A program that an older naq and this one both run: it enqueues, asks, and reads results.

Called with a verb and its arguments as JSON, it prints its answer as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

from compatibility_jobs import add, echo, everything, note, once

import naq
from naq import JobStatus, Queue, call, current_job, enqueue


@naq.task(max_retries=1, queue="default")
def decorated(n):
    return n + 1


def plain(n):
    return decorated(n) + 1


async def parent(n):
    """Uses public names of naq, which travel with it."""
    child = await enqueue(decorated, n)
    async with Queue("default") as queue:
        other = await queue.enqueue_many([call(add, n, n)])
    status = await other[0].status() if await other[0].result(20) else None
    return await child.result(20), status is JobStatus.COMPLETED, current_job().attempt


def said(value):
    """Return a value as text, classes and functions by their bare names."""
    if isinstance(value, list):
        return [said(one) for one in value]
    return getattr(value, "__name__", None) or repr(value)


async def put_portable(queue):
    return {
        "by reference": await queue.enqueue(add, 2, 3),
        "by name": await queue.enqueue("compatibility_jobs:add", 2, 3),
        "options": await queue.enqueue(echo, [1, "ä"], max_retries=3, retry_delay=[1, 2], meta={}),
        "delayed": await queue.enqueue_in(1, add, 2, b=3),
        "chosen": await queue.enqueue(add, 1, 1, job_id="chosen"),
        **{
            f"one of many {number}": job
            for number, job in enumerate(
                await queue.enqueue_many([call(add, number, 1) for number in range(3)])
            )
        },
    }


async def put_python(queue):
    values = [
        JobStatus.FAILED,
        naq.ScheduleStatus.PAUSED,
        naq.JobTimeoutError("slow", job_id="1"),
        call(add, 1, 2),
        add,
        enqueue,
        naq.enqueue_sync,
        naq.Worker,
    ]
    return {
        "of main": await queue.enqueue(plain, 1),
        "task of main": await queue.enqueue(decorated, 1),
        "a lambda": await queue.enqueue(lambda: add(1, 1)),
        "uses naq": await queue.enqueue(parent, 5),
        "values": await queue.enqueue(echo, values),
    }


async def put(queue, encoding):
    jobs = await put_portable(queue)
    if encoding == "pickle":
        jobs |= await put_python(queue)
    return {name: job.id for name, job in jobs.items()}


async def put_once(queue, path, options):
    return (await queue.enqueue(once, path, "there", **options)).id


async def put_everything(queue, job_id):
    return (await queue.enqueue(everything, job_id)).id


async def put_again(queue, job_id):
    return (await queue.enqueue(add, 1, 1, job_id=job_id)).duplicate


async def results(queue, jobs):
    return {name: said(await queue.job(job_id).result(60)) for name, job_id in jobs.items()}


async def known(queue, job_id):
    info = await queue.job(job_id).refresh()
    return [info.status, info.attempts, [one.error for one in info.record.history]]


async def schedule(queue, schedule_id, path, options):
    return (await queue.schedule(note, path, schedule_id=schedule_id, **options)).record.revision


async def schedules(queue):
    return {s.id: [s.status, s.record.revision, s.runs] for s in await naq.list_schedules()}


async def modify(queue, schedule_id, changes):
    return (await naq.modify_scheduled_job(schedule_id, **changes)).status


async def main(verb, *arguments):
    async with Queue("default") as queue:
        return await globals()[verb](queue, *arguments)


if __name__ == "__main__":
    answer = asyncio.run(main(*map(json.loads, sys.argv[1:])))
    sys.stdout.write(json.dumps({"naq": naq.__file__, "answer": answer}))
