"""Small parts: the bell, budgets of groups, painting, helpers."""

from __future__ import annotations

from collections import deque

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from naq.supervisor.model.board import Bell, Board, Status
from naq.supervisor.model.lifecycle import State
from naq.supervisor.model.spec import GroupSpec, Strategy
from naq.supervisor.output.lines import without_colours
from naq.supervisor.output.writer import erase
from naq.supervisor.process.process import run_helper
from naq.supervisor.process.task import keep
from naq.supervisor.project.groups import affected, within_budget
from naq.supervisor.replica.wish import Renewal
from naq.supervisor.up.statusbar import bar

# ------------------------------------------------------------------ the bell


def run(fn):
    async def main():
        with trio.fail_after(5):
            return await fn()

    return trio.run(main)


def test_what_was_rung_before_the_wait_is_seen():
    async def main():
        bell, found = Bell(), []
        bell.ring()

        async def add():
            found.append(1)
            bell.ring()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(add)
            assert await bell.until(lambda: None, lambda: found or None) == [1]

    run(main)


def test_the_first_word_about_a_renewal_counts():
    renewal = Renewal()
    renewal.settle("broken")
    renewal.settle()
    assert run(renewal.wait) == "broken"


# ------------------------------------------------------------------ groups


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


# ------------------------------------------------------------------ board and painting


def status(service: str, state: State, replica: int = 1, **more) -> Status:
    return Status(service=service, replica=replica, name=service, state=state, **more)


def test_a_board_forgets_replicas_that_are_no_more():
    board = Board()
    for number in (3, 1, 2):
        board.publish(status("s", State.READY, number))
    assert [s.replica for s in board.of("s")] == [1, 2, 3]
    board.remove(status("s", State.DOWN, 2))
    assert [s.replica for s in board] == [1, 3]
    for number in (1, 3, 7):
        board.remove(status("s", State.DOWN, number))
    assert list(board) == []


@given(
    st.lists(
        st.builds(
            status,
            st.text("ab✓好", min_size=1, max_size=40),
            st.sampled_from(State),
            st.integers(1, 3),
            detail=st.text("xyz 好", max_size=80),
            failures=st.integers(0, 9),
            runs=st.integers(0, 9),
        ),
        max_size=12,
    ),
    st.integers(10, 120),
    st.integers(5, 50),
    st.booleans(),
    st.booleans(),
)
def test_the_bar_fits_the_terminal(statuses, width, height, colour, stopping):
    from rich.cells import cell_len

    lines = bar("shop", statuses, width=width, height=height, colour=colour, stopping=stopping)
    assert len(lines) <= max(1, height // 3)
    for line in lines:
        assert "\n" not in line
        assert cell_len(without_colours(line)) < width


def test_erasing_counts_the_rows_that_a_narrower_terminal_made():
    assert erase([], 80) == ""
    assert erase(["a"], 80) == "\r\x1b[J"
    assert erase(["a", "b"], 80) == "\r\x1b[1A\x1b[J"
    assert erase(["\x1b[31m" + "x" * 50 + "\x1b[0m", "b"], 20) == "\r\x1b[3A\x1b[J"


# ------------------------------------------------------------------ helpers and own tasks


def test_a_helper_is_killed_with_all_it_started_when_time_is_up(tmp_path):
    async def main():
        env = {"PATH": "/usr/bin:/bin"}
        quick = await run_helper(
            ["sh", "-c", "cat; echo err >&2; exit 3"],
            env=env,
            cwd=tmp_path,
            timeout=5,
            stdin=b"in ",
            capture=True,
        )
        slow = await run_helper(
            ["sh", "-c", "sleep 1000 & sleep 1000"],
            env=env,
            cwd=tmp_path,
            timeout=0.1,
            capture=True,
        )
        return quick, slow

    quick, slow = run(main)
    assert (quick.code, quick.output, quick.problem) == (3, "in err\n", "exit code 3")
    assert (slow.code, slow.problem) == (None, "took too long and was killed")


def test_a_task_of_our_own_that_fails_is_started_again_but_not_for_ever(autojump_clock):
    said, runs = [], []

    async def broken():
        runs.append(trio.current_time())
        raise ValueError("a bug")

    gave_up = []

    async def main():
        await keep(broken, "the thing", say=said.append, give_up=lambda: gave_up.append(1))

    trio.run(main, clock=autojump_clock)
    assert len(runs) == 5
    assert gave_up == [1]
    assert "the thing has failed:\nTraceback" in said[0]
    assert said[-1] == "the thing has failed 5 times: stopping"


@pytest.fixture
def autojump_clock():
    return trio.testing.MockClock(autojump_threshold=0)
