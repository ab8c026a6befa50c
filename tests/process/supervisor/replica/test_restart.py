"""Restarting: which ends, how soon, how often, and what it costs."""

from __future__ import annotations

import gc
import os
import signal
import threading
from pathlib import Path

import trio
from supervisor_harness import python, trio_test

NEVER_AGAIN = {"backoff": "0s", "max_restarts": 0}


@trio_test
async def test_exit_78_is_never_restarted(run_project):
    async with run_project({"bad": {"command": python("raise SystemExit(78)")}}) as running:
        assert await running.ended() == 1
    status = running.status("bad")
    assert (status.state, status.runs, status.last_exit.code) == ("FAILED", 1, 78)


@trio_test
async def test_a_critical_service_that_fails_stops_the_project_with_its_exit_code(run_project):
    services = {
        "web": {"command": ["sleep", "1000"]},
        "main": {"command": python("raise SystemExit(5)"), "critical": True, "restart": "never"},
    }
    async with run_project(services) as running:
        assert await running.ended() == 5
    assert running.status("web").state == "DOWN"


@trio_test
async def test_a_critical_service_that_dies_of_a_signal_gives_128_and_its_number(run_project):
    code = "import os; os.kill(os.getpid(), 9)"
    service = {"command": python(code), "critical": True, "restart": "never"}
    async with run_project({"main": service}) as running:
        assert await running.ended() == 137
    assert running.status("main").last_exit.signal == signal.SIGKILL


@trio_test
async def test_a_crash_loop_goes_on_at_the_longest_delay_and_is_reported(run_project):
    restart = {"backoff": "10ms", "max_restarts": 3, "within": "1m"}
    services = {"loop": {"command": python("raise SystemExit(1)"), "restart": restart}}
    async with run_project(services) as running:
        status = await running.until("loop", "CRASHLOOP")
        assert status.runs == 4
        assert status.retry_at is not None
        await running.lines.wait("loop is in a crash loop", count=2)  # it was tried again


@trio_test
async def test_a_spent_budget_can_fail_the_service_or_stop_the_project(run_project):
    restart = {"backoff": "0s", "max_restarts": 2}
    services = {
        "up": {"command": ["sleep", "1000"]},
        "fails": {"command": ["false"], "restart": {**restart, "on_exhausted": "fail"}},
    }
    async with run_project(services) as running:
        assert (await running.until("fails", "FAILED")).runs == 3
        assert running.exit_code is None
    services["fails"]["restart"]["on_exhausted"] = "shutdown"
    async with run_project(services) as running:
        assert await running.ended() == 1


@trio_test
async def test_short_lived_programs_that_end_well_spend_the_budget_too(run_project):
    service = {"command": ["true"], "restart": {"backoff": "0s", "max_restarts": 5}}
    async with run_project({"bomb": service}) as running:
        assert (await running.until("bomb", "CRASHLOOP")).runs == 6


@trio_test
async def test_a_program_that_does_not_exist_is_a_failure_that_names_it(run_project):
    service = {"command": ["/no/such/program"], "restart": "never"}
    other = {"command": ["no-such-program-anywhere"], "restart": "never"}
    nowhere = {"command": ["true"], "cwd": "gone", "restart": "never"}
    async with run_project({"a": service, "b": other, "c": nowhere}) as running:
        assert await running.ended() == 1
    said = {name: str(running.status(name).last_exit.cause) for name in "abc"}
    assert said["a"] == "cannot start '/no/such/program': no such file"
    assert said["b"] == "cannot start 'no-such-program-anywhere': not found on PATH"
    assert "no directory" in said["c"]


@trio_test
async def test_a_oneshot_completes_or_fails_after_three_more_tries(run_project):
    services = {
        "good": {"command": ["true"], "oneshot": True},
        "bad": {"command": ["false"], "oneshot": True, "restart": {"backoff": "0s"}},
    }
    async with run_project(services) as running:
        assert await running.ended() == 1
    assert running.status("good").state == "COMPLETED"
    assert (running.status("bad").state, running.status("bad").runs) == ("FAILED", 4)


@trio_test
async def test_200_restarts_leave_no_descriptor_thread_zombie_or_memory_behind(run_project):
    services = {
        "quick": {"command": ["true"], "restart": NEVER_AGAIN, "ready": "none"},
        "noisy": {"command": ["echo", "x"], "restart": NEVER_AGAIN, "ready": {"log": "x"}},
    }
    async with run_project(services, logging={"level": "error", "buffer": 10}) as running:
        lines = running.lines
        await lines.wait(r"noisy \| x", count=20)
        gc.collect()
        before = held()
        await lines.wait(r"noisy \| x", count=220)
        gc.collect()
        after = held()
        zombies = zombie_children()
        running.supervisor.stop()
    # What one run more or less holds at the moment of the count.
    assert abs(after[0] - before[0]) <= 8
    assert after[1] <= before[1]  # threads of earlier tests may end meanwhile
    assert after[2] - before[2] < 2_000_000
    assert len(zombies) <= 2
    assert running.status("quick").runs > 100


@trio_test
async def test_a_killed_process_is_back_at_once_without_a_backoff(run_project):
    service = {"command": ["sleep", "1000"], "restart": NEVER_AGAIN}
    due = []
    async with run_project({"s": service}) as running:
        for run in range(1, 21):
            await running.until("s", "READY")
            assert running.status("s").runs == run

            def back(run=run) -> bool | None:
                status = running.status("s")
                if status.retry_at is not None:
                    due.append(status.retry_at <= trio.current_time())
                return (status.runs > run and status.state == "READY") or None

            os.kill(running.pid("s"), signal.SIGKILL)
            await running.supervisor.board.wait(["s"], back)
    assert all(due)  # whenever it waited for its next try, that was due already


def held() -> tuple[int, int, int]:
    """What this process holds: descriptors, threads, bytes."""
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    return descriptors, threading.active_count(), resident


def zombie_children() -> list[int]:
    found = [row for row in map(parent_and_state, Path("/proc").iterdir()) if row]
    return [pid for pid, parent, state in found if parent == os.getpid() and state == "Z"]


def parent_and_state(entry: Path) -> tuple[int, int, str] | None:
    try:
        pid = int(entry.name)
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except (ValueError, OSError):
        return None
    return pid, int(fields[1]), fields[0]
