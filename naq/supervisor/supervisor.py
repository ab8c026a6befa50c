"""A project as a whole: starts its services, keeps them, stops them in order.

Nested by who must outlive whom: the lock, the lifeline with its guardian, the log pumps, the
control socket, the services. All of it is shielded from the caller's cancellation, which is taken
as a request to stop; stopping is bounded by ``shutdown_timeout``.
"""

from __future__ import annotations

import secrets
import traceback
from typing import TYPE_CHECKING

import trio

from naq.exceptions import NaqException, SupervisorError
from naq.supervisor import graph
from naq.supervisor.board import Board
from naq.supervisor.causes import Cause, CauseKind
from naq.supervisor.commands import commands
from naq.supervisor.config import edges
from naq.supervisor.control import ControlServer
from naq.supervisor.host import Host
from naq.supervisor.kinds import Project
from naq.supervisor.leftovers import Lifeline, StateFile, clean_up_after_previous, stop_strays
from naq.supervisor.lifecycle import PARKED, State
from naq.supervisor.logs import LogHub
from naq.supervisor.rundir import RunDir
from naq.supervisor.service import Replica
from naq.supervisor.spec import ExitPolicy
from naq.supervisor.tasks import leaves, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from naq.supervisor.board import Status
    from naq.supervisor.kinds import Kind, Kinds
    from naq.supervisor.spec import Topology

__all__ = ["Supervisor"]

EX_SOFTWARE = 70

# Of shutdown_timeout, what is kept back for KILL and the last lines of output, seconds.
_RESERVE = 2.0
_OVER = frozenset({State.COMPLETED, State.FAILED, State.SKIPPED})


