"""taskiq with taskiq-redis: a stream, results in keys; the settings of streaq's benchmark."""

from __future__ import annotations

from typing import Any

import taskiq_redis as library
from taskiq import TaskiqScheduler

from benchmarks.peers.programs import jobs
from benchmarks.peers.programs.driver import URL, serve
from benchmarks.peers.programs.taskiq import Taskiq, scheduler_command, worker_command

broker: Any = library.RedisStreamBroker(URL, xread_count=32, consumer_id="0").with_result_backend(
    library.RedisAsyncResultBackend(URL, result_ex_time=3600)
)
source = library.ListRedisScheduleSource(URL)
scheduler = TaskiqScheduler(broker, sources=[source])
TASKS = {job.__name__: broker.task(job) for job in (*jobs.ASYNC, jobs.noop_sync)}


class TaskiqRedis(Taskiq):
    """taskiq-redis."""

    broker = broker
    source = source
    tasks = TASKS
    worker = worker_command("taskiq_redis")
    helpers = (scheduler_command("taskiq_redis"),)
    settings = "RedisStreamBroker, xread_count=32, max-prefetch 32, uvloop; results kept an hour"


if __name__ == "__main__":
    serve(TaskiqRedis())
