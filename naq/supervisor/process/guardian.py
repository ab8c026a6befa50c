"""The guardian: a program that stops what a killed supervisor has left behind.

Run as a program, in a session of its own, with three arguments: a descriptor, the state file and
the id of the run. It waits for the end of file on the descriptor, which comes when the supervisor
is gone, in whatever way; then it stops everything that still belongs to the run, and ends. After an
orderly stop it finds nothing.

What belongs to a run: the groups of the processes in the state file (number and start time must
match, and the machine must not have been booted since), and every process that has the run's id in
its environment. The second finds what left its group, and what was started in the moment before the
kill. On systems without /proc only the first is possible.

Each is stopped as its service says: its stop signal (none for programs that notice by themselves
that the supervisor is gone; a second request would make them hurry), its stop timeout, then KILL.

It uses only the standard library, and little of it: every supervisor has one, started with
``python -I -S``, and it must not depend on anything that could be broken.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

__all__ = [
    "Found",
    "boot_id",
    "find",
    "is_running",
    "read_state",
    "start_time",
    "stop",
    "wait_ended",
]

_MARKER = b"NAQ_SUPERVISED="
_MAX_GRACE = 60.0  # whatever stop_timeout says: nobody waits for us, but a next start may
STRAY_GRACE = 2.0  # for what belongs to no replica in the state file: its service is gone
_GIVE_UP = 10.0  # after the last KILL

# How long an exec may take after it has closed descriptors, seconds.
_EXEC = 0.1


class Found:
    """A process that must be stopped: its number, how to ask (0: not at all), how long to wait.

    Not a dataclass: importing those takes longer than everything else here together.
    """

    __slots__ = ("pid", "signal", "timeout")

    def __init__(self, pid: int, how: int = signal.SIGTERM, timeout: float = STRAY_GRACE) -> None:
        self.pid = pid
        self.signal = how
        self.timeout = timeout


def read_state(path: str) -> dict[str, Any] | None:
    """Return what a supervisor wrote about its run; None if there is nothing usable."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib would double the start time
            state = json.load(file)
    except (OSError, ValueError):
        return None
    usable = isinstance(state, dict) and state.get("boot_id") == boot_id()
    return state if usable else None


