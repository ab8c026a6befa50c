"""From ``supervisor.toml`` to a :class:`~naq.supervisor.spec.Topology`, or to all its problems.

Every table is parsed first, then merged, then completed: kind defaults < ``[defaults]`` <
``[services.NAME]``. Tables merge by key; lists and single values replace.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from naq.exceptions import ConfigurationError, SupervisorError
from naq.supervisor import environment, graph
from naq.supervisor._keys import LOGGING, PROJECT, SERVICE
from naq.supervisor._schema import (
    Choice,
    Invalid,
    Key,
    Partial,
    Scalar,
    Table,
    Where,
    did_you_mean,
    merge,
)
from naq.supervisor._values import uses_port
from naq.supervisor.spec import Condition, OnExhausted, Policy, ServiceSpec, Topology

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from naq.supervisor.kinds import Kind, Kinds
    from naq.supervisor.spec import Dependency

__all__ = ["edges", "load", "parse", "select"]


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_VERSION = 1

# Below [defaults] these hold for a service that runs once: three tries, then it has failed.
_ONESHOT = Partial(
    restart=Partial(policy=Policy.ON_FAILURE, max_restarts=3, on_exhausted=OnExhausted.FAIL)
)


def load(path: Path, kinds: Kinds) -> Topology:
    """Read a supervisor file.

    Args:
        path: the file; relative paths in it are relative to its directory.
        kinds: what ``type`` may name.

    Raises:
        ConfigurationError: it cannot be read, or has problems; all of them are in ``problems``.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise ConfigurationError(f"{path}: cannot be read: {why}") from exc
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"{path}: not TOML: {exc}") from exc
    return parse(document, kinds=kinds, file=str(path), directory=path.resolve().parent)


def parse(
    document: Mapping[str, Any], *, kinds: Kinds, directory: Path, file: str = "topology"
) -> Topology:
    """Check a document and return what it describes.

    Args:
        document: the content of a file, as :mod:`tomllib` reads it.
        kinds: what ``type`` may name.
        directory: what relative paths are relative to, absolute.
        file: how messages name the document.

    Raises:
        ConfigurationError: it has problems; all of them are in ``problems``.
    """
    problems: list[str] = []
    where = Where(file, problems)
    # Services have keys that only their type knows, so they are read one by one further on.
    top = _TOP.parse({k: v for k, v in document.items() if k != "services"}, where)
    services = _services(document.get("services", {}), top.get("defaults", {}), kinds, where)
    project = PROJECT.finish(top.get("project", {}))
    name = project.pop("name") or _project_name(directory)
    if not _NAME.fullmatch(name):
        where.at("project").at("name").report("use letters, digits, '-' and '_'")
    _check_graph(services, where)
    topology = Topology(
        name=name,
        directory=directory,
        file=file,
        services=MappingProxyType(services),
        logging=LOGGING.finish(top.get("logging", {})),
        **project,
    )
    _check_environment(topology, where)
    if problems:
        raise ConfigurationError(*problems)
    return topology


def select(topology: Topology, names: Iterable[str]) -> Topology:
    """Return the topology of ``names`` and what they depend on; of everything if there are none.

    Raises:
        SupervisorError: there is no such service, exit code 66.
    """
    wanted = list(names)
    for name in wanted:
        if name not in topology.services:
            known = ", ".join(topology.services)
            raise SupervisorError(f"no service {name!r}; there are: {known}", exit_code=66)
    if not wanted:
        return topology
    kept = graph.closure(edges(topology.services), wanted)
    services = {name: spec for name, spec in topology.services.items() if name in kept}
    return replace(topology, services=MappingProxyType(services))


def edges(services: Mapping[str, ServiceSpec]) -> dict[str, tuple[str, ...]]:
    """Return the graph of ``depends_on``."""
    return {name: tuple(d.service for d in spec.depends_on) for name, spec in services.items()}


def _version(value: object) -> object:
    if value == _VERSION and not isinstance(value, bool):
        return value
    raise Invalid(f"this naq reads version {_VERSION}, not {value!r}")


_TOP = Table(
    {
        "version": Key(type=Scalar(_version, {"const": _VERSION}), doc="of this format"),
        "project": Key(type=PROJECT, doc="the project as a whole"),
        "logging": Key(type=LOGGING, doc="what happens to output"),
        "defaults": Key(type=Table(SERVICE), doc="defaults of all services"),
    }
)


def _services(
    written: object, defaults: Mapping[str, Any], kinds: Kinds, where: Where
) -> dict[str, ServiceSpec]:
    place = where.at("services")
    if not isinstance(written, Mapping):
        place.report("expected a table")
        return {}
    if not written:
        place.report("there are none: nothing to run")
    services = {}
    for name, table in written.items():
        here = place.at(name)
        if name.startswith("x-"):
            continue
        if not _NAME.fullmatch(name) or name == "naq":
            here.report("a service needs another name: letters, digits, '-' and '_', and not naq")
        elif not isinstance(table, Mapping):
            here.report("expected a table")
        elif kind := _kind(table, defaults, kinds, here):
            services[name] = _service(name, table, defaults, kind, here)
    _resolve_dependencies(services, set(written), place)
    return services


