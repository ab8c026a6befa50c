"""Faults that are nobody's fault in particular; the others are beside what they break."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time

import trio
from supervisor_harness import PATIENCE, naq, python, trio_test, wait_dead

SLEEP = {"command": ["sleep", "1000"]}


@trio_test
async def test_a_clock_that_jumps_changes_nothing(run_project, monkeypatch):
    """Delays, windows and deadlines are monotonic; wall time is only shown."""
    jumps = iter([0.0, 1e9, -1e6, 4e9, 5.0])
    real = time.time
    offset = [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    restart = {"backoff": "50ms", "max_restarts": 4, "on_exhausted": "fail"}
    service = {"command": ["false"], "restart": restart, "ready": {"log": "x"}}
    async with run_project({"s": service, "t": SLEEP}) as running:
        seen = 0
        while running.status("s").state != "FAILED":
            if running.status("s").runs > seen:
                seen, offset[0] = running.status("s").runs, next(jumps)
            await trio.sleep(0.005)
        assert running.status("s").runs == 5
        assert running.status("t").runs == 1


@trio_test
async def test_a_port_that_is_taken_is_a_failed_start_in_the_programs_own_words(run_project):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code = "import socket, sys; socket.create_server(('127.0.0.1', int(sys.argv[1])))"
        service = {
            "command": [*python(code), "{port}"],
            "port": port,
            "ready": {"tcp": "127.0.0.1:{port}"},
            "restart": {"backoff": "0s", "max_restarts": 2, "on_exhausted": "fail"},
            "start_timeout": "5s",
        }
        # Somebody else answers on the port; what counts is that our program has ended.
        async with run_project({"s": service, "t": SLEEP}) as running:
            status = await running.until("s", "FAILED")
            await running.until("t", "READY")
    assert status.last_exit.code == 1
    assert running.lines.count("Address already in use") >= 1


@trio_test
async def test_a_taken_port_of_the_broker_is_named(run_project, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        service = {"type": "nats", "port": port, "restart": "never"}
        async with run_project({"nats": service, "t": SLEEP}) as running:
            status = await running.until("nats", "FAILED")
            await running.until("t", "READY")
    assert str(port) in str(status.last_exit.cause) or running.lines.count(str(port))


@trio_test
async def test_a_bomb_of_short_lived_children_meets_its_limit(run_project):
    code = "import os\nfor _ in range(20):\n  if os.fork() == 0: os._exit(0)"
    restart = {"backoff": "0s", "max_restarts": 10, "on_exhausted": "fail"}
    async with run_project({"s": {"command": python(code), "restart": restart}, "t": SLEEP}) as run:
        assert (await run.until("s", "FAILED")).runs == 11
        assert run.status("t").runs == 1


def test_of_five_that_start_at_once_one_runs(up, tmp_path):
    toml = "[services.s]\ncommand = ['sleep', '1000']\n"
    started = [up(toml if i == 0 else None) for i in range(5)]
    end = time.monotonic() + PATIENCE
    while sum(one._popen.poll() is not None for one in started) < 4:
        assert time.monotonic() < end
        time.sleep(0.01)
    codes = sorted(one._popen.poll() or 0 for one in started)
    assert codes == [0, 73, 73, 73, 73]
    assert naq(tmp_path, "wait").returncode == 0


def test_a_reload_during_the_shutdown_is_refused_and_harmless(up):
    code = (
        "import signal, time\nsignal.signal(15, lambda *_: None)\nprint('up')\n"
        "while True: time.sleep(1)"
    )
    service = f"[services.s]\ncommand = {json.dumps(python(code))}\nstop_timeout = '1s'\n"
    running = up(service)
    running.wait(r"s \| up")
    running.signal(signal.SIGTERM)
    running.wait("stopping")
    for _ in range(5):
        running.signal(signal.SIGHUP)
        time.sleep(0.02)
    running.wait("not reloading: the project is being started or stopped")
    assert running.exit() == 0


def test_any_request_with_any_arguments_is_answered(up, tmp_path):
    """A thousand requests with arguments nobody foresaw; the services do not notice."""
    running = up("[services.s]\ncommand = ['sleep', '1000']\nreplicas = 3\n")
    running.wait("all services are up")
    commands = (
        "ping ps start pause signal plan graph environment wait stop restart scale logs events"
    )
    keys = "services timeout now all on signal goal replicas follow tail since profile wait prune"
    values = [
        None,
        True,
        -1,
        1e300,
        "x",
        "s.9",
        [],
        ["s", 3],
        {},
        {"s": -1},
        {"s": "x"},
        [[]],
        "KILL",
    ]
    chance = random.Random(7)
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(PATIENCE)
        link.connect(str(tmp_path / ".naq" / "run" / "control.sock"))
        lines = link.makefile("rb")
        for number in range(1000):
            args = {chance.choice(keys.split()): chance.choice(values) for _ in range(3)}
            # What is right would do something; one unknown argument makes sure that it is not.
            frame = {"id": number, "v": 1, "cmd": chance.choice(commands.split())}
            frame["args"] = {**args, "no-such-argument": 1}
            link.sendall(json.dumps(frame).encode() + b"\n")
            reply = json.loads(lines.readline())
            assert (reply["id"], reply["ok"]) == (number, False), (frame, reply)
            assert reply["error"]["code"] != "internal", (frame, reply)
    rows = json.loads(naq(tmp_path, "ps", "--json").stdout)
    assert [row["restarts"] for row in rows] == [0, 0, 0]
    assert "control" not in running.text


def test_killing_the_supervisor_in_the_middle_of_a_replacement_leaves_nothing(up, tmp_path):
    code = (
        "import os, signal, time\nsignal.signal(15, lambda *_: None)\n"
        "print('pid', os.getpid())\nwhile True: time.sleep(1)"
    )
    running = up(
        f"[services.s]\ncommand = {json.dumps(python(code))}\nrolling = 'start-first'\n"
        "stop_timeout = '500ms'\nready = {log = 'pid'}\n"
    )
    running.wait("all services are up")
    naq(tmp_path, "restart", "s", "--wait")
    found = [int(running.wait(r"pid (\d+)", count=n)[1]) for n in (1, 2)]
    running.signal(signal.SIGKILL)
    running.exit()
    assert wait_dead(found) == []
    assert os.getpid() not in found


def test_killing_the_supervisor_while_it_stops_leaves_nothing(up, tmp_path):
    code = (
        "import os, signal, time\nsignal.signal(15, lambda *_: print('asked'))\n"
        "if os.fork() == 0: pass\n"
        "print('pid', os.getpid())\nwhile True: time.sleep(1)"
    )
    running = up(
        f"[services.s]\ncommand = {json.dumps(python(code))}\nreplicas = 3\n"
        "stop_timeout = '1s'\nready = {log = 'pid'}\n"
    )
    running.wait("all services are up")
    found = [int(running.wait(r"pid (\d+)", count=n)[1]) for n in range(1, 7)]
    running.signal(signal.SIGTERM)
    running.wait("asked")
    running.signal(signal.SIGKILL)
    running.exit()
    assert wait_dead(found) == []
    again = up()
    again.wait("all services are up")
    assert naq(tmp_path, "down", "--now").returncode == 0
