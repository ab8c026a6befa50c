"""A supervisor file shown in other forms: drawn as a graph, as plain values, as a JSON Schema."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naq.supervisor.config.keys import SERVICE
from naq.supervisor.config.read import TOP
from naq.supervisor.kinds.schema import Table
from naq.supervisor.model import graph

if TYPE_CHECKING:
    from naq.supervisor.kinds.kind import Kinds
    from naq.supervisor.kinds.schema import Key
    from naq.supervisor.kinds.topology import Topology

__all__ = ["FORMATS", "chain", "draw", "resolved", "schema"]

FORMATS = ("ascii", "mermaid", "dot", "json")


def draw(topology: Topology, how: str, took: Mapping[str, float] | None = None) -> str:
    """Return the graph of dependencies as text.

    Args:
        topology: the project.
        how: one of :data:`FORMATS`.
        took: seconds from start to READY by service, where they are known.
    """
    drawers = {"ascii": _ascii, "mermaid": _mermaid, "dot": _dot, "json": _json}
    return drawers[how](topology, took or {})


def chain(edges: Mapping[str, tuple[str, ...]], took: Mapping[str, float]) -> list[str]:
    """Return the slowest path through the graph, first to last: what the whole start waited for.

    Args:
        edges: the services each one depends on.
        took: seconds that each took itself.
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


def _label(topology: Topology, name: str, took: Mapping[str, float]) -> str:
    spec = topology.services[name]
    many = f" x{spec.replicas}" if spec.replicas != 1 else ""
    return f"{name}{many}" + (f" {took[name] * 1000:.0f}ms" if name in took else "")


def _ascii(topology: Topology, took: Mapping[str, float]) -> str:
    """Draw services without dependencies first, and below each service those that need it."""
    edges = graph.edges(topology.services)
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


def schema(kinds: Kinds) -> dict[str, Any]:
    """Return a JSON Schema (draft 2020-12) of supervisor files with these kinds of services."""
    # A kind that has a table of its own is never named by a service.
    written = {name: kind for name, kind in kinds.items() if not kind.table}
    services = [
        {"if": _is_of(name), "then": _service_schema({**SERVICE, **kind.keys}, {"const": name})}
        for name, kind in written.items()
    ]
    # A service that extends another has its type, and cannot be checked for keys of one type.
    keys = {key: value for kind in written.values() for key, value in kind.keys.items()}
    inherits = {"required": ["extends"], "not": {"required": ["type"]}}
    services.append({"if": inherits, "then": _service_schema({**keys, **SERVICE}, {})})
    top = dict(TOP.schema)
    top["properties"] = {
        **top["properties"],
        **{k.table: k.table_type.schema for k in kinds.values() if k.table and k.table_type},
        "services": {
            "type": "object",
            "minProperties": 1,
            "patternProperties": {"^x-": {}},
            "additionalProperties": {
                "type": "object",
                "properties": {"type": {"enum": [n for n, k in kinds.items() if not k.table]}},
                "allOf": services,
            },
        },
    }
    top["required"] = ["services"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "supervisor.toml",
        **top,
    }


def _is_of(name: str) -> dict[str, Any]:
    """Return the condition that a table is of this type, whether it says so or need not."""
    said = {"required": ["type"], "properties": {"type": {"const": name}}}
    if name != SERVICE["type"].default:
        return said
    silent = {"not": {"anyOf": [{"required": ["type"]}, {"required": ["extends"]}]}}
    return {"anyOf": [said, silent]}


def _service_schema(keys: Mapping[str, Key], type_: Mapping[str, Any]) -> dict[str, Any]:
    table = dict(Table(dict(keys)).schema)
    table["properties"] = {
        **table["properties"],
        "type": {**type_, "description": "kind of service"},
        "extends": {"type": "string", "description": "service whose keys it takes"},
    }
    return table


def resolved(topology: Topology) -> dict[str, Any]:
    """Return a topology with all defaults filled in, as plain JSON values."""
    plain = {
        field.name: _plain(getattr(topology, field.name))
        for field in dataclasses.fields(topology)
        if field.name != "kinds"
    }
    plain["active"] = [name for name in topology.services if topology.is_active(name)]
    return plain


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _field(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, (Path, Enum)):
        return str(value)
    return value


def _field(name: str, value: Any) -> Any:
    if name == "stop_signal":
        return signal.Signals(value).name
    return _plain(value)
