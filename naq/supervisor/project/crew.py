"""The services of a running project, and everything that may be asked of them."""

from __future__ import annotations

import traceback
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from naq.exceptions import NaqException
from naq.supervisor.model import graph
from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.errors import Refused, summary
from naq.supervisor.model.lifecycle import PARKED, State
from naq.supervisor.process.task import keep
from naq.supervisor.project.groups import GroupKeeper
from naq.supervisor.project.roster import Roster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from naq.supervisor.model.board import Status
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.project.running import RunningProject
    from naq.supervisor.replica.host import Host
    from naq.supervisor.replica.replica import Replica

__all__ = ["Crew"]

T = TypeVar("T")

# Of the time for stopping everything, what is kept back for KILL and the last lines of output,
# seconds.
_RESERVE = 2.0


class Crew:
    """The replicas with their owners, and the groups with their keepers.

    Attributes:
        project: what they are the services of.
        host: what replicas share.
        roster: the replicas.
        busy: held by a reload or a scale, so that there is one at a time.
    """

    def __init__(
        self,
        project: RunningProject,
        host: Host,
        owners: trio.Nursery,
        keepers: trio.Nursery,
        *,
        give_up: Callable[[], None],
        stop_because_of: Callable[[Status], None],
    ) -> None:
        """Make a crew of nobody; :meth:`begin` starts the services.

        Args:
            project: what they are the services of.
            host: what replicas share.
            owners: the nursery of the replicas' owners.
            keepers: the nursery of everything that ends as soon as the project is asked to stop.
            give_up: stops the project because of a bug in the supervisor.
            stop_because_of: stops the project because of a replica that has failed for good.
        """
        self.project = project
        self.host = host
        self.busy = trio.Lock()
        self.roster = Roster(host, owners, own=self._own, kind=project.preparation.kind)
        self._keepers_nursery = keepers
        self._give_up = give_up
        self._stop_because_of = stop_because_of
        self._groups: dict[str, tuple[GroupKeeper, trio.CancelScope]] = {}

    def begin(self) -> None:
        """Start everything that is active."""
        topology = self.project.topology
        for spec in topology.services.values():
            self.roster.add(spec, wanted=topology.is_active(spec.name))
        self.regroup()
        if not any(replica.status.active for replica in self.roster):
            self.project.all_ready.set()
            self.project.start_over.set()

    def let_go(self) -> None:
        """Make groups release the members they hold: the project stops."""
        for keeper, _ in self._groups.values():
            keeper.release_all()

    def regroup(self) -> None:
        """Have one keeper for each group of the topology as it is now."""
        groups = self.project.topology.groups
        for name, (keeper, scope) in tuple(self._groups.items()):
            if groups.get(name) != keeper.spec:
                scope.cancel()
                keeper.release_all()
                del self._groups[name]
        for name, spec in groups.items():
            if name not in self._groups:
                keeper = GroupKeeper(
                    spec,
                    self.roster,
                    self.project.board,
                    say=self.project.say,
                    stop_project=self._stop_because_of,
                )
                scope = trio.CancelScope()
                self._groups[name] = (keeper, scope)
                self._keepers_nursery.start_soon(self._keep, keeper, scope)

    def failed(self, status: Status, delay: float, whole: bool) -> None:
        """Tell the group of a replica that it has failed and is to be restarted."""
        for keeper, _ in self._groups.values():
            if status.service in keeper.spec.members:
                keeper.failed(status, delay, whole=whole)

    # ------------------------------------------------------------ operations

    def start(self, replicas: Iterable[Replica], *, dependencies: bool) -> list[Replica]:
        """Want replicas up; return all that were chosen.

        Args:
            replicas: which.
            dependencies: start what they depend on as well.

        Raises:
            Refused: a kind cannot get ready for them.
        """
        chosen = list(replicas)
        if dependencies:
            needed = graph.closure(graph.edges(self.roster.specs), {r.spec.name for r in chosen})
            for name in needed - {r.spec.name for r in chosen}:
                chosen += self.roster.of(name)
        self.prepare(replica.spec for replica in chosen)
        for replica in chosen:
            replica.start()
        return chosen

    def prepare(self, specs: Iterable[ServiceSpec]) -> None:
        """Let kinds get ready for services that are about to run.

        Raises:
            Refused: they cannot.
        """
        try:
            self.project.preparation.prepare(specs)
        except NaqException as exc:
            raise Refused("failed", str(exc)) from exc

    async def restart(
        self,
        replicas: Sequence[Replica],
        cause: Cause,
        *,
        parallel: int | None = None,
        force: bool = False,
    ) -> dict[str, str]:
        """Restart replicas of one service, a few at a time; return problems by name.

        The first one that does not become ready ends this: the others stay as they are.

        Args:
            replicas: those of one service.
            cause: why, for the record.
            parallel: how many at a time; None: all.
            force: kill them instead of asking.
        """
        problems: dict[str, str] = {}
        size = parallel or len(replicas) or 1
        pending = list(replicas)
        while pending and not problems:
            batch, pending = pending[:size], pending[size:]
            renewals = {replica: replica.restart(cause, force=force) for replica in batch}
            for replica, renewal in renewals.items():
                if problem := await renewal.wait():
                    problems[replica.status.name] = problem
        if problems and pending:
            problems |= {r.status.name: "not restarted" for r in pending}
        return problems

    async def scale(self, name: str, number: int) -> None:
        """Have ``number`` replicas of a service; surplus ones have ended when this returns."""
        spec = self.roster.specs[name]
        if number == spec.replicas:
            return
        scaled = replace(spec, replicas=number)
        if number > spec.replicas:
            self.prepare([scaled])
            for replica in self.roster.grow(scaled, wanted=True):
                replica.start()
            for replica in self.roster.of(name):
                if not replica.status.wanted:
                    replica.start()
        else:
            await self.roster.shrink(scaled, Cause(kind=CauseKind.SCALE))

    async def wait(self, replicas: Iterable[Replica], goal: str) -> dict[str, str]:
        """Wait until replicas are as ``goal`` says; return problems of those that never will be.

        Args:
            replicas: which.
            goal: ``ready``, ``stopped`` or ``completed``.
        """
        chosen = list(replicas)
        problems: dict[str, str] = {}
        names = {replica.spec.name for replica in chosen}
        look = partial(_look, chosen, goal, problems)
        await self.project.board.wait(names, look)
        return problems

    async def perform(self, fn: Callable[[], Awaitable[T]]) -> T:
        """Run ``fn`` to its end even if the caller is cancelled; only the project's stop ends it.

        Raises:
            Refused: the project's stop has ended it.
        """
        outcome: list[T] = []
        problems: list[Exception] = []
        over = trio.Event()

        async def run() -> None:
            try:
                outcome.append(await fn())
            except Exception as exc:  # noqa: BLE001 - raised where it was asked for, not here
                problems.append(exc)
            finally:
                over.set()

        self._keepers_nursery.start_soon(run)
        await over.wait()
        if problems:
            raise problems[0]
        if not outcome:
            raise Refused("failed", "the project is being stopped")
        return outcome[0]

    async def stop_all(self, *, timeout: float, hurried: Callable[[], bool]) -> None:
        """Stop every service once its dependents are gone, in bounded time.

        Args:
            timeout: seconds for all of it.
            hurried: whether there is to be no grace any more.
        """
        roster = self.roster
        deadline = trio.current_time() + timeout
        last = self.project.preparation.last(roster.specs.values())
        before = graph.stop_order(graph.edges(roster.specs), last=last)

        async def stop(name: str) -> None:
            await roster.until_parked(before[name])
            left = max(0.0, deadline - trio.current_time() - _RESERVE)
            for replica in roster.of(name):
                grace = 0.0 if hurried() else min(replica.spec.stop_timeout, left)
                limit = max(deadline - _RESERVE, trio.current_time() + grace)
                replica.stop(Cause(kind=CauseKind.SHUTDOWN), grace=grace, limit=limit)
            await roster.until_parked([name])

        async with trio.open_nursery() as nursery:
            for name in roster.specs:
                nursery.start_soon(stop, name)

    # ------------------------------------------------------------ tasks

    async def _own(self, replica: Replica) -> None:
        """Run the owner of a replica; a bug in it must not take the others down unasked."""
        try:
            await replica.run()
        except Exception as exc:  # noqa: BLE001 - reported, and the project stops in order
            self.project.say("".join(traceback.format_exception(exc)), "error")
            replica.give_up(f"internal error: {summary(exc)}")
            self._give_up()

    async def _keep(self, keeper: GroupKeeper, scope: trio.CancelScope) -> None:
        what = f"the keeper of group {keeper.spec.name}"
        say = partial(self.project.say, level="error")
        with scope:
            await keep(keeper.run, what, say=say, give_up=self._give_up)


def _look(replicas: Sequence[Replica], goal: str, problems: dict[str, str]) -> bool | None:
    """Whether all are where they should be, or never will be; then ``problems`` says which."""
    problems.clear()
    for replica in replicas:
        status = replica.status
        match goal:
            case "ready":
                there, hopeless = status.satisfied, status.hopeless
            case "completed":
                there, hopeless = status.state is State.COMPLETED, status.hopeless
            case _:
                there, hopeless = status.state in PARKED, False
        if hopeless and not there:
            detail = f": {status.detail}" if status.detail else ""
            problems[status.name] = f"{status.state}{detail}"
        elif not there:
            return None
    return True
