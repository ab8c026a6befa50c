"""What services depend on: in which order they start and stop, and whether one may start now.

Pure. A graph maps each name to the names it depends on. A dependency is a milestone for the start
and not a bond for life: once it has been reached, it does not matter again before the next start
on request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from naq.supervisor.model.lifecycle import PARKED, State
from naq.supervisor.model.spec import Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from naq.supervisor.model.board import Status
    from naq.supervisor.model.spec import Dependency, ServiceSpec

__all__ = [
    "Met",
    "Pending",
    "Unmet",
    "closure",
    "dependents",
    "edges",
    "evaluate",
    "find_cycle",
    "reached",
    "start_layers",
    "stop_layers",
    "stop_order",
]


def edges(services: Mapping[str, ServiceSpec]) -> dict[str, tuple[str, ...]]:
    """Return the graph of ``depends_on``."""
    return {name: tuple(d.service for d in spec.depends_on) for name, spec in services.items()}


def find_cycle(graph: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return one cycle as ``a, b, a``, or nothing. Names that are not in the graph are ignored."""
    done: set[str] = set()
    for root in graph:
        # Depth first, by hand: a long chain of services must not meet Python's recursion limit.
        path: list[str] = []
        pending = [(root, iter(graph[root]))] if root not in done else []
        path.extend(name for name, _ in pending)
        while pending:
            name, below = pending[-1]
            following = next((n for n in below if n in graph and n not in done), None)
            if following is None:
                done.add(name)
                pending.pop()
                path.pop()
            elif following in path:
                return (*path[path.index(following) :], following)
            else:
                path.append(following)
                pending.append((following, iter(graph[following])))
    return ()


def start_layers(graph: Mapping[str, Collection[str]]) -> list[tuple[str, ...]]:
    """Group the names so that each depends only on earlier groups; within one, as in the graph.

    Raises:
        ValueError: there is a cycle.
    """
    if cycle := find_cycle(graph):
        raise ValueError(f"dependency cycle: {' -> '.join(cycle)}")
    layers: list[tuple[str, ...]] = []
    remaining = dict(graph)
    while remaining:
        layer = tuple(n for n, needs in remaining.items() if remaining.keys().isdisjoint(needs))
        layers.append(layer)
        for name in layer:
            del remaining[name]
    return layers


def stop_layers(graph: Mapping[str, Collection[str]]) -> list[tuple[str, ...]]:
    """Return the starting layers in reverse: nothing is stopped before what depends on it."""
    return start_layers(graph)[::-1]


def stop_order(
    graph: Mapping[str, Collection[str]], *, last: Collection[str] = ()
) -> dict[str, frozenset[str]]:
    """Return, for each name, the names that must be gone before it may be stopped.

    These are its dependents. For a name in ``last`` they are all other names as well, except those
    that ``last`` itself needs, directly or not: what everything stands on goes last even where
    nobody wrote the dependency down.

    Args:
        graph: who needs whom.
        last: names that all others stand on.
    """
    before = {name: set(names) for name, names in dependents(graph).items()}
    others = set(graph) - closure(graph, last)
    for name in last:
        before[name] |= others
    return {name: frozenset(names) for name, names in before.items()}


def dependents(graph: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Return who depends directly on each name."""
    result: dict[str, set[str]] = {name: set() for name in graph}
    for name, needs in graph.items():
        for needed in needs:
            if needed in result:
                result[needed].add(name)
    return result


def closure(graph: Mapping[str, Collection[str]], names: Iterable[str]) -> set[str]:
    """Return ``names`` and everything they depend on, directly or not."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(n for n in graph.get(name, ()) if n in graph)
    return found


@dataclass(frozen=True, slots=True)
class Met:
    """All dependencies are where they must be: go ahead."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """One will never be where it must be; ``reason`` says why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pending:
    """Not yet.

    Attributes:
        until: seconds after the wait began when to look again, if nothing has changed by then;
            None: never.
        waiting_for: the services that are not there yet.
    """

    until: float | None
    waiting_for: tuple[str, ...]


def evaluate(
    edges: Iterable[Dependency],
    statuses: Callable[[str], Sequence[Status]],
    elapsed: float,
) -> Met | Unmet | Pending:
    """Say whether all of ``edges`` are met.

    Args:
        edges: the dependencies of one service.
        statuses: the replicas of a service, by its name.
        elapsed: seconds since the wait began.
    """
    deadlines = []
    waiting_for = []
    for edge in edges:
        replicas = statuses(edge.service)
        if all(reached(edge.condition, status) for status in replicas):
            continue
        reason = next(filter(None, (_hopeless(edge.condition, s) for s in replicas)), "")
        if not reason and edge.timeout is not None and elapsed >= edge.timeout:
            reason = f"{edge.service} is not {edge.condition} after {edge.timeout:g} s"
        if reason and edge.required:
            return Unmet(reason)
        if not reason:
            waiting_for.append(edge.service)
            if edge.timeout is not None:
                deadlines.append(edge.timeout)
    if not waiting_for:
        return Met()
    return Pending(min(deadlines, default=None), tuple(waiting_for))


def reached(condition: Condition, status: Status) -> bool:
    """Whether a replica is, or has been, where a dependency wants it."""
    match condition:
        case Condition.STARTED:
            return status.runs > 0
        case Condition.READY:
            return status.state is State.READY
        case Condition.COMPLETED:
            return status.state is State.COMPLETED
        case Condition.EXITED:
            return status.state in {State.COMPLETED, State.FAILED}


def _hopeless(condition: Condition, status: Status) -> str:
    """Say why a condition that is not reached will not be reached by itself either."""
    # DOWN is not hopeless: somebody stopped it and may start it again.
    if status.state not in PARKED or status.state is State.DOWN:
        return ""
    if condition is Condition.READY and status.state is State.COMPLETED:
        return f"{status.name} has completed and will not be ready"
    return f"{status.name} is {status.state}"
