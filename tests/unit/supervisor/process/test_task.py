"""A task of the supervisor's own that fails."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from naq.supervisor.process.task import keep


@pytest.fixture
def autojump_clock():
    return trio.testing.MockClock(autojump_threshold=0)


def test_a_task_of_our_own_that_fails_is_started_again_but_not_for_ever(autojump_clock):
    said, runs = [], []

    async def broken():
        runs.append(trio.current_time())
        raise ValueError("a bug")

    gave_up = []

    async def main():
        await keep(broken, "the thing", say=said.append, give_up=lambda: gave_up.append(1))

    trio.run(main, clock=autojump_clock)
    assert len(runs) == 5
    assert gave_up == [1]
    assert "the thing has failed:\nTraceback" in said[0]
    assert said[-1] == "the thing has failed 5 times: stopping"
