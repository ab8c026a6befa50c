"""A reload: takes over what differs in the file, and restarts as little as possible for it.

A file with problems changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import trio

from naq.exceptions import ConfigurationError, NaqException
from naq.supervisor.model import graph
from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.errors import Refused
from naq.supervisor.project.plan import Action, Plan, compare
from naq.supervisor.replica.host import env_digest

if TYPE_CHECKING:
    from collections.abc import Collection

    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.project.crew import Crew

__all__ = ["Reload", "prepare_reload"]


def prepare_reload(crew: Crew, topology: Topology | None = None, *, prune: bool = True) -> Reload:
    """Read the file again and find out what is to be done.

    Args:
        crew: the services.
        topology: the new one; None: read it.
        prune: stop services that are no longer in the file.

    Raises:
        Refused: the file has problems, or there is none.
    """
    reread = crew.project.reread
    if topology is None:
        if reread is None:
            raise Refused("failed", "this supervisor was not started from a file")
        try:
            topology = reread()
        except ConfigurationError as exc:
            raise Refused("bad-config", "\n".join(exc.problems)) from exc
        except NaqException as exc:
            raise Refused("bad-config", str(exc)) from exc
    return Reload(crew, topology, prune=prune)


def _plan(crew: Crew, topology: Topology, *, prune: bool) -> Plan:
    running = {
        name: {r.env_digest for r in crew.roster.of(name) if r.env_digest is not None}
        for name in crew.roster.specs
    }
    digests = {name: env_digest(topology, spec) for name, spec in topology.services.items()}
    old = crew.project.topology
    return compare(old, topology, running=running, digests=digests, prune=prune)


class Reload:
    """One reload, prepared by :func:`prepare_reload`.

    Attributes:
        plan: what it does.
    """

    def __init__(self, crew: Crew, topology: Topology, *, prune: bool) -> None:
        self.plan = _plan(crew, topology, prune=prune)
        self._crew = crew
        self._prune = prune
        self._old = crew.project.topology
        self._new = topology
        self._problems: dict[str, str] = {}

    async def run(self) -> dict[str, str]:
        """Do it; return what did not work, by service or replica.

        Once begun it is not cut short: half a reload would be neither the old state nor the new.
        """
        crew = self._crew
        async with crew.busy:
            if crew.project.topology is not self._old:  # another reload was quicker
                self.plan = _plan(crew, self._new, prune=self._prune)
            preparation = crew.project.preparation
            exports = {name: preparation.exports_to(name) for name in crew.roster.specs}
            await self._remove()
            self._take_over()
            await self._scale()
            self._start()
            restarts = {change.service for change in self.plan.of(Action.RESTART)}
            await self._restart(restarts)
            # If the broker has moved to another port, everybody else has to be told.
            moved = {
                name
                for name, before in exports.items()
                if name in crew.roster.specs
                and name not in restarts
                and preparation.exports_to(name) != before
            }
            await self._restart(moved)
        return self._problems

    def adopt_only(self, services: Collection[str]) -> None:
        """Give some services their new definition, because they are about to be restarted."""
        crew = self._crew
        old = crew.project.topology
        merged = dict(old.services)
        for name in services:
            if name in self._new.services:
                spec = self._new.services[name]
                merged[name] = spec
                replicas = crew.roster.specs[name].replicas
                crew.roster.update(replace(spec, replicas=replicas))
        crew.project.adopt(replace(old, services=MappingProxyType(merged)))

    async def _remove(self) -> None:
        """Stop what is no longer in the file, dependents first."""
        gone = [change.service for change in self.plan.of(Action.REMOVE)]
        before = graph.stop_order(graph.edges(self._crew.roster.specs))
        cause = Cause(kind=CauseKind.RELOAD)

        async def remove(name: str) -> None:
            await self._crew.roster.until_parked(before.get(name, frozenset()) & set(gone))
            await self._crew.roster.remove(name, cause)
            self._crew.project.preparation.forget(name)

        async with trio.open_nursery() as nursery:
            for name in gone:
                nursery.start_soon(remove, name)
        for change in self.plan.of(Action.STOP):
            for replica in self._crew.roster.of(change.service):
                replica.stop(cause)

    def _take_over(self) -> None:
        """Give everything its new definition; nothing is restarted yet."""
        crew = self._crew
        specs = crew.roster.specs
        # Without --prune, services that are no longer in the file go on as they were.
        stays = {n: s for n, s in specs.items() if n not in self._new.services}
        services = MappingProxyType({**stays, **self._new.services})
        crew.project.adopt(replace(self._new, services=services))
        for name, spec in self._new.services.items():
            if name in specs:
                # The number of replicas is a step of its own.
                crew.roster.update(replace(spec, replicas=specs[name].replicas))
                for replica in crew.roster.of(name):
                    replica.keep_lines(self._new.logging.buffer)
        crew.regroup()

    async def _scale(self) -> None:
        for change in self.plan.of(Action.SCALE):
            await self._crew.scale(change.service, self._new.services[change.service].replicas)

    def _start(self) -> None:
        crew = self._crew
        for name, spec in self._new.services.items():
            if name not in crew.roster.specs:
                active = self._new.is_active(name)
                if active and not self._prepared([spec]):
                    continue
                crew.roster.add(spec, wanted=active)
        for change in self.plan.of(Action.START):
            replicas = crew.roster.of(change.service)
            if self._prepared([r.spec for r in replicas]):
                for replica in replicas:
                    replica.start()

    async def _restart(self, names: Collection[str]) -> None:
        """Restart services in the order of their dependencies, each as its ``rolling`` says."""
        for layer in graph.start_layers(graph.edges(self._crew.roster.specs)):
            async with trio.open_nursery() as nursery:
                for name in layer:
                    if name in names:
                        nursery.start_soon(self._restart_one, name)

    async def _restart_one(self, name: str) -> None:
        crew = self._crew
        spec = crew.roster.specs[name]
        # What is down stays down, and gets the new definition when it is started.
        replicas = [r for r in crew.roster.of(name) if r.status.wanted and r.status.active]
        if not replicas or not self._prepared([spec]):
            return
        self._problems |= await crew.restart(
            replicas, Cause(kind=CauseKind.RELOAD), parallel=spec.rolling.parallel
        )

    def _prepared(self, specs: list[ServiceSpec]) -> bool:
        try:
            self._crew.prepare(specs)
        except Refused as exc:
            self._problems[specs[0].name] = str(exc)
            return False
        return True
