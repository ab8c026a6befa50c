"""Stopping: the whole group, in order, in bounded time, and nothing left."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import trio
from supervisor_harness import PATIENCE, is_alive, python, trio_test, wait_dead

from naq.services import KINDS
from naq.supervisor.config import read as config
from naq.supervisor.kinds.kind import Kind, Launch
from naq.supervisor.supervisor import Supervisor

# Ignores TERM and starts a grandchild that does as well; prints both pids.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pid = os.fork()
print("grandchild" if pid == 0 else "child", os.getpid())
while True: time.sleep(1000)
"""


@trio_test
async def test_a_child_and_a_grandchild_that_ignore_term_are_killed(run_project):
    service = {"command": python(STUBBORN), "stop_timeout": "200ms"}
    async with run_project({"stub": service}) as running:
        pids = [
            int((await running.lines.wait(rf"{who} (\d+)"))[1]) for who in ("grandchild", "child")
        ]
        running.supervisor.stop()
        assert await running.ended() == 0

    assert [is_alive(pid) for pid in pids] == [False, False]
    assert running.lines.count("stub did not stop in time and was killed") == 1
    assert running.status("stub").last_exit.signal == signal.SIGKILL


@trio_test
async def test_members_of_the_group_get_the_rest_of_the_grace_after_their_leader(
    run_project, tmp_path
):
    code = f"""
import os, signal, sys, time
r, w = os.pipe()
if os.fork() == 0:
    def bye(*_):
        time.sleep(0.3)
        open({str(tmp_path / "bye")!r}, "w").close()
        sys.exit()
    signal.signal(signal.SIGTERM, bye)
    os.write(w, b"x")
    while True: time.sleep(1000)
os.read(r, 1)
print("up")
time.sleep(1000)
"""
    async with run_project({"lead": {"command": python(code)}}) as running:
        await running.lines.wait(r"lead \| up")
        running.supervisor.stop()
        await running.ended()

    assert (tmp_path / "bye").exists()
    assert running.lines.count("killed") == 0


@trio_test
async def test_what_outlives_a_leader_that_ends_by_itself_is_stopped_before_the_restart(
    run_project,
):
    code = "import os, time\nif os.fork() == 0:\n  print('left', os.getpid()); time.sleep(1000)"
    service = {"command": python(code), "restart": {"backoff": "0s", "max_restarts": 1}}
    async with run_project({"forks": service}) as running:
        first = int((await running.lines.wait(r"left (\d+)"))[1])
        await running.lines.wait("left", count=2)
        assert not is_alive(first)


@trio_test
async def test_without_kill_group_only_the_process_itself_is_stopped(run_project):
    service = {
        "command": ["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo left $!; exec sleep 1000"]
    }
    async with run_project({"alone": {**service, "kill_group": False}}) as running:
        left = int((await running.lines.wait(r"left (\d+)"))[1])
        running.supervisor.stop()
        await running.ended()
    assert is_alive(left)
    os.kill(left, signal.SIGKILL)


@trio_test
async def test_a_stopped_process_is_continued_so_that_it_sees_the_signal(run_project):
    async with run_project({"s": {"command": ["sleep", "1000"]}}) as running:
        await running.until("s", "READY")
        os.kill(running.pid("s"), signal.SIGSTOP)
        running.supervisor.stop()
        await running.ended()
    assert running.status("s").last_exit.signal == signal.SIGTERM


@trio_test
async def test_the_stop_signal_is_the_services_own(run_project):
    code = """
import signal, sys, time
signal.signal(2, lambda *_: sys.exit(9)); print("up"); time.sleep(1000)
"""
    async with run_project({"s": {"command": python(code), "stop_signal": "INT"}}) as running:
        await running.lines.wait(r"s \| up")
        running.supervisor.stop()
        await running.ended()
    assert running.status("s").last_exit.code == 9
    assert running.status("s").last_exit.cause.kind == "shutdown"


@trio_test
async def test_services_stop_in_reverse_order_of_their_dependencies(run_project):
    code = """
import signal, sys, time
def bye(*_): print("bye"); sys.exit()
signal.signal(15, bye); print("hello"); time.sleep(1000)
"""
    service = {"command": python(code), "ready": {"log": "hello"}}
    services = {
        "web": {**service, "depends_on": ["api"], "replicas": 2},
        "api": {**service, "depends_on": ["db"]},
        "db": dict(service),
    }
    async with run_project(services) as running:
        await running.lines.wait("all services are up")
        running.supervisor.stop()
        await running.ended()

    lines = running.lines
    hello = [lines.index(rf"^{name} \| hello") for name in ("db", "api", r"web.1", r"web.2")]
    bye = [lines.index(rf"^{name} \| bye") for name in (r"web.1", r"web.2", "api", "db")]
    assert hello[:3] == sorted(hello[:3])
    assert max(bye[:2]) < bye[2] < bye[3]


class Base(Kind):
    name = "base"
    last = True

    def exports(self, service):
        return {"BASE_URL": f"base://{service.name}"}

    def launch(self, replica):
        return Launch(argv=tuple(python("import signal, time\nprint('up'); time.sleep(1000)")))


@trio_test
async def test_what_others_stand_on_stops_last_and_exports_to_all_others(run_project):
    code = """
import os, signal, sys, time
def bye(*_): time.sleep(0.2); print("bye"); sys.exit()
signal.signal(15, bye); print("got", os.environ.get("BASE_URL")); time.sleep(1000)
"""
    kinds = {**KINDS, "base": Base}
    services = {"b": {"type": "base"}, "s": {"command": python(code)}}
    async with run_project(services, kinds=kinds) as running:
        await running.lines.wait(r"s \| got base://b")
        running.supervisor.stop()
        await running.ended()
    assert running.lines.index(r"s \| bye") < running.lines.index("b stopped")


