"""One run of a replica as a process: the process, its output, and what is to be done at its end.

There is its entry in the state file, and for a program that keeps a ledger the command that reads
it (:class:`_Ledger`).
"""

from __future__ import annotations

import os
import signal
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import trio

from naq.supervisor.kinds.environment import LEDGER_FD
from naq.supervisor.model.causes import Cause, Ending
from naq.supervisor.output.hub import Pump
from naq.supervisor.process.process import Command, Process, SpawnError, run_helper, spawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.supervisor.kinds.kind import PauseSignals, ReplicaContext
    from naq.supervisor.output.hub import Reword, Source
    from naq.supervisor.process.leftovers import StateFile

__all__ = ["ProcessRun", "Run"]

# What is left of the grace for the stop signal when stop_pre has used it up, seconds.
_AFTER_PRE = 2.0
# How long the command may take that reads the ledger of a process that has ended, seconds.
_AFTERMATH = 10.0


class Run(Protocol):
    """What the owner of a replica does with a run, whatever it runs as.

    Attributes:
        pid: of its process, None where it has none of its own.
    """

    pid: int | None

    async def wait(self) -> Cause:
        """Wait for its end and return how it ended."""

    async def finish(self, grace: float, *, signal: int | None = None) -> Ending:
        """End it if it still runs.

        Args:
            grace: seconds until it is killed.
            signal: how to ask a process; None: as its service says, after ``stop_pre``.
        """

    def extend(self, until: float) -> None:
        """Give it time until ``until``, monotonic seconds, if it is ending and asked for it."""

    def hasten(self, until: float) -> None:
        """Let a grace that has begun end at ``until``, monotonic seconds, at the latest."""

    def signal(self, number: int) -> bool:
        """Send a signal to its process; return whether it has one."""

    def pause(self, *, on: bool) -> None:
        """Tell it to take nothing new, or to resume."""

    def hurry(self) -> None:
        """End the grace now."""

    def destroy(self) -> None:
        """Kill it and do not wait."""

    async def close(self) -> str:
        """Release what it held, after :meth:`finish`; return what a person should know, or ''."""


