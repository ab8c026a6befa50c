"""From ``supervisor.toml`` to a topology, or to all its problems.

Every table is parsed, then merged, then completed; ``services.py`` does so for services.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from naq.base.exits import Exit
from naq.exceptions import ConfigurationError, SupervisorError
from naq.supervisor.config.checks import (
    check_environment,
    check_graph,
    check_groups,
    check_single,
    resolve_dependencies,
)
from naq.supervisor.config.keys import CONTROL, HOOKS, LOGGING, PROJECT, SERVICE
from naq.supervisor.config.services import NAME, read_services
from naq.supervisor.config.subtables import GROUPS
from naq.supervisor.kinds.schema import Invalid, Key, Scalar, Table, Where
from naq.supervisor.kinds.topology import Topology
from naq.supervisor.model import graph
from naq.supervisor.model.spec import GroupSpec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from naq.supervisor.kinds.kind import Kind, Kinds
    from naq.supervisor.model.spec import ServiceSpec

__all__ = ["TOP", "load", "parse", "read", "select"]

_VERSION = 1


def read(path: Path) -> dict[str, Any]:
    """Read a supervisor file as TOML.

    Raises:
        ConfigurationError: it cannot be read, or is not TOML.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise ConfigurationError(f"{path}: cannot be read: {why}") from exc
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"{path}: not TOML: {exc}") from exc


def load(path: Path, kinds: Kinds) -> Topology:
    """Read a supervisor file.

    Args:
        path: the file; relative paths in it are relative to its directory.
        kinds: what ``type`` may name.

    Raises:
        ConfigurationError: it cannot be read, or has problems; all of them are in ``problems``.
    """
    return parse(read(path), kinds=kinds, file=str(path), directory=path.resolve().parent)


def parse(
    document: Mapping[str, Any],
    *,
    kinds: Kinds,
    directory: Path,
    file: str = "topology",
    profiles: Iterable[str] = (),
) -> Topology:
    """Check a document and return what it describes.

    Args:
        document: the content of a file, as :mod:`tomllib` reads it.
        kinds: what ``type`` may name.
        directory: what relative paths are relative to, absolute.
        file: how messages name the document.
        profiles: those that are active instead of the ones in the document.

    Raises:
        ConfigurationError: it has problems; all of them are in ``problems``.
        SupervisorError: there is no such profile, exit code 66.
    """
    problems: list[str] = []
    where = Where(file, problems)
    # Services have keys that only their type knows, so they are read one by one.
    with_table = [kind for kind in kinds.values() if kind.table]
    others = {"services", *(kind.table for kind in with_table)}
    top = TOP.parse({k: v for k, v in document.items() if k not in others}, where)
    written = document.get("services", {})
    for kind in with_table:
        written = _with_implied(written, kind, document, directory, where)
    services = read_services(written, top.get("defaults", {}), kinds, where)
    resolve_dependencies(services, {*written} if services else set(), where.at("services"))
    project = PROJECT.finish(top.get("project", {}))
    name = project.pop("name") or _project_name(directory)
    if not NAME.fullmatch(name):
        where.at("project").at("name").report("use letters, digits, '-' and '_'")
    check_graph(services, where)
    check_single(services, kinds, where)
    control = CONTROL.finish(top.get("control", {}))
    socket = control["socket"]
    topology = Topology(
        name=name,
        directory=directory,
        file=file,
        services=MappingProxyType(services),
        logging=LOGGING.finish(top.get("logging", {})),
        groups=_groups(GROUPS.finish(top.get("groups", {})), services, where),
        hooks=_hooks(HOOKS.finish(top.get("hooks", {}))),
        socket=None if socket == "auto" else str(directory / socket),
        metrics=control["metrics"],
        kinds=kinds,
        **project,
    )
    check_environment(topology, where)
    if problems:
        raise ConfigurationError(*problems)
    return _activate(topology, tuple(profiles))


