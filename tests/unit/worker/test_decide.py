"""What a delivery and an outcome lead to: all branches, and the rules that must hold for any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.jobs.job import Attempt, JobMessage, JobRecord, JobStatus
from naq.worker.deaths import REMEMBERED, Delivery
from naq.worker.decide import (
    SHORT_DELAY,
    Bury,
    Retry,
    Run,
    Skip,
    history,
    on_delivery,
    on_failure,
)


def job(**options):
    return JobMessage(
        id="j",
        queue="q",
        function="m:f",
        payload=b"",
        encoding="pickle",
        enqueued_at=0.0,
        **options,
    )


def record(status=JobStatus.RETRYING, **fields):
    return JobRecord(id="j", queue="q", function="m:f", status=status, **fields)


def test_a_first_delivery_runs():
    assert on_delivery(None, Delivery(7, 1), crash_limit=3) == Run(1, 0, 0)


def test_a_redelivery_without_a_word_counts_as_a_crash_not_as_a_failure():
    assert on_delivery(None, Delivery(7, 2), crash_limit=3) == Run(attempt=2, failures=0, crashes=1)


def test_the_third_crash_makes_poison():
    decision = on_delivery(None, Delivery(7, 4), crash_limit=3)

    assert isinstance(decision, Bury)
    assert decision.reason.startswith("poison")
    assert decision.attempts == 3


def test_a_redelivery_after_a_known_failure_is_no_crash():
    known = record(attempts=1, failures=1, seq=7, delivered=1)

    assert on_delivery(known, Delivery(7, 2), crash_limit=3) == Run(2, 1, 0)


def test_a_crash_after_a_known_failure_is_counted_from_there():
    known = record(attempts=1, failures=1, seq=7, delivered=1)

    assert on_delivery(known, Delivery(7, 3), crash_limit=3) == Run(3, 1, 1)


def test_a_scheduled_retry_is_a_new_message_and_starts_counting_anew():
    known = record(attempts=4, failures=2, crashes=2, seq=7, delivered=4)

    assert on_delivery(known, Delivery(99, 1), crash_limit=3) == Run(5, 2, 2)


def test_a_hand_over_counts_as_an_attempt_but_neither_failure_nor_crash():
    known = record(JobStatus.PENDING, attempts=1, seq=7, delivered=1)

    assert on_delivery(known, Delivery(7, 2), crash_limit=1) == Run(2, 0, 0)


@pytest.mark.parametrize("status", [status for status in JobStatus if status.final])
def test_what_has_ended_is_only_acked(status):
    assert on_delivery(record(status), Delivery(7, 5), crash_limit=3) == Skip(status)


@given(
    deliveries=st.integers(1, 50),
    limit=st.integers(1, 5),
    known=st.none()
    | st.builds(
        record,
        attempts=st.integers(0, 20),
        failures=st.integers(0, 10),
        crashes=st.integers(0, 4),
        seq=st.integers(1, 3),
        delivered=st.integers(1, 50),
    ),
)
def test_counts_never_go_back_and_the_limit_always_holds(deliveries, limit, known):
    decision = on_delivery(known, Delivery(2, deliveries), crash_limit=limit)

    if isinstance(decision, Run):
        assert decision.crashes < limit
        assert decision.attempt > (known.attempts if known else 0)
        assert decision.crashes >= (known.crashes if known else 0)
        assert decision.failures == (known.failures if known else 0)
    else:
        assert isinstance(decision, Bury)
        assert decision.crashes >= limit
        assert decision.attempts >= (known.attempts if known else 0)


ERROR = ("builtins:KeyError", "builtins:LookupError", "builtins:Exception")


def test_without_retries_the_first_failure_is_the_end():
    assert on_failure(job(), failures=1, raised=ERROR) == Bury("failed", 1)


def test_attempts_are_spent_after_max_retries():
    policy = job(max_retries=2)

    assert isinstance(on_failure(policy, failures=2, raised=ERROR), Retry)
    assert on_failure(policy, failures=3, raised=ERROR) == Bury("attempts spent", 3)


@pytest.mark.parametrize("listed", ["builtins:KeyError", "KeyError", "LookupError"])
def test_retry_on_matches_the_class_or_a_base_by_either_name(listed):
    policy = job(max_retries=1, retry_on=[listed])

    assert isinstance(on_failure(policy, failures=1, raised=ERROR), Retry)


def test_an_error_that_is_not_listed_in_retry_on_is_not_retried():
    policy = job(max_retries=5, retry_on=["OSError"])

    assert on_failure(policy, failures=1, raised=ERROR) == Bury("error not listed in retry_on", 1)


def test_ignore_on_wins_over_retry_on():
    policy = job(max_retries=5, retry_on=["LookupError"], ignore_on=["KeyError"])

    decision = on_failure(policy, failures=1, raised=ERROR)

    assert isinstance(decision, Bury)
    assert "ignore_on" in decision.reason


def test_what_cannot_be_helped_by_another_attempt_is_not_retried():
    policy = job(max_retries=5)

    assert isinstance(on_failure(policy, failures=1, raised=ERROR, retryable=False), Bury)


@pytest.mark.parametrize(
    ("delay", "scheduled"), [(0.0, False), (SHORT_DELAY, False), (SHORT_DELAY + 1, True)]
)
def test_short_delays_wait_in_the_consumer_long_ones_in_the_stream(delay, scheduled):
    policy = job(max_retries=1, retry_delay=delay)

    assert on_failure(policy, failures=1, raised=ERROR) == Retry(delay, scheduled)
    never = on_failure(policy, failures=1, raised=ERROR, short_delay=delay)
    assert never == Retry(delay, scheduled=False)


def test_history_goes_on_from_the_record():
    first = Attempt(1, "w1", error="KeyError: a")
    second = Attempt(2, "w2", error="KeyError: b")
    known = record(attempts=1, history=(first,))

    assert history(known, attempts=2, crashes=0, failed=second) == (first, second)


def test_history_tells_of_workers_that_died():
    first = Attempt(1, "w1", error="KeyError: a")
    known = record(attempts=1, failures=1, history=(first,))

    numbers = [past.attempt for past in history(known, attempts=4, crashes=2)]

    assert numbers == [1, 2, 3]
    assert history(None, attempts=2, crashes=1)[0].error == "its worker died"


def test_history_keeps_the_latest():
    known = record(attempts=50, history=tuple(Attempt(n) for n in range(31, 51)))

    kept = history(known, attempts=51, crashes=0, failed=Attempt(51))

    assert len(kept) == REMEMBERED
    assert kept[-1].attempt == 51
