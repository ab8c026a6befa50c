"""What a worker holds, as somebody else reads it after its death."""

from __future__ import annotations

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.worker.life.aftermath import death_of, lease_holds, stage_of, status_of
from naq.worker.life.deaths import Stage
from naq.worker.life.ledger import SLOT, Contents, Entry, Ledger, State, clock, read

REPLY = "$JS.ACK.naq_jobs.naq_default.1.7.7.1732692000000000000.0"


@pytest.fixture
def file(tmp_path):
    fd = os.open(tmp_path / "ledger", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def opened(fd, *, room=4, worker="w-1"):
    return Ledger(fd, room=room, worker=worker, ack_wait=30.0, stall=310.0)


def held(fd):
    return {entry.subject: (entry.reply, entry.state) for entry in read(fd).entries}


def test_a_ledger_says_how_far_each_job_has_come(file):
    ledger, before = opened(file), clock()
    places = [ledger.enter(f"{REPLY}.{n}", f"naq.j.default.{n}") for n in range(3)]
    ledger.states[places[1]] = State.STARTED
    ledger.states[places[2]] = State.STARTED
    ledger.states[places[2]] = State.RETURNED
    left = read(file)

    assert (left.worker, left.ack_wait, left.stall) == ("w-1", 30.0, 310.0)
    assert [entry.state for entry in left.entries] == [
        State.WAITING,
        State.STARTED,
        State.RETURNED,
    ]
    assert [entry.reply for entry in left.entries] == [f"{REPLY}.{n}" for n in range(3)]
    assert all(before <= entry.arrived <= clock() for entry in left.entries)


def test_a_job_that_is_delivered_again_keeps_its_state(file):
    ledger = opened(file)
    place = ledger.enter("old", "naq.j.default.x")
    ledger.states[place] = State.STARTED
    ledger.link_changed(up=True)
    ledger.moved(place, "new", "naq.j.default.x")
    (entry,) = read(file).entries

    assert (entry.reply, entry.state, entry.link) == ("new", State.STARTED, 1)


def test_what_there_is_no_room_for_is_not_entered(file):
    ledger = opened(file, room=1)

    assert ledger.enter(REPLY, "x" * SLOT) == 0
    assert ledger.enter(REPLY, "a") > 0
    assert ledger.enter(REPLY, "b") == 0
    ledger.leave(0)
    assert set(held(file)) == {"a"}


def test_an_orderly_end_leaves_nothing(file):
    ledger = opened(file)
    place = ledger.enter(REPLY, "a")
    ledger.leave(place)
    ledger.close()

    assert os.fstat(file).st_size == 0
    assert read(file) is None


def test_what_could_not_be_handed_back_stays(file):
    ledger = opened(file)
    ledger.enter(REPLY, "a")
    ledger.close()

    assert read(file).ended
    assert set(held(file)) == {"a"}


def test_something_else_is_no_ledger(file):
    os.write(file, b"something else")
    with pytest.raises(ValueError, match="too short"):
        read(file)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["enter", "moved", "started", "returned", "leave"]), st.integers(0, 5)
        ),
        max_size=60,
    )
)
def test_at_any_moment_the_file_has_what_is_held(steps):
    fd = os.memfd_create("test") if hasattr(os, "memfd_create") else os.open("/tmp/l", os.O_RDWR)
    try:
        ledger, places, expected = opened(fd), {}, {}
        for step, number in steps:
            name = f"naq.j.q.{number}"
            if step == "enter":
                if number not in places and (place := ledger.enter(REPLY, name)):
                    places[number], expected[name] = place, (REPLY, State.WAITING)
            elif number in places:
                if step == "moved":
                    places[number] = ledger.moved(places[number], REPLY + "9", name)
                    expected[name] = (REPLY + "9", expected[name][1])
                elif step == "leave":
                    ledger.leave(places.pop(number))
                    del expected[name]
                else:
                    ledger.states[places[number]] = State[step.upper()]
                    expected[name] = (expected[name][0], State[step.upper()])
            assert held(fd) == expected if expected else not read(fd).entries
        ledger.unmap()
    finally:
        os.close(fd)


