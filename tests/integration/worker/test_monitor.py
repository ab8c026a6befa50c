"""/healthz, /readyz and /metrics of a worker and a scheduler."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest

from examples.tasks import add
from naq.base.text import address
from naq.exceptions import EnvironmentProblemError
from naq.schedules.scheduler import Scheduler
from naq.worker.monitor import serve_monitor
from naq.worker.worker import Worker


@asynccontextmanager
async def monitor(watched):
    async with anyio.create_task_group() as tasks:
        yield await tasks.start(serve_monitor, "127.0.0.1:0", watched)
        tasks.cancel_scope.cancel()


async def ask(port, request):
    """Send a request as it stands; return its status and body."""
    if isinstance(request, str):
        request = f"GET {request} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    answer = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(request)
        try:
            while True:
                answer += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


async def test_a_worker_from_its_start_to_its_end(queue, run_worker, connection):
    worker = Worker(["default"], connection=connection)
    async with monitor(worker) as port:
        assert await ask(port, "/healthz") == (200, "ok\n")
        assert await ask(port, "/readyz") == (503, "starting\n")
        assert (await ask(port, "/metrics"))[0] == 200
        async with anyio.create_task_group() as tasks:
            await tasks.start(worker.run)
            await (await queue.enqueue(add, 1, 2)).result(timeout=10)
            assert await ask(port, "/readyz") == (200, "ok\n")
            worker.pause()
            assert await ask(port, "/readyz") == (503, "paused\n")
            status, text = await ask(port, "/metrics?x=y")
            worker.stop()
        assert status == 200
        assert "naq_worker_connected 1.0" in text
        assert "naq_worker_slots 10.0" in text
        assert await ask(port, "/readyz") == (503, "draining\n")
        assert (
            'naq_worker_jobs_processed_total{queue="default"} 1.0'
            in (await ask(port, "/metrics"))[1]
        )


async def test_a_scheduler(run_scheduler, connection):
    async with run_scheduler() as scheduler, monitor(scheduler) as port:
        assert await ask(port, "/readyz") == (200, "ok\n")
        assert "naq_scheduler_ticks_total 0.0" in (await ask(port, "/metrics"))[1]
    async with monitor(Scheduler(connection=connection)) as port:
        assert await ask(port, "/readyz") == (503, "starting\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("/", 404),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"rubbish\r\n\r\n", 400),
        (b"x" * 9000, 400),
    ],
)
async def test_what_is_not_answered(connection, request_, status):
    async with monitor(Worker(connection=connection)) as port:
        assert (await ask(port, request_))[0] == status
        assert await ask(port, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n") == (200, "")


async def test_a_taken_port_is_a_clear_error(connection):
    async with monitor(Worker(connection=connection)) as port:
        with pytest.raises(EnvironmentProblemError, match=f"cannot listen on 127.0.0.1:{port}"):
            await serve_monitor(f"127.0.0.1:{port}", Worker(connection=connection))


def test_addresses():
    assert address("9466") == ("127.0.0.1", 9466)
    assert address("[::1]:1") == ("::1", 1)
    for wrong in ("", "x", "::1:80", "a:70000"):
        with pytest.raises(ValueError, match="host:port"):
            address(wrong)
