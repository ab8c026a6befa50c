"""Health after the start: readiness never kills, liveness and the watchdog do."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import trio
from supervisor_harness import NOTIFY, python, trio_test, true

from naq.supervisor.process import health

AGAIN = {"backoff": "0s", "max_restarts": 0}


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch):
    monkeypatch.setattr(health, "_SHORTEST_EXEC", 0.02)


def flag_probe(tmp_path, **more) -> dict:
    return {"exec": ["test", "-e", str(tmp_path / "flag")], "period": "20ms", **more}


@trio_test
async def test_a_failing_readiness_probe_makes_unready_and_kills_nothing(run_project, tmp_path):
    (tmp_path / "flag").touch()
    services = {
        "s": {"command": ["sleep", "1000"], "ready": flag_probe(tmp_path, failures=2)},
        "needs": {"command": ["sleep", "1000"], "depends_on": ["s"]},
    }
    async with run_project(services) as running:
        await running.until("needs", "READY")
        pids = running.pid("s"), running.pid("needs")
        (tmp_path / "flag").unlink()
        status = await running.until("s", "UNREADY")
        assert status.detail == "exec probe failed 2 times"
        assert not status.satisfied
        (tmp_path / "flag").touch()
        status = await running.until("s", "READY")
        assert (status.runs, status.detail) == (1, "")
        assert pids == (running.pid("s"), running.pid("needs"))
    assert running.lines.count("s is ready again") == 1


@trio_test
async def test_a_failing_liveness_probe_restarts_and_counts(run_project, tmp_path):
    (tmp_path / "flag").touch()
    service = {
        "command": ["sleep", "1000"],
        "live": flag_probe(tmp_path, failures=2),
        "restart": {**AGAIN, "max_restarts": 1, "on_exhausted": "fail"},
    }
    async with run_project({"s": service}) as running:
        await running.until("s", "READY")
        first = running.pid("s")
        (tmp_path / "flag").unlink()
        status = await running.until("s", "FAILED")
        assert status.runs == 2
        assert running.lines.count(f"running .pid {first}.") == 1
    assert status.last_exit.cause.kind == "liveness"
    assert str(status.last_exit.cause) == "liveness: exec probe failed 2 times"


@trio_test
async def test_a_probe_that_cannot_be_made_changes_nothing(run_project, monkeypatch):
    looks = []

    async def look(probe, timeout):
        looks.append(await original(probe, timeout))
        return looks[-1]

    original = health.look
    monkeypatch.setattr(health, "look", look)
    live = {"exec": ["/no/such/probe"], "period": "20ms", "failures": 1}
    async with run_project({"s": {"command": ["sleep", "1000"], "live": live}}) as running:
        await running.until("s", "READY")
        await true(lambda: len(looks) >= 3)
        assert looks[:3] == [None] * 3
        assert running.status("s").runs == 1


@trio_test
async def test_initial_delay_is_grace_for_liveness(run_project):
    def service(initial_delay):
        live = {"exec": ["false"], "period": "20ms", "failures": 1, "initial_delay": initial_delay}
        return {"command": ["sleep", "1000"], "live": live, "restart": AGAIN}

    async with run_project({"s": service("100ms"), "t": service("1h")}) as running:
        await running.until("t", "READY")
        await running.lines.wait("stopping: liveness", count=3)
        assert running.status("t").runs == 1
        assert running.status("t").state == "READY"


@trio_test
async def test_a_watchdog_that_is_not_pinged_ends_the_run_with_sigabrt(run_project):
    code = NOTIFY + "say('READY=1'); say('WATCHDOG=1'); print(os.environ['WATCHDOG_USEC'])\npause()"
    service = {
        "command": python(code),
        "ready": "notify",
        "watchdog": "150ms",
        "restart": "never",
    }
    async with run_project({"s": service}) as running:
        status = await running.until("s", "FAILED")
    assert status.last_exit.cause.kind == "watchdog"
    assert status.last_exit.signal == signal.SIGABRT
    assert running.lines.count(r"s \| 150000") == 1


@trio_test
async def test_a_stopped_process_is_seen_by_the_watchdog(run_project):
    code = NOTIFY + "say('READY=1')\nwhile True: say('WATCHDOG=1'); time.sleep(0.03)"
    service = {
        "command": python(code),
        "ready": "notify",
        "watchdog": {"timeout": "200ms", "abort": False},
        "restart": AGAIN,
    }
    async with run_project({"s": service}) as running:
        await running.until("s", "READY")
        await trio.sleep(0.4)  # twice the timeout: pings are what keeps it
        assert running.status("s").runs == 1
        os.kill(running.pid("s"), signal.SIGSTOP)
        await running.lines.wait("stopping: watchdog: silent for 0.2 s")
        await running.lines.wait("s ready after", count=2)
        assert running.status("s").last_exit.signal == signal.SIGKILL


@trio_test
async def test_a_program_may_ask_for_its_end_or_for_another_timeout(run_project):
    code = NOTIFY + (
        "say('READY=1\\nWATCHDOG_USEC=60000000'); time.sleep(0.2)\nsay('WATCHDOG=trigger')\npause()"
    )
    service = {
        "command": python(code),
        "ready": "notify",
        "watchdog": "100ms",
        "restart": "never",
    }
    async with run_project({"s": service}) as running:
        status = await running.until("s", "FAILED")
    assert str(status.last_exit.cause) == "watchdog: it asked for it"


@trio_test
async def test_reloading_and_stopping_are_not_ready(run_project, tmp_path):
    code = NOTIFY + (
        "say('READY=1'); print('up')\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n"
        "say('RELOADING=1')\n"
        "while os.path.exists('go'): time.sleep(0.01)\n"
        "say('READY=1')\npause()"
    )
    async with run_project({"s": {"command": python(code), "ready": "notify"}}) as running:
        await running.until("s", "READY")
        (tmp_path / "go").touch()
        assert (await running.until("s", "UNREADY")).detail == "reloading"
        (tmp_path / "go").unlink()
        assert (await running.until("s", "READY")).runs == 1


@trio_test
async def test_a_program_may_take_longer_if_it_says_so(run_project):
    code = NOTIFY + (
        "def bye(*_):\n"
        "  say('EXTEND_TIMEOUT_USEC=5000000'); time.sleep(0.4); print('clean'); os._exit(0)\n"
        "import signal; signal.signal(15, bye)\n"
        "say('EXTEND_TIMEOUT_USEC=5000000'); time.sleep(0.4); say('READY=1')\npause()"
    )
    service = {
        "command": python(code),
        "ready": "notify",
        "start_timeout": "200ms",
        "stop_timeout": "200ms",
    }
    async with run_project({"s": service}) as running:
        await running.until("s", "READY")
        assert running.status("s").runs == 1
        running.supervisor.stop()
        await running.ended()
    assert running.lines.count(r"s \| clean") == 1


PINGS = """
import sys, anyio
from naq.supervisor.notify import notify, watchdog_pings
async def main():
    async with anyio.create_task_group() as group:
        group.start_soon(watchdog_pings)
        notify("READY=1")
        await anyio.sleep(0.5)
        print("alive", flush=True)
        import time; time.sleep(1000)
backend, _, loop = sys.argv[1].partition("+")
anyio.run(main, backend=backend, backend_options={"use_uvloop": True} if loop else {})
"""


@pytest.mark.parametrize("backend", ["trio", "asyncio", "asyncio+uvloop"])
def test_pings_come_from_the_loop_they_vouch_for(run_project, backend):
    @trio_test
    async def run():
        service = {
            "command": [sys.executable, "-c", PINGS, backend],
            "ready": "notify",
            "watchdog": "300ms",
            "restart": "never",
        }
        async with run_project({"s": service}) as running:
            status = await running.until("s", "FAILED")
        assert running.lines.count(r"s \| alive") == 1  # longer than the timeout
        assert status.last_exit.cause.kind == "watchdog"

    run()


@trio_test
async def test_pings_end_at_once_where_nobody_wants_them(monkeypatch):
    from naq.supervisor.notify import watchdog_pings

    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    await watchdog_pings()
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    await watchdog_pings()