@trio_test
async def test_hurrying_skips_the_grace(run_project):
    services = {"stub": {"command": python(STUBBORN), "stop_timeout": "1h"}}
    async with run_project(services, project={"shutdown_timeout": "1h"}) as running:
        await running.lines.wait(r"grandchild \d+")
        await running.lines.wait(r"\| child \d+")
        running.supervisor.stop()
        await running.until("stub", "STOPPING")
        running.supervisor.hurry()
        await running.ended()
    assert running.lines.count("was killed") == 1


@trio_test
async def test_the_project_deadline_bounds_every_grace(run_project):
    services = {"stub": {"command": python(STUBBORN), "stop_timeout": "1h"}}
    async with run_project(services) as running:
        await running.lines.wait(r"\| child \d+")
        await running.lines.wait(r"grandchild \d+")
        running.supervisor.stop(timeout=0.1)
        await running.ended()


@trio_test
async def test_cancelling_the_supervisor_is_an_orderly_stop(run_project):
    code = """
import signal, sys, time
signal.signal(15, lambda *_: (print("bye"), sys.exit())); print("up"); time.sleep(1000)
"""
    async with run_project({"s": {"command": python(code)}}) as running:
        await running.lines.wait(r"s \| up")
        running.scope.cancel()
        await running.ended()
    assert running.lines.count(r"s \| bye") == 1


@trio_test
async def test_inside_another_program(tmp_path):
    """The twin of `naq up`: started() when all is ready, cancelling stops in order."""
    services = {"a": {"command": "sleep 1000"}, "b": {"command": "sleep 1000", "depends_on": ["a"]}}
    topology = config.parse({"services": services}, kinds=KINDS, directory=tmp_path)
    supervisor = Supervisor(topology, kinds=KINDS)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        assert [s.state for s in supervisor.board] == ["READY", "READY"]
        pids = [s.pid for s in supervisor.board]
        nursery.cancel_scope.cancel()
    assert [s.state for s in supervisor.board] == ["DOWN", "DOWN"]
    assert wait_dead(pids) == []


def test_the_program_in_the_guide(tmp_path):
    """It runs as it is written there, scales, and leaves nothing behind."""
    guide = (Path(__file__).parents[4] / "docs" / "supervisor.md").read_text()
    section = guide.partition("## In another program")[2]
    program = section.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "supervisor.toml").write_text(
        "[services.web]\ncommand = ['sh', '-c', 'echo $$ > pid.$NAQ_REPLICA; exec sleep 1000']\n"
        "ready = { exec = ['sh', '-c', 'test -s pid.{replica}'], period = '20ms' }\n"
    )
    wait = "        await supervisor.crew.wait(supervisor.crew.roster, 'ready')\n"
    assert "        ...\n" in program
    done = subprocess.run(
        [sys.executable, "-c", program.replace("        ...\n", wait)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pids = [int((tmp_path / f"pid.{n}").read_text()) for n in (1, 2, 3, 4)]
    assert wait_dead(pids) == []
    assert not (tmp_path / ".naq" / "run" / "control.sock").exists()


@trio_test
async def test_a_kernel_without_pidfds(run_project, monkeypatch):
    def missing(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing)
    services = {
        "stub": {"command": python(STUBBORN), "stop_timeout": "200ms"},
        "code": {"command": python("raise SystemExit(78)")},
    }
    async with run_project(services) as running:
        await running.lines.wait(r"grandchild \d+")
        await running.lines.wait(r"\| child \d+")
        assert (await running.until("code", "FAILED")).last_exit.code == 78
        running.supervisor.stop()
        await running.ended()
    assert running.lines.count("was killed") == 1


@trio_test
async def test_what_left_its_group_is_stopped_with_the_project(run_project):
    # A daemon: a session of its own, so no group kill reaches it.
    code = """
import time
if os.fork() == 0: os.setsid(); print("daemon", os.getpid())
time.sleep(1000)
"""
    async with run_project({"d": {"command": python(code)}}) as running:
        pid = int((await running.lines.wait(r"daemon (\d+)"))[1])
        running.supervisor.stop()
        await running.ended()
    assert wait_dead([pid]) == []
    assert running.lines.count("outside their group") == 1


@trio_test
async def test_a_program_of_its_own_with_everything(tmp_path):
    """What docs/supervisor.md shows: naq.Supervisor, without kinds, scaled and followed."""
    import naq

    class Sink:
        def __init__(self) -> None:
            self.texts: list[str] = []

        def put(self, lines) -> None:
            self.texts += [line.text for line in lines]

    services = {"web": {"command": "sleep 1000", "replicas": 2}}
    topology = config.parse({"services": services}, kinds=KINDS, directory=tmp_path)
    supervisor = naq.Supervisor(topology)
    sink = Sink()
    supervisor.hub.attach(sink)
    assert supervisor.crew is None
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        await supervisor.crew.scale("web", 3)
        await supervisor.crew.wait(supervisor.crew.roster.of("web"), "ready")
        names = [status.name for status in supervisor.board]
        nursery.cancel_scope.cancel()
    assert names == ["web.1", "web.2", "web.3"]
    assert "web.3 stopped" in sink.texts
    seen = {t.status.name for t in supervisor.events.recent() if t.status.state == "READY"}
    assert seen == set(names)
