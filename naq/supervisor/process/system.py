"""What the operating system tells about processes, and how to wait for one without reaping it.

Linux has pidfds and /proc; elsewhere psutil reads the process table and kqueue waits. Other modules
need not know the difference.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass

import trio

__all__ = [
    "ExitWatch",
    "Usage",
    "become_subreaper",
    "group_members",
    "reap_orphans",
    "reset_signals",
    "session_memory",
    "usage",
    "wait_gone",
]

_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_HAS_PROC = os.path.exists("/proc/self/stat")  # noqa: PTH110 - one stat at import, no pathlib


def become_subreaper() -> None:
    """Make orphaned descendants children of this process instead of PID 1's.

    In a container whose PID 1 does not reap, a group would otherwise never become empty: a zombie
    member still answers a signal. Does nothing where the system has no such thing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reset_signals() -> None:
    """Restore the default action of signals that our parent has ignored or blocked.

    With SIGCHLD ignored the kernel throws exit codes away and every child seems to end with 0;
    ignored signals are inherited, so children could not be stopped with the usual ones either.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGPIPE):
        if signal.getsignal(number) == signal.SIG_IGN and number != signal.SIGPIPE:
            signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True, slots=True)
class _Stat:
    """A line of /proc/PID/stat, as far as anybody here asks."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    cpu_ticks: int
    pages: int


def _read_stat(pid: int | str) -> _Stat | None:
    """Return what /proc says of ``pid``, None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - a hot path
            # The name is in parentheses and may hold anything; the fields begin after the last one.
            fields = file.read().rpartition(b")")[2].split()
        return _Stat(
            pid=int(pid),
            state=fields[0].decode(),
            parent=int(fields[1]),
            group=int(fields[2]),
            session=int(fields[3]),
            cpu_ticks=int(fields[11]) + int(fields[12]),
            pages=int(fields[21]),
        )
    except (OSError, IndexError, ValueError):
        return None


def group_members(group: int) -> list[int]:
    """Return the live processes of a process group whose leader has been reaped.

    Zombies do not count. Nothing is returned when a process has the number of the group as its own:
    then the number went to a stranger, and the group is gone.
    """
    if not _HAS_PROC:
        return _group_members_psutil(group)
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit() and (stat := _read_stat(entry)) and stat.group == group:
            if stat.pid == group:
                return []
            if stat.state not in "ZX":
                found.append(stat.pid)
    return found


def _group_members_psutil(group: int) -> list[int]:
    import psutil  # noqa: PLC0415 - 25 ms, and only where a broker file exists

    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError, psutil.Error):
            if os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                if pid == group:
                    return []
                found.append(pid)
    return found


def reap_orphans(owned: set[int]) -> None:
    """Reap zombies that became our children because their parents died; see become_subreaper().

    Only those in a session that is not ours: what code in this process started without a session
    of its own is for that code to collect.

    Args:
        owned: children that somebody here waits for.
    """
    if not _HAS_PROC:
        return
    with suppress(ChildProcessError):
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return  # no zombies at all: do not read the process table
    ours = os.getsid(0)
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if not entry.isdigit() or (stat := _read_stat(entry)) is None:
            continue
        orphan = stat.state == "Z" and stat.parent == os.getpid() and stat.session != ours
        if orphan and stat.pid not in owned:
            with suppress(ChildProcessError):
                os.waitpid(stat.pid, os.WNOHANG)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses: resident bytes, and processor seconds so far."""

    rss_bytes: int
    cpu_s: float


def usage(pid: int) -> Usage | None:
    """Return the resources of ``pid`` (not of its children), None if it is gone."""
    if _HAS_PROC:
        stat = _read_stat(pid)
        return stat if stat is None else Usage(stat.pages * _PAGE, stat.cpu_ticks / _TICKS)
    import psutil  # noqa: PLC0415 - 25 ms, and only where a broker file exists

    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        return Usage(process.memory_info().rss, times.user + times.system)
    except psutil.Error:
        return None


def session_memory(leaders: set[int]) -> dict[int, int]:
    """Return the resident bytes of all processes in the sessions of ``leaders``, by leader."""
    sizes = dict.fromkeys(leaders, 0)
    if not _HAS_PROC:
        for pid in leaders:
            sizes[pid] = _tree_memory_psutil(pid)
        return sizes
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit() and (stat := _read_stat(entry)) and stat.session in sizes:
            sizes[stat.session] += stat.pages * _PAGE
    return sizes


def _tree_memory_psutil(pid: int) -> int:
    import psutil  # noqa: PLC0415 - 25 ms, and only where a broker file exists

    total = 0
    with suppress(psutil.Error):
        leader = psutil.Process(pid)
        for process in (leader, *leader.children(recursive=True)):
            with suppress(psutil.Error):
                total += process.memory_info().rss
    return total


class ExitWatch:
    """Waits for the exit of one process without reaping it.

    The zombie it leaves keeps its number, so that a signal to the number or its group cannot hit a
    stranger, until the owner reaps it.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._pidfd: int | None = None
        if sys.platform == "linux":
            try:
                self._pidfd = os.pidfd_open(pid)
            except OSError as exc:
                if isinstance(exc, ProcessLookupError) or exc.errno in _OUT_OF_FDS:
                    raise
                # Linux before 5.3, or a sandbox without the call: wait in a thread.

    def close(self) -> None:
        """Give the file descriptor back. Nobody may be waiting any more."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    async def wait(self) -> None:
        """Wait until the process has exited. Only for children where there is no pidfd."""
        if self._pidfd is not None:
            await trio.lowlevel.wait_readable(self._pidfd)
        elif sys.platform == "darwin":
            await _wait_kqueue(self._pid)
        else:
            await _wait_thread(self._pid)


_OUT_OF_FDS = (23, 24, 12)  # ENFILE, EMFILE, ENOMEM


async def wait_gone(pids: list[int]) -> None:
    """Wait until none of ``pids`` runs any more; they need not be children."""
    for pid in pids:
        try:
            watch = ExitWatch(pid)
        except ProcessLookupError:
            continue
        try:
            await watch.wait()
        finally:
            watch.close()


async def _wait_thread(pid: int) -> None:
    """Wait in a thread of its own: waitid() with WNOWAIT leaves the zombie where it is."""

    def wait() -> None:
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            import psutil  # noqa: PLC0415 - 25 ms, and only where a broker file exists

            with suppress(psutil.Error):
                psutil.Process(pid).wait()

    # One token per call, not the shared limiter: the 41st child must not wait for the first.
    # Abandoned on cancellation; the thread ends with the process at the latest.
    await trio.to_thread.run_sync(wait, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))


if sys.platform == "darwin":
    import select

    async def _wait_kqueue(pid: int) -> None:
        """Wait for EVFILT_PROC/NOTE_EXIT, as Trio does for its own processes."""
        kqueue = trio.lowlevel.current_kqueue()

        def change(flags: int) -> None:
            event = select.kevent(
                pid, filter=select.KQ_FILTER_PROC, flags=flags, fflags=select.KQ_NOTE_EXIT
            )
            kqueue.control([event], 0)

        def abort(_: object) -> trio.lowlevel.Abort:
            change(select.KQ_EV_DELETE)
            return trio.lowlevel.Abort.SUCCEEDED

        try:
            change(select.KQ_EV_ADD | select.KQ_EV_ONESHOT)
        except ProcessLookupError:
            return  # it is exiting right now
        await trio.lowlevel.wait_kevent(pid, select.KQ_FILTER_PROC, abort)
