"""The loop over the table of the lifecycle, with runs that do as told and a clock that jumps."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from replica_fakes import FakeHost, FakeRuns, exited, new_state, run

from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.lifecycle import State
from naq.supervisor.model.spec import Backoff, OnExhausted, Order, Policy, RestartSpec, Rolling
from naq.supervisor.replica.owner import Owner

EXACT = Backoff(initial=1.0, factor=2.0, maximum=8.0, jitter=0.0)


class Owned:
    """A replica with its owner at work, and what a test does to it."""

    def __init__(self, **spec) -> None:
        self.host = FakeHost()
        self.state = new_state(self.host, **spec)
        self.runs = FakeRuns(self.state)
        self.owner = Owner(self.state, self.runs)

    async def until(self, *states: State) -> None:
        def there() -> bool | None:
            return self.state.status.state in states or None

        await self.host.board.wait(["s"], there)

    def set(self, **changes) -> None:
        for name, value in changes.items():
            setattr(self.runs.current, name, value)
        self.state.bell.ring()

    def want(self, **changes) -> None:
        for name, value in changes.items():
            setattr(self.state.wish, name, value)
        self.state.bell.ring()


@asynccontextmanager
async def owned(**spec):
    it = Owned(**spec)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(it.owner.run)  # noqa: ASYNC113 - tests wait for the states it reaches
        yield it
        it.want(up=False, closing=True)


def test_up_ready_and_down():
    async def main():
        async with owned(stop_timeout=7.0) as it:
            await it.until(State.STARTING)
            it.set(is_ready=True)
            await it.until(State.READY)
            it.set(is_ready=False, why_unready="503")
            await it.until(State.UNREADY)
            assert it.state.status.detail == "503"
            it.set(is_ready=True, why_unready="")
            await it.until(State.READY)
            assert it.state.status.detail == ""
        assert it.runs.graces == [7.0]
        assert it.host.states == [
            State.WAITING,
            State.STARTING,
            State.READY,
            State.UNREADY,
            State.READY,
            State.STOPPING,
            State.DOWN,
        ]

    run(main)


def test_failures_are_delayed_longer_and_longer_and_end_in_a_crash_loop():
    async def main():
        restart = RestartSpec(backoff=EXACT, max_restarts=2, within=60.0)
        async with owned(restart=restart) as it:
            began = []
            for _ in range(3):
                await it.until(State.STARTING)
                began.append(trio.current_time())
                it.set(ended=exited(1))
                await it.until(State.BACKOFF, State.CRASHLOOP)
            assert began == [0.0, 1.0, 3.0]
            assert it.state.status.state is State.CRASHLOOP
            assert it.state.status.retry_at == 3.0 + 8.0
            assert it.host.failures == [(1.0, False), (2.0, False), (8.0, False)]
            # Somebody asks for it: no more waiting, and a budget as new.
            it.want(anew=True)
            await it.until(State.STARTING)
            assert (trio.current_time(), it.state.status.failures) == (3.0, 0)

    run(main)


@pytest.mark.parametrize(
    ("restart", "code", "state", "fatal"),
    [
        (RestartSpec(policy=Policy.ON_FAILURE), 0, State.COMPLETED, False),
        (RestartSpec(policy=Policy.NEVER), 1, State.FAILED, True),
        (RestartSpec(max_restarts=1, on_exhausted=OnExhausted.SHUTDOWN), 1, State.FAILED, True),
    ],
)
def test_what_is_not_started_again(restart, code, state, fatal):
    async def main():
        async with owned(restart=restart, critical=True) as it:
            while it.state.status.state is not state:
                await it.until(State.STARTING, state)
                if it.runs.current is not None:
                    it.set(ended=exited(code))
                await trio.sleep(60.0)
            assert it.state.status.fatal is fatal

    run(main)


def test_a_start_that_takes_too_long_is_stopped_and_counted():
    async def main():
        async with owned(start_timeout=5.0, restart=RestartSpec(backoff=EXACT)) as it:
            await it.until(State.BACKOFF)
            assert trio.current_time() == 5.0
            assert it.host.states[-3:] == [State.STOPPING, State.EXITED, State.BACKOFF]
            assert it.state.status.failures == 1

    run(main)


def test_a_start_that_asked_for_more_time_gets_it():
    async def main():
        async with owned(start_timeout=5.0) as it:
            await it.until(State.STARTING)
            it.state.alarm.deadline = 20.0
            await trio.sleep(15.0)
            it.set(is_ready=True)
            await it.until(State.READY)

    run(main)


def test_a_missed_watchdog_is_not_given_the_whole_grace():
    async def main():
        async with owned(stop_timeout=60.0) as it:
            await it.until(State.STARTING)
            it.set(failure=Cause(kind=CauseKind.WATCHDOG))
            await it.until(State.BACKOFF)
            assert it.runs.graces[0] == 5.0

    run(main)


def test_a_restart_that_is_not_wanted_any_more_ends_in_down():
    async def main():
        async with owned() as it:
            await it.until(State.STARTING)
            it.set(is_ready=True)
            await it.until(State.READY)
            renewal = it.state.wish.begin_anew(Cause(kind=CauseKind.OPERATOR))
            it.want(up=False)
            assert await renewal.wait() == "on request"
            assert (it.state.status.state, it.runs.begun) == (State.DOWN, 1)

    run(main)


@pytest.mark.parametrize("renews", [True, False])
def test_a_successor_takes_over_without_a_gap_or_not_at_all(renews):
    async def main():
        rolling = Rolling(order=Order.START_FIRST)
        async with owned(rolling=rolling) as it:
            await it.until(State.STARTING)
            it.set(is_ready=True)
            await it.until(State.READY)
            it.runs.renews, before = renews, it.runs.current
            it.set(outgrown=Cause(kind=CauseKind.MEMORY))
            await trio.sleep(1.0)
            assert (it.runs.current is not before) is renews
            assert it.state.status.state is State.READY
            assert State.STOPPING not in it.host.states

    run(main)


def test_a_run_that_is_ready_is_told_that_it_is_paused():
    async def main():
        async with owned() as it:
            await it.until(State.STARTING)
            it.want(paused=True)
            assert it.runs.current.paused == []
            it.set(is_ready=True)
            await it.until(State.READY)
            assert it.runs.current.paused == [True]

    run(main)


def test_what_its_group_condemns_fails():
    async def main():
        async with owned(restart=RestartSpec(backoff=EXACT)) as it:
            await it.until(State.STARTING)
            it.set(ended=exited(1))
            await it.until(State.BACKOFF)
            it.want(condemned="its group g has failed")
            await it.until(State.FAILED)
            assert it.state.status.detail == "its group g has failed"

    run(main)
