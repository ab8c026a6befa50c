"""Jobs of all kinds while a worker is killed every second: what was promised holds for each.

``make soak`` runs twenty thousand; the suite runs as many as take some seconds. The seed is printed
with every failure: ``NAQ_SOAK_SEED=… NAQ_SOAK_JOBS=…`` repeats the mix.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from itertools import cycle

import anyio
import pytest
import soak_jobs

import naq
from naq.jobs.deadletters import DeadLetters
from naq.jobs.job import JobStatus
from naq.jobs.results import Results
from naq.nats.connection import connect

pytestmark = pytest.mark.process

JOBS = int(os.environ.get("NAQ_SOAK_JOBS", "400"))
SEED = int(os.environ.get("NAQ_SOAK_SEED", random.randrange(10**6)))
WORKERS = 3
PAUSE = 1.0
"""Seconds between one kill and the next."""
BLOCKED = 3.0
"""Seconds for which a job blocks its loop; leases here last two."""
PER_JOB = 0.1
"""Seconds for a job before the soak is called stuck, beside ``AT_LEAST``."""
AT_LEAST = 150.0


def mix(chance, n, *, chosen=True):
    """Return the call of job ``n``: most are ordinary, a few do harm."""
    kinds = {
        soak_jobs.quick: 55,
        soak_jobs.patient: 20,
        soak_jobs.in_a_thread: 14,
        soak_jobs.fails_first: 8,
        soak_jobs.fails: 2,
    }
    kind = chance.choices(list(kinds), list(kinds.values()))[0]
    options = {"max_retries": 0 if kind is soak_jobs.fails else 3, "retry_delay": 0.1}
    if chosen and chance.random() < 0.2:
        options["job_id"] = f"chosen-{n}"
    return naq.call(kind, n).with_options(result_ttl=3600, **options)


def harm(chance, count, home):
    """Return the calls of jobs that block or kill; one of each kind at least."""
    calls = [naq.call(soak_jobs.kills, 0)]
    for n in range(max(1, count // 200)):
        once = str(home / f"killed-{n}")
        calls.append(naq.call(soak_jobs.kills_first, n, once))
        calls.append(naq.call(soak_jobs.blocks_the_loop, n, BLOCKED))
    chance.shuffle(calls)
    return [call.with_options(result_ttl=3600, max_retries=3) for call in calls]


@pytest.mark.time_limit(AT_LEAST + 60 + JOBS * PER_JOB)
async def test_nothing_is_lost_and_nothing_is_buried_that_did_not_deserve_it(
    settings, start_worker, tmp_path
):
    chance, starts = random.Random(SEED), tmp_path / "starts"
    print(f"{JOBS} jobs, seed {SEED}")  # noqa: T201 - pytest shows it if the test fails
    backends = cycle(["asyncio", "trio"])

    def another():
        return start_worker(
            *("--concurrency", "8", "--crash-limit", "3"),
            backend=next(backends),
            wait=False,  # a job may end it before it has said that it is ready
            SOAK_STARTS=str(starts),
        )

    async with (
        connect(settings=settings) as connection,
        naq.Queue("default", connection=connection) as queue,
    ):
        calls = [mix(chance, n) for n in range(JOBS)]
        for call in harm(chance, JOBS, tmp_path):
            calls.insert(chance.randrange(len(calls)), call)
        delayed = [mix(chance, n, chosen=False) for n in range(20)]
        jobs = await queue.enqueue_many(calls)
        jobs += [await queue.enqueue_in(chance.uniform(0, 3), call) for call in delayed]
        wanted = {job.id: call for job, call in zip(jobs, calls + delayed, strict=True)}
        workers = [another() for _ in range(WORKERS)]
        results, found = Results(connection), {}

        async def all_have_ended():
            missing = [job_id for job_id in wanted if job_id not in found]
            records = await results.several(missing)
            found.update({i: r for i, r in records.items() if r.status.final})
            return len(found) == len(wanted)

        with anyio.fail_after(AT_LEAST + JOBS * PER_JOB):
            while not await all_have_ended():
                await anyio.sleep(PAUSE)
                alive = [w for w in workers if w.process.poll() is None]
                if alive:
                    victim = chance.choice(alive)
                    victim.signal(signal.SIGKILL)
                    victim.wait()
                workers = [w for w in workers if w.process.poll() is None]
                while len(workers) < WORKERS:
                    workers.append(another())

        begun = Counter(line.split()[0] for line in starts.read_text().splitlines())
        kept = DeadLetters(connection)
        letters = {kept.open(stored).id async for stored in await kept.all()}

    doomed = {i for i, c in wanted.items() if c.function in (soak_jobs.fails, soak_jobs.kills)}
    ended = {i: record.status for i, record in found.items()}
    assert {i for i, status in ended.items() if status is not JobStatus.COMPLETED} == doomed
    assert letters == doomed
    for job_id, record in found.items():
        assert record.attempts >= begun[job_id], (job_id, record)
        assert [past.attempt for past in record.history] == sorted(
            {past.attempt for past in record.history}
        )
        if record.status is JobStatus.COMPLETED:
            assert begun[job_id] >= 1
