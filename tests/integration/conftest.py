"""Fixtures of tests with schedules, and of those that harm their server."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager

import anyio
import pytest
from own_server import Server
from schedule_notes import ran

from naq.jobs.coding.codec import Codec
from naq.schedules.advance import Advance
from naq.schedules.scheduler import Scheduler
from naq.settings import Settings


@pytest.fixture
def key(settings):
    return settings.prefix


@pytest.fixture
def run_scheduler(connection):
    @asynccontextmanager
    async def run(**options):
        scheduler = Scheduler(connection=connection, **options)
        async with anyio.create_task_group() as tasks:
            await tasks.start(scheduler.run)
            try:
                yield scheduler
            finally:
                scheduler.stop()

    return run


@pytest.fixture
def count(eventually):
    """``await count(key, 3)``: wait until it has run three times; the ids of the runs."""

    async def wait(key, number):
        async def enough():
            return len(ran.get(key, ())) >= number

        await eventually(enough)
        return [job_id for job_id, _ in ran[key]]

    return wait


@pytest.fixture
def advance(connection):
    return Advance(connection, Codec.from_settings(connection.settings))


@pytest.fixture
async def server(tmp_path, anyio_backend):
    """A server that the test may kill, freeze and start again."""
    server = Server(tmp_path)
    await server.start()
    yield server
    server.kill()


@pytest.fixture
def own(server):
    """Settings that lead to that server."""
    return Settings(nats_url=server.config.url_with_token, prefix=f"t{secrets.token_hex(4)}")
