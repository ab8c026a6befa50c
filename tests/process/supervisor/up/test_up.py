"""`naq up`, `naq ps` and `naq down` as a person or systemd uses them, and as an enemy would."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from supervisor_harness import PATIENCE, is_alive, naq, python, until, wait_dead

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
kind = "grandchild" if os.fork() == 0 else "child"
if kind == "grandchild" and os.fork() == 0:
    os.setsid()
    kind = "daemon"
print(kind, os.getpid())
while True: time.sleep(1000)
"""


def service(name: str, command: list[str], **table: object) -> str:
    keys = {"command": command, **table}
    body = "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
    return f"[services.{name}]\n{body}\n"


SLEEPERS = service("web", ["sleep", "1000"], replicas=2) + service("db", ["sleep", "1000"])
STUBBORN_TOML = service("stub", python(STUBBORN), stop_timeout="300ms")


def pids(running, *names: str) -> list[int]:
    return [int(running.wait(rf"\| {name} (\d+)")[1]) for name in names]


# ------------------------------------------------------------------ configuration


def test_a_bad_file_is_refused_with_all_its_problems_and_78(up):
    running = up(
        "version = 2\n[project]\nnam = 'x'\n[services.a]\ncomand = 'x'\nreplicas = -1\n"
        "depends_on = ['b', 'c']\n[services.b]\ntype = 'nope'\n[services.c]\ncommand = 'x'\n"
        "depends_on = ['a']\nstop_timeout = 'soon'\n"
    )
    assert running.exit() == 78
    file = "supervisor.toml: "
    for problem in [
        f"{file}version: this naq reads version 1, not 2",
        f"{file}project.nam: unknown key; did you mean 'name'?",
        f"{file}services.a.comand: unknown key; did you mean 'command'?",
        f"{file}services.a.replicas: expected a whole number from 0",
        f"{file}services.b.type: 'nope' is not one of command",
        f"{file}services.c.stop_timeout: expected a duration",
        f"{file}services.a.depends_on: dependency cycle: a -> c -> a",
    ]:
        assert f"naq: {problem}" in running.text
    assert "Traceback" not in running.text


@pytest.mark.parametrize("text", ["[services", "", "services = 3"])
def test_a_file_that_describes_nothing_is_refused_with_78(up, text):
    running = up(text)
    assert running.exit() == 78
    assert len(running.lines) == 1


def test_a_file_that_is_not_there_is_refused_with_78(up):
    running = up(None, "elsewhere.toml")
    assert running.exit() == 78
    assert running.lines == ["naq: elsewhere.toml: cannot be read: No such file or directory"]


def test_only_the_named_services_and_what_they_need_run(up):
    running = up(
        SLEEPERS + service("api", ["sleep", "1000"], depends_on=["db"]), "supervisor.toml", "api"
    )
    running.wait("all services are up")
    assert "web" not in running.text
    assert "db running" in running.text


def test_an_unknown_service_is_refused(up):
    running = up(SLEEPERS, "supervisor.toml", "wbe")
    assert running.exit() == 66
    assert running.lines == ["naq: no service 'wbe'; there are: web, db"]


# ------------------------------------------------------------------ ps and down


def test_ps_and_down(up, tmp_path):
    assert naq(tmp_path, "ps").returncode == 3
    assert naq(tmp_path, "down").returncode == 3
    running = up(SLEEPERS + service("once", ["true"], oneshot=True))
    running.wait("all services are up")

    (tmp_path / "deep" / "down").mkdir(parents=True)
    shown = naq(tmp_path / "deep" / "down", "ps", "--json")
    assert shown.returncode == 0
    rows = {f"{row['service']}.{row['replica']}": row for row in json.loads(shown.stdout)}
    assert set(rows) == {"web.1", "web.2", "db.1", "once.1"}
    web = rows["web.2"]
    assert web["state"] == "READY"
    assert web["want"] == "UP"
    assert web["ready"] is True
    assert is_alive(web["pid"])
    assert web["rss_bytes"] > 0
    assert web["uptime_s"] > 0
    assert web["last_exit"] is None
    assert rows["once.1"]["last_exit"] == {
        "cause": "exit",
        "code": 0,
        "signal": None,
        "at": rows["once.1"]["last_exit"]["at"],
        "message": "exit code 0",
    }
    table = naq(tmp_path, "ps", "web").stdout.splitlines()
    assert [line.split()[:2] for line in table[1:]] == [["web.1", "READY"], ["web.2", "READY"]]
    unknown = naq(tmp_path, "ps", "nope")
    assert unknown.returncode == 66
    assert unknown.stderr.startswith("naq: no service 'nope'")

    downed = naq(tmp_path, "down")
    assert (downed.returncode, downed.stderr) == (0, "")
    assert not is_alive(running.pid)
    assert running.exit() == 0
    assert naq(tmp_path, "ps").returncode == 3


