"""The file format as a JSON Schema, for editors; and a resolved topology as plain values."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naq.supervisor._keys import SERVICE
from naq.supervisor._schema import Table
from naq.supervisor.config import TOP

if TYPE_CHECKING:
    from naq.supervisor._schema import Key
    from naq.supervisor.kinds import Kinds
    from naq.supervisor.spec import Topology

__all__ = ["resolved", "schema"]


def schema(kinds: Kinds) -> dict[str, Any]:
    """Return a JSON Schema (draft 2020-12) of supervisor files with these kinds of services."""
    # Nobody writes a service of a kind that has a table of its own.
    written = {name: kind for name, kind in kinds.items() if not kind.table}
    services = [
        {"if": _is_of(name), "then": _service_schema({**SERVICE, **kind.keys}, {"const": name})}
        for name, kind in written.items()
    ]
    # What extends another service has a type that only that one may name.
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
    """Return what is true of a table that says that it is of this type, or need not say it."""
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
