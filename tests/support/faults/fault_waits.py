"""Wait for something that sends no event, such as a line in a file, or a process that stops."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import anyio


async def until(check, timeout=30):
    with anyio.fail_after(timeout):
        while not check():  # noqa: ASYNC110 - a file tells nobody
            await anyio.sleep(0.02)


def freeze(process):
    """Send SIGSTOP; returns once no thread of the process runs any more, which takes a moment."""
    process.send_signal(signal.SIGSTOP)
    while any(_state(task) not in "TtZX" for task in Path(f"/proc/{process.pid}/task").iterdir()):
        time.sleep(0.001)


def _state(task):
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it has ended
        return "X"
