"""What a process may do: as which user it runs, and how much it may use.

Limits are set from outside, microseconds after the start, since code between fork and exec is not
safe in a program with threads. There is no event for "uses too much memory" without a control group
of one's own, so sizes are sampled: all services with one look at the process table, and only while
some service has a limit.
"""

from __future__ import annotations

import grp
import os
import pwd
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from naq.exceptions import SupervisorError
from naq.supervisor.process.system import session_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from naq.supervisor.model.spec import Limits

__all__ = ["Identity", "MemoryWatch", "apply", "identity"]

MEMORY_PERIOD = 5.0
"""Seconds between two samples of memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom a program runs as; None leaves that as it is.

    Attributes:
        uid: user.
        gid: group.
        groups: all groups.
        env: variables that follow from the user.
    """

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def identity(user: str | int | None, group: str | int | None) -> Identity:
    """Return the numbers of a user and a group, with the user's other groups.

    Raises:
        SupervisorError: there is no such user or group.
    """
    try:
        gid = grp.getgrnam(group).gr_gid if isinstance(group, str) else group
        if user is None:
            return Identity(gid=gid, groups=None if gid is None else (gid,))
        entry = pwd.getpwnam(user) if isinstance(user, str) else _by_number(user)
    except KeyError as exc:
        raise SupervisorError(f"no such account: {exc.args[0]}") from exc
    if entry is None:  # a number needs no name
        own = int(user) if gid is None else gid
        return Identity(uid=int(user), gid=own, groups=(own,))
    gid = entry.pw_gid if gid is None else gid
    return Identity(
        uid=entry.pw_uid,
        gid=gid,
        groups=tuple(os.getgrouplist(entry.pw_name, gid)),
        env={"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name},
    )


def _by_number(user: int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(user)
    except KeyError:
        return None


def apply(pid: int, limits: Limits) -> list[str]:
    """Set the limits of a process that was just started; return what went wrong."""
    problems = []
    if limits.nofile is not None:
        problems += _nofile(pid, limits.nofile)
    if limits.nice is not None:
        try:
            os.setpriority(os.PRIO_PROCESS, pid, limits.nice)
        except OSError as exc:
            problems.append(f"cannot set nice = {limits.nice}: {exc.strerror}")
    return problems


def _nofile(pid: int, wanted: int) -> list[str]:
    if sys.platform != "linux":
        return ["nofile cannot be set here: only Linux sets limits of another process"]
    import resource  # noqa: PLC0415 - small, and only where it is asked for

    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        ceiling = wanted if hard == resource.RLIM_INFINITY else max(hard, wanted)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (wanted, ceiling))
    except ProcessLookupError:
        return []  # it has ended already, which is reported elsewhere
    except (OSError, ValueError) as exc:
        return [f"cannot set nofile = {wanted}: {exc}"]
    return []


class MemoryWatch:
    """Samples the memory of processes that have a limit."""

    def __init__(self) -> None:
        self._watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._added = trio.Event()

    @contextmanager
    def watching(self, pid: int, limit: int, tell: Callable[[int], None]) -> Iterator[None]:
        """Call ``tell`` with the size once it is above ``limit`` bytes.

        Args:
            pid: of a session's leader; the session's processes count together.
            limit: bytes.
            tell: must not block.
        """
        self._watched[pid] = (limit, tell)
        self._added.set()
        try:
            yield
        finally:
            self._watched.pop(pid, None)

    async def run(self) -> None:
        """Sample while there is anything to sample; sleep otherwise."""
        while True:
            if not self._watched:
                self._added = trio.Event()
                await self._added.wait()
            await trio.sleep(MEMORY_PERIOD)
            sizes = session_memory(set(self._watched))
            for pid, (limit, tell) in tuple(self._watched.items()):
                if sizes.get(pid, 0) > limit:
                    tell(sizes[pid])
