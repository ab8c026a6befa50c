"""Fixtures of tests with schedules."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from naq._advance import Advance
from naq.scheduler import Scheduler
from naq.serializers import Codec

sys.path.insert(0, str(Path(__file__).parent))

from schedule_notes import ran


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