# ------------------------------------------------------------------- decisions


def entry(place=SLOT, state=State.STARTED, *, link=0, arrived=100.0):
    return Entry(place, state, link, arrived, REPLY, f"naq.j.default.{place}")


LEFT = Contents(
    worker="w-1",
    link=0,
    renewed=0.0,
    ack_wait=30.0,
    armed=90.0,
    stall=20.0,
    culprit=0,
    ended=False,
    oom_kills=2,
    entries=(entry(), entry(2 * SLOT, State.WAITING), entry(3 * SLOT, State.RETURNED)),
)


def left(**changes):
    return msgspec.structs.replace(LEFT, **changes)


@pytest.mark.parametrize(
    ("job", "contents", "now", "holds"),
    [
        (entry(arrived=100.0), left(), 127.9, True),
        (entry(arrived=100.0), left(), 128.0, False),
        (entry(arrived=100.0), left(renewed=120.0), 147.9, True),
        (entry(arrived=100.0), left(renewed=120.0), 148.0, False),
        (entry(arrived=100.0, link=1), left(link=1), 101.0, True),
        (entry(arrived=100.0, link=0), left(link=1), 101.0, False),
        (entry(arrived=100.0), left(ack_wait=3.0), 101.9, True),
        (entry(arrived=100.0), left(ack_wait=3.0), 102.1, False),
        (entry(arrived=100.0), left(), 99.0, False),  # a clock that went back tells nothing
    ],
)
def test_only_a_lease_that_certainly_holds_is_given_back(job, contents, now, holds):
    assert lease_holds(job, contents, now) is holds


@pytest.mark.parametrize(
    ("status", "contents", "now", "stalled", "stages"),
    [
        (-9, left(), 200.0, False, [Stage.STARTED, Stage.WAITING, Stage.RETURNED]),
        (1, left(), 109.0, False, [Stage.STARTED, Stage.WAITING, Stage.RETURNED]),
        (1, left(culprit=SLOT), 109.0, False, [Stage.STARTED, Stage.WAITING, Stage.RETURNED]),
        (1, left(culprit=SLOT), 110.0, True, [Stage.CULPRIT, Stage.WAITING, Stage.RETURNED]),
        (1, left(culprit=2 * SLOT), 110.0, True, [Stage.STARTED, Stage.WAITING, Stage.RETURNED]),
        (
            1,
            left(culprit=SLOT, stall=0.0),
            999.0,
            False,
            [Stage.STARTED, Stage.WAITING, Stage.RETURNED],
        ),
        (None, left(), 200.0, False, [Stage.STARTED, Stage.WAITING, Stage.RETURNED]),
    ],
)
def test_a_death_is_read_from_what_is_left_and_what_was_seen(
    status, contents, now, stalled, stages
):
    death = death_of(contents, status, now=now, oom=2, at=5.0)

    assert (death.status, death.stalled, death.out_of_memory) == (status, stalled, False)
    assert (death.started, death.worker, death.at) == (1, "w-1", 5.0)
    assert death.culprit is (Stage.CULPRIT in stages)
    assert [stage_of(job, contents, stalled=death.stalled) for job in contents.entries] == stages


def test_a_kill_for_lack_of_memory_is_counted_by_the_kernel():
    assert death_of(LEFT, -9, now=200.0, oom=3, at=5.0).out_of_memory


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], None),
        (["0"], 0),
        (["-9"], -9),
        (["--seen", ""], None),
        (["--seen", "0"], None),
        (["--seen", "9"], -9),
        (["--seen", "2304"], 9),
        (["--seen", "139"], -11),
        (["--seen", "?"], None),
    ],
)
def test_who_saw_a_death_says_how(arguments, status):
    assert status_of(arguments) == status