def _with_implied(
    written: Any, kind: type[Kind], document: Mapping[str, Any], directory: Path, where: Where
) -> Any:
    """Return the services with the one that a kind's own table becomes."""
    table, type_ = kind.table, kind.table_type
    assert table is not None
    assert type_ is not None
    here = where.at(table)
    before = len(where.problems)
    try:
        finished = type_.finish(type_.parse(document.get(table, {}), here))
    except Invalid as exc:
        here.report(str(exc))
        return written
    if len(where.problems) == before:
        for entry, problem in kind.check_table(finished):
            here.at(entry).report(problem)
    if len(where.problems) != before or not isinstance(written, Mapping):
        return written
    implied = kind.imply(finished, written, directory)
    if implied is None:
        return written
    if table in written:
        where.at("services").at(table).report(f"choose another name: [{table}] runs under this one")
        return written
    return {**written, table: implied}


def select(topology: Topology, names: Iterable[str], *, dependencies: bool = True) -> Topology:
    """Return the topology with only ``names`` active, or as it is if there are none.

    Args:
        topology: all services.
        names: of services.
        dependencies: whether what they depend on is active as well; otherwise they do not wait
            for it either.

    Raises:
        SupervisorError: there is no such service, exit code 66.
    """
    wanted = list(names)
    for name in wanted:
        if name not in topology.services:
            known = ", ".join(topology.services)
            raise SupervisorError(
                f"no service {name!r}; there are: {known}", exit_code=Exit.NOT_FOUND
            )
    if dependencies:
        if not wanted:
            return topology
        active = graph.closure(graph.edges(topology.services), wanted)
        return replace(topology, active=frozenset(active))
    chosen = frozenset(wanted) or topology.active or frozenset(topology.services)
    services = {
        name: replace(spec, depends_on=tuple(e for e in spec.depends_on if e.service in chosen))
        for name, spec in topology.services.items()
    }
    return replace(topology, active=chosen, services=MappingProxyType(services))


def _activate(topology: Topology, profiles: tuple[str, ...]) -> Topology:
    """Choose the services that are started: those of a profile, and what they depend on."""
    services = topology.services
    known = {p for spec in services.values() for p in spec.profiles} | set(topology.profiles)
    for profile in profiles:
        if profile not in known:
            raise SupervisorError(
                f"no profile {profile!r}; there are: {', '.join(sorted(known))}",
                exit_code=Exit.NOT_FOUND,
            )
    current = profiles or topology.profiles
    meant = [
        name
        for name, spec in services.items()
        if not spec.disabled and (not spec.profiles or set(spec.profiles) & set(current))
    ]
    active = frozenset(graph.closure(graph.edges(topology.services), meant))
    return replace(topology, profiles=current, active=active)


def _groups(
    written: Mapping[str, Mapping[str, Any]], services: Mapping[str, ServiceSpec], where: Where
) -> Mapping[str, GroupSpec]:
    groups = {name: GroupSpec(name=name, **keys) for name, keys in written.items()}
    check_groups(groups, services, where)
    if graph.find_cycle(graph.edges(services)):
        return groups
    order = [name for layer in graph.start_layers(graph.edges(services)) for name in layer]
    return MappingProxyType(
        {
            name: replace(group, members=tuple(m for m in order if m in group.members))
            for name, group in groups.items()
        }
    )


def _hooks(written: Mapping[str, tuple[str, ...] | None]) -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType({name: command for name, command in written.items() if command})


def _version(value: object) -> object:
    if value == _VERSION and not isinstance(value, bool):
        return value
    raise Invalid(f"this naq reads version {_VERSION}, not {value!r}")


TOP = Table(
    {
        "version": Key(type=Scalar(_version, {"const": _VERSION}), doc="of this format"),
        "project": Key(type=PROJECT, doc="the project as a whole"),
        "control": Key(type=CONTROL, doc="the control socket"),
        "logging": Key(type=LOGGING, doc="what happens to output"),
        "defaults": Key(type=Table(SERVICE), doc="defaults of all services"),
        "groups": Key(type=GROUPS, doc="services that are restarted together"),
        "hooks": Key(type=HOOKS, doc="commands to run when something happens"),
    }
)


def _project_name(directory: Path) -> str:
    """Make a project's name of the directory's, without what a name may not have."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", directory.name).strip("-_")[:63] or "project"
