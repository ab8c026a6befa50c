"""How many jobs to ask each queue for: fair, and never more than there is room for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from naq.worker.intake import Demand, plan


def asked(free, queues, turn=0):
    return {demand.queue: count for demand, count in plan(free, queues, turn=turn)}


def test_one_queue_is_asked_for_all_there_is_room_for():
    assert asked(10, [Demand("a")]) == {"a": 10}


def test_nothing_is_asked_for_without_room():
    assert asked(0, [Demand("a"), Demand("b", backlog=5)]) == {}
    assert asked(-3, [Demand("a")]) == {}


def test_a_quiet_queue_beside_others_keeps_one_request_standing():
    assert asked(10, [Demand("a"), Demand("b")]) == {"a": 1, "b": 1}


def test_queues_with_a_backlog_share_the_room_evenly():
    assert asked(10, [Demand("a", backlog=100), Demand("b", backlog=3)]) == {"a": 5, "b": 5}


def test_the_rest_of_the_division_goes_round_whatever_the_order():
    queues = [Demand(name, backlog=9) for name in "abc"]

    rounds = [asked(4, queues, turn=turn) for turn in range(3)]

    assert {name: sum(r[name] for r in rounds) for name in "abc"} == {"a": 4, "b": 4, "c": 4}


def test_requests_are_topped_up_by_halves_not_one_by_one():
    assert asked(10, [Demand("a", outstanding=6)]) == {}
    assert asked(10, [Demand("a", outstanding=5)]) == {"a": 5}


@given(
    free=st.integers(-5, 100),
    queues=st.lists(
        st.builds(
            Demand,
            queue=st.text("abc", min_size=1, max_size=3),
            outstanding=st.integers(0, 50),
            backlog=st.integers(0, 1000),
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda demand: demand.queue,
    ),
    turn=st.integers(0, 1000),
)
def test_at_most_one_job_per_quiet_queue_can_come_unwanted(free, queues, turn):
    requests = plan(free, queues, turn=turn)

    assert all(count > 0 for _, count in requests)
    busy = sum(count for demand, count in requests if demand.backlog > 0)
    quiet = [count for demand, count in requests if demand.backlog <= 0]
    assert busy <= max(0, free)
    if len(queues) == 1:
        assert sum(quiet) <= max(0, free)
    else:
        assert all(count == 1 for count in quiet)
