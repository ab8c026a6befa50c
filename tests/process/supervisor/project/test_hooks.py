"""Hooks, files with variables, log files: what a project does beside running its services."""

from __future__ import annotations

import json
import os

from supervisor_harness import python, trio_test

from naq.supervisor.project import hooks

SLEEP = {"command": ["sleep", "1000"]}


@trio_test
async def test_a_hook_gets_the_event_as_json(run_project, tmp_path):
    hook = python(
        "import sys; open('event', 'w').write(sys.stdin.read()); print('told', sys.argv[1])"
    )
    services = {"bad": {"command": ["false"], "restart": "never"}, "good": SLEEP}
    async with run_project(services, hooks={"on_failed": [*hook, "{service}"]}) as running:
        await running.lines.wait("naq . hook on_failed: told bad")
    event = json.loads((tmp_path / "event").read_text())
    assert event["hook"] == "on_failed"
    assert (event["service"], event["state"], event["from"]) == ("bad", "FAILED", "EXITED")
    assert event["last_exit"]["code"] == 1


@trio_test
async def test_every_kind_of_hook(run_project, tmp_path):
    names = [*hooks._BY_STATE.values(), "on_all_ready"]
    table = {name: ["touch", name] for name in names}
    services = {
        "once": {"command": ["true"], "oneshot": True},
        "loop": {"command": ["false"], "restart": {"backoff": "0s", "max_restarts": 1}},
        "bad": {"command": ["false"], "restart": "never", "ready": {"log": "never"}},
        "needs": {**SLEEP, "depends_on": ["bad"]},
        "ok": SLEEP,
    }
    async with run_project(services, hooks=table) as running:
        await running.until("loop", "CRASHLOOP")
        await running.until("needs", "SKIPPED")
    made = {entry.name for entry in tmp_path.iterdir()}
    assert set(names) - made == {"on_unready", "on_all_ready"}


@trio_test
async def test_hooks_that_hang_fail_or_are_missing_hold_nothing_up(run_project, monkeypatch):
    monkeypatch.setattr(hooks, "TIMEOUT", 0.2)
    table = {
        "on_ready": ["sleep", "1000"],
        "on_exited": ["/no/such/hook"],
        "on_stopped": ["false"],
    }
    services = {"s": SLEEP, "bad": {"command": ["false"], "restart": {"backoff": "1h"}}}
    async with run_project(services, hooks=table) as running:
        await running.until("s", "READY")
        await running.until("bad", "BACKOFF")
        await running.lines.wait("hook on_ready: took too long and was killed")
        await running.lines.wait("hook on_exited: cannot start '/no/such/hook'")
        running.supervisor.stop()
        await running.ended()
    assert running.lines.count("hook on_stopped: exit code 1") >= 1


@trio_test
async def test_more_hooks_than_anybody_wants_are_dropped_and_counted(run_project, monkeypatch):
    monkeypatch.setattr(hooks, "_MOST_WAITING", 3)
    table = {"on_ready": ["sleep", "0.2"]}
    async with run_project({"s": {**SLEEP, "replicas": 20}}, hooks=table) as running:
        await running.lines.wait(r"\d+ hooks dropped")


@trio_test
async def test_files_with_variables_are_read_again_at_every_start(run_project, tmp_path):
    (tmp_path / ".env").write_text("A=project\nB=project\n")
    (tmp_path / "s.env").write_text("B=service\nC=${A}-${B}\n")
    show = python(
        "print('got', *(os.environ.get(n) for n in 'ABCD'))\nimport time; time.sleep(1000)"
    )
    service = {
        "command": show,
        "env_file": ["s.env", "?s.local"],
        "env": {"D": "${C}!"},
        "restart": {"backoff": "0s"},
    }
    project = {"env_file": [".env"]}
    async with run_project({"s": service}, project=project) as running:
        await running.lines.wait("got project service project-service project-service!")
        (tmp_path / "s.local").write_text("C=local\n")
        os.kill(running.pid("s"), 9)
        await running.lines.wait("got project service local local!")
        (tmp_path / "s.env").unlink()
        os.kill(running.pid("s"), 9)
        await running.lines.wait("environment: s.env: no such file")


@trio_test
async def test_lines_go_into_files_as_well(run_project, tmp_path):
    service = {
        "command": ["sh", "-c", "echo from $NAQ_REPLICA; exec sleep 1000"],
        "replicas": 2,
        "logging": {"file": "logs/{service}.{replica}.log"},
    }
    async with run_project({"s": service, "t": {"command": ["echo", "x"], "oneshot": True}}) as run:
        await run.lines.wait("from 2")
        await run.lines.wait("from 1")
    assert "s.1 | from 1" in (tmp_path / "logs" / "s.1.log").read_text()
    assert "s.2 | from 2" in (tmp_path / "logs" / "s.2.log").read_text()
    assert len(list((tmp_path / "logs").iterdir())) == 2


@trio_test
async def test_a_full_disk_stops_no_service(run_project, tmp_path):
    code = "for i in range(2000): print('line', i)\nprint('end'); import time; time.sleep(1000)"
    service = {"command": python(code), "logging": {"file": "/dev/full"}}
    async with run_project({"s": service}) as running:
        await running.lines.wait(r"s \| end")
        await running.lines.wait("cannot write /dev/full: No space left on device")
        assert running.status("s").state == "READY"
    assert running.lines.count("cannot write") == 1