def test_ps_is_1_while_something_is_not_as_it_should_be(up, tmp_path):
    running = up(SLEEPERS + service("loop", ["false"], restart={}).replace("restart = {}", ""))
    running.wait("loop ended: exit code 1")
    # Between two of its ends it runs, for an instant.
    until(lambda: naq(tmp_path, "ps").returncode == 1)


def test_down_now_skips_the_grace(up, tmp_path):
    running = up(service("stub", python(STUBBORN), stop_timeout="1h"))
    found = pids(running, "child", "grandchild", "daemon")
    assert naq(tmp_path, "down", "--now").returncode == 0
    assert running.exit() == 0
    assert wait_dead(found) == []


# ------------------------------------------------------------------ output


def test_lines_are_prefixed_and_plain_in_a_pipe(up):
    code = (
        "print('\\x1b[31mred\\x1b[0m', os.environ.get('NAQ_REPLICA')); import time; time.sleep(99)"
    )
    running = up(service("web", python(code), replicas=2) + service("db", python(code)))
    running.wait(r"^web\.1 \| red 1$")
    running.wait(r"^web\.2 \| red 2$")
    running.wait(r"^db \| red 1$")
    assert "\x1b" not in running.text


def test_json_lines(up):
    running = up(
        '[logging]\nformat = "json"\n'
        + service("web", ["sh", "-c", "echo 'a \"b\"'; exec sleep 99"])
    )
    running.wait("a ..b")
    running.wait("all services are up")
    rows = [json.loads(line) for line in running.lines]
    assert any(r["service"] == "web" and r["message"] == 'a "b"' for r in rows)
    assert any(r["service"] == "naq" and r["level"] == "info" for r in rows)


def test_nobody_reading_the_output_stops_no_service(tmp_path):
    (tmp_path / "supervisor.toml").write_text(SLEEPERS)
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-m", "naq", "up"], cwd=tmp_path, stdout=writer)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    try:
        process.send_signal(signal.SIGWINCH)  # ignored
        assert naq(tmp_path, "ps", "--json").returncode in (0, 1)
        assert naq(tmp_path, "down").returncode == 0
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


# ------------------------------------------------------------------ one at a time


def test_a_second_up_is_refused_with_73(up, tmp_path):
    first = up(SLEEPERS)
    first.wait("all services are up")
    second = up()
    assert second.exit() == 73
    assert second.lines == [
        f"naq: already running here (pid {first.pid}): `naq ps` shows it, `naq down` stops it"
    ]
    assert naq(tmp_path, "ps").returncode == 0


def test_the_run_directory_is_private(up, tmp_path):
    old = os.umask(0)
    try:
        running = up(SLEEPERS)
        running.wait("all services are up")
    finally:
        os.umask(old)
    run = tmp_path / ".naq" / "run"
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in run.iterdir()} == {0o600}
    assert (tmp_path / ".naq" / ".gitignore").read_text() == "*\n"


def test_a_path_too_long_for_a_socket_works(tmp_path, up, monkeypatch):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    (deep / "supervisor.toml").write_text(SLEEPERS)
    # Not in tmp_path, whose own length is nobody's choice.
    with tempfile.TemporaryDirectory() as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        running = up(None, str(deep / "supervisor.toml"))
        running.wait("all services are up")
        assert naq(deep, "ps").returncode == 0
        running.signal(signal.SIGTERM)
        assert running.exit() == 0


# ------------------------------------------------------------------ signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_is_an_orderly_stop(up, number):
    running = up(SLEEPERS)
    running.wait("all services are up")
    running.signal(number)
    assert running.exit() == 0
    assert running.lines[-1].endswith("stopped")


