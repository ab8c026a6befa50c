"""One child process and its group: started, waited for, stopped, and nothing of it left behind.

The rules, and why:

* The child is started by :class:`subprocess.Popen` in the event loop's own thread. It blocks for
  one vfork and exec (half a millisecond); a worker thread would cost more, and a parent-death
  signal would be tied to it.
* It gets a session of its own. Ctrl-C then goes to the supervisor alone, the child has no terminal
  that could stop it, and its group has its number.
* Waiting for the exit does not reap. A zombie leader keeps the number of the group, so a signal to
  the group cannot hit a stranger. Once the leader is reaped its surviving members keep the number,
  and the check for them follows the reaping at once: numbers are handed out in a circle, so between
  two adjacent system calls this one cannot come round again.
* Stopping is TERM and CONT to the group (a stopped process would not see TERM), the grace, KILL.
  Members that outlive their leader get the rest of the same grace. After KILL the wait is bounded:
  a process in an uninterruptible system call must be reported, not waited for.

Probes, hooks and commands before a stop are short: :func:`run_helper` runs one in a session of its
own until its deadline, and then kills the whole group.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from naq.exceptions import SupervisorError
from naq.supervisor.model.causes import Ending
from naq.supervisor.process.limits import Identity
from naq.supervisor.process.system import ExitWatch, group_members, wait_gone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Command", "Done", "Process", "SpawnError", "run_helper", "spawn"]

# How long a process may take to disappear after KILL, seconds.
KILL_WAIT = 5.0
_MAX_OUTPUT = 4096  # characters of a helper's output that are kept


class SpawnError(SupervisorError):
    """The operating system would not start the program; the text says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to start.

    Attributes:
        env: the whole environment, nothing is added.
        pass_fds: descriptors the child keeps, under their numbers.
        kill_group: stopping means the whole group, and lasts until it is empty.
        identity: who it runs as.
        umask: None leaves it as it is.
        stdin: a file for standard input; None: nothing can be read.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    pass_fds: tuple[int, ...] = ()
    kill_group: bool = True
    identity: Identity = field(default_factory=Identity)
    umask: int | None = None
    stdin: Path | None = None


