"""Fixtures for all tests: the real nats-server, and every event loop naq runs on."""

from __future__ import annotations

import secrets
import subprocess
from contextlib import asynccontextmanager

import anyio
import hypothesis
import pytest
from cluster.nodes import Cluster

from naq.jobs.runtime import runtime
from naq.nats.connection import connect
from naq.queue.queue import Queue
from naq.services.server import EmbeddedServer, find_binary
from naq.settings import Settings
from naq.worker.worker import Worker

hypothesis.settings.register_profile("naq", deadline=None)  # a busy machine is no bug
hypothesis.settings.load_profile("naq")

pytest_plugins = ["time_limit", "cluster.fixtures"]

BACKENDS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("trio", {}), id="trio"),
]


@pytest.fixture(params=BACKENDS)
def anyio_backend(request):
    return request.param


@pytest.fixture(scope="session")
def nats(tmp_path_factory):
    """One nats-server for the whole run; tests keep apart by their prefix."""
    home = tmp_path_factory.mktemp("nats")
    server = EmbeddedServer(
        binary=find_binary(), run_dir=home / "run", store_dir=home / "jetstream"
    )
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(server.configure(), stdout=log, stderr=log)
    try:
        anyio.run(server.wait_healthy)
        anyio.run(_keep_one_stream, server)
        yield server
    finally:
        runtime().close()  # what it has connected would look for the server for ever
        process.terminate()
        process.wait(10)


async def _keep_one_stream(server):
    """Have a stream for ever: with the last one the server removes the directory of all of them.

    It does so a little later, when the next test may be making its first one there.
    """
    async with connect(settings=Settings(nats_url=server.url_with_token)) as connection:
        await connection.streams.api(
            "$JS.API.STREAM.CREATE.kept", {"name": "kept", "subjects": ["kept"]}
        )


@pytest.fixture
def settings(broker):
    """Settings with a prefix of their own: nothing is shared with another test."""
    if isinstance(broker, Cluster):
        return broker.settings()
    return Settings(nats_url=broker.url_with_token, prefix=f"t{secrets.token_hex(4)}")


@pytest.fixture
async def connection(settings, anyio_backend):
    """A connection on the test's backend; what the test declared is removed afterwards."""
    async with connect(settings=settings) as opened:
        yield opened
        names = opened.names
        streams = (
            names.jobs_stream,
            names.results_stream,
            names.counts_stream,
            names.totals_stream,
            f"KV_{names.workers_bucket}",
        )
        for stream in streams:
            await opened.request(f"$JS.API.STREAM.DELETE.{stream}")


@pytest.fixture
async def queue(connection):
    async with Queue("default", connection=connection) as opened:
        yield opened


@pytest.fixture
def run_worker(connection):
    """``async with run_worker("default", concurrency=2) as worker``: a worker in this process."""

    @asynccontextmanager
    async def run(*queues, **options):
        worker = Worker(queues or ["default"], connection=connection, **options)
        async with anyio.create_task_group() as tasks:
            await tasks.start(worker.run)
            try:
                yield worker
            finally:
                if not worker.burst:  # that one stops by itself
                    worker.stop()
                    worker.stop()

    return run


@pytest.fixture
def eventually():
    """``await eventually(check)``: wait until an async check is true, for what tells nobody."""

    async def wait(check, timeout=10):
        with anyio.fail_after(timeout):
            while not (value := await check()):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        return value

    return wait
