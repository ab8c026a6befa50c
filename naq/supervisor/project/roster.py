"""The replicas that exist: made, found by name, scaled, removed."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from naq.supervisor.model.errors import Refused
from naq.supervisor.model.lifecycle import PARKED
from naq.supervisor.replica.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    import trio

    from naq.supervisor.kinds.kind import Kind
    from naq.supervisor.model.causes import Cause
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.replica.host import Host

__all__ = ["Roster"]


class Roster:
    """All replicas of a running project, and their owners' tasks."""

    def __init__(
        self,
        host: Host,
        nursery: trio.Nursery,
        *,
        own: Callable[[Replica], Awaitable[None]],
        kind: Callable[[str], Kind],
    ) -> None:
        """Make an empty roster.

        Args:
            host: what replicas share.
            nursery: for their owners.
            own: runs the owner of a replica to its end.
            kind: the kind of a type of service.
        """
        self._host = host
        self._nursery = nursery
        self._own = own
        self._kind = kind
        self._by_service: dict[str, dict[int, Replica]] = {}
        self._specs: dict[str, ServiceSpec] = {}

    @property
    def specs(self) -> Mapping[str, ServiceSpec]:
        """The services as they are now, with the number of replicas they have been scaled to."""
        return MappingProxyType(self._specs)

    def add(self, spec: ServiceSpec, *, wanted: bool) -> None:
        """Add a service and start the owners of its replicas."""
        self._specs[spec.name] = spec
        self._by_service[spec.name] = {}
        for index in range(1, spec.replicas + 1):
            self._start_owner(spec, index, wanted=wanted)

    def of(self, service: str) -> list[Replica]:
        """Return the replicas of a service, in order."""
        replicas = self._by_service.get(service, {})
        return [replicas[index] for index in sorted(replicas)]

    def __iter__(self) -> Iterator[Replica]:
        for service in tuple(self._by_service):
            yield from self.of(service)

    def find(self, names: Iterable[str]) -> list[Replica]:
        """Return the replicas that ``names`` stand for: services, or single ones as ``service.N``.

        Raises:
            Refused: there is no such service or replica.
        """
        found: dict[int, Replica] = {}
        for name in names:
            for replica in self._find(name):
                found[id(replica)] = replica
        return list(found.values())

    def _find(self, name: str) -> list[Replica]:
        if name in self._by_service:
            return self.of(name)
        service, _, number = name.rpartition(".")
        if service in self._by_service and number.isdecimal():
            replica = self._by_service[service].get(int(number))
            if replica is not None:
                return [replica]
            raise Refused("unknown-service", f"{service} has no replica {number}")
        known = ", ".join(self._by_service)
        raise Refused("unknown-service", f"no service {name!r}; there are: {known}")

    def update(self, spec: ServiceSpec) -> None:
        """Give a service and all its replicas another definition; their number does not change."""
        self._specs[spec.name] = spec
        for replica in self.of(spec.name):
            replica.update(spec, self._kind(spec.type))

    def grow(self, spec: ServiceSpec, *, wanted: bool) -> list[Replica]:
        """Add replicas until there are as many as ``spec`` says; return the new ones."""
        self.update(spec)
        present = self._by_service[spec.name]
        missing = [i for i in range(1, spec.replicas + 1) if i not in present]
        return [self._start_owner(spec, index, wanted=wanted) for index in missing]

    async def shrink(self, spec: ServiceSpec, cause: Cause) -> None:
        """Stop the replicas with the highest numbers, and remove them once they have ended."""
        self.update(spec)
        surplus = [r for r in self.of(spec.name) if r.status.replica > spec.replicas]
        await self._dismiss(surplus[::-1], cause)

    async def remove(self, service: str, cause: Cause) -> None:
        """Stop a service, and remove it once it has ended."""
        await self._dismiss(self.of(service)[::-1], cause)
        self._by_service.pop(service, None)
        self._specs.pop(service, None)

    async def until_parked(self, services: Iterable[str]) -> None:
        """Wait until nothing of ``services`` runs."""
        names = tuple(services)

        def parked() -> bool | None:
            statuses = (s for name in names for s in self._host.board.of(name))
            return all(status.state in PARKED for status in statuses) or None

        await self._host.board.wait(names, parked)

    async def _dismiss(self, replicas: list[Replica], cause: Cause) -> None:
        for replica in replicas:
            replica.dismiss(cause)
        for replica in replicas:
            status = replica.status

            def parked(replica: Replica = replica) -> bool | None:
                return replica.status.state in PARKED or None

            await self._host.board.wait([status.service], parked)
            self._by_service[status.service].pop(status.replica, None)
            replica.remove()

    def _start_owner(self, spec: ServiceSpec, index: int, *, wanted: bool) -> Replica:
        replica = Replica(spec, index, kind=self._kind(spec.type), host=self._host, wanted=wanted)
        self._by_service[spec.name][index] = replica
        name = f"naq owner {replica.status.name}"
        self._nursery.start_soon(self._own, replica, name=name)
        return replica
