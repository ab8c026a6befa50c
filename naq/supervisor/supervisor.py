"""A project as a whole: starts its services, keeps them, stops them in order.

Nested by who must outlive whom: the lock, the lifeline with its guardian, the log pumps, the
control socket, the services. All of it is shielded from the caller's cancellation, which is taken
as a request to stop; stopping is bounded by ``shutdown_timeout``.
"""

from __future__ import annotations

import secrets
import traceback
from functools import partial
from typing import TYPE_CHECKING

import trio

from naq.exceptions import NaqException, SupervisorError
from naq.supervisor.control.commands import commands
from naq.supervisor.control.metrics import serve_metrics
from naq.supervisor.control.server import ControlServer
from naq.supervisor.control.streams import streams
from naq.supervisor.kinds.kind import Project
from naq.supervisor.model.board import Board
from naq.supervisor.model.errors import keep, leaves, summary
from naq.supervisor.model.lifecycle import State
from naq.supervisor.model.rundir import RunDir
from naq.supervisor.model.spec import ExitPolicy
from naq.supervisor.output.files import LogFiles
from naq.supervisor.output.hub import LogHub
from naq.supervisor.process.leftovers import (
    Lifeline,
    StateFile,
    clean_up_after_previous,
    stop_strays,
)
from naq.supervisor.process.limits import MemoryWatch
from naq.supervisor.project.crew import Crew, stop_all
from naq.supervisor.project.events import Events
from naq.supervisor.project.hooks import Hooks
from naq.supervisor.project.preparation import EX_SOFTWARE, Preparation
from naq.supervisor.replica.host import Host

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from naq.supervisor.kinds.kind import Kinds
    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.model.board import Status
    from naq.supervisor.replica.replica import Replica

__all__ = ["EX_SOFTWARE", "Supervisor"]

_OVER = frozenset({State.COMPLETED, State.FAILED, State.SKIPPED})
# States from which a service will get ready or fail by itself.
_UNDECIDED = frozenset({State.WAITING, State.STARTING, State.BACKOFF, State.EXITED})


_ENDED = frozenset({State.BACKOFF, State.CRASHLOOP, State.COMPLETED, State.FAILED})


