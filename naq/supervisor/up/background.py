"""A supervisor that another program waits for: ``naq up --detach``, or systemd.

Detached, it runs in a session of its own. Its parent returns when the control socket answers, never
before; with ``--wait``, when every service is ready. Output goes to ``.naq/run/up.log``, rotated
like any log file; what goes wrong before that (a taken lock, a kind that cannot prepare) is printed
on the parent's terminal.

systemd (``Type=notify``, with a watchdog) is told READY=1 when every service is ready, or has
failed for good: the unit must not wait for ever because one of many services is broken. STATUS=
says how many are ready. Only the main loop sends the watchdog's pings.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from naq.base.imports import PYTHON
from naq.supervisor.control.client import connect
from naq.supervisor.model.board import Bell
from naq.supervisor.model.rundir import RunDir
from naq.supervisor.notify import notify, watchdog_pings
from naq.supervisor.output.files import LogFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.supervisor import Supervisor

__all__ = [
    "DETACHED_FD",
    "OUTPUT",
    "Systemd",
    "is_detached",
    "log_to_file",
    "run_detached",
    "status_line",
    "tell_parent",
]

#: Number of the descriptor on which a detached supervisor tells its parent that it answers.
DETACHED_FD = "NAQ_DETACHED_FD"
#: Where a detached supervisor's output goes, in the run directory.
OUTPUT = "up.log"
_ERRORS = "up.err"
_STOP_MARGIN = 10.0  # seconds that systemd allows on top of shutdown_timeout


def run_detached(
    topology: Topology, *, wait: bool, timeout: float | None, say: Callable[[str], None]
) -> int:
    """Start this same command again in the background; return its exit code, or 0 if it runs.

    Args:
        topology: what it will run.
        wait: return when every service is ready.
        timeout: seconds for that; None: as long as it takes.
        say: prints a line for a person.

    Raises:
        SupervisorError: the run directory cannot be used, or the supervisor went away.
    """
    run_dir = RunDir.of(topology.directory, topology.socket)
    run_dir.create()
    reader, writer = os.pipe()
    errors = run_dir.path / _ERRORS
    arguments = [word for word in sys.argv[1:] if word not in ("-d", "--detach", "--wait")]
    with errors.open("ab") as file:
        errors.chmod(0o600)
        before = file.tell()
        child = subprocess.Popen(
            [*PYTHON, "-m", "naq", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            env={**os.environ, DETACHED_FD: str(writer)},
            pass_fds=(writer,),
            start_new_session=True,
        )
    os.close(writer)
    answered = os.read(reader, 1)
    os.close(reader)
    if not answered:
        code = child.wait()
        sys.stderr.write(errors.read_bytes()[before:].decode("utf-8", "replace"))
        return code or 1
    say(f"up in the background (pid {child.pid}): `naq ps`, `naq logs -f`, `naq down`")
    child.returncode = 0  # it is no child of ours from here on; Popen would warn
    return _wait_ready(topology, timeout, say) if wait else 0


def _wait_ready(topology: Topology, timeout: float | None, say: Callable[[str], None]) -> int:
    limit = {} if timeout is None else {"timeout": timeout}
    with connect(topology.directory) as client:
        problems = client.request("wait", patience=None, services=[], goal="ready", **limit)
    for name, problem in problems.items():
        say(f"{name}: {problem}")
    return 1 if problems else 0


def tell_parent() -> None:
    """Tell the parent, if there is one, that the control socket answers."""
    number = os.environ.pop(DETACHED_FD, "")
    if number.isdecimal():
        with suppress(OSError):
            os.write(int(number), b"1")
        with suppress(OSError):
            os.close(int(number))


@asynccontextmanager
async def log_to_file(supervisor: Supervisor) -> AsyncIterator[None]:
    """Write all lines of ``supervisor`` to ``up.log``."""
    topology = supervisor.topology
    path = RunDir.of(topology.directory, topology.socket).path / OUTPUT
    async with LogFiles(topology, supervisor.project.warn, everything=path).writing(supervisor.hub):
        yield


def is_detached() -> bool:
    """Whether this process was started by :func:`run_detached`, whose parent still waits."""
    number = os.environ.get(DETACHED_FD, "")
    try:
        os.set_inheritable(int(number), False)
    except (ValueError, OSError):
        return False
    return True


def status_line(supervisor: Supervisor) -> str:
    """Return how many replicas are as they should be, and which ones are not."""
    active = [status for status in supervisor.board if status.active]
    bad = [status for status in active if not status.satisfied]
    text = f"{len(active) - len(bad)}/{len(active)} ready"
    shown = ", ".join(f"{status.name} {status.state}" for status in bad[:5])
    return f"{text}; {shown}{', ...' if len(bad) > 5 else ''}" if bad else text


class Systemd:
    """Tells systemd how things are, if it listens. :meth:`run` belongs in a task."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def run(self) -> None:
        """Tell until cancelled; return at once where nobody listens."""
        if not os.environ.get("NOTIFY_SOCKET"):
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watchdog_pings)
            nursery.start_soon(self._status)
            await self._supervisor.project.start_over.wait()
            notify("READY=1")

    async def _status(self) -> None:
        supervisor, bell = self._supervisor, Bell()
        said = ""

        def news() -> str | None:
            text = status_line(supervisor)
            return text if text != said else None

        with supervisor.board.ringing(bell, supervisor.topology.services):
            while True:
                said = await bell.until(news)
                notify(f"STATUS={said}")

    def reloading(self) -> None:
        """Say that the file is being read again."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """Say that this is done."""
        notify("READY=1")

    def stopping(self) -> None:
        """Say that the end has begun, and how long it may take."""
        seconds = self._supervisor.topology.shutdown_timeout + _STOP_MARGIN
        notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")
