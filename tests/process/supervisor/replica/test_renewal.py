"""Replacing runs: restarts on request, one after the other, new ones first, by age and by size."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

import pytest
import trio
from supervisor_harness import is_alive, python, trio_test

from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.process import limits

SLEEP = {"command": ["sleep", "1000"]}
OPERATOR = Cause(kind=CauseKind.OPERATOR)


def replicas(running, service):
    return running.supervisor.crew.roster.of(service)


@trio_test
async def test_a_restart_stops_first_and_spends_no_budget(run_project):
    async with run_project({"s": {**SLEEP, "replicas": 2}}) as running:
        await running.lines.wait("all services are up")
        before = [running.pid("s.1"), running.pid("s.2")]
        problems = await running.supervisor.crew.restart(replicas(running, "s"), OPERATOR)
        assert problems == {}
        after = [running.pid("s.1"), running.pid("s.2")]
        assert not set(before) & set(after)
        assert running.status("s.1").failures == 0
        assert running.status("s.1").last_exit.cause.kind == "operator"


@trio_test
async def test_ten_restarts_at_once_are_one(run_project):
    async with run_project({"s": SLEEP}) as running:
        await running.until("s", "READY")
        (replica,) = replicas(running, "s")
        renewals = {replica.restart(OPERATOR) for _ in range(10)}
        assert len(renewals) == 1
        await running.lines.wait("s running", count=2)
        assert running.status("s").runs == 2


@trio_test
async def test_rolling_keeps_all_but_one_and_stops_at_a_problem(run_project, tmp_path):
    code = (
        "import os, sys, time\nif os.path.exists('bad'): sys.exit(1)\nprint('up'); time.sleep(1000)"
    )
    service = {
        "command": python(code),
        "replicas": 3,
        "ready": {"log": "up"},
        "restart": {"backoff": "1h"},
    }
    async with run_project({"s": service}) as running:
        await running.lines.wait("all services are up")
        least = []

        async def watch():
            def count():
                least.append(sum(s.state == "READY" for s in running.supervisor.board))

            await running.supervisor.board.wait(["s"], count)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            problems = await running.supervisor.crew.restart(
                replicas(running, "s"), OPERATOR, parallel=1
            )
            nursery.cancel_scope.cancel()
        assert problems == {}
        assert min(least) == 2
        (tmp_path / "bad").touch()
        problems = await running.supervisor.crew.restart(
            replicas(running, "s"), OPERATOR, parallel=1
        )
        assert problems == {
            "s.1": "exit code 1",
            "s.2": "not restarted",
            "s.3": "not restarted",
        }
        assert [running.status(f"s.{i}").state for i in (2, 3)] == ["READY", "READY"]


START_FIRST = {
    "command": python(
        "import os, signal, sys, time\n"
        "signal.signal(15, lambda *_: (time.sleep(0.2), print('drained'), sys.exit()))\n"
        "if os.path.exists('bad'): sys.exit(3)\n"
        "print('up'); time.sleep(1000)"
    ),
    "ready": {"log": "up"},
    "rolling": "start-first",
    "start_timeout": "5s",
}


@trio_test
async def test_start_first_leaves_no_gap(run_project):
    async with run_project({"s": START_FIRST}) as running:
        await running.until("s", "READY")
        old = running.pid("s")
        problems = await running.supervisor.crew.restart(replicas(running, "s"), OPERATOR)
        assert problems == {}
        assert running.status("s").state == "READY"
        assert running.pid("s") != old
        assert is_alive(old)  # it drains, while the new one works
        await running.lines.wait("old run ended")
        assert not is_alive(old)
    assert running.lines.count(r"s \| drained") == 2  # the old one and, at the end, the new one
    stops = [t for t in running.supervisor.events.recent() if t.status.state == "STOPPING"]
    assert [t.status.runs for t in stops] == [2]


@trio_test
async def test_a_successor_that_fails_leaves_the_old_one_in_place(run_project, tmp_path):
    async with run_project({"s": START_FIRST}) as running:
        await running.until("s", "READY")
        old = running.pid("s")
        (tmp_path / "bad").touch()
        problems = await running.supervisor.crew.restart(replicas(running, "s"), OPERATOR)
        assert problems == {"s": "exit code 3"}
        assert (running.pid("s"), running.status("s").state) == (old, "READY")
        assert running.lines.count("was not replaced: exit code 3; the old one stays") == 1
        (tmp_path / "bad").unlink()


@trio_test
async def test_stopping_in_the_middle_of_a_replacement_leaves_nothing(run_project, tmp_path):
    # The second run never gets ready.
    code = (
        "import os, time\nprint('pid', os.getpid())\n"
        "if not os.path.exists('once'): open('once', 'w').close(); print('up')\n"
        "time.sleep(1000)"
    )
    service = {**START_FIRST, "command": python(code), "start_timeout": "1h"}
    async with run_project({"s": service}) as running:
        await running.until("s", "READY")
        (replica,) = replicas(running, "s")
        renewal = replica.restart(OPERATOR)
        new = int((await running.lines.wait(r"pid (\d+)", count=2))[1])
        old = running.pid("s")
        replica.stop(OPERATOR)
        await running.until("s", "DOWN")
        assert [is_alive(pid) for pid in (old, new)] == [False, False]
        assert renewal.over


@trio_test
async def test_a_run_that_is_too_old_is_replaced(run_project):
    service = {**SLEEP, "limits": {"max_age": "200ms", "max_age_jitter": 0.5}}
    async with run_project({"s": service}) as running:
        await running.lines.wait("s running", count=3)
        assert running.status("s").failures == 0
    assert running.lines.count("s stopping: age") >= 2


@trio_test
async def test_a_run_that_uses_too_much_memory_is_replaced(run_project, monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "MEMORY_PERIOD", 0.05)
    # A child of its own holds the memory: the session counts.
    code = (
        "import os, time\n"
        "if not os.path.exists('once'):\n"
        "  open('once', 'w').close()\n"
        "  if os.fork() == 0: keep = b'x' * 80_000_000; time.sleep(1000)\n"
        "time.sleep(1000)"
    )
    service = {"command": python(code), "limits": {"max_memory": "60MiB"}}
    async with run_project({"s": service}) as running:
        await running.lines.wait("s running", count=2)
        cause = running.status("s").last_exit.cause
        assert cause.kind == "memory"
        assert running.status("s").failures == 0


@trio_test
async def test_limits_of_the_process_are_set(run_project):
    code = (
        "import resource, time; time.sleep(0.1)\n"
        "print('nofile', resource.getrlimit(resource.RLIMIT_NOFILE)[0], 'nice', os.nice(0))"
    )
    service = {
        "command": python(code),
        "limits": {"nofile": 123, "nice": 7},
        "restart": "never",
    }
    async with run_project({"s": service}) as running:
        await running.ended()
    assert running.lines.count(r"s \| nofile 123 nice 7") == 1


@trio_test
async def test_a_limit_that_cannot_be_set_is_reported_and_the_service_runs(
    run_project, monkeypatch
):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "prlimit", refuse)
    monkeypatch.setattr(os, "setpriority", refuse)
    service = {**SLEEP, "limits": {"nofile": 1_000_000, "nice": -5}}
    async with run_project({"s": service}) as running:
        await running.until("s", "READY")
    assert running.lines.count("s: cannot set nofile = 1000000") == 1
    assert running.lines.count("s: cannot set nice = -5") == 1


@trio_test
async def test_another_user_has_its_identity_and_can_still_notify(run_project, tmp_path):
    from supervisor_harness import NOTIFY

    if os.geteuid() != 0:
        with pytest.raises(Exception, match="only root"):
            async with run_project({"s": {**SLEEP, "user": "nobody"}}):
                raise AssertionError("not reached")
        return
    code = NOTIFY + (
        "print(os.getuid(), os.getgid(), os.getgroups(), os.environ['HOME'], oct(os.umask(0)))\n"
        "say('READY=1')\npause()"
    )
    service = {
        # Not the Python of the tests: that may be in somebody's home.
        "command": ["/usr/bin/env", "-S", "python3", *python(code)[1:]],
        "env": {"PATH": "/usr/bin:/bin"},
        "user": "nobody",
        "umask": "027",
        "ready": "notify",
        "cwd": "/",
    }
    async with run_project({"s": service}) as running:
        await running.until("s", "READY")
        import pwd

        entry = pwd.getpwnam("nobody")
        pattern = rf"{entry.pw_uid} {entry.pw_gid} \[{entry.pw_gid}\] {entry.pw_dir} 0o27"
        await running.lines.wait(pattern)


@trio_test
async def test_what_runs_before_a_stop(run_project, tmp_path):
    code = (
        "import signal, sys, time\n"
        "signal.signal(15, lambda *_: (print('drained', os.path.exists('pre')), sys.exit()))\n"
        "print('up'); time.sleep(1000)"
    )
    service = {
        "command": python(code),
        "ready": {"log": "up"},
        "stop": {"timeout": "5s", "pre": ["touch", "pre"]},
    }
    hung = {**SLEEP, "stop": {"timeout": "200ms", "pre": ["sleep", "1000"]}}
    async with run_project({"s": service, "hung": hung}) as running:
        await running.lines.wait("all services are up")
        running.supervisor.stop()
        await running.ended()
    assert running.lines.count(r"s \| drained True") == 1
    assert running.lines.count("stop_pre: took too long and was killed") == 1
    assert running.status("hung").last_exit.signal == 15


@trio_test
async def test_dependents_restart_with_a_dependency_if_they_ask_for_it(run_project):
    services = {
        "db": {**SLEEP, "restart": {"backoff": "0s"}, "replicas": 2},
        "tied": {**SLEEP, "depends_on": {"db": {"restart": True}}},
        "free": {**SLEEP, "depends_on": ["db"]},
    }
    async with run_project(services) as running:
        await running.lines.wait("all services are up")
        free = running.pid("free")
        with suppress(ProcessLookupError):
            os.kill(running.pid("db.2"), 9)
        await running.lines.wait("tied running", count=2)
        assert running.status("tied").last_exit.cause.message == "db was restarted"
        assert running.status("tied").failures == 0
        assert running.pid("free") == free
