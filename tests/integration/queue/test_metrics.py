"""All numbers of the queue, as a collector reads them."""

from __future__ import annotations

from contextlib import suppress

from prometheus_client.parser import text_string_to_metric_families

import naq
from examples.tasks import add
from naq.base.exposition import text
from naq.exceptions import JobExecutionError
from naq.queue.numbers.metrics import QueueMetrics, queue_metrics
from naq.schedules.manage import Schedules
from naq.schedules.records import Records


def fail():
    raise ValueError("no")


def parsed(text):
    """Return the samples of an exposition: their values by name and labels."""
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


async def test_an_empty_server_has_its_numbers_too(connection):
    found = parsed(await queue_metrics(connection))

    assert found["naq_build_info", naq.__version__] == 1
    assert found["naq_workers", "idle"] == found["naq_schedulers",] == 0
    assert found["naq_schedules", "active"] == 0


async def test_what_happened_and_what_is_there(queue, run_worker, connection):
    jobs = await queue.enqueue_many([naq.call(add, 1, 2), naq.call(fail)])
    async with run_worker("default", concurrency=3):
        for job in jobs:
            with suppress(JobExecutionError):
                await job.result(timeout=20)
        found = parsed(await queue_metrics(connection))
        assert found["naq_workers", "idle"] + found["naq_workers", "busy"] == 1
        assert found["naq_workers_slots",] == 3
    await queue.pause()
    await queue.enqueue_in(60, add, 1, 2)
    await queue.enqueue(add, 1, 2)
    await queue.schedule(add, 1, 2, interval=3600)
    found = parsed(await queue_metrics(connection))

    assert found["naq_queue_depth", "default"] == 1
    assert found["naq_queue_oldest_age_seconds", "default"] >= 0
    assert found["naq_queue_running", "default"] == 0
    assert found["naq_queue_delayed", "default"] == 1
    assert found["naq_queue_paused", "default"] == 1
    assert found["naq_dead_letters", "default"] == 1
    assert found["naq_jobs_processed_total", "default"] == 2
    assert found["naq_jobs_failed_total", "default"] == 1
    assert found["naq_jobs_retried_total", "default"] == 0
    assert found["naq_jobs_dead_total", "default"] == 1
    assert found["naq_job_run_seconds_count", "default"] == 2
    assert found["naq_job_run_seconds_bucket", "+Inf", "default"] == 2
    assert found["naq_job_run_seconds_bucket", "30.0", "default"] == 2
    assert found["naq_job_wait_seconds_count", "default"] == 2
    assert found["naq_job_wait_seconds_sum", "default"] >= 0
    assert found["naq_job_wait_seconds_bucket", "+Inf", "default"] == 2
    assert found["naq_schedules", "active"] == 1
    assert found["naq_workers", "idle"] == 0


async def test_schedules_are_read_once(queue, connection, monkeypatch):
    read = []
    opened = Records.open

    def counted(self, stored):
        read.append(self.id_of(stored))
        return opened(self, stored)

    async def found():
        read.clear()
        samples = parsed(text(await metrics.collect()))
        return [samples["naq_schedules", s] for s in ("active", "paused", "failed")], sorted(read)

    metrics = QueueMetrics(connection)
    for name in "abc":
        await queue.schedule(add, 1, 2, cron="0 0 1 1 *", schedule_id=name)
    monkeypatch.setattr(Records, "open", counted)
    assert await found() == ([3, 0, 0], ["a", "b", "c"])
    assert await found() == ([3, 0, 0], [])
    schedules = Schedules(connection)
    await schedules.control("b", "pause")
    assert await found() == ([2, 1, 0], ["b"])
    await schedules.remove("a")
    assert await found() == ([1, 1, 0], ["b", "c"])
    names = connection.names
    await connection.store(names.schedule("odd"), b"rubbish", {})
    assert await found() == ([1, 1, 1], ["odd"])
    await connection.streams.api(f"$JS.API.STREAM.DELETE.{names.jobs_stream}")
    connection.declared.clear()
    assert await found() == ([0, 0, 0], [])


async def test_a_collector_is_told_of_schedulers(connection, run_scheduler):
    async with run_scheduler():
        assert parsed(await queue_metrics(connection))["naq_schedulers",] == 1
