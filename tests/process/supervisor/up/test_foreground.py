"""`naq up` and those around it: signals, systemd, a loop that is stuck, doing nothing."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

from supervisor_harness import PATIENCE, TOML, until


def test_usr1_opens_log_files_anew_and_usr2_shows_what_is_going_on(up, tmp_path):
    running = up("[logging]\ndir = 'logs'\n" + TOML)
    running.wait("all services are up")
    log = tmp_path / "logs" / "naq.log"
    until(lambda: log.exists() and "all services" in log.read_text())
    log.rename(tmp_path / "aside.log")
    running.signal(signal.SIGUSR1)
    running.wait("log files have been reopened")
    until(lambda: log.exists() and "reopened" in log.read_text())
    running.signal(signal.SIGUSR2)
    running.wait(r"naq \|   web.1 READY pid \d+")
    running.wait(r"naq \| .*naq owner web.1 at board.py")


def test_systemd_is_told(up, tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(PATIENCE)
        env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"}
        running = up(TOML, env=env)
        said = []

        def hear(text: str) -> None:
            while not any(text in one for one in said):
                said.append(receiver.recv(4096).decode())

        hear("READY=1")
        hear("STATUS=4/4 ready")
        said.clear()
        hear("WATCHDOG=1")
        said.clear()
        hear("WATCHDOG=1")
        running.signal(signal.SIGHUP)
        hear("RELOADING=1\nMONOTONIC_USEC=")
        said.clear()
        hear("READY=1")
        running.signal(signal.SIGTERM)
        hear("STOPPING=1\nEXTEND_TIMEOUT_USEC=70000000")
        assert running.exit() == 0


def test_a_stalled_loop_is_reported_with_a_stack(up, tmp_path):
    (tmp_path / "stalls.py").write_text(
        "import time, trio\n"
        "async def block(ctx, *, task_status):\n"
        "    task_status.started()\n"
        "    time.sleep(1.6)\n"
        "    await trio.sleep_forever()\n"
    )
    running = up('[services.t]\ntype = "callable"\nrun = "task"\ntarget = "stalls:block"\n')
    running.wait(r"naq t has blocked the event loop for 1\.\d s")
    running.wait("stalls.py., line 4, in block")
    running.wait(r"the event loop was blocked for 1\.\d s by naq t")
    running.signal(signal.SIGTERM)
    assert running.exit() == 0


def test_an_idle_supervisor_uses_no_processor(up):
    running = up("[services.s]\ncommand = ['sleep', '1000']\nreplicas = 50\n")
    running.wait("all services are up")
    time.sleep(2.5)  # what is left of the start is over
    before = ticks(running.pid)
    time.sleep(1)
    assert ticks(running.pid) - before <= 1


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
