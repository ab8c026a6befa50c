"""In which state a job is: the one rule, as a table; and how numbers are divided."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.jobs.inspect.states import Seen, state_of
from naq.jobs.job import JobStatus
from naq.jobs.presence import WorkerInfo
from naq.queue.numbers.stats import QueueStats, Shares, shares


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (Seen(), "pending"),
        (Seen(taken=True), "pending"),  # it waits in a worker for a slot
        (Seen(taken=True, running=True), "running"),
        (Seen(taken=True, running=True, tried=True), "running"),  # its second attempt
        (Seen(taken=True, tried=True), "retrying"),  # a short retry: the consumer holds it back
        (Seen(delayed=True, tried=True), "retrying"),  # a long one: the stream holds it back
        (Seen(tried=True), "pending"),  # a long one that is due stands in line
        (Seen(delayed=True), "scheduled"),
        (Seen(late=True), "expired"),
        (Seen(delayed=True, late=True), "scheduled"),
        (Seen(taken=True, running=True, late=True), "running"),
    ],
)
def test_the_rule(seen, state):
    assert state_of(seen) == state


def test_what_runs_is_in_no_other_list_and_a_wait_is_never_pending():
    for delayed, taken, tried, late in product((False, True), repeat=4):
        seen = Seen(delayed=delayed, taken=taken, tried=tried, late=late)
        assert not state_of(seen).final or (late and not delayed)
        assert state_of(seen._replace(running=True)) == JobStatus.RUNNING
        if delayed or (taken and tried):
            assert state_of(seen) in (JobStatus.SCHEDULED, JobStatus.RETRYING)


def worker(running=None, waiting=None, queues=("mail",)):
    return WorkerInfo(
        id="w",
        host="h",
        pid=1,
        status="busy",
        queues=list(queues),
        concurrency=10,
        backend="trio",
        started_at=0.0,
        seen_at=0.0,
        running_of=running,
        waiting_of=waiting,
    )


@pytest.mark.parametrize(
    ("handed_out", "workers", "expected"),
    [
        (0, [], Shares(0, 0, 0)),
        (3, [worker({"mail": 3}, {})], Shares(3, 0, 0)),
        (5, [worker({"mail": 2}, {"mail": 1})], Shares(2, 1, 2)),  # two wait for a retry
        (2, [worker({}, {})], Shares(0, 0, 2)),
        (2, [], Shares(0, 0, 2)),  # their worker has died
        (4, [worker({"mail": 1}, {}), worker({"mail": 2, "x": 9}, {})], Shares(3, 0, 1)),
        (1, [worker({"mail": 3}, {"mail": 3})], Shares(1, 0, 0)),  # it was asked a moment later
        (3, [worker()], Shares(3, 0, 0)),  # of an older release
        (3, [worker({"mail": 2}, {}, queues=["other"])], Shares(0, 0, 3)),
    ],
)
def test_what_was_handed_out_is_divided_by_what_workers_say(handed_out, workers, expected):
    assert shares("mail", handed_out, workers) == expected


@given(
    st.integers(0, 50),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=4),
)
def test_no_job_is_counted_twice_or_left_out(handed_out, said):
    found = shares("mail", handed_out, [worker({"mail": r}, {"mail": w}) for r, w in said])

    assert sum(found) == handed_out
    assert min(found) >= 0


@pytest.mark.parametrize(
    ("paused", "workers", "state"),
    [(False, 1, "active"), (False, 0, "unserved"), (True, 1, "paused"), (True, 0, "paused")],
)
def test_the_state_of_a_queue(paused, workers, state):
    assert QueueStats(queue="mail", paused=paused, workers=workers).state == state
