"""A queue outside of its block says what to do, and asks nobody."""

from __future__ import annotations

import pytest

import naq
from naq.settings import Settings

USES = {
    "enqueue": lambda q: q.enqueue(print),
    "enqueue_in": lambda q: q.enqueue_in(1, print),
    "enqueue_at": lambda q: q.enqueue_at(None, print),
    "enqueue_many": lambda q: q.enqueue_many([print]),
    "schedule": lambda q: q.schedule(print, cron="@daily"),
    "purge": lambda q: q.purge(),
    "pause": lambda q: q.pause(),
    "resume": lambda q: q.resume(),
    "stats": lambda q: q.stats(),
    "cancel": lambda q: q.cancel("1"),
}


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def queue():
    return naq.Queue("mail", settings=Settings())


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_a_queue_that_is_not_open_says_so(queue, use):
    with pytest.raises(naq.ConfigurationError, match=r"queue mail is not open.*async with"):
        await use(queue)


def test_nor_are_there_handles_to_its_jobs(queue):
    with pytest.raises(naq.ConfigurationError, match="not open"):
        queue.job("1")
