"""When a job may be handed back: only while its lease is certain."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from naq.worker.life.leases import Leases


def test_a_lease_is_certain_until_shortly_before_its_end():
    leases = Leases(30, now=0)

    assert leases.certain(0.1, now=27)
    assert not leases.certain(0.1, now=28.2)
    assert leases.certain(20, now=47)


def test_a_renewal_lends_everything_anew():
    leases = Leases(30, now=0)
    leases.renewed(10, oldest=0.1)
    leases.renewed(20, oldest=0.1)

    assert leases.certain(0.1, now=47)
    assert not leases.certain(0.1, now=48)


def test_a_renewal_that_comes_too_late_brings_nothing_back():
    leases = Leases(30, now=0)
    leases.renewed(29, oldest=0.1)

    assert not leases.certain(10, now=29.1)
    assert leases.certain(29.5, now=30)


def test_what_was_delivered_before_a_reconnect_is_in_doubt():
    leases = Leases(30, now=0)
    leases.doubt(5)
    leases.renewed(6, oldest=4)

    assert not leases.certain(4, now=6.1)
    assert leases.certain(5.5, now=6.1)


def test_a_short_lease_has_a_small_margin():
    assert Leases(1, now=0).certain(0.1, now=0.8)


@given(
    ack_wait=st.floats(1, 60),
    gaps=st.lists(st.floats(0, 90), max_size=12),
    arrived=st.floats(0.001, 300),
    waited=st.floats(0, 90),
)
def test_a_certain_lease_was_never_without_renewal_for_longer_than_it_lasts(
    ack_wait, gaps, arrived, waited
):
    leases, now, renewals = Leases(ack_wait, now=0), 0.0, [0.0]
    for gap in gaps:
        now += gap
        leases.renewed(now, oldest=min(now, arrived))
        renewals.append(now)
    now = max(now, arrived) + waited
    if leases.certain(arrived, now):
        marks = [arrived, *(moment for moment in renewals if moment > arrived), now]
        assert all(later - before < ack_wait for before, later in pairwise(marks))