class Supervisor:
    """Runs a topology inside any Trio program: ``await nursery.start(supervisor.run)``.

    It handles no signals and prints nothing; ``naq up`` adds both. A program may attach its own
    sink to :attr:`hub`.

    Attributes:
        topology: what it runs.
        hub: all lines of output.
        board: the status of every replica.
        events: what has happened to them.
        crew: the services, once :meth:`run` has begun; None before.
        reread: reads the topology again, for ``naq reload``; None where there is no file.
        exit_on: a service whose end is the end of everything, with its exit code.
        serving: set when the control socket answers.
        all_ready: set when every service was ready.
        start_over: set when every service was ready or has failed.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        kinds: Kinds | None = None,
        on_stuck: Callable[[int], None] | None = None,
        reread: Callable[[], Topology] | None = None,
    ) -> None:
        """Prepare a supervisor; nothing is done yet.

        Args:
            topology: what to run.
            kinds: the types it may name; None: those it was read with.
            on_stuck: called with the exit code when everything has stopped but a task that does
                not let itself be cancelled, for which :meth:`run` would wait for ever.
            reread: how to read the topology again.
        """
        self.topology = topology
        self.reread = reread
        self.exit_on: str | None = None
        self.crew: Crew | None = None
        self.hub = LogHub(topology.logging)
        self.board = Board()
        self.events = Events()
        self._on_stuck = on_stuck
        self._run_dir = RunDir.of(topology.directory, topology.socket)
        self._project = Project(
            name=topology.name, directory=topology.directory, run_dir=self._run_dir.path
        )
        self.preparation = Preparation(kinds or topology.kinds, self._project)
        self.files = LogFiles(topology, self.warn)
        self._hooks = Hooks(topology, self._say)
        self._stop_wanted = trio.Event()
        self.serving = trio.Event()
        self.all_ready = trio.Event()
        self.start_over = trio.Event()
        self._hurried = False
        self._exit_code = 0
        self._stop_timeout: float | None = None

    # ------------------------------------------------------------ what others may ask

    def stop(self, *, timeout: float | None = None, exit_code: int = 0) -> None:
        """Ask for an orderly stop. The first one that asks decides the exit code.

        Args:
            timeout: seconds for all of it; None means ``shutdown_timeout``.
            exit_code: what :meth:`run` shall return.
        """
        if timeout is not None:
            self._stop_timeout = timeout
        if not self._stop_wanted.is_set():
            self._exit_code = exit_code
            self._stop_wanted.set()

    def hurry(self) -> None:
        """Stop, and kill what does not end at once. The order is kept."""
        self.stop()
        self._hurried = True
        for replica in self._replicas():
            replica.hurry()

    def destroy(self) -> None:
        """Kill everything this instant. For a process that is about to end itself."""
        for replica in self._replicas():
            replica.destroy()

    @property
    def stopping(self) -> bool:
        """Whether it has been asked to stop."""
        return self._stop_wanted.is_set()

    async def wait_stopping(self) -> None:
        """Wait until it is asked to stop."""
        await self._stop_wanted.wait()

    def pids(self) -> set[int]:
        """Return the processes that have an owner here, which alone may reap them."""
        return {status.pid for status in self.board if status.pid is not None}

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._say(text, "warning")

    def adopt(self, topology: Topology) -> None:
        """Take over what a new topology says about the project as a whole."""
        self.topology = topology
        self.hub.configure(topology.logging)
        self.files.configure(topology)
        self._hooks.configure(topology)

    # ------------------------------------------------------------ running

    async def run(  # noqa: ASYNC128 - started() is handed on
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Run until stopped, until all is done, or until a critical service has failed.

        ``task_status.started()`` is called when every service is ready. Cancelling is an orderly
        stop.

        Returns:
            0 after a stop on request, or when everything completed; 1 when all is done and
            something failed; the exit code of a critical service that failed.

        Raises:
            SupervisorError: another supervisor runs here (exit code 73), or the run directory
                cannot be used.
            NaqException: a kind cannot prepare its services.
        """
        self._run_dir.create()
        with self._run_dir.lock():
            services = self.topology.services.values()
            self.preparation.prepare(s for s in services if self.topology.is_active(s.name))
            await clean_up_after_previous(self._run_dir.state, self.warn)
            try:
                async with trio.open_nursery() as outer:
                    outer.start_soon(self._stop_when_cancelled)
                    outer.start_soon(self._tell_when_ready, task_status.started)
                    with trio.CancelScope(shield=True):  # bounded by the shutdown
                        await self._supervise()
                    outer.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                if all(isinstance(leaf, (NaqException, OSError)) for leaf in leaves(group)):
                    raise SupervisorError(summary(group), exit_code=EX_SOFTWARE) from group
                raise
        return self._exit_code

    async def _supervise(self) -> None:
        state = StateFile(self._run_dir.state, secrets.token_hex(8))
        lifeline = Lifeline(state, self.warn)
        memory = MemoryWatch()
        control = ControlServer(
            self._run_dir.socket, commands(self), streams(self), report=self.warn
        )
        try:
            async with (
                self.files.writing(self.hub),
                trio.open_nursery() as pumps,
                trio.open_nursery() as infra,
            ):
                lifeline.start_guardian()
                state.save(
                    self.warn
                )  # before anything runs: the next one must wait for that guardian
                await infra.start(control.serve)
                self.serving.set()
                for what, fn in (
                    ("the guardian's keeper", lifeline.keep_guardian),
                    ("the state file", partial(state.keep_written, self.warn)),
                    ("the memory watch", memory.run),
                    ("hooks", partial(self._hooks.run, state.run_id)),
                    ("metrics", partial(serve_metrics, self.topology, self.board, self.warn)),
                ):
                    infra.start_soon(self.keep, fn, what)
                host = self._host(state, lifeline, pumps=pumps, memory=memory)
                await self._run_services(host)
                await stop_strays(state.run_id, self.warn, hurry=self._hurried)
                await self._hooks.drain(hurry=self._hurried)
                infra.cancel_scope.cancel()
        except BaseException:
            lifeline.abandon()  # the guardian takes over
            raise
        lifeline.close()
        state.unlink()

    def _host(
        self, state: StateFile, lifeline: Lifeline, *, pumps: trio.Nursery, memory: MemoryWatch
    ) -> Host:
        """Return what replicas get."""

        def failed(status: Status, delay: float, whole: bool) -> None:
            if self.crew is not None:
                self.crew.failed(status, delay, whole)

        return Host(
            project=self._project,
            topology=self.topology,
            exports=self.preparation.exports_to,
            sockets=self._run_dir.sockets,
            hub=self.hub,
            board=self.board,
            state=state,
            lifeline=lifeline,
            pumps=pumps,
            memory=memory,
            changed=self._changed,
            failed=failed,
        )

    async def _run_services(self, host: Host) -> None:
        if self._stop_wanted.is_set():
            return  # asked to stop while the previous run was being cleaned up
        async with trio.open_nursery() as services:
            async with trio.open_nursery() as keepers:
                crew = self.crew = Crew(self, host, services, keepers, own=self._own)
                crew.begin()
                await self._stop_wanted.wait()
                crew.let_go()
                keepers.cancel_scope.cancel()
            await self._stop_all(crew)
            if self._on_stuck is not None and any(r.stuck for r in crew.roster):
                self._on_stuck(self._exit_code or EX_SOFTWARE)
            for replica in crew.roster:
                replica.close()

    async def _stop_all(self, crew: Crew) -> None:
        if any(status.running for status in self.board):
            self.hub.say("stopping")
        timeout = self._stop_timeout
        await stop_all(
            crew.roster,
            timeout=self.topology.shutdown_timeout if timeout is None else timeout,
            last=self.preparation.last(crew.roster.specs.values()),
            hurried=lambda: self._hurried,
        )

    async def _own(self, replica: Replica) -> None:
        """Run the owner of a replica; a bug in it must not take the others down unasked."""
        try:
            await replica.run()
        except Exception as exc:  # noqa: BLE001 - reported, and the project stops in order
            self.hub.say("".join(traceback.format_exception(exc)), level="error")
            replica.give_up(f"internal error: {summary(exc)}")
            self.stop(exit_code=EX_SOFTWARE)

    async def keep(self, fn: Callable[[], Awaitable[object]], what: str) -> None:
        """Run a task of our own: a bug in it is reported, and it is started again."""
        give_up = partial(self.stop, exit_code=EX_SOFTWARE)
        say = partial(self._say, level="error")
        await keep(fn, what, say=say, give_up=give_up)

    async def _stop_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.stop()

    # ------------------------------------------------------------ watching

    async def _tell_when_ready(self, tell: Callable[[], None]) -> None:
        began = trio.current_time()
        await self.all_ready.wait()
        self.hub.say(f"all services are up after {trio.current_time() - began:.1f}s")
        tell()

    def _changed(self, before: Status, after: Status) -> None:
        """Look at a replica's change: does it end the project, or complete its start?"""
        self.events.changed()
        if before.state is after.state and before.runs == after.runs:
            return
        if before.state is not after.state:
            self._hooks.offer(self.events.add(before, after, trio.current_time()))
        if after.service == self.exit_on and after.state in _ENDED:
            self.stop(exit_code=after.last_exit.cause.exit_code if after.last_exit else 1)
        if after.state is State.FAILED and after.fatal and not self._stop_wanted.is_set():
            self.stop_because_of(after)
        elif all(status.satisfied for status in self.board):
            if not self.all_ready.is_set():
                self._hooks.offer_project("on_all_ready")
            self.all_ready.set()
        if self._is_decided():
            self.start_over.set()
        if self.topology.exit_policy is ExitPolicy.WHEN_ALL_DONE and self._is_over():
            failed = any(s.active and s.state is not State.COMPLETED for s in self.board)
            self.stop(exit_code=int(failed))

    def stop_because_of(self, status: Status) -> None:
        """Stop with the exit code of a service that has ended or failed for good."""
        code = (status.last_exit.cause.exit_code if status.last_exit else 1) or 1
        self.hub.say(f"{status.name} is critical: stopping with exit code {code}", level="error")
        self.stop(exit_code=code)

    def _is_decided(self) -> bool:
        return not any(status.active and status.state in _UNDECIDED for status in self.board)

    def _is_over(self) -> bool:
        active = [status for status in self.board if status.active]
        return bool(active) and all(status.state in _OVER for status in active)

    def _replicas(self) -> Iterator[Replica]:
        return iter(()) if self.crew is None else iter(self.crew.roster)

    def _say(self, text: str, level: str = "info") -> None:
        self.hub.say(text, level=level)
