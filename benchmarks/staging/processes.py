"""Child processes of the harness: started in sessions of their own, stopped by pid, all of them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["cpu_seconds", "kill", "running", "stop_on_signals", "tree"]


@contextlib.contextmanager
def running(
    command: list[str], *, env: dict[str, str], cwd: Path, log: Path, talks: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Run a command for the length of the block; its output goes to ``log``.

    Args:
        command: what to run.
        env: its whole environment.
        cwd: the directory it runs in.
        log: a file; appended to.
        talks: whether it is spoken with by standard input and output.
    """
    with log.open("a") as sink:
        process = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else sink,
            stderr=sink,
            text=True,
            start_new_session=True,  # Ctrl-C is for the harness, which stops everything in order
        )
    try:
        yield process
    finally:
        stop(process)


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants; some make sessions of their own."""
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def stop(process: subprocess.Popen[str]) -> None:
    """Kill a child and what it started: all they leave behind is in a directory that goes too."""
    family = tree(process.pid) if process.poll() is None else []
    kill(family)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def kill(family: Iterable[psutil.Process]) -> None:
    """Kill what of these is still there (psutil knows a reused pid from the process it was)."""
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has taken."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def stop_on_signals() -> None:
    """Let SIGTERM and SIGHUP unwind the harness like Ctrl-C does, so that nothing is left."""

    def unwind(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, unwind)