class Supervisor:
    """Runs a topology inside any Trio program: ``await nursery.start(supervisor.run)``.

    It handles no signals and prints nothing; ``naq up`` adds both. A program may attach its own
    sink to :attr:`hub`.

    Attributes:
        topology: what it runs.
        hub: all lines of output.
        board: the status of every replica.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        kinds: Kinds,
        on_stuck: Callable[[int], None] | None = None,
    ) -> None:
        """Prepare a supervisor; nothing is done yet.

        Args:
            topology: what to run.
            kinds: the types it may name.
            on_stuck: called with the exit code when everything has stopped but a task that does
                not let itself be cancelled, for which :meth:`run` would wait for ever.
        """
        self.topology = topology
        self._on_stuck = on_stuck
        self.hub = LogHub(topology.logging)
        self.board = Board()
        self._kinds: dict[str, Kind] = {
            name: kinds[name]() for name in {s.type for s in topology.services.values()}
        }
        self._run_dir = RunDir.of(topology.directory)
        self._replicas: dict[str, list[Replica]] = {}
        self._stop_wanted = trio.Event()
        self._all_ready = trio.Event()
        self._hurried = False
        self._exit_code = 0
        self._shutdown_timeout = topology.shutdown_timeout

    # ------------------------------------------------------------ what others may ask

    def stop(self, *, timeout: float | None = None, exit_code: int = 0) -> None:
        """Ask for an orderly stop. The first one that asks decides the exit code.

        Args:
            timeout: seconds for all of it; None means ``shutdown_timeout``.
            exit_code: what :meth:`run` shall return.
        """
        if timeout is not None:
            self._shutdown_timeout = timeout
        if not self._stop_wanted.is_set():
            self._exit_code = exit_code
            self._stop_wanted.set()

    def hurry(self) -> None:
        """Stop, and kill what does not end at once. The order is kept."""
        self.stop()
        self._hurried = True
        for replica in self._all():
            replica.hurry()

    def destroy(self) -> None:
        """Kill everything this instant. For a process that is about to end itself."""
        for replica in self._all():
            replica.destroy()

    def pids(self) -> set[int]:
        """Return the processes that have an owner here, which alone may reap them."""
        return {status.pid for status in self.board if status.pid is not None}

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
            exports = self._prepare()
            await clean_up_after_previous(self._run_dir.state, self._warn)
            try:
                async with trio.open_nursery() as outer:
                    outer.start_soon(self._stop_when_cancelled)
                    outer.start_soon(self._tell_when_ready, task_status.started)
                    with trio.CancelScope(shield=True):  # bounded by the shutdown
                        await self._supervise(exports)
                    outer.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                if all(isinstance(leaf, (NaqException, OSError)) for leaf in leaves(group)):
                    raise SupervisorError(summary(group), exit_code=EX_SOFTWARE) from group
                raise
        return self._exit_code

    def _prepare(self) -> Mapping[str, Mapping[str, str]]:
        """Let the kinds get ready; return what their services export."""
        services = self.topology.services
        project = self._project()
        for name, kind in self._kinds.items():
            of_kind = {n: spec for n, spec in services.items() if spec.type == name}
            try:
                kind.prepare(project, of_kind)
            except OSError as exc:
                raise SupervisorError(f"type {name}: {exc}", exit_code=EX_SOFTWARE) from exc
        exports = {n: self._kinds[spec.type].exports(spec) for n, spec in services.items()}
        return {name: exported for name, exported in exports.items() if exported}

    def _project(self) -> Project:
        topology = self.topology
        return Project(name=topology.name, directory=topology.directory, run_dir=self._run_dir.path)

    async def _supervise(self, exports: Mapping[str, Mapping[str, str]]) -> None:
        state = StateFile(self._run_dir.state, secrets.token_hex(8))
        lifeline = Lifeline(state, self._warn)
        control = ControlServer(self._run_dir.socket, commands(self), report=self._warn)
        try:
            async with trio.open_nursery() as pumps, trio.open_nursery() as infra:
                lifeline.start_guardian()
                infra.start_soon(lifeline.keep_guardian)
                infra.start_soon(state.keep_written, self._warn)
                await infra.start(control.serve)
                host = Host(
                    project=self._project(),
                    topology=self.topology,
                    exports=exports,
                    sockets=self._run_dir.sockets,
                    hub=self.hub,
                    board=self.board,
                    state=state,
                    lifeline=lifeline,
                    pumps=pumps,
                    changed=self._changed,
                )
                await self._run_services(host)
                await stop_strays(state.run_id, self._warn, hurry=self._hurried)
                infra.cancel_scope.cancel()
        except BaseException:
            lifeline.abandon()  # the guardian takes over
            raise
        lifeline.close()
        state.unlink()

    async def _run_services(self, host: Host) -> None:
        if self._stop_wanted.is_set():
            return  # asked to stop while the previous run was being cleaned up
        for name, spec in self.topology.services.items():
            kind = self._kinds[spec.type]
            self._replicas[name] = [
                Replica(spec, index + 1, kind=kind, host=host) for index in range(spec.replicas)
            ]
        async with trio.open_nursery() as services:
            for replica in self._all():
                services.start_soon(self._own, replica, name=f"naq owner {replica.status.name}")
            if not self._all():
                self.stop()
            await self._stop_wanted.wait()
            await self._stop_all()
            if self._on_stuck is not None and any(replica.stuck for replica in self._all()):
                self._on_stuck(self._exit_code or EX_SOFTWARE)
            for replica in self._all():
                replica.close()

    async def _own(self, replica: Replica) -> None:
        """Run the owner of a replica; a bug in it must not take the others down unasked."""
        try:
            await replica.run()
        except Exception as exc:  # noqa: BLE001 - reported, and the project stops in order
            self.hub.say("".join(traceback.format_exception(exc)), level="error")
            replica.give_up(f"internal error: {summary(exc)}")
            self.stop(exit_code=EX_SOFTWARE)

    # ------------------------------------------------------------ stopping

    async def _stop_all(self) -> None:
        """Stop every service once its dependents are gone; what others stand on goes last."""
        if any(status.running for status in self.board):
            self.hub.say("stopping")
        deadline = trio.current_time() + self._shutdown_timeout
        services = self.topology.services
        last = [n for n, spec in services.items() if self._kinds[spec.type].last]
        before = graph.stop_order(edges(services), last=last)
        async with trio.open_nursery() as nursery:
            for name in services:
                nursery.start_soon(self._stop_service, name, before[name], deadline)

    async def _stop_service(self, name: str, before: Collection[str], deadline: float) -> None:
        await self._until_parked(before)
        left = max(0.0, deadline - trio.current_time() - _RESERVE)
        for replica in self._replicas[name]:
            grace = min(replica.spec.stop_timeout, left)
            replica.stop(Cause(kind=CauseKind.SHUTDOWN), grace=0.0 if self._hurried else grace)
        await self._until_parked([name])

    async def _until_parked(self, names: Collection[str]) -> None:
        def parked() -> bool | None:
            return all(s.state in PARKED for name in names for s in self.board.of(name)) or None

        await self.board.wait(names, parked)

    async def _stop_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.stop()

    # ------------------------------------------------------------ watching

    async def _tell_when_ready(self, tell: Callable[[], None]) -> None:
        began = trio.current_time()
        await self._all_ready.wait()
        self.hub.say(f"all services are up after {trio.current_time() - began:.1f}s")
        tell()

    def _changed(self, before: Status, after: Status) -> None:
        """Look at a replica's change: does it end the project, or complete its start?"""
        if before.state is after.state:
            return
        if after.state is State.FAILED and after.fatal and not self._stop_wanted.is_set():
            code = _exit_code(after)
            self.hub.say(f"{after.name} is critical: stopping with exit code {code}", level="error")
            self.stop(exit_code=code)
        elif all(status.satisfied for status in self.board):
            self._all_ready.set()
        if self.topology.exit_policy is ExitPolicy.WHEN_ALL_DONE and self._is_over():
            failed = any(status.state is not State.COMPLETED for status in self.board)
            self.stop(exit_code=int(failed))

    def _is_over(self) -> bool:
        return all(status.state in _OVER for status in self.board)

    def _all(self) -> list[Replica]:
        return [replica for replicas in self._replicas.values() for replica in replicas]

    def _warn(self, text: str) -> None:
        self.hub.say(text, level="warning")


def _exit_code(status: Status) -> int:
    """Return the exit code of a project that stops because of this replica; never 0."""
    return (status.last_exit.cause.exit_code if status.last_exit else 1) or 1
