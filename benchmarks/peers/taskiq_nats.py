"""taskiq with taskiq-nats: a JetStream pull consumer, batches of 32; no results for throughput.

Its results are objects of some messages each and its authors recommend no setting for them, so
only the workloads that must read results store them (``BENCH_RESULTS``).
"""

from __future__ import annotations

import os
from typing import Any

import nats.js.errors
import taskiq_nats as library
from taskiq import TaskiqScheduler

from benchmarks.peers.programs import jobs
from benchmarks.peers.programs.driver import URL, serve
from benchmarks.peers.programs.taskiq import Taskiq, scheduler_command, worker_command

STORES = os.environ.get("BENCH_RESULTS") == "1"
CONSUMER = ("taskiq_jetstream", "taskiq_durable")

broker: Any = library.PullBasedJetStreamBroker([URL], pull_consume_batch=32, pull_consume_timeout=5)
if STORES:
    broker = broker.with_result_backend(library.NATSObjectStoreResultBackend([URL]))
source = library.NATSKeyValueScheduleSource([URL])
scheduler = TaskiqScheduler(broker, sources=[source])
TASKS = {job.__name__: broker.task(job) for job in (*jobs.ASYNC, jobs.noop_sync)}


class TaskiqNats(Taskiq):
    """taskiq-nats: done is what is acknowledged, where it stores no results."""

    broker = broker
    source = source
    tasks = TASKS
    stores = STORES
    worker = worker_command("taskiq_nats")
    helpers = (scheduler_command("taskiq_nats"),)
    settings = (
        "PullBasedJetStreamBroker, pull_consume_batch=32, max-prefetch 32, uvloop; no results "
        "stored except for latency and lateness; file storage, synced every 2 minutes"
    )

    async def outstanding(self) -> int | None:
        """What is queued or not acknowledged."""
        if STORES:
            return None
        info = await broker.js.consumer_info(*CONSUMER)
        return int(info.num_pending or 0) + int(info.num_ack_pending or 0)

    async def ready(self, handle: Any) -> bool:
        """Whether there is a result object."""
        try:
            return await super().ready(handle)
        except nats.js.errors.NotFoundError:
            return False


if __name__ == "__main__":
    serve(TaskiqNats())
