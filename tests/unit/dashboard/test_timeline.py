"""What has happened to a job, in the order of time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.dashboard.data.model import JobDetail
from naq.dashboard.data.timeline import timeline
from naq.jobs.job import Attempt


def job(status, **fields):
    return JobDetail(id="j", queue="mail", function="m:f", status=status, **fields)


def failed(number, began, ended):
    return Attempt(number, "w", began, ended, "ValueError: no")


@pytest.mark.parametrize(
    ("detail", "steps"),
    [
        (job("pending", enqueued_at=1), ["Enqueued"]),
        (job("scheduled", enqueued_at=1, due_at=60), ["Enqueued", "Due"]),
        (job("running", enqueued_at=1, started_at=2), ["Enqueued", "Started"]),
        (
            job("completed", enqueued_at=1, started_at=2, finished_at=3),
            ["Enqueued", "Started", "Ended"],
        ),
        (  # a retry that waits: what a store of its due time says is its next try
            job("retrying", enqueued_at=1, due_at=602.01, retry_at=602, history=(failed(1, 1, 2),)),
            ["Enqueued", "Attempt 1 failed", "Next try"],
        ),
        (  # it runs again: the time of the retry is past
            job("running", enqueued_at=1, retry_at=5, started_at=5.1, history=(failed(1, 1, 2),)),
            ["Enqueued", "Attempt 1 failed", "Started"],
        ),
        (
            job(
                "failed",
                enqueued_at=1,
                started_at=8,
                finished_at=9,
                history=(failed(1, 1, 2), failed(2, 8, 9)),
            ),
            ["Enqueued", "Attempt 1 failed", "Started", "Ended"],
        ),
        (  # a worker that was killed told no end
            job("pending", enqueued_at=1, history=(Attempt(1, "w", None, None, "died"),)),
            ["Enqueued", "Attempt 1"],
        ),
    ],
)
def test_the_steps(detail, steps):
    assert [step.text for step in timeline(detail)] == steps


moments = st.none() | st.floats(1, 1000)


@given(
    st.sampled_from(["pending", "running", "retrying", "failed", "completed"]),
    st.fixed_dictionaries(
        dict.fromkeys(("enqueued_at", "due_at", "started_at", "finished_at", "retry_at"), moments)
    ),
    st.lists(st.tuples(moments, moments), max_size=3),
)
def test_time_never_goes_back(status, times, attempts):
    history = tuple(failed(n, *span) for n, span in enumerate(attempts, 1))
    steps = timeline(job(status, **times, history=history))

    known = [step.at for step in steps if step.at is not None and step.kind != "next"]
    assert known == sorted(known)
    assert [step.kind for step in steps].count("next") <= 1
