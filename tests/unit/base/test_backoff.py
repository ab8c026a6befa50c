"""How long to wait: the curves, their bounds, and what jitter may do to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.base.backoff import exponential, jittered, retry_delay


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("constant", [3, 3, 3, 3]),
        ("linear", [3, 6, 9, 12]),
        ("exponential", [3, 6, 12, 24]),
    ],
)
def test_the_curves(strategy, expected):
    assert [retry_delay(n, delay=3.0, strategy=strategy) for n in (1, 2, 3, 4)] == expected


def test_a_list_gives_one_delay_per_failure_and_the_last_one_repeats():
    assert [retry_delay(n, delay=[1.0, 5.0, 30.0]) for n in (1, 2, 3, 4, 9)] == [1, 5, 30, 30, 30]


def test_an_empty_list_means_at_once():
    assert retry_delay(1, delay=[]) == 0.0


def test_exponential_starts_at_initial_and_stops_at_the_maximum():
    delays = [exponential(n, initial=0.5, maximum=30) for n in range(9)]

    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


@given(
    n=st.integers(0, 10_000),
    initial=st.floats(0, 1e3),
    maximum=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
)
def test_no_delay_is_ever_negative_or_beyond_the_jittered_maximum(n, initial, maximum, jitter):
    delay = exponential(n, initial=initial, maximum=maximum, jitter=jitter)

    assert 0 <= delay <= maximum * (1 + jitter) + 1e-9


@given(seconds=st.floats(0, 1e6), jitter=st.floats(0, 1), where=st.sampled_from(["low", "high"]))
def test_jitter_spreads_over_its_share_and_no_further(seconds, jitter, where):
    pick = (lambda low, _: low) if where == "low" else (lambda _, high: high)

    spread = jittered(seconds, jitter, uniform=pick)

    sign = -1 if where == "low" else 1
    assert spread == pytest.approx(max(0.0, seconds * (1 + sign * jitter)))
