"""Who starts the aftermath of a worker that no supervisor watches.

A shell, which costs a third of a MiB, waits for a line on a pipe that only the worker can write to.
A line means that the worker has ended in order; the end of the pipe without one, that it is dead,
and then the shell becomes the aftermath. It has a session of its own and ignores signals, so that
what is sent to the worker's group does not reach it.

The shell is no parent and is not told how the worker ended. It looks: a process that has died can
be seen, with its status, until its parent takes notice.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from naq.base.fork import undone_in_children
from naq.supervisor.notify import LEDGER_FD, ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ledger_or_guardian"]

# The last of the fields of /proc/PID/stat is the status as wait(2) returns it.
_SCRIPT = """trap '' HUP INT QUIT TERM USR1 USR2
read line && exit 0
read stat 2>/dev/null < "/proc/$1/stat" || stat=
exec "$2" -P -m naq.worker.life.aftermath --seen "${stat##* }" < /dev/null
"""
_LEAVE = 1.0
"""Seconds that the shell may take to end."""


@contextmanager
def ledger_or_guardian(nats_url: str | None = None) -> Iterator[int | None]:
    """Yield the descriptor of a file for what a worker holds, which somebody will look at.

    It is inherited from a supervisor, or else made here, and a guardian with it. None where there
    is no shell.

    Args:
        nats_url: where the server is, if the environment does not say so.
    """
    fd = ledger()
    if fd is not None:
        yield fd
        return
    fd = _unnamed_file()
    try:
        with _guardian(fd, nats_url) as kept:
            yield fd if kept else None
    finally:
        os.close(fd)


@contextmanager
def _guardian(fd: int, nats_url: str | None) -> Iterator[bool]:
    env = {**os.environ, LEDGER_FD: f"{fd}:{os.fstat(fd).st_ino}"}
    if nats_url:
        env["NAQ_NATS_URL"] = nats_url
    reader, writer = os.pipe()
    try:
        shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "naq guardian", str(os.getpid()), sys.executable],
            stdin=reader,
            env=env,
            pass_fds=(fd,),
            start_new_session=True,
        )
    except OSError:
        os.close(writer)
        yield False
        return
    finally:
        os.close(reader)
    with undone_in_children(lambda: os.close(writer)):
        try:
            yield True
        finally:
            # A file that is not empty has what could not be handed back.
            if os.fstat(fd).st_size == 0:
                with suppress(BrokenPipeError):
                    os.write(writer, b"end\n")
            os.close(writer)
    with suppress(subprocess.TimeoutExpired):
        shell.wait(_LEAVE)


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("naq ledger")
    from tempfile import TemporaryFile  # noqa: PLC0415 - 5 ms, and not for Linux

    with TemporaryFile() as file:
        return os.dup(file.fileno())
