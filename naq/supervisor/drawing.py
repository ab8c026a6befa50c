"""The graph of dependencies as text, for people and for drawing programs. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from naq.supervisor import graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq.supervisor.spec import Topology

__all__ = ["FORMATS", "chain", "draw"]

FORMATS = ("ascii", "mermaid", "dot", "json")


def draw(topology: Topology, how: str, took: Mapping[str, float] | None = None) -> str:
    """Return the graph.

    Args:
        topology: whose.
        how: one of :data:`FORMATS`.
        took: seconds from start to READY, by service, where they are known.
    """
    drawers = {"ascii": _ascii, "mermaid": _mermaid, "dot": _dot, "json": _json}
    return drawers[how](topology, took or {})


def chain(edges: Mapping[str, tuple[str, ...]], took: Mapping[str, float]) -> list[str]:
    """Return what the start as a whole waited for, first to last: the slowest path.

    Args:
        edges: the services each one depends on.
        took: seconds each took itself.
    """
    reached: dict[str, float] = {}
    before: dict[str, str] = {}
    for layer in graph.start_layers(edges):
        for name in layer:
            latest = max(
                (n for n in edges[name] if n in reached), key=reached.__getitem__, default=""
            )
            reached[name] = reached.get(latest, 0.0) + took.get(name, 0.0)
            if latest:
                before[name] = latest
    path: list[str] = []
    name = max(reached, key=reached.__getitem__, default="")
    while name:
        path.append(name)
        name = before.get(name, "")
    return path[::-1]


def _edges(topology: Topology) -> dict[str, tuple[str, ...]]:
    return {n: tuple(d.service for d in s.depends_on) for n, s in topology.services.items()}


def _label(topology: Topology, name: str, took: Mapping[str, float]) -> str:
    spec = topology.services[name]
    many = f" x{spec.replicas}" if spec.replicas != 1 else ""
    return f"{name}{many}" + (f" {took[name] * 1000:.0f}ms" if name in took else "")


def _ascii(topology: Topology, took: Mapping[str, float]) -> str:
    """Draw what everything stands on first, and below each what needs it."""
    edges = _edges(topology)
    needed_by = graph.dependents(edges)
    lines: list[str] = []
    seen: set[str] = set()

    def add(name: str, condition: str, lead: str, branch: str) -> None:
        again = name in seen and needed_by[name]
        label = _label(topology, name, took)
        lines.append(f"{lead}{branch}{label}{condition}{' (see above)' if again else ''}")
        if again:
            return
        seen.add(name)
        below = [n for n in topology.services if n in needed_by[name]]
        for i, child in enumerate(below):
            last = i == len(below) - 1
            edge = next(d for d in topology.services[child].depends_on if d.service == name)
            inner = lead + ("" if not branch else "   " if branch.startswith("└") else "│  ")
            add(child, f"  [{edge.condition}]", inner, "└─ " if last else "├─ ")

    for name, needs in edges.items():
        if not needs:
            add(name, "", "", "")
    return "\n".join(lines)


def _mermaid(topology: Topology, took: Mapping[str, float]) -> str:
    ids = {name: f"s{i}" for i, name in enumerate(topology.services)}
    lines = ["flowchart LR"]
    lines += [f'  {ids[name]}["{_label(topology, name, took)}"]' for name in topology.services]
    for name, spec in topology.services.items():
        lines += [f"  {ids[d.service]} -->|{d.condition}| {ids[name]}" for d in spec.depends_on]
    return "\n".join(lines)


def _dot(topology: Topology, took: Mapping[str, float]) -> str:
    lines = ["digraph naq {", "  rankdir=LR; node [shape=box];"]
    labels = {name: _label(topology, name, took) for name in topology.services}
    lines += [f'  "{name}" [label="{label}"];' for name, label in labels.items()]
    for name, spec in topology.services.items():
        lines += [f'  "{d.service}" -> "{name}" [label="{d.condition}"];' for d in spec.depends_on]
    return "\n".join([*lines, "}"])


def _json(topology: Topology, took: Mapping[str, float]) -> str:
    services = [
        {
            "service": name,
            "replicas": spec.replicas,
            "took_s": took.get(name),
            "depends_on": [
                {"service": d.service, "condition": str(d.condition)} for d in spec.depends_on
            ],
        }
        for name, spec in topology.services.items()
    ]
    return json.dumps(services)