class _Ledger:
    """The file in which a process writes what it has in hand, and the command that reads it then.

    It has no name, so it is never found again by somebody who does not have it.
    """

    def __init__(self, aftermath: Callable[[int], tuple[str, ...]]) -> None:
        """Open the file.

        Args:
            aftermath: returns the command, given the status of the process.

        Raises:
            OSError: there is no descriptor, or no room, for it.
        """
        self._aftermath = aftermath
        self._file = _unnamed_file()

    def keep(self, command: Command) -> Command:
        """Return what to start, so that it finds the file."""
        inode = os.fstat(self._file).st_ino
        return replace(
            command,
            env={**command.env, LEDGER_FD: f"{self._file}:{inode}"},
            pass_fds=(*command.pass_fds, self._file),
        )

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    async def settle(self, command: Command, status: int, *, source: Source) -> None:
        """Run the command, unless there is nothing to do; what it prints is the replica's.

        Args:
            command: what the process was started with, as :meth:`keep` returned it.
            status: of the process.
            source: where the command's output goes.
        """
        if os.fstat(self._file).st_size == 0:
            return
        argv = self._aftermath(status)
        try:
            process = spawn(replace(command, argv=argv, kill_group=True, stdin=None))
        except SpawnError as exc:
            source.say(str(exc))
            return
        pump = Pump(process.output, source)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump.run)
            try:
                with trio.move_on_after(_AFTERMATH):
                    await process.wait()
            finally:
                await process.finish(signal.SIGKILL, 0)  # noqa: ASYNC102 - shields itself
            await pump.drain()


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("naq ledger")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class ProcessRun:
    """A run as a process."""

    def __init__(
        self,
        command: Command,
        context: ReplicaContext,
        *,
        source: Source,
        pumps: trio.Nursery,
        state: StateFile,
        lifeline: bool,
        reword: Reword | None = None,
        pauses: PauseSignals | None = None,
        aftermath: Callable[[int], tuple[str, ...]] | None = None,
    ) -> None:
        """Start the process.

        Args:
            command: what to start.
            context: which replica it is, and how to stop it.
            source: where its output goes.
            pumps: the nursery for reading it, which outlives all services.
            state: the file that says what runs.
            lifeline: it stops by itself when the supervisor is gone.
            reword: replaces or drops each line it prints.
            pauses: how to tell it to pause.
            aftermath: returns the command that reads its ledger, given its status; None: it has
                none.

        Raises:
            SpawnError: it cannot be started.
            OSError: it cannot be given a ledger.
        """
        spec = self._spec = context.service
        self._source = source
        self._state = state
        self._pauses = pauses
        self._env = command.env
        self._cwd = command.cwd
        self._pre = tuple(context.fill(word) for word in spec.stop_pre)
        self._pre_scope = trio.CancelScope()
        self._ledger = None if aftermath is None else _Ledger(aftermath)
        self._settled = trio.Event()
        try:
            command = command if self._ledger is None else self._ledger.keep(command)
            self._process: Process = spawn(command)
        except SpawnError:
            if self._ledger is not None:
                self._ledger.close()
            raise
        self.pid: int | None = self._process.pid
        self._pump = Pump(self._process.output, source, reword)
        pumps.start_soon(self._pump.run, name=f"naq log pump {context.name}")
        if self._ledger is not None:
            pumps.start_soon(self._settle, self._ledger, command, name=f"naq end {context.name}")
        self._key = (spec.name, context.index, self._process.pid)
        state.add(
            *self._key,
            signal=0 if lifeline else spec.stop_signal,
            timeout=spec.stop_timeout,
            group=spec.kill_group,
        )

    async def wait(self) -> Cause:
        """Wait for the exit of the process; members of its group may still run."""
        return Cause.of_returncode(await self._process.wait())

    async def finish(self, grace: float, *, signal: int | None = None) -> Ending:
        """Stop what is left of the process and its group."""
        end = trio.current_time() + grace
        if signal is None and self._pre and self._process.returncode is None:
            await self._run_pre(grace)
            # Whatever it took, the process gets a moment for the signal itself.
            grace = max(end - trio.current_time(), min(grace, _AFTER_PRE))
        number = self._spec.stop_signal if signal is None else signal
        return await self._process.finish(number, grace)

    async def _settle(self, ledger: _Ledger, command: Command) -> None:
        """See to what the process had in hand, as soon as it has ended."""
        try:
            await ledger.settle(command, await self._process.wait(), source=self._source)
        finally:
            self._settled.set()
            ledger.close()

    async def _run_pre(self, grace: float) -> None:
        with trio.CancelScope(shield=True), self._pre_scope:  # bounded by the grace
            try:
                done = await run_helper(
                    self._pre, env=self._env, cwd=self._cwd, timeout=grace, capture=True
                )
                problem = done.problem and f"{done.problem} {done.output}"
            except OSError as exc:
                problem = f"cannot be started: {exc.strerror}"
            if problem:
                self._source.say(f"stop_pre: {' '.join(problem.split())}")

    def extend(self, until: float) -> None:
        """Give it more time to stop."""
        self._process.extend(until)

    def hasten(self, until: float) -> None:
        """Give it less time to stop."""
        self._pre_scope.deadline = min(self._pre_scope.deadline, until)
        self._process.hasten(until)

    def signal(self, number: int) -> bool:
        """Send a signal to the process alone, not to what it started."""
        if self._process.returncode is not None:
            return False
        os.kill(self._process.pid, number)
        return True

    def pause(self, *, on: bool) -> None:
        """Send the kind's signal."""
        if self._pauses is not None:
            self.signal(self._pauses.pause if on else self._pauses.resume)

    def hurry(self) -> None:
        """Kill what is left now."""
        self._pre_scope.cancel()
        self._process.hurry()

    def destroy(self) -> None:
        """Kill and do not wait."""
        self._process.destroy()

    async def close(self) -> str:
        """Take the last lines of output and forget the process."""
        self._state.remove(*self._key)
        if self._ledger is not None and self._process.returncode is not None:
            await self._settled.wait()
        if await self._pump.drain():
            return ""
        return "its output is still held open by a process that left its group; not read any more"
