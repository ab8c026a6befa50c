"""Two of one name: the second gets another one, and says so; one that was killed is no second."""

from __future__ import annotations

import os
import socket

import pytest

from naq.jobs import presence
from naq.jobs.presence import WorkerInfo


def info(name, **fields):
    common = {"host": "elsewhere", "pid": 1, "status": "idle", "queues": [], "concurrency": 1}
    times = {"backend": "asyncio", "started_at": 1.0, "seen_at": 1.0}
    return WorkerInfo(id=name, **(common | times | fields))


@pytest.mark.parametrize("length", [3, 64])
async def test_the_second_of_a_name_is_renamed_and_says_so(connection, run_worker, caplog, length):
    name = "w" * length
    async with (
        run_worker(name=name) as first,
        run_worker(name=name) as second,
        run_worker(name=name) as third,
    ):
        ids = {first.id, second.id, third.id}
        listed = await presence.list_workers(connection)

        assert first.id == name
        assert len(ids) == 3
        assert {worker.id for worker in listed} == ids
        assert all(len(one) <= 64 and one.startswith("www") for one in ids)
        said = [r.getMessage() for r in caplog.records if "running already" in r.getMessage()]
        assert [
            text.endswith(f"this one is {w.id}")
            for text, w in zip(said, (second, third), strict=True)
        ] == [True, True]


async def test_the_first_stays_when_the_second_leaves(connection, run_worker):
    async with run_worker(name="w"):
        async with run_worker(name="w"):
            pass
        assert [worker.id for worker in await presence.list_workers(connection)] == ["w"]


@pytest.mark.parametrize(
    "fields", [{}, {"host": None, "pid": 2**22 - 1}, {"host": None, "pid": None}]
)
async def test_a_name_whose_holder_was_killed_is_taken_over(connection, run_worker, fields):
    """By a machine that is gone, a process that is gone, and one before in this very process."""
    here = {"host": socket.gethostname(), "pid": os.getpid()}
    told = {name: here[name] if value is None else value for name, value in fields.items()}
    await presence.announce(connection, info("w", **told), ttl=60)

    async with run_worker(name="w") as worker:
        assert worker.id == "w"
        (listed,) = await presence.list_workers(connection)
        assert (listed.pid, listed.status) == (os.getpid(), "idle")


async def test_a_blocked_process_keeps_its_name(connection, run_worker):
    """It cannot answer; its process is there."""
    parent = info("w", host=socket.gethostname(), pid=os.getppid(), started_at=2e9)
    await presence.announce(connection, parent, ttl=60)

    async with run_worker(name="w") as worker:
        assert worker.id != "w"
