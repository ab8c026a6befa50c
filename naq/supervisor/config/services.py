"""From the ``[services]`` table to service specs: the tables that make up a service, in order.

Lowest first: defaults of its type, ``[defaults]``, what a oneshot implies, what it ``extends`` (the
farthest base first), its own table. Tables merge by key; lists and single values replace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from naq.exceptions import ConfigurationError
from naq.supervisor.config.checks import inconsistencies
from naq.supervisor.config.keys import SERVICE
from naq.supervisor.kinds.schema import (
    Choice,
    Invalid,
    Partial,
    Table,
    Where,
    describe,
    did_you_mean,
    merge,
)
from naq.supervisor.model.spec import OnExhausted, Policy, ServiceSpec

if TYPE_CHECKING:
    from naq.supervisor.kinds.kind import Kind, Kinds

__all__ = ["NAME", "read_services"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")

# A service that runs once has these below what it extends: three tries, then it has failed.
_ONESHOT = Partial(
    restart=Partial(policy=Policy.ON_FAILURE, max_restarts=3, on_exhausted=OnExhausted.FAIL)
)
# Keys that a base keeps to itself.
_NOT_INHERITED = frozenset({"disabled"})
_NOT_YET = {
    "watch": "restarting on changed files does not exist yet; take the key out or name it x-watch",
    "schedule": "starting by a schedule does not exist yet; take the key out or name it x-schedule",
}


def read_services(
    written: object, defaults: Mapping[str, Any], kinds: Kinds, where: Where
) -> dict[str, ServiceSpec]:
    """Read all services. A key with problems gets its default, so that the rest can be read.

    Args:
        written: the table ``[services]``.
        defaults: the parsed table ``[defaults]``.
        kinds: what ``type`` may name.
        where: the place of the whole file.
    """
    place = where.at("services")
    if not isinstance(written, Mapping):
        place.report("expected a table")
        return {}
    reader = _Reader(written, defaults, kinds, place)
    services = {}
    for name, table in written.items():
        if name.startswith("x-"):
            continue
        here = place.at(name)
        if not NAME.fullmatch(name) or name == "naq":
            here.report("a service needs another name: letters, digits, '-' and '_', and not naq")
        elif not isinstance(table, Mapping):
            here.report("expected a table")
        elif spec := reader.read(name):
            services[name] = spec
    if not any(not name.startswith("x-") for name in written):
        place.report("there are none: nothing to run")
    return services


class _Reader:
    """Reads one service after the other."""

    def __init__(
        self, written: Mapping[str, Any], defaults: Mapping[str, Any], kinds: Kinds, place: Where
    ) -> None:
        self._written = written
        self._defaults = defaults
        self._kinds = kinds
        self._place = place

    def read(self, name: str) -> ServiceSpec | None:
        """Return the service, or None where not even its type is known."""
        here = self._place.at(name)
        bases = self._bases(name, here)
        kind = self._kind([name, *bases], here)
        if kind is None:
            return None
        before = len(here.problems)
        table = Table({**SERVICE, **kind.keys})
        own = table.parse(self._table(name, here), here)
        inherited = [self._base(base, table) for base in reversed(bases)]
        layers = [_kind_defaults(kind, table), self._defaults, *inherited, own]
        if merge(layers).get("oneshot"):
            layers.insert(2, _ONESHOT)
        values = table.finish(merge(layers))
        values["options"] = MappingProxyType({key: values.pop(key) for key in kind.keys})
        values["run"] = values["run"] or kind.runs[0]
        spec = ServiceSpec(name=name, **values)
        if spec.run not in kind.runs:
            here.at("run").report(f"type {kind.name} runs as {' or '.join(kind.runs)} only")
        if len(here.problems) == before:  # else these would be complaints about consequences
            found = (*inconsistencies(spec, merge([*inherited, own])), *kind.check(spec))
            for key, problem in found:
                here.at(key).report(problem)
        return spec

    def _bases(self, name: str, here: Where) -> list[str]:
        """Return what a service extends, nearest first."""
        bases: list[str] = []
        while (base := self._written[name].get("extends")) is not None:
            place = here.at("extends")
            if not isinstance(base, str):
                place.report(f"expected the name of a service, got {describe(base)}")
            elif not isinstance(self._written.get(base), Mapping):
                close = did_you_mean(base, self._written)
                place.report(f"no service {base!r}{close}")
            elif base in bases or base == name:
                place.report(f"goes in a circle: {' -> '.join([name, *bases, base])}")
            else:
                bases.append(base)
                name = base
                continue
            break
        return bases

    def _kind(self, chain: list[str], here: Where) -> type[Kind] | None:
        default = self._defaults.get("type", SERVICE["type"].default)
        found = [self._written[name]["type"] for name in chain if "type" in self._written[name]]
        name = found[0] if found else default
        kind = self._kinds.get(name) if isinstance(name, str) else None
        if kind is None:
            try:
                Choice(*(n for n, k in self._kinds.items() if not k.table)).parse(name, here)
            except Invalid as exc:
                here.at("type").report(str(exc))
        elif any(other != name for other in found):
            other = next(other for other in found if other != name)
            here.at("extends").report(f"is of type {other}, and this is a {name}")
        return kind

    def _base(self, name: str, table: Table) -> Partial:
        """Read a base as a service of the kind that extends it."""
        here = self._place.at(name)
        problems: list[str] = []
        found = table.parse(self._table(name, here), Where(here.file, problems, here.path))
        # A base that is a service itself has its problems reported once, there.
        here.problems.extend(text for text in problems if text not in here.problems)
        return Partial({key: v for key, v in found.items() if key not in _NOT_INHERITED})

    def _table(self, name: str, here: Where) -> dict[str, Any]:
        table = {key: v for key, v in self._written[name].items() if key != "extends"}
        for key, problem in _NOT_YET.items():
            if table.pop(key, None) is not None:
                here.at(key).report(problem)
        return table


def _kind_defaults(kind: type[Kind], table: Table) -> Partial:
    problems: list[str] = []
    partial = table.parse(kind.defaults, Where(f"defaults of type {kind.name}", problems))
    if problems:
        raise ConfigurationError(*problems)
    return partial
