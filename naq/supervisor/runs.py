"""One run of a replica as a process: the process, its output, and what is written down about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from naq.supervisor.causes import Cause, Ending
from naq.supervisor.logs import Pump
from naq.supervisor.process import Command, Process, spawn

if TYPE_CHECKING:
    import trio

    from naq.supervisor.kinds import ReplicaContext
    from naq.supervisor.leftovers import StateFile
    from naq.supervisor.logs import Reword, Source

__all__ = ["ProcessRun", "Run"]


class Run(Protocol):
    """What the owner of a replica does with a run, whatever it runs as.

    Attributes:
        pid: of its process, None where it has none of its own.
    """

    pid: int | None

    async def wait(self) -> Cause:
        """Wait for its end and return how it ended."""

    async def finish(self, grace: float) -> Ending:
        """End it if it still runs, killing after ``grace`` seconds."""

    def hurry(self) -> None:
        """End the grace now."""

    def destroy(self) -> None:
        """Kill it and do not wait."""

    async def close(self) -> str:
        """Give back what it held, after :meth:`finish`; what a person should know about that."""


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
    ) -> None:
        """Start the process.

        Args:
            command: what to start.
            context: whose it is, and how to stop it.
            source: where its output goes.
            pumps: the nursery for reading it, which outlives all services.
            state: where to write down that it runs.
            lifeline: it stops by itself when the supervisor is gone.
            reword: what to make of each line it prints.

        Raises:
            SpawnError: it cannot be started.
        """
        spec = self._spec = context.service
        self._key = (spec.name, context.index)
        self._state = state
        self._process: Process = spawn(command)
        self.pid: int | None = self._process.pid
        self._pump = Pump(self._process.output, source, reword)
        pumps.start_soon(self._pump.run, name=f"naq log pump {context.name}")
        state.add(
            *self._key,
            self._process.pid,
            signal=0 if lifeline else spec.stop_signal,
            timeout=spec.stop_timeout,
            group=spec.kill_group,
        )

    async def wait(self) -> Cause:
        """Wait for the exit of the process; members of its group may still run."""
        return Cause.of_returncode(await self._process.wait())

    async def finish(self, grace: float) -> Ending:
        """Stop what is left of the process and its group."""
        return await self._process.finish(self._spec.stop_signal, grace)

    def hurry(self) -> None:
        """Kill what is left now."""
        self._process.hurry()

    def destroy(self) -> None:
        """Kill and do not wait."""
        self._process.destroy()

    async def close(self) -> str:
        """Take the last lines of output and forget the process."""
        self._state.remove(*self._key)
        if await self._pump.drain():
            return ""
        return "its output is still held open by a process that left its group; not read any more"
