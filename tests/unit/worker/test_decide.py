"""What a delivery and an outcome lead to: all branches, and the rules that must hold for any."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.jobs.job import JobMessage, JobRecord, JobStatus, Suspicion
from naq.worker.decide import (
    FIRST,
    SHORT_DELAY,
    Bury,
    Retry,
    Run,
    Skip,
    on_delivery,
    on_failure,
)
from naq.worker.life.deaths import ALONE_AFTER_LOST, LOST_ALONE_LIMIT, Care, Delivery


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
    assert on_delivery(None, Delivery(7, 1), crash_limit=3) == FIRST == Run(1)


@pytest.mark.parametrize(
    ("known", "delivery", "attempt"),
    [
        (None, Delivery(7, 2), 2),
        ({"attempts": 1, "failures": 1, "seq": 7, "delivered": 1}, Delivery(7, 2), 2),
        ({"attempts": 1, "failures": 1, "seq": 7, "delivered": 1}, Delivery(7, 3), 3),
        ({"attempts": 4, "failures": 2, "seq": 7, "delivered": 4}, Delivery(99, 1), 5),
        ({"attempts": 0, "seq": 7, "delivered": 9}, Delivery(7, 10), 1),
    ],
)
def test_an_attempt_follows_those_that_are_known_and_those_that_were_lost(known, delivery, attempt):
    known = None if known is None else record(**known)

    assert on_delivery(known, delivery, crash_limit=1) == Run(attempt)


def test_a_suspect_is_run_with_care_and_poison_is_buried():
    known = record(JobStatus.PENDING, attempts=2, crashes=2, seq=7, delivered=2)
    alone = msgspec.structs.replace(known, crashes=3, suspicion=Suspicion(alone=True))
    put_off = msgspec.structs.replace(known, suspicion=Suspicion(put_off=4))

    assert on_delivery(known, Delivery(7, 3), crash_limit=4) == Run(3, Care.ONE_AT_A_TIME)
    assert on_delivery(known, Delivery(7, 3), crash_limit=3) == Run(3, Care.ALONE)
    assert on_delivery(put_off, Delivery(7, 3), crash_limit=3) == Run(3, Care.ALONE, put_offs=4)
    buried = on_delivery(alone, Delivery(7, 3), crash_limit=3)
    assert isinstance(buried, Bury)
    assert buried.reason.startswith("poison: its worker died 3 times")


@pytest.mark.parametrize("status", [status for status in JobStatus if status.final])
def test_what_has_ended_is_only_acked(status):
    assert on_delivery(record(status), Delivery(7, 5), crash_limit=3) == Skip(status)


@given(
    deliveries=st.integers(1, 40),
    limit=st.integers(1, 5),
    known=st.none()
    | st.builds(
        record,
        attempts=st.integers(0, 20),
        failures=st.integers(0, 10),
        crashes=st.integers(0, 9),
        lost=st.integers(0, 9),
        seq=st.integers(1, 3),
        delivered=st.integers(1, 50),
    ),
)
def test_without_a_proven_death_nothing_is_buried_until_it_was_lost_alone(deliveries, limit, known):
    decision = on_delivery(known, Delivery(2, deliveries), crash_limit=limit)

    if isinstance(decision, Run):
        assert decision.attempt > (known.attempts if known else 0)
        assert not (known and known.crashes) or decision.care
    else:
        assert isinstance(decision, Bury)
        lost = (known.lost if known else 0) + deliveries - 1
        assert lost >= ALONE_AFTER_LOST + LOST_ALONE_LIMIT


ERROR = ("builtins:KeyError", "builtins:LookupError", "builtins:Exception")


def test_without_retries_the_first_failure_is_the_end():
    assert on_failure(job(), failures=1, raised=ERROR) == Bury("failed")


def test_attempts_are_spent_after_max_retries():
    policy = job(max_retries=2)

    assert isinstance(on_failure(policy, failures=2, raised=ERROR), Retry)
    assert on_failure(policy, failures=3, raised=ERROR) == Bury("attempts spent")


@pytest.mark.parametrize("listed", ["builtins:KeyError", "KeyError", "LookupError"])
def test_retry_on_matches_the_class_or_a_base_by_either_name(listed):
    policy = job(max_retries=1, retry_on=[listed])

    assert isinstance(on_failure(policy, failures=1, raised=ERROR), Retry)


def test_an_error_that_is_not_listed_in_retry_on_is_not_retried():
    policy = job(max_retries=5, retry_on=["OSError"])

    assert on_failure(policy, failures=1, raised=ERROR) == Bury("error not listed in retry_on")


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