def spawn(command: Command) -> Process:
    """Start ``command``; what it prints goes to a pipe, ``Process.output`` is the other end.

    Raises:
        SpawnError: no such program or directory, no permission, no file descriptors left, ...
    """
    reader = writer = -1
    stdin = subprocess.DEVNULL
    try:
        if command.stdin is not None:
            stdin = _open(command.stdin)
        reader, writer = os.pipe()
        popen = subprocess.Popen(
            command.argv,
            stdin=stdin,
            stdout=writer,
            stderr=writer,
            cwd=command.cwd,
            env=dict(command.env),
            pass_fds=command.pass_fds,
            start_new_session=True,
            user=command.identity.uid,
            group=command.identity.gid,
            extra_groups=command.identity.groups,
            umask=-1 if command.umask is None else command.umask,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as exc:
        if reader >= 0:
            os.close(reader)
        raise SpawnError(_why(exc, command)) from exc
    finally:
        for fd in (writer, stdin):
            if fd >= 0:
                os.close(fd)
    try:
        return Process(popen, ExitWatch(popen.pid), output=reader, kill_group=command.kill_group)
    except OSError as exc:
        # Running but not watchable (no descriptor left): it must not stay unattended.
        popen.kill()
        popen.wait()
        os.close(reader)
        raise SpawnError(f"cannot watch the new process: {exc.strerror}") from exc


def _open(path: Path) -> int:
    """Open a file for reading; a fifo that nobody writes to must not hold us up."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(fd, True)
    return fd


def _why(exc: Exception, command: Command) -> str:
    """Say what was missing. Popen reports a missing directory under the directory's name."""
    program = command.argv[0]
    if not isinstance(exc, OSError):
        return f"cannot start {program!r}: {exc}"
    if exc.filename is not None and os.fspath(exc.filename) == os.fspath(command.cwd):
        return f"cannot start {program!r}: no directory {os.fspath(command.cwd)!r} to run it in"
    if command.stdin is not None and exc.filename == os.fspath(command.stdin):
        return f"cannot start {program!r}: stdin: {command.stdin}: {exc.strerror}"
    if exc.errno == errno.ENOENT:
        place = "no such file" if "/" in program else "not found on PATH"
        return f"cannot start {program!r}: {place}"
    if exc.errno == errno.ENOEXEC:
        return f"cannot start {program!r}: not a program (does the script begin with #! ?)"
    return f"cannot start {program!r}: {exc.strerror or exc}"


class Process:
    """A child that was started. It must be seen to its end by :meth:`finish`.

    Attributes:
        pid: its number, and its group's.
        output: read end of the pipe that its stdout and stderr go to; the reader closes it.
        returncode: its status once reaped; negative for a signal.
    """

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        watch: ExitWatch,
        *,
        output: int,
        kill_group: bool,
    ) -> None:
        self._popen = popen
        self._watch = watch
        self._kill_group = kill_group
        self._grace = trio.CancelScope()
        self._waiting = trio.Lock()
        self._asked = False
        self._over = False
        self.pid = popen.pid
        self.output = output
        self.returncode: int | None = None

    async def wait(self) -> int:
        """Wait until the process itself has exited, reap it, and return its status."""
        async with self._waiting:  # a descriptor has one reader
            if self.returncode is None:
                await self._watch.wait()
                self.returncode = self._popen.wait()  # does not block: it is a zombie
                self._watch.close()
        return self.returncode

    async def finish(self, signal_number: int, grace: float) -> Ending:
        """Stop what is still there of the process and its group, and wait until it is gone.

        Nothing is signalled if nothing is left. :meth:`hurry` cuts the grace short.

        Args:
            signal_number: how to ask.
            grace: seconds until KILL.
        """
        ending = await self._end(signal_number, grace)
        # From here on the number may go to somebody else; a late signal must not.
        self._over = ending is not Ending.STUCK
        return ending

    def hurry(self) -> None:
        """End the grace now: what is left is killed."""
        self._grace.cancel()

    def extend(self, until: float) -> None:
        """Move the end of a grace that has begun to ``until`` (monotonic), if that is later."""
        if self._asked and not self._grace.cancel_called:
            self._grace.deadline = max(self._grace.deadline, until)

    def hasten(self, until: float) -> None:
        """Move the end of the grace, begun or to come, to ``until``, if it is earlier."""
        self._grace.deadline = min(self._grace.deadline, until)

    def signal(self, number: int) -> None:
        """Send a signal to the group, or to the process alone if `kill_group` is off."""
        if self._over:
            return
        # PermissionError: a member that changed its user; it is reported if it stays.
        with suppress(ProcessLookupError, PermissionError):
            if self._kill_group:
                os.killpg(self.pid, number)
            elif self.returncode is None:
                os.kill(self.pid, number)

    def destroy(self) -> None:
        """Kill without waiting: the supervisor itself is about to end."""
        self.signal(signal.SIGKILL)

    async def _end(self, signal_number: int, grace: float) -> Ending:
        if self._already_gone():
            return Ending.QUIET
        with trio.CancelScope(shield=True):  # bounded: the grace, then KILL_WAIT
            self._grace.deadline = min(self._grace.deadline, trio.current_time() + grace)
            self._asked = True
            with self._grace:
                self.signal(signal_number)
                self.signal(signal.SIGCONT)
                await self._gone()
                return Ending.QUIET
            self.signal(signal.SIGKILL)
            with trio.move_on_after(KILL_WAIT):
                await self._gone()
                return Ending.KILLED
            self._watch.close()
        return Ending.STUCK

    def _already_gone(self) -> bool:
        if self.returncode is None:
            return False
        return not self._group_answers() or not group_members(self.pid)

    async def _gone(self) -> None:
        """Wait for the process, then for the members of its group that outlive it."""
        await self.wait()
        while self._group_answers() and (members := group_members(self.pid)):
            await wait_gone(members)

    def _group_answers(self) -> bool:
        """Whether the group has members, dead or alive. The leader must be reaped."""
        if not self._kill_group:
            return False
        with suppress(ChildProcessError):
            # Orphaned members are our children where we are the subreaper. Never waitpid(-1): it
            # would take the status of other children away from their owners.
            while os.waitpid(-self.pid, os.WNOHANG) != (0, 0):
                pass
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


@dataclass(frozen=True, slots=True)
class Done:
    """How a helper ended.

    Attributes:
        code: exit code, negative for a signal; None if it took too long.
        output: what it printed, stdout and stderr; the end of it.
    """

    code: int | None
    output: str = ""

    @property
    def problem(self) -> str:
        """What went wrong, in words; empty if nothing did."""
        if self.code is None:
            return "took too long and was killed"
        if self.code == 0:
            return ""
        return f"killed by signal {-self.code}" if self.code < 0 else f"exit code {self.code}"


async def run_helper(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    timeout: float,
    stdin: bytes = b"",
    capture: bool = False,
) -> Done:
    """Run a command to its end.

    Args:
        argv: program and arguments.
        env: its whole environment.
        cwd: where it runs.
        timeout: seconds.
        stdin: what it can read.
        capture: keep what it prints.

    Raises:
        OSError: it cannot be started.
    """
    with trio.move_on_after(timeout):
        done = await trio.run_process(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stderr=subprocess.STDOUT,
            **({"capture_stdout": True} if capture else {"stdout": subprocess.DEVNULL}),
            check=False,
            start_new_session=True,
            deliver_cancel=_kill_group,
        )
        output = done.stdout or b""
        return Done(done.returncode, output[-_MAX_OUTPUT:].decode("utf-8", "replace"))
    return Done(None)


async def _kill_group(process: trio.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
