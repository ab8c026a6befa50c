"""Who needs whom: the order of starting, the order of stopping, and cycles.

Pure. A graph is a mapping of each name to the names it depends on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["closure", "dependents", "find_cycle", "start_layers", "stop_layers", "stop_order"]


def find_cycle(graph: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return one cycle as ``a, b, a``, or nothing. Names the graph does not have are ignored."""
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
    """Group the names so that each depends only on earlier groups; the graph's order within one.

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
    """Return the starting layers backwards: nothing is stopped before what depends on it."""
    return start_layers(graph)[::-1]


def stop_order(
    graph: Mapping[str, Collection[str]], *, last: Collection[str] = ()
) -> dict[str, frozenset[str]]:
    """Return, for each name, the names that must be gone before it may be stopped.

    These are its dependents. For a name in ``last`` they are all others besides, except what those
    in ``last`` need themselves, directly or not: what everything stands on goes last even where
    nobody wrote the dependency down.
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
