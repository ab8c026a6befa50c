"""The supervisor of one project: starts its services, keeps them running, stops them in order.

What must outlive what is a nesting: the lock, the lifeline with its guardian, the log pumps, the
control socket, the services. All of it is shielded from the caller's cancellation, which is taken
as a request to stop; stopping is bounded by ``shutdown_timeout``.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING

import trio

from naq.base.exits import Exit
from naq.exceptions import NaqException, SupervisorError
from naq.supervisor.control.commands import commands
from naq.supervisor.control.metrics import serve_metrics
from naq.supervisor.control.server import ControlServer
from naq.supervisor.control.streams import streams
from naq.supervisor.model.errors import leaves, summary
from naq.supervisor.model.lifecycle import ENDED, FINISHED, State
from naq.supervisor.model.spec import ExitPolicy
from naq.supervisor.process.leftovers import (
    Lifeline,
    StateFile,
    clean_up_after_previous,
    stop_strays,
)
from naq.supervisor.process.limits import MemoryWatch
from naq.supervisor.process.task import keep
from naq.supervisor.project.crew import Crew
from naq.supervisor.project.running import RunningProject
from naq.supervisor.replica.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from naq.supervisor.kinds.kind import Kinds
    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.model.board import Board, Status
    from naq.supervisor.output.hub import LogHub
    from naq.supervisor.project.events import Events
    from naq.supervisor.replica.replica import Replica

__all__ = ["Supervisor"]


class Supervisor:
    """Runs a topology inside any Trio program: ``await nursery.start(supervisor.run)``.

    It handles no signals and prints nothing; ``naq up`` adds both. A program may attach its own
    sink to :attr:`hub`.

    Attributes:
        project: the topology, the board, the history and the output.
        crew: the services, once :meth:`run` has begun; None before.
        serving: set once the control socket answers.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        kinds: Kinds | None = None,
        on_stuck: Callable[[int], None] | None = None,
        reread: Callable[[], Topology] | None = None,
        exit_on: str | None = None,
    ) -> None:
        """Prepare a supervisor; nothing is done yet.

        Args:
            topology: what to run.
            kinds: the types it may name; None: those it was read with.
            on_stuck: called with the exit code when everything has stopped except a task that
                ignores its cancellation, for which :meth:`run` would wait for ever.
            reread: reads the topology again, for ``naq reload``.
            exit_on: a service whose end, for whatever reason, ends the project with its exit code.
        """
        self.project = RunningProject(topology, kinds=kinds, reread=reread)
        self.crew: Crew | None = None
        self.serving = trio.Event()
        self._on_stuck = on_stuck
        self._exit_on = exit_on
        self._stop_wanted = trio.Event()
        self._stop_timeout: float | None = None
        self._exit_code = 0
        self._hurried = False

    @property
    def topology(self) -> Topology:
        """What it runs, as of the last reload."""
        return self.project.topology

    @property
    def board(self) -> Board:
        """The status of every replica."""
        return self.project.board

    @property
    def events(self) -> Events:
        """What has happened to the replicas."""
        return self.project.events

    @property
    def hub(self) -> LogHub:
        """Every line of output."""
        return self.project.hub

    # ------------------------------------------------------------ what others may ask

    def stop(self, *, timeout: float | None = None, exit_code: int = 0) -> None:
        """Ask for an orderly stop. The first request decides the exit code.

        Args:
            timeout: seconds for the whole stop; None means ``shutdown_timeout``.
            exit_code: what :meth:`run` is to return.
        """
        if timeout is not None:
            self._stop_timeout = timeout
        if not self._stop_wanted.is_set():
            self._exit_code = exit_code
            self._stop_wanted.set()

    def hurry(self) -> None:
        """Stop, and kill whatever does not end at once. The order is kept."""
        self.stop()
        self._hurried = True
        for replica in self._replicas():
            replica.hurry()

    def destroy(self) -> None:
        """Kill everything this instant, in a process that is about to end itself."""
        for replica in self._replicas():
            replica.destroy()

    @property
    def stopping(self) -> bool:
        """Whether it has been asked to stop."""
        return self._stop_wanted.is_set()

    async def wait_stopping(self) -> None:
        """Wait until it is asked to stop."""
        await self._stop_wanted.wait()

    # ------------------------------------------------------------ running

    async def run(  # noqa: ASYNC128 - started() is handed on
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> int:
        """Run until stopped, until all services have ended, or until a critical service has failed.

        ``task_status.started()`` is called when every service is ready. Cancelling it is an
        orderly stop.

        Returns:
            0 after a requested stop, or when everything completed; 1 when everything has ended and
            something failed; the exit code of a critical service that failed.

        Raises:
            SupervisorError: another supervisor is running here (exit code 73), or the run directory
                cannot be used.
            NaqException: a kind cannot prepare its services.
        """
        project = self.project
        project.run_dir.create()
        with project.run_dir.lock():
            services = self.topology.services.values()
            project.preparation.prepare(s for s in services if self.topology.is_active(s.name))
            await clean_up_after_previous(project.run_dir.state, project.warn)
            try:
                async with trio.open_nursery() as outer:
                    outer.start_soon(self._stop_when_cancelled)
                    outer.start_soon(self._tell_when_ready, task_status.started)
                    with trio.CancelScope(shield=True):  # bounded by the shutdown
                        await self._supervise()
                    outer.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                if all(isinstance(leaf, (NaqException, OSError)) for leaf in leaves(group)):
                    raise SupervisorError(summary(group), exit_code=Exit.INTERNAL) from group
                raise
        return self._exit_code

    async def _supervise(self) -> None:
        project = self.project
        state = StateFile(project.run_dir.state, secrets.token_hex(8))
        lifeline = Lifeline(state, project.warn)
        memory = MemoryWatch()
        control = ControlServer(
            project.run_dir.socket, commands(self), streams(self), report=project.warn
        )
        try:
            async with (
                project.files.writing(project.hub),
                trio.open_nursery() as pumps,
                trio.open_nursery() as infra,
            ):
                lifeline.start_guardian()
                # Before anything runs: the next supervisor must wait for that guardian.
                state.save(project.warn)
                await infra.start(control.serve)
                self.serving.set()
                for what, fn in (
                    ("the guardian's keeper", lifeline.keep_guardian),
                    ("the state file", partial(state.keep_written, project.warn)),
                    ("the memory watch", memory.run),
                    ("hooks", partial(project.hooks.run, state.run_id)),
                    ("metrics", partial(serve_metrics, self.topology, self.board, project.warn)),
                ):
                    infra.start_soon(
                        partial(keep, fn, what, say=self._report, give_up=self._give_up)
                    )
                host = self._host(state, lifeline, pumps=pumps, memory=memory)
                await self._run_services(host)
                await stop_strays(state.run_id, project.warn, hurry=self._hurried)
                await project.hooks.drain(hurry=self._hurried)
                infra.cancel_scope.cancel()
        except BaseException:
            lifeline.abandon()  # the guardian takes over
            raise
        lifeline.close()
        state.unlink()

    def _host(
        self, state: StateFile, lifeline: Lifeline, *, pumps: trio.Nursery, memory: MemoryWatch
    ) -> Host:
        project = self.project
        return Host(
            project=project.identity,
            topology=lambda: project.topology,
            exports=project.preparation.exports_to,
            sockets=project.run_dir.sockets,
            hub=project.hub,
            board=project.board,
            state=state,
            lifeline=lifeline,
            pumps=pumps,
            memory=memory,
            changed=self._changed,
            failed=self._failed,
        )

    async def _run_services(self, host: Host) -> None:
        if self.stopping:
            return  # asked to stop while the previous run was being cleaned up
        async with trio.open_nursery() as services:
            async with trio.open_nursery() as keepers:
                crew = self.crew = Crew(
                    self.project,
                    host,
                    services,
                    keepers,
                    give_up=self._give_up,
                    stop_because_of=self._stop_because_of,
                )
                crew.begin()
                await self._stop_wanted.wait()
                crew.let_go()
                keepers.cancel_scope.cancel()
            await self._stop_all(crew)
            if self._on_stuck is not None and any(r.stuck for r in crew.roster):
                self._on_stuck(self._exit_code or Exit.INTERNAL)
            for replica in crew.roster:
                replica.close()

    async def _stop_all(self, crew: Crew) -> None:
        if any(status.running for status in self.board):
            self.project.say("stopping")
        timeout = self._stop_timeout
        await crew.stop_all(
            timeout=self.topology.shutdown_timeout if timeout is None else timeout,
            hurried=lambda: self._hurried,
        )

    async def _stop_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.stop()

    async def _tell_when_ready(self, tell: Callable[[], None]) -> None:
        began = trio.current_time()
        await self.project.all_ready.wait()
        self.project.say(f"all services are up after {trio.current_time() - began:.1f}s")
        tell()

    # ------------------------------------------------------------ what replicas report

    def _changed(self, before: Status, after: Status) -> None:
        """Look at a replica's change: does it complete the start of the project, or end it?"""
        project = self.project
        project.events.changed()
        if before.state is after.state and before.runs == after.runs:
            return
        if before.state is not after.state:
            project.record(before, after)
        project.watch_start()
        if after.service == self._exit_on and after.state in ENDED:
            self.stop(exit_code=after.exit_code)
        if after.state is State.FAILED and after.fatal and not self.stopping:
            self._stop_because_of(after)
        if self.topology.exit_policy is ExitPolicy.WHEN_ALL_DONE:
            active = [status for status in self.board if status.active]
            if active and all(status.state in FINISHED for status in active):
                failed = any(status.state is not State.COMPLETED for status in active)
                self.stop(exit_code=int(failed))

    def _failed(self, status: Status, delay: float, whole: bool) -> None:
        assert self.crew is not None, "a replica that fails is in the crew"
        self.crew.failed(status, delay, whole)

    def _stop_because_of(self, status: Status) -> None:
        """Stop with the exit code of a service that has ended or failed for good."""
        code = status.exit_code or 1
        self._report(f"{status.name} is critical: stopping with exit code {code}")
        self.stop(exit_code=code)

    def _give_up(self) -> None:
        """Stop because of a bug in the supervisor itself."""
        self.stop(exit_code=Exit.INTERNAL)

    def _report(self, text: str) -> None:
        self.project.say(text, "error")

    def _replicas(self) -> Iterator[Replica]:
        return iter(()) if self.crew is None else iter(self.crew.roster)