def _kind(
    table: Mapping[str, Any], defaults: Mapping[str, Any], kinds: Kinds, here: Where
) -> type[Kind] | None:
    name = table.get("type", defaults.get("type", SERVICE["type"].default))
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        try:
            Choice(*kinds).parse(name, here)
        except Invalid as exc:
            here.at("type").report(str(exc))
    return kind


def _service(
    name: str,
    written: Mapping[str, Any],
    defaults: Mapping[str, Any],
    kind: type[Kind],
    here: Where,
) -> ServiceSpec:
    """Read one service. What has problems gets its default, so that the rest can be read."""
    before = len(here.problems)
    table = Table({**SERVICE, **kind.keys})
    own = table.parse(written, here)
    layers = [_kind_defaults(kind, table), defaults, own]
    if merge(layers).get("oneshot"):
        layers.insert(2, _ONESHOT)
    values = table.finish(merge(layers))
    values["options"] = MappingProxyType({key: values.pop(key) for key in kind.keys})
    values["run"] = values["run"] or kind.runs[0]
    spec = ServiceSpec(name=name, **values)
    if spec.run not in kind.runs:
        here.at("run").report(f"type {kind.name} runs as {' or '.join(kind.runs)} only")
    if len(here.problems) == before:  # else these would be complaints about consequences
        for key, problem in (*_inconsistent(spec), *kind.check(spec)):
            here.at(key).report(problem)
    return spec


def _kind_defaults(kind: type[Kind], table: Table) -> Partial:
    problems: list[str] = []
    partial = table.parse(kind.defaults, Where(f"defaults of type {kind.name}", problems))
    if problems:
        raise ConfigurationError(*problems)
    return partial


def _inconsistent(spec: ServiceSpec) -> Iterable[tuple[str, str]]:
    """Yield what single keys cannot know about each other."""
    for key, texts in (("cwd", (spec.cwd,)), ("ready", spec.ready.target if spec.ready else ())):
        if spec.port is None and uses_port(texts):
            yield key, "uses {port}, but the service has no port"


def _resolve_dependencies(services: dict[str, ServiceSpec], names: set[str], place: Where) -> None:
    """Give each edge its condition, and report those that lead nowhere or cannot be met."""
    for name, spec in services.items():
        resolved = []
        for edge in spec.depends_on:
            target = services.get(edge.service)
            here = place.at(name).at("depends_on")
            if edge.service not in names:
                close = did_you_mean(edge.service, names)
                here.report(f"no service {edge.service!r}{close}")
            elif target is not None:
                # A parsed edge has no condition where the file gives none.
                default = Condition.COMPLETED if target.oneshot else Condition.READY
                resolved.append(replace(edge, condition=edge.condition or default))
                if problem := _never_met(resolved[-1], target):
                    here.at(edge.service).report(problem)
        services[name] = replace(spec, depends_on=tuple(resolved))


def _never_met(edge: Dependency, target: ServiceSpec) -> str:
    policy = target.restart
    if target.oneshot or policy.policy is not Policy.ALWAYS:
        return ""
    if edge.condition is Condition.COMPLETED or (
        edge.condition is Condition.EXITED and policy.on_exhausted is OnExhausted.DEGRADE
    ):
        return (
            f"{target.name} is restarted whenever it ends, so it is never {edge.condition}; "
            "set oneshot or another restart policy there"
        )
    return ""


def _check_graph(services: Mapping[str, ServiceSpec], where: Where) -> None:
    if cycle := graph.find_cycle(edges(services)):
        where.at("services").at(cycle[0]).at("depends_on").report(
            f"dependency cycle: {' -> '.join(cycle)}"
        )


def _check_environment(topology: Topology, where: Where) -> None:
    """Evaluate every environment once, so that a missing variable is known before anything runs."""
    base = environment.inherited(os.environ)
    fields = {"service": "", "replica": 1, "replicas": 1, "project": topology.name}
    try:
        base = environment.build(base, [topology.env], {**fields, "port": 0})
    except Invalid as exc:
        where.at("project").at("env").report(str(exc))
    for name, spec in topology.services.items():
        known = fields if spec.port is None else {**fields, "port": spec.port}
        try:
            environment.build(base, [spec.env], known)
        except Invalid as exc:
            where.at("services").at(name).at("env").report(str(exc))


def _project_name(directory: Path) -> str:
    """Make a name of the directory's, with what a name may not have replaced."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", directory.name).strip("-_")[:63] or "project"
