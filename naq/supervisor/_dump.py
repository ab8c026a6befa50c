"""What is going on, for the log: every replica, and every task with where it waits (SIGUSR2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from naq.supervisor.supervisor import Supervisor

__all__ = ["dump"]


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
