"""Readiness: every way to tell, and what happens when it does not come."""

from __future__ import annotations

import socket
import sys

import pytest
import trio
from supervisor_harness import python, trio_test

from naq.exceptions import NaqException
from naq.services import KINDS
from naq.supervisor.kinds.kind import Kind, Launch

SERVE = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
asked = 0
while True:
    client, _ = listener.accept()
    request = client.recv(4096)
    asked += 1
    code = b"503 No" if asked < 3 else b"200 OK"
    if request: client.sendall(b"HTTP/1.1 " + code + b"\\r\\nContent-Length: 0\\r\\n\\r\\n")
    client.close()
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@trio_test
async def test_notify(run_project):
    code = """
import socket, time
def say(text):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.sendto(text, os.environ["NOTIFY_SOCKET"])
say(b"STATUS=warming up\\n")
print("waiting"); time.sleep(0.1)
say(b"no assignment\\nREADY=1\\nSTATUS=serving")
for _ in range(100): say(b"WATCHDOG=1")   # somebody must read them, or this blocks
print("not blocked"); time.sleep(1000)
"""
    async with run_project({"s": {"command": python(code), "ready": "notify"}}) as running:
        await running.lines.wait(r"s \| waiting")
        await running.lines.wait("s ready after")
        await running.lines.wait("not blocked")
        assert running.status("s").detail == "serving"
        assert running.status("s").state == "READY"


@trio_test
async def test_http_is_ready_when_the_status_is_right(run_project, port):
    service = {
        "command": [*python(SERVE), "{port}"],
        "port": port,
        "ready": {"http": "http://127.0.0.1:{port}/healthz?x=1", "period": "50ms"},
    }
    async with run_project({"s": service}) as running:
        await running.until("s", "READY")


@trio_test
async def test_tcp_is_ready_when_the_port_is_open(run_project, port):
    service = {
        "command": [*python(SERVE), "{port}"],
        "port": port,
        "ready": {"tcp": "127.0.0.1:{port}", "period": "50ms"},
    }
    async with run_project({"s": service}) as running:
        await running.until("s", "READY")


@trio_test
async def test_exec_is_ready_when_the_command_succeeds(run_project, tmp_path):
    code = "import time; time.sleep(0.1); open('flag', 'w').close(); time.sleep(1000)"
    ready = {"exec": ["test", "-e", "flag"], "period": "50ms"}
    async with run_project({"s": {"command": python(code), "ready": ready}}) as running:
        await running.until("s", "READY")
        assert (tmp_path / "flag").exists()


@trio_test
async def test_a_probe_that_hangs_is_cut_off_and_tried_again(run_project):
    ready = {"exec": ["sleep", "1000"], "period": "50ms", "timeout": "50ms"}
    service = {"command": ["sleep", "1000"], "ready": ready, "start_timeout": "300ms"}
    async with run_project({"s": {**service, "restart": "never"}}) as running:
        status = await running.until("s", "FAILED")
    assert status.last_exit.cause.kind == "start_timeout"


@trio_test
async def test_a_log_line_is_found_even_if_it_is_the_first_thing_printed(run_project):
    service = {"command": ["sh", "-c", "echo '\033[32mlistening on 80'; exec sleep 1000"]}
    async with run_project({"s": {**service, "ready": {"log": r"listening on \d+"}}}) as running:
        await running.until("s", "READY")


@trio_test
async def test_not_ready_in_time_is_a_failure_like_any_other(run_project):
    service = {
        "command": ["sleep", "1000"],
        "ready": {"log": "never"},
        "start_timeout": "50ms",
        "restart": {"backoff": "10ms", "max_restarts": 2, "on_exhausted": "fail"},
    }
    async with run_project({"s": service}) as running:
        assert await running.ended() == 1
    assert running.status("s").runs == 3
    assert str(running.status("s").last_exit.cause) == "start timeout: not ready within 50ms"


@trio_test
async def test_exiting_before_being_ready_is_noticed_at_once(run_project):
    service = {"command": ["true"], "ready": {"log": "never"}, "restart": "on-failure"}
    async with run_project({"s": service}) as running:
        assert await running.ended() == 0


class Own(Kind):
    """Has its own way to be ready, which fails the first time."""

    name = "own"
    tries = 0

    def launch(self, replica):
        Own.tries += 1

        async def ready():
            if replica.incarnation == 1:
                raise NaqException("port 4222 is taken by redis")
            await trio.lowlevel.checkpoint()

        return Launch(argv=("sleep", "1000"), ready=ready, env={"A": "b", "HOME": None})


@trio_test
async def test_a_kinds_own_readiness_and_its_failure(run_project):
    kinds = {**KINDS, "own": Own}
    service = {"type": "own", "restart": {"backoff": "0s"}}
    async with run_project({"s": service}, kinds=kinds) as running:
        await running.until("s", "READY")
        status = running.status("s")
    assert status.runs == 2
    assert status.last_exit.cause.message == "port 4222 is taken by redis"
    assert running.lines.count("Traceback") == 0


class Broken(Kind):
    name = "broken"

    def launch(self, replica):
        return {}[replica.name]


@trio_test
async def test_a_bug_in_a_kind_is_a_failed_start_of_its_service_only(run_project):
    kinds = {**KINDS, "broken": Broken}
    services = {"b": {"type": "broken", "restart": "never"}, "s": {"command": ["sleep", "1000"]}}
    async with run_project(services, kinds=kinds) as running:
        status = await running.until("b", "FAILED")
        await running.until("s", "READY")
    assert "KeyError" in status.last_exit.cause.message


@trio_test
async def test_the_client_library_notifies_and_is_silent_elsewhere(run_project, monkeypatch):
    from naq.supervisor.notify import notify

    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify("READY=1") is False
    code = """
from naq.supervisor.notify import notify; import time
assert notify("READY=1"); time.sleep(1000)
"""
    service = {"command": [sys.executable, "-c", code], "ready": "notify"}
    async with run_project({"s": service}) as running:
        await running.until("s", "READY")
