"""The values of a replica: published once, named by number where there are several."""

from __future__ import annotations

import trio
from replica_fakes import FakeHost, new_state, run

from naq.supervisor.model.lifecycle import History, State
from naq.supervisor.model.spec import ServiceSpec


def test_a_new_replica_is_on_the_board_and_down():
    host = FakeHost()
    state = new_state(host)
    assert list(host.board) == [state.status]
    assert (state.status.state, state.status.name, state.status.wanted) == (State.DOWN, "s", True)


def test_only_a_change_is_published():
    host = FakeHost()
    state = new_state(host)
    state.publish(state=State.WAITING)
    state.publish(state=State.WAITING)
    assert host.states == [State.WAITING]
    assert list(host.board) == [state.status]


def test_what_is_removed_never_shows_again():
    host = FakeHost()
    state = new_state(host)
    state.remove()
    state.publish(state=State.READY)
    assert list(host.board) == []
    assert host.states == []


def test_it_is_called_by_its_number_as_soon_as_there_are_several():
    state = new_state(index=2, replicas=3)
    assert state.status.name == "s.2"
    state.adopt(ServiceSpec(name="s", oneshot=True), kind=None)
    assert (state.status.name, state.status.oneshot) == ("s", True)


def test_a_new_beginning_forgets_failures_once():
    state = new_state()
    state.publish(failures=3)
    state.history = History(failures=3)
    state.begin_anew()
    assert state.history.failures == 3  # nobody has asked for that
    state.wish.anew = True
    state.begin_anew()
    assert (state.history, state.status.failures, state.wish.anew) == (History(), 0, False)


def test_a_wait_ends_with_what_is_found_or_when_its_alarm_goes_off():
    async def main():
        state = new_state()
        found: list[str] = []
        assert await state.first(lambda: found or None, until=1.0) is None
        assert trio.current_time() == 1.0

        async def later():
            await trio.sleep(1.0)
            state.alarm.deadline = 10.0
            await trio.sleep(5.0)
            found.append("it")
            state.bell.ring()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(later)
            assert await state.first(lambda: found or None, until=3.0) == ["it"]
        assert trio.current_time() == 7.0

    run(main)
