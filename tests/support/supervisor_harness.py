"""What the supervisor's process tests share: projects in a temporary directory, run for real.

Two ways to run one. :class:`Running` is a Supervisor in this process, for everything that does not
need `naq up` itself. :class:`Up` is the real command in a process of its own.
"""

from __future__ import annotations

import functools
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from naq.supervisor.output.lines import without_colours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from naq.supervisor.supervisor import Supervisor

PATIENCE = 15.0  # seconds any single wait may take on a busy machine
# One write per line: two processes may print into the same pipe, and a signal handler that prints
# may interrupt a print.
PRINT = """import os
def print(*what): os.write(1, (" ".join(map(str, what)) + "\\n").encode())
"""


# A project with something of everything.
TOML = """
[project]
name = "shop"
[services.db]
command = ["sh", "-c", "echo db up; exec sleep 1000"]
ready = { log = "db up" }
[services.web]
command = ["sh", "-c", "echo run; echo 'hello from' $NAQ_REPLICA; exec sleep 1000"]
replicas = 2
depends_on = ["db"]
env.X = "1"
[services.extra]
command = ["sleep", "1000"]
profiles = ["more"]
depends_on = ["db"]
[services.off]
command = ["sleep", "1000"]
disabled = true
[services.once]
command = ["true"]
oneshot = true
"""
# For a program that speaks sd_notify without naq.
NOTIFY = """import socket, time
def say(text):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = os.environ["NOTIFY_SOCKET"]
    s.sendto(text.encode(), "\\0" + name[1:] if name[0] == "@" else name)
def pause():
    while True: time.sleep(1000)
"""


def trio_test(fn: Callable[..., object]) -> Callable[..., None]:
    """Run an async test in its own Trio loop, not for ever."""

    @functools.wraps(fn)
    def run(**fixtures: object) -> None:
        async def main() -> None:
            with trio.fail_after(3 * PATIENCE):
                await fn(**fixtures)

        trio.run(main)

    return run


async def true(condition: Callable[[], object]) -> None:
    """Wait for something that has no event: a file, another thread."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - that is what this is for
            await trio.sleep(0.01)


def until(condition: Callable[[], object]) -> None:
    """Wait for something on disk, which has no event, where there is no loop."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def python(code: str) -> list[str]:
    """A command that runs a few lines of Python quickly; its print() is not buffered."""
    return [sys.executable, "-I", "-S", "-c", PRINT + code]


def is_alive(pid: int) -> bool:
    """Whether ``pid`` runs; a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def wait_dead(pids: Iterable[int], timeout: float = PATIENCE) -> list[int]:
    """Wait until none of ``pids`` runs; return those that still do."""
    end = time.monotonic() + timeout
    for pid in pids:
        with suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll(max(0, end - time.monotonic()) * 1000)
            os.close(fd)
    return [pid for pid in pids if is_alive(pid)]


class Lines:
    """A sink that keeps everything and lets tests wait for a line."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._grown = trio.Event()

    def put(self, lines: Iterable[object]) -> None:
        self.all += [f"{line.name} | {without_colours(line.text)}" for line in lines]
        self._grown.set()
        self._grown = trio.Event()

    async def wait(self, pattern: str, *, count: int = 1) -> re.Match[str]:
        """Wait until ``count`` lines match; return the last match."""
        try:
            with trio.fail_after(PATIENCE):
                while len(found := [m for t in self.all if (m := re.search(pattern, t))]) < count:
                    await self._grown.wait()
        except trio.TooSlowError:
            shown = "\n".join(self.all)
            raise AssertionError(
                f"{count} x {pattern!r} did not come; there is:\n{shown}"
            ) from None
        return found[count - 1]

    def index(self, pattern: str) -> int:
        """The number of the first line that matches."""
        return next(i for i, text in enumerate(self.all) if re.search(pattern, text))

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, text)) for text in self.all)


class Running:
    """A supervisor that runs in this process."""

    def __init__(self, supervisor: Supervisor, lines: Lines) -> None:
        self.supervisor = supervisor
        self.lines = lines
        self.exit_code: int | None = None
        self.over = trio.Event()
        self.scope = trio.CancelScope()

    def status(self, name: str):
        return next(s for s in self.supervisor.board if s.name == name)

    def pid(self, name: str) -> int:
        pid = self.status(name).pid
        assert pid is not None
        return pid

    async def until(self, name: str, *states: str):
        """Wait for a replica to be in one of ``states``; return its status."""
        service = name.partition(".")[0]

        def look():
            status = self.status(name)
            return status if status.state in states else None

        with trio.fail_after(PATIENCE):
            return await self.supervisor.board.wait([service], look)

    async def ended(self) -> int:
        """Wait for the project to end by itself."""
        with trio.move_on_after(PATIENCE):
            await self.over.wait()
            return self.exit_code
        states = [f"{s.name} {s.state} {s.detail}" for s in self.supervisor.board]
        raise AssertionError("\n".join(["did not end:", *states, *self.lines.all]))


class Up:
    """`naq up` in a process of its own."""

    def __init__(self, directory: Path, *arguments: str, env: dict | None = None, **popen) -> None:
        self.directory = directory
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "naq", "up", *arguments],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            **popen,
        )
        self.pid = self._popen.pid
        self.lines: list[str] = []
        self._grown = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for raw in self._popen.stdout:
            with self._grown:
                self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                self._grown.notify_all()
        with self._grown:
            self._grown.notify_all()

    def wait(self, pattern: str, *, count: int = 1, timeout: float = PATIENCE) -> re.Match[str]:
        """Wait until ``count`` lines match; return the last match."""
        end = time.monotonic() + timeout
        with self._grown:
            while len(found := [m for t in self.lines if (m := re.search(pattern, t))]) < count:
                if not self._grown.wait(max(0.0, end - time.monotonic())):
                    shown = "\n".join(self.lines)
                    raise AssertionError(f"{count} x {pattern!r} did not come; there is:\n{shown}")
        return found[count - 1]

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def exit(self, timeout: float = PATIENCE) -> int:
        """Wait for its end; return its exit code."""
        code = self._popen.wait(timeout)
        self._reader.join(timeout)
        return code

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def close(self) -> None:
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        self._reader.join(PATIENCE)
        self._popen.stdout.close()


def naq(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run another naq command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "naq", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def rows(directory: Path, *arguments: str) -> dict[str, dict]:
    """What `naq ps` says, by name."""
    shown = naq(directory, "ps", "--json", *arguments)
    return {row["name"]: row for row in json.loads(shown.stdout)}
