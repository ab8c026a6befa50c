"""What the supervisor is doing, for the log: when its loop is stuck, and when asked (SIGUSR2).

Code in a task that blocks stops everything: no exit is noticed, no probe made, no client answered.
So a thread watches the loop. The loop says when it begins to work and when it waits again; the
thread sees when one step takes too long, and prints the stack of the main thread. While nothing
happens the thread sleeps without waking: an idle supervisor uses no processor time.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from naq.supervisor.supervisor import Supervisor

__all__ = ["dump", "watching_stalls"]

STALL = 1.0  # seconds of work without a wait


@contextmanager
def watching_stalls(report: Callable[[str], None], over: Callable[[str], None]) -> Iterator[None]:
    """Watch the loop that this is called in.

    Args:
        report: called with a stack as text while the loop is stuck, in another thread.
        over: called with a text when it works again, in the loop.
    """
    watch = _Watch(report, over, trio.lowlevel.current_trio_token())
    thread = threading.Thread(target=watch.run, name="naq stall watch", daemon=True)
    trio.lowlevel.add_instrument(watch)
    thread.start()
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(watch)
        watch.close()
        thread.join(STALL)


class _Watch(trio.abc.Instrument):
    def __init__(
        self,
        report: Callable[[str], None],
        over: Callable[[str], None],
        token: trio.lowlevel.TrioToken,
    ) -> None:
        self._report = report
        self._over = over
        self._token = token
        self._loop = threading.get_ident()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._asleep = False
        self._task = ""
        self._since = time.monotonic()
        self._busy = True

    # Called by the loop; each is a few attributes.

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Remember whose turn it is."""
        self._task = task.name

    def before_io_wait(self, timeout: float) -> None:
        """Remember that the loop waits."""
        self._busy = timeout <= 0

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - the instrument's signature
        """Remember that it works."""
        self._since = time.monotonic()
        self._busy = True
        if self._asleep:
            self._wake.set()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._wake.set()

    # The thread.

    def run(self) -> None:
        """Look every second while the loop has anything to do."""
        while not self._stop.is_set():
            if not self._busy:
                self._sleep()
            since, busy = self._since, self._busy
            if self._stop.wait(max(0.0, since + STALL - time.monotonic()) if busy else STALL):
                return
            if self._busy and self._since == since:
                self._report(self._describe(time.monotonic() - since))
                self._await_end(since)

    def _sleep(self) -> None:
        """Sleep until the loop works again, which it says before it looks whether to wake us."""
        self._wake.clear()
        self._asleep = True
        if not self._busy and not self._stop.is_set():
            self._wake.wait()
        self._asleep = False

    def _await_end(self, since: float) -> None:
        """Wait for the end of a stall, and say how long it was."""
        task = self._task
        while self._busy and self._since == since:
            if self._stop.wait(STALL / 10):
                return
        text = f"the event loop was blocked for {time.monotonic() - since:.1f} s by {task}"
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._over, text)

    def _describe(self, seconds: float) -> str:
        frame = sys._current_frames().get(self._loop)  # noqa: SLF001 - the way to see a stack
        stack = "".join(traceback.format_stack(frame)[-12:]) if frame is not None else ""
        return (
            f"{self._task} has blocked the event loop for {seconds:.1f} s; nothing is supervised "
            f"meanwhile. It is here:\n{stack}"
        )


def dump(supervisor: Supervisor) -> str:
    """Return the states and the tree of tasks, as text. Call it in the event loop."""
    now = trio.current_time()
    lines = ["states:"]
    for status in supervisor.board:
        since = "" if status.started_at is None else f" for {now - status.started_at:.1f}s"
        want = "" if status.wanted else " (want DOWN)"
        pid = "" if status.pid is None else f" pid {status.pid}"
        lines.append(f"  {status.name} {status.state}{want}{pid}{since} {status.detail}".rstrip())
    lines.append("tasks:")
    root = trio.lowlevel.current_root_task()
    if root is not None:
        _add(root, 1, lines)
    return "\n".join(lines)


def _add(task: trio.lowlevel.Task, depth: int, lines: list[str]) -> None:
    frames = [
        frame for frame, _ in task.iter_await_frames() if "/trio/" not in frame.f_code.co_filename
    ]
    where = ""
    if frames:
        last = frames[-1]
        file = last.f_code.co_filename.rpartition("/")[2]
        where = f" at {file}:{last.f_lineno} in {last.f_code.co_name}"
    lines.append(f"{'  ' * depth}{task.name}{where}")
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            _add(child, depth + 1, lines)
