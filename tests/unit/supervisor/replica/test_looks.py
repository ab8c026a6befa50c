"""What can be seen in a replica, without a run, a process or a clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from replica_fakes import FakeHost, FakeRun, exited, new_state, run

from naq.supervisor.model.board import Status
from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.lifecycle import Event, State
from naq.supervisor.model.spec import Dependency
from naq.supervisor.replica.looks import DependencyLook, Looks, bonds


def watched(**spec):
    state, current = new_state(**spec), FakeRun()
    return state, current, Looks(state, lambda: current)


def test_nothing_has_happened_to_a_run_that_goes_on():
    _, current, looks = watched()
    current.is_ready = True
    for look in (looks.unwanted, looks.condemned, looks.outdated, looks.ended, looks.faulted):
        assert look() is None
    assert looks.not_ready() is None


def test_readiness():
    _, current, looks = watched()
    assert looks.ready() is looks.ready_again() is None
    current.is_ready = True
    assert looks.ready() == looks.ready_again() == (Event.READY, None)
    current.is_ready, current.why_unready = False, "503"
    assert looks.not_ready() == (Event.NOT_READY, None)


def test_where_there_is_nothing_to_wait_for_a_run_is_ready_at_once():
    _, current, looks = watched()
    current.waits = False
    assert looks.ready() == (Event.READY, None)


def test_ends_come_with_their_cause():
    state, current, looks = watched()
    current.ended = exited(3)
    assert looks.ended() == (Event.ENDED, exited(3))
    current.failure = Cause(kind=CauseKind.LIVENESS)
    assert looks.faulted() == (Event.FAULT, current.failure)
    state.wish.condemned = "its group has failed"
    event, cause = looks.condemned()
    assert (event, cause.kind, cause.message) == (
        Event.FAULT,
        CauseKind.GROUP,
        "its group has failed",
    )


@pytest.mark.parametrize("wish", [{"up": False}, {"held": True}])
def test_it_is_unwanted_by_people_or_by_its_group(wish):
    state, _, looks = watched()
    for name, value in wish.items():
        setattr(state.wish, name, value)
    assert looks.unwanted() == (Event.STOP, state.wish.cause)


def test_another_run_is_wanted_on_request_before_anything_else():
    state, current, looks = watched()
    current.outgrown = Cause(kind=CauseKind.MEMORY)
    assert looks.outdated() == (Event.RECYCLE, current.outgrown)
    state.wish.begin_anew(Cause(kind=CauseKind.RELOAD))
    assert looks.outdated() == (Event.RECYCLE, Cause(kind=CauseKind.RELOAD))


def db(state: State, *, runs: int = 1, replica: int = 1, wanted: bool = True) -> Status:
    return Status(service="db", replica=replica, name="db", state=state, runs=runs, wanted=wanted)


def test_a_dependency_restarts_it_once_all_its_replicas_are_back():
    edges = (Dependency(service="db", restart=True),)
    state, current, looks = watched(depends_on=edges)
    board = state.host.board
    for replica in (1, 2):
        board.publish(db(State.READY, replica=replica))
    current.bonds = bonds(state.spec, board)
    assert current.bonds == {"db": {1: 1, 2: 1}}
    assert looks.outdated() is None
    board.publish(db(State.STARTING, runs=2, replica=2))
    assert looks.outdated() is None
    board.publish(db(State.READY, runs=2, replica=2))
    event, cause = looks.outdated()
    assert (event, str(cause)) == (Event.RECYCLE, "dependency: db was restarted")


def test_a_dependency_without_restart_is_no_bond():
    state, current, looks = watched(depends_on=(Dependency(service="db"),))
    state.host.board.publish(db(State.READY))
    current.bonds = bonds(state.spec, state.host.board)
    state.host.board.publish(db(State.READY, runs=2))
    assert (current.bonds, looks.outdated()) == ({}, None)


def test_a_wait_for_a_dependency():
    async def main():
        host = FakeHost()
        host.board.publish(db(State.STARTING))
        state = new_state(host, depends_on=(Dependency(service="db", timeout=5),))
        look = DependencyLook(state)
        assert (look.services, look.until) == (["db"], 5.0)
        assert look() is None
        assert (state.status.detail, state.status.blocked) == ("waiting for db", False)
        host.board.publish(db(State.READY))
        assert look() == (Event.MET, None)
        host.board.publish(db(State.STARTING))
        await trio.sleep(5)
        assert look() == (Event.UNMET, None)
        assert state.status.detail == "db is not ready after 5 s"

    run(main)


def test_a_restart_is_told_that_the_dependency_was_stopped():
    async def main():
        state = new_state(depends_on=(Dependency(service="db"),))
        state.host.board.publish(replace(db(State.DOWN), wanted=False))
        renewal = state.wish.begin_anew(Cause(kind=CauseKind.OPERATOR))
        assert DependencyLook(state)() is None
        assert state.status.blocked
        assert renewal.problem == "waiting for db, which is down"

    run(main)