def boot_id() -> str:
    """Return a text that changes with every boot of this machine; empty where there is none."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123
        return file.read().strip()
    return ""


def start_time(pid: int) -> str:
    """Return when ``pid`` was started, as the system writes it; empty if it does not run.

    Together with the number it identifies a process until the next boot.
    """
    for row in _table([pid]):
        if row.pid == pid:
            return row.start
    return ""


def is_running(pid: int, start: str) -> bool:
    """Whether the process that had this number and start time still runs."""
    return bool(start) and start_time(pid) == start


def find(run_id: str, replicas: Iterable[Mapping[str, Any]]) -> list[Found]:
    """Return the live processes of a run.

    Args:
        run_id: the value of the marker in their environment.
        replicas: entries of the state file.
    """
    rows = list(_table())
    now = {row.pid: row for row in rows}
    replicas = list(replicas)
    groups: dict[int, Mapping[str, Any]] = {}
    for replica in replicas:
        leader = now.get(replica["pid"])
        # A leader that is gone leaves its number to its group, so nobody else can have it.
        if leader is None or leader.start == replica["start"]:
            groups[replica["pid"]] = replica
    by_name = {f"{replica['service']}.{replica['replica']}": replica for replica in replicas}
    found = []
    for row in rows:
        if row.pid == os.getpid() or row.zombie:
            continue
        rule = groups.get(row.pid) or groups.get(row.session) or groups.get(row.group)
        if rule is not None and (rule["group"] or row.pid == rule["pid"]):
            found.append(Found(row.pid, rule["signal"], rule["timeout"]))
        elif name := _member_of(run_id, row.pid):
            rule = by_name.get(name)
            found.append(Found(row.pid, timeout=rule["timeout"]) if rule else Found(row.pid))
    return found


def stop(look: Callable[[], list[Found]]) -> None:
    """Stop what ``look`` finds until it finds nothing: ask, wait, kill. Blocks, but not forever."""
    start = time.monotonic()
    kill_at: dict[int, float] = {}
    while found := look():
        now = time.monotonic()
        for process in found:
            if process.pid not in kill_at:
                kill_at[process.pid] = start + min(process.timeout, _MAX_GRACE)
                if process.signal:
                    _send(process.pid, process.signal)
                    _send(process.pid, signal.SIGCONT)
            if now >= kill_at[process.pid]:
                _send(process.pid, signal.SIGKILL)
        pids = [process.pid for process in found]
        last = max(kill_at[pid] for pid in pids)
        if now > last + _GIVE_UP:
            return
        pending = [kill_at[pid] for pid in pids if kill_at[pid] > now]
        wait_ended(pids, min(pending, default=now + 0.1) - now)


def main(fd: int, state_path: str, run_id: str) -> None:
    """Wait for the end of the supervisor, then stop what is left of it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # our end is the end of file, nothing else
    os.read(fd, 1)
    state = read_state(state_path) or {}
    replicas = state.get("replicas", []) if state.get("run_id") == run_id else []
    stop(lambda: find(run_id, replicas))
    # The pipe of a process that was just being started closes in the middle of its exec, an instant
    # before its environment can be read. Nothing tells when that is over.
    time.sleep(_EXEC)
    stop(lambda: find(run_id, replicas))
    with suppress(OSError):
        if state.get("run_id") == run_id:
            os.unlink(state_path)  # noqa: PTH108


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def wait_ended(pids: list[int], seconds: float) -> None:
    """Wait until all of ``pids`` have ended, at most ``seconds``. They need not be children."""
    end = time.monotonic() + seconds
    poll = select.poll()
    fds = []
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                fds.append(os.pidfd_open(pid))
                poll.register(fds[-1], select.POLLIN)
        remaining = len(fds)
        while remaining and (left := end - time.monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000 + 1):
                poll.unregister(fd)
                remaining -= 1
    except (AttributeError, OSError):
        # No pidfds here, and nothing else to wait on for a process that is not our child.
        time.sleep(min(seconds, 0.1))
    finally:
        for fd in fds:
            os.close(fd)


class _Row:
    """A line of the process table."""

    __slots__ = ("group", "pid", "session", "start", "zombie")

    def __init__(self, *, pid: int, group: int, session: int, start: str, zombie: bool) -> None:
        self.pid = pid
        self.group = group
        self.session = session
        self.start = start
        self.zombie = zombie


def _table(pids: Iterable[int] | None = None) -> Iterator[_Row]:
    """Read the process table, or the lines of ``pids``."""
    if not os.path.isdir("/proc/self"):  # noqa: PTH112
        yield from _table_by_ps()
        return
    for pid in os.listdir("/proc") if pids is None else map(str, pids):  # noqa: PTH208
        if not pid.isdigit():
            continue
        with suppress(OSError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            fields = file.read().rpartition(b")")[2].split()
            yield _Row(
                pid=int(pid),
                group=int(fields[2]),
                session=int(fields[3]),
                start=fields[19].decode(),
                zombie=fields[0] in b"ZX",
            )


def _table_by_ps() -> Iterator[_Row]:
    import subprocess  # noqa: PLC0415 - not needed where there is /proc

    command = ["ps", "-axo", "pid=,pgid=,stat=,lstart="]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        pid, group, state, start = line.split(None, 3)
        # A child of ours leads its session and its group, so the group says as much.
        yield _Row(
            pid=int(pid),
            group=int(group),
            session=int(group),
            start=start.strip(),
            zombie=state.startswith("Z"),
        )


def _member_of(run_id: str, pid: int) -> str:
    """Return ``service.N`` if the environment ``pid`` was started with says so, for this run."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            content = file.read()
    except OSError:
        return ""
    if _MARKER + run_id.encode() not in content:
        return ""
    env = dict(item.partition(b"=")[::2] for item in content.split(b"\0"))
    if env.get(_MARKER[:-1]) != run_id.encode():
        return ""
    name = env.get(b"NAQ_SERVICE", b"") + b"." + env.get(b"NAQ_REPLICA", b"")
    return name.decode("utf-8", "replace")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