def test_two_signals_skip_the_grace(up):
    running = up(service("stub", python(STUBBORN), stop_timeout="1h"))
    found = pids(running, "child", "grandchild", "daemon")
    running.signal(signal.SIGINT)
    running.wait("still stopping")
    running.signal(signal.SIGINT)
    assert running.exit() == 130
    assert wait_dead(found) == []


def test_three_signals_kill_everything_even_when_the_loop_is_stuck(up, tmp_path):
    (tmp_path / "stuck.py").write_text(
        "import os, time, trio\n"
        "async def loop(ctx, *, task_status):\n"
        "    task_status.started()\n"
        "    while not os.path.exists('go'): await trio.sleep(0.01)\n"
        "    ctx.say('stuck now')\n"
        "    while True: time.sleep(0.05)\n"
    )
    stuck = '[services.stuck]\ntype = "callable"\nrun = "task"\ntarget = "stuck:loop"\n'
    running = up(service("stub", python(STUBBORN), stop_timeout="300ms") + stuck)
    found = pids(running, "child", "grandchild", "daemon")
    (tmp_path / "go").touch()
    running.wait("stuck now")
    for _ in range(2):
        running.signal(signal.SIGINT)
        # Separate arrivals: a signal that is pending already would not be counted again.
        with pytest.raises(subprocess.TimeoutExpired):
            running.exit(0.2)
    running.signal(signal.SIGINT)
    assert running.exit() == 130
    assert wait_dead(found) == []


def test_inherited_ignored_signals_do_not_matter(up):
    # With SIGCHLD ignored the kernel would throw the exit code away, and it would read as 0.
    def ignore() -> None:
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    code = "import signal; print(signal.getsignal(15) == signal.SIG_DFL); raise SystemExit(7)"
    running = up(service("s", python(code), restart="never", critical=True), preexec_fn=ignore)
    assert running.exit() == 7
    assert "s | True" in running.lines


def test_a_task_that_cannot_be_cancelled_does_not_keep_the_process(up, tmp_path):
    (tmp_path / "stubborn_task.py").write_text(
        "import trio\n"
        "from naq.supervisor.process import task\n"
        "task.CANCEL_WAIT = 0.1\n"
        "async def serve(ctx, *, task_status):\n"
        "    task_status.started()\n"
        "    with trio.CancelScope(shield=True): await trio.sleep_forever()\n"
    )
    task = '[services.t]\ntype = "callable"\nrun = "task"\ntarget = "stubborn_task:serve"\n'
    running = up(task + SLEEPERS)
    running.wait("all services are up")
    running.signal(signal.SIGTERM)
    assert running.exit() == 70
    running.wait("leaving without it")


def test_zombies_of_what_left_its_group_are_reaped(up):
    # A daemon as of old: its parent ends, so it becomes our child; then it ends itself.
    code = """
import time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: print("daemon", os.getpid())
    os._exit(0)
os.wait(); time.sleep(1000)
"""
    running = up(service("s", python(code)))
    pid = pids(running, "daemon")[0]
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists():  # a zombie has no event for its reaping
        assert time.monotonic() < end
        time.sleep(0.05)


# ------------------------------------------------------------------ kill -9


def test_kill_9_leaves_nothing_behind(up):
    running = up(STUBBORN_TOML + SLEEPERS)
    found = pids(running, "child", "grandchild", "daemon")
    found += [
        int(running.wait(rf"{name} running \(pid (\d+)\)")[1]) for name in ("web.1", "web.2", "db")
    ]
    running.signal(signal.SIGKILL)
    running.exit()
    assert wait_dead(found) == []


def test_kill_9_at_any_moment_leaves_nothing_behind_and_the_next_start_is_clean(up, tmp_path):
    marker = f"moment-{os.getpid()}"
    toml = service("s", ["sleep", "1000"], replicas=10, env={}).replace(
        "env = {}", f'env.MARK = "{marker}"'
    )
    for _ in range(10):
        running = up(toml)
        running.wait(rf"s\.{random.randint(1, 10)} running")
        running.signal(signal.SIGKILL)
        running.exit()
    running = up(toml)
    running.wait("all services are up")
    assert len(marked(marker)) == 10
    running.signal(signal.SIGTERM)
    assert running.exit() == 0
    assert marked(marker) == []


