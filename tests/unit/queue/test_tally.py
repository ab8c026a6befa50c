"""What is counted of jobs, and what the counts say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.queue.numbers.tally import (
    BOUNDS_MS,
    DONE,
    FAILED,
    METRICS,
    RETRIED,
    Counts,
    Minute,
    Tally,
    Totals,
    counts_of,
    quantile,
)


def taken(tally):
    return {(queue, name): number for queue, name, number in tally.take()}


def test_an_attempt_is_counted_with_its_times():
    tally = Tally()

    tally.ran("mail", DONE, 0.012, 0.5)
    tally.ran("mail", RETRIED, 2.0, None)
    tally.ran("mail", FAILED, 99.0, None)

    assert taken(tally) == {
        ("mail", "done"): 1,
        ("mail", "retried"): 1,
        ("mail", "failed"): 1,
        ("mail", "dead"): 1,
        ("mail", "waited"): 1,
        ("mail", "wait_ms"): 500,
        ("mail", "run_ms"): 12 + 2000 + 99_000,
        ("mail", "wait_le_500"): 1,
        ("mail", "le_25"): 1,
        ("mail", "le_5000"): 1,
        ("mail", "le_inf"): 1,
    }


def test_what_was_taken_is_not_taken_again():
    tally = Tally()
    tally.ran("a", DONE, 0.001, 0.0)
    taken(tally)

    assert taken(tally) == {}
    tally.ran("a", DONE, 0.001, 0.0)
    assert taken(tally)["a", "done"] == 1


def test_fractions_of_a_millisecond_are_not_lost():
    tally = Tally()
    sums = 0
    for _ in range(1000):
        tally.ran("a", DONE, 0.0005, None)
        sums += taken(tally).get(("a", "run_ms"), 0)

    assert sums == pytest.approx(500, abs=1)


def test_a_job_that_never_ran_is_a_dead_letter_without_a_run_time():
    tally = Tally()
    tally.buried("a")

    assert taken(tally) == {("a", "failed"): 1, ("a", "dead"): 1}


def test_a_clock_that_is_ahead_makes_no_negative_wait():
    tally = Tally()
    tally.ran("a", DONE, 0.0, -3.0)

    (counts,) = tally.counts()
    assert (counts.waited, counts.wait_ms) == (1, 0)
    assert counts.wait_buckets == (1,) + (0,) * 10


def test_somebody_is_told_once_until_it_is_taken():
    calls = []
    tally = Tally()
    tally.on_change = lambda: calls.append(1)
    tally.ran("a", DONE, 0.0, None)
    tally.ran("b", DONE, 0.0, None)
    assert len(calls) == 1

    list(tally.take())
    tally.buried("a")
    assert len(calls) == 2


@given(st.lists(st.sampled_from([0.0, 0.005, 0.0051, 0.2, 5.0, 31.0]), max_size=20))
def test_every_attempt_is_in_one_bucket(times):
    tally = Tally()
    for took in times:
        tally.ran("a", DONE, took, None)

    for counts in tally.counts():
        assert counts.runs == counts.done == len(times)


def test_a_bucket_holds_its_own_bound():
    tally = Tally()
    tally.ran("a", DONE, 0.005, None)

    assert tally.counts()[0].buckets[0] == 1


@pytest.mark.parametrize(
    ("buckets", "q", "expected"),
    [
        ([0] * 11, 0.5, None),
        ([10] + [0] * 10, 0.5, 2.5),
        ([0, 10] + [0] * 9, 0.5, 7.5),
        ([5, 5] + [0] * 9, 0.5, 5.0),
        ([0] * 10 + [3], 0.95, 30_000.0),
        ([1] + [0] * 8 + [1, 0], 1.0, 30_000.0),
    ],
)
def test_quantiles(buckets, q, expected):
    assert quantile(buckets, q) == expected


@given(st.lists(st.integers(0, 1000), min_size=11, max_size=11), st.floats(0.01, 1.0))
def test_a_quantile_lies_within_the_bounds_and_grows(buckets, q):
    value = quantile(buckets, q)
    if value is None:
        assert sum(buckets) == 0
        return
    assert 0 <= value <= BOUNDS_MS[-1]
    assert value <= quantile(buckets, 1.0)


def test_what_is_missing_is_zero():
    assert Minute(minute=3, **counts_of({})) == Minute(minute=3)
    assert Minute(minute=3).begins_at == 180
    assert Counts().p50_ms is Counts().p95_ms is Counts().mean_ms is Counts().mean_wait_ms is None


def test_means():
    counts = Totals(
        queue="a", run_ms=90, waited=2, wait_ms=30, buckets=(1, 0, 0, 2) + (0,) * 7, done=3
    )

    assert (counts.runs, counts.mean_ms, counts.mean_wait_ms) == (3, 30.0, 15.0)


def test_names_are_tokens_of_a_subject():
    assert len(set(METRICS)) == len(METRICS)
    assert all(name.replace("_", "").isalnum() for name in METRICS)
