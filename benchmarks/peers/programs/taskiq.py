"""What taskiq's contestants have in common, whatever the broker."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from benchmarks.peers.programs.driver import Peer

__all__ = ["Taskiq", "scheduler_command", "worker_command"]


def worker_command(name: str) -> list[str]:
    """Return the command of a worker process: its manager and one child."""
    return [
        *(sys.executable, "-m", "taskiq", "worker", f"benchmarks.peers.{name}:broker"),
        *("--workers", "1", "--max-async-tasks", "{concurrency}", "--max-prefetch", "32"),
        *("--max-threadpool-threads", "{concurrency}", "--log-level", "ERROR"),
    ]


def scheduler_command(name: str) -> list[str]:
    """Return the command of what delayed jobs need, looking as often as it can."""
    return [
        *(sys.executable, "-m", "taskiq", "scheduler", f"benchmarks.peers.{name}:scheduler"),
        *("--update-interval", "1", "--log-level", "ERROR"),
    ]


class Taskiq(Peer):
    """taskiq, on any broker."""

    broker: Any
    source: Any
    tasks: dict[str, Any]
    cannot = {"bulk": "it has none"}  # noqa: RUF012 - a constant

    async def open(self) -> None:
        """Connect."""
        await self.broker.startup()
        await self.source.startup()

    async def close(self) -> None:
        """Disconnect."""
        await self.broker.shutdown()

    async def put(self, job: str, args: list[Any]) -> Any:
        """Enqueue one."""
        return await self.tasks[job].kiq(*args)

    async def put_in(self, seconds: float, job: str, args: list[Any]) -> Any:
        """Enqueue one that is due later: a schedule, and a scheduler that sends it."""
        due = datetime.now(UTC) + timedelta(seconds=seconds)
        name = uuid4().hex
        task = self.tasks[job].kicker().with_task_id(name)
        await task.schedule_by_time(self.source, due, *args)
        return name

    async def ready(self, handle: Any) -> bool:
        """Whether there is a result."""
        return bool(await self.broker.result_backend.is_result_ready(_id(handle)))

    async def value(self, handle: Any) -> Any:
        """Read it."""
        return (await self.broker.result_backend.get_result(_id(handle))).return_value


def _id(handle: Any) -> str:
    return handle if isinstance(handle, str) else str(handle.task_id)