def test_if_the_guardian_is_killed_too_the_next_up_cleans(up, tmp_path):
    running = up(STUBBORN_TOML)
    found = pids(running, "child", "grandchild", "daemon")
    running.wait("all services are up")
    state = tmp_path / ".naq" / "run" / "state.json"
    guardian = json.loads(state.read_text())["guardian"]["pid"]
    # Stopped first: it must not get a chance in between, and must not be replaced.
    os.kill(guardian, signal.SIGSTOP)
    running.signal(signal.SIGKILL)
    running.exit()
    os.kill(guardian, signal.SIGKILL)
    assert wait_dead([guardian]) == []
    assert all(is_alive(pid) for pid in found)

    again = up(SLEEPERS)
    again.wait("the previous run was killed; stopping what it left")
    again.wait("all services are up")
    assert [is_alive(pid) for pid in found] == [False] * 3


def test_a_killed_guardian_is_replaced(up, tmp_path):
    running = up(SLEEPERS)
    running.wait("all services are up")
    state = tmp_path / ".naq" / "run" / "state.json"
    until(state.exists)
    os.kill(json.loads(state.read_text())["guardian"]["pid"], signal.SIGKILL)
    running.wait("guardian .* was killed")


def test_naqs_own_children_end_by_the_lifeline(up, tmp_path):
    (tmp_path / "mine.py").write_text(
        "async def serve(ctx, *, task_status):\n"
        "    stopping = ctx.stopping()\n"
        "    print('mine', __import__('os').getpid(), flush=True)\n"
        "    task_status.started()\n"
        "    await stopping.wait()\n"
        "    open('ended', 'w').close()\n"
    )
    running = up('[services.s]\ntype = "callable"\ntarget = "mine:serve"\n')
    found = pids(running, "mine")
    running.wait("all services are up")
    running.signal(signal.SIGKILL)
    running.exit()
    assert wait_dead(found) == []
    assert (tmp_path / "ended").exists()


def marked(marker: str) -> list[str]:
    """The processes that have ``marker`` in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (entry / "environ").read_bytes() and is_alive(int(entry.name)):
                found.append(entry.name)
        except OSError:
            continue
    return found


# ------------------------------------------------------------------ the control socket


def test_malformed_requests_are_answered_and_disturb_nothing(up, tmp_path):
    running = up(SLEEPERS)
    running.wait("all services are up")
    path = str(tmp_path / ".naq" / "run" / "control.sock")
    bad = [
        b"",
        b"{",
        b"null",
        b"[1]",
        b"\xff\xfe",
        b'{"v": 1}',
        b'{"v": 2, "cmd": "ps"}',
        b'{"v": 1, "cmd": 7}',
        b'{"v": 1, "cmd": "rm -rf"}',
        b'{"v": 1, "cmd": "ps", "args": []}',
        b'{"v": 1, "cmd": "ps", "args": {"services": [{}]}}',
        b'{"v": 1, "cmd": "down", "args": {"timeout": "x"}}',
        b'{"v": 1, "cmd": "down", "args": {"timeout": -1}}',
        b'{"v": 1, "cmd": "down", "args": {"nwo": true}}',
        b'{"v": 1, "id": {}, "cmd": "ps"}',
        b"[" * 60_000,
        b'{"v": 1, "cmd": "ps", "id": ' + b"9" * 5000 + b"}",
    ]
    for _ in range(63):  # a thousand requests
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(PATIENCE)
            link.connect(path)
            lines = link.makefile("rb")
            for line in bad:
                link.sendall(line + b"\n")
                if line:
                    assert json.loads(lines.readline())["ok"] is False
    for garbage in (b"\0" * 100_000, b"x" * 200_000, b'{"v": 1, "cmd": "ps"'):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(path)
            try:
                link.sendall(garbage)
            except BrokenPipeError:
                continue
    # Clients that ask and never read, and more of them than there is room for.
    crowd = [socket.socket(socket.AF_UNIX) for _ in range(80)]
    for link in crowd:
        link.connect(path)
        link.sendall(b'{"v": 1, "cmd": "ps"}\n' * 10)
    for link in crowd:
        link.close()
    assert naq(tmp_path, "ps").returncode == 0
    assert "control" not in running.text
