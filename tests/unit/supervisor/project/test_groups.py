"""Which services of a group restart together, and how often."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.supervisor.model.spec import GroupSpec, Strategy
from naq.supervisor.project.groups import affected, within_budget


@pytest.mark.parametrize(
    ("strategy", "whole", "expected"),
    [
        (Strategy.ONE_FOR_ONE, False, ()),
        (Strategy.REST_FOR_ONE, False, ("b", "c")),
        (Strategy.ONE_FOR_ALL, False, ("a", "b", "c")),
        (Strategy.ONE_FOR_ONE, True, ("a", "b", "c")),
    ],
)
def test_who_is_affected(strategy, whole, expected):
    spec = GroupSpec(name="g", members=("a", "b", "c"), strategy=strategy)
    assert affected(spec, "b", whole=whole) == expected


@given(st.lists(st.floats(0, 100), min_size=1), st.integers(1, 5), st.floats(1, 50))
def test_a_budget_is_never_exceeded_in_any_window(times, limit, within):
    spec = GroupSpec(name="g", members=("a",), max_restarts=limit, within=within)
    window, allowed = deque(), []
    for now in sorted(times):
        if within_budget(spec, window, now):
            allowed.append(now)
        assert len(window) <= limit
    for begin in allowed:
        assert sum(begin <= now < begin + within for now in allowed) <= limit


def test_no_limit():
    spec = GroupSpec(name="g", members=("a",), max_restarts=0)
    window = deque()
    assert all(within_budget(spec, window, 1.0) for _ in range(100))
