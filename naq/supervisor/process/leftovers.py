"""In case the supervisor dies: what it writes down, what acts on it, and cleaning up later.

Three means, each for the case that the one before is not enough:

* the **lifeline**, a pipe whose write end only the supervisor has. Nothing is ever written to it;
  its end of file means that the supervisor is gone. naq's own programs watch it and stop;
* the **guardian** (``guardian.py``), which watches it too and stops everything else;
* the **state file**, from which the next supervisor of the project cleans up what is left if the
  guardian was killed as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

from naq.supervisor.kinds.environment import LIFELINE_FD
from naq.supervisor.process import guardian
from naq.supervisor.process.system import ExitWatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Lifeline", "StateFile", "clean_up_after_previous", "stop_strays"]

# Between two guardians, if one after the other is killed, seconds.
_GUARDIAN_PAUSE = 1.0
# How much longer than its longest grace a guardian of a previous run may take, seconds.
_GUARDIAN_EXTRA = 15.0


class Lifeline:
    """The pipe that ends with the supervisor, and the guardian at its other end."""

    def __init__(self, state: StateFile, say: Callable[[str], None]) -> None:
        self._state = state
        self._say = say
        self.fd, self._writer = os.pipe()
        self._popen: subprocess.Popen[bytes] | None = None

    def start_guardian(self) -> None:
        """Start the guardian.

        Raises:
            OSError: it cannot be started.
        """
        command = [sys.executable, "-I", "-S", guardian.__file__]
        self._popen = subprocess.Popen(
            [*command, str(self.fd), str(self._state.path), self._state.run_id],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(self.fd,),
            start_new_session=True,
            cwd="/",
        )
        self._state.set_guardian(self._popen.pid)

    async def keep_guardian(self) -> None:
        """Start another guardian whenever one ends."""
        while True:
            await self._guardian_end()
            await trio.sleep(_GUARDIAN_PAUSE)
            try:
                self.start_guardian()
            except OSError as exc:
                self._say(f"cannot start a guardian: {exc.strerror}")

    async def _guardian_end(self) -> None:
        popen = self._popen
        if popen is None:
            return
        watch = ExitWatch(popen.pid)
        try:
            await watch.wait()
        finally:
            watch.close()
        self._popen = None
        popen.wait()
        self._say(f"the guardian (pid {popen.pid}) was killed; starting another one")

    @property
    def env(self) -> dict[str, str]:
        """The variable that tells programs which descriptor to watch: its number and inode.

        A program further down may inherit the variable without the descriptor; the inode tells it
        that the number means something else there.
        """
        return {LIFELINE_FD: f"{self.fd}:{os.fstat(self.fd).st_ino}"}

    def close(self) -> None:
        """End the guardian: everything is stopped, there is nothing left for it to do."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
        self.abandon()

    def abandon(self) -> None:
        """Close the pipe, so that the guardian stops what is left."""
        os.close(self._writer)
        os.close(self.fd)


@dataclass(slots=True)
class StateFile:
    """What runs, on disk. Written by a task of its own, so that ten spawns cost one write."""

    path: Path
    run_id: str
    _guardian: dict[str, object] = field(default_factory=dict)
    _replicas: dict[tuple[str, int, int], dict[str, object]] = field(default_factory=dict)
    _changed: trio.Event = field(default_factory=trio.Event)
    _failed: bool = False

    def set_guardian(self, pid: int) -> None:
        """Note the guardian's process."""
        self._guardian = {"pid": pid, "start": guardian.start_time(pid)}
        self._changed.set()

    def add(
        self, service: str, replica: int, pid: int, *, signal: int, timeout: float, group: bool
    ) -> None:
        """Note that a replica runs as ``pid``, and how to stop it.

        Args:
            service: its service.
            replica: which one of that.
            pid: of its process.
            signal: how to ask; 0 if it sees by itself that the supervisor is gone.
            timeout: seconds until KILL.
            group: whether the whole group is to be stopped.
        """
        self._replicas[service, replica, pid] = {
            "service": service,
            "replica": replica,
            "pid": pid,
            "start": guardian.start_time(pid),
            "signal": signal,
            "timeout": timeout,
            "group": group,
        }
        self._changed.set()

    def remove(self, service: str, replica: int, pid: int) -> None:
        """Note that nothing of a replica's run as ``pid`` is left."""
        if self._replicas.pop((service, replica, pid), None) is not None:
            self._changed.set()

    async def keep_written(self, say: Callable[[str], None]) -> None:
        """Write the file whenever something has changed; a failure is reported, once."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            self.save(say)

    def save(self, say: Callable[[str], None]) -> None:
        """Write the file; a failure is reported, once."""
        try:
            self.write()
            self._failed = False
        except OSError as exc:
            if not self._failed:
                say(f"cannot write {self.path}: {exc.strerror}")
            self._failed = True

    def write(self) -> None:
        """Write the file now; a reader sees the old one or the new one, never half of it."""
        state = {
            "run_id": self.run_id,
            "boot_id": guardian.boot_id(),
            "pid": os.getpid(),
            "guardian": self._guardian,
            "replicas": list(self._replicas.values()),
        }
        fresh = f"{self.path}.new"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w") as file:  # noqa: PTH123 - made with its mode
            json.dump(state, file)
        os.replace(fresh, self.path)  # noqa: PTH105

    def unlink(self) -> None:
        """Remove the file: nothing is left to clean up."""
        with suppress(FileNotFoundError):
            self.path.unlink()


async def clean_up_after_previous(path: Path, say: Callable[[str], None]) -> None:
    """Wait until nothing of a previous run is left; stop it unless its guardian does.

    Args:
        path: the state file.
        say: prints what is being waited for.
    """
    state = guardian.read_state(str(path))
    if state is None:
        return
    run_id, replicas = state["run_id"], state["replicas"]
    if found := guardian.find(run_id, replicas):
        say(f"the previous run was killed; stopping what it left ({len(found)} processes)")
    keeper = state.get("guardian") or {}
    # abandon_on_cancel: these end by themselves, at the latest after the grace of the old run.
    if keeper and guardian.is_running(keeper["pid"], keeper["start"]):
        longest = max((process.timeout for process in found), default=0.0)
        wait = partial(guardian.wait_ended, [keeper["pid"]], longest + _GUARDIAN_EXTRA)
        await trio.to_thread.run_sync(wait, abandon_on_cancel=True)
    stop = partial(guardian.stop, lambda: guardian.find(run_id, replicas))
    await trio.to_thread.run_sync(stop, abandon_on_cancel=True)
    StateFile(path, run_id).unlink()


async def stop_strays(run_id: str, say: Callable[[str], None], *, hurry: bool) -> None:
    """Stop processes of this run that left their group, when every group is already gone.

    Args:
        run_id: the run.
        say: prints what is stopped.
        hurry: kill them at once.
    """
    grace = 0.0 if hurry else guardian.STRAY_GRACE

    def look() -> list[guardian.Found]:
        strays = guardian.find(run_id, ())
        return [guardian.Found(stray.pid, timeout=grace) for stray in strays]

    if found := look():
        pids = ", ".join(str(process.pid) for process in found)
        say(f"stopping what services left behind outside their group (pid {pids})")
        stop = partial(guardian.stop, look)
        await trio.to_thread.run_sync(stop, abandon_on_cancel=True)
