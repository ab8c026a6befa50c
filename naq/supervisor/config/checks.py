"""What no single key can tell: contradictions within a service, and between services.

Each function reports to a place or yields ``(key, problem)``. None changes anything, except
:func:`resolve_dependencies`, which fills in the default condition of a dependency.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from naq.base.text import uses_port
from naq.supervisor.kinds import environment
from naq.supervisor.kinds.schema import Invalid, did_you_mean
from naq.supervisor.model import graph
from naq.supervisor.model.graph import edges
from naq.supervisor.model.spec import Condition, OnExhausted, Policy, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from naq.supervisor.kinds.kind import Kinds
    from naq.supervisor.kinds.schema import Where
    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.model.spec import Dependency, GroupSpec, ServiceSpec

__all__ = [
    "check_environment",
    "check_graph",
    "check_groups",
    "check_single",
    "inconsistencies",
    "resolve_dependencies",
]

# Keys that only a process of its own can have.
_PROCESS_ONLY = ("user", "group", "umask", "stop_pre", "watchdog", "stdin")

_LIMITS_OF_A_PROCESS = ("max_memory", "nofile", "nice")


def inconsistencies(spec: ServiceSpec, written: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    """Yield contradictions between the keys of one service.

    Args:
        spec: the service.
        written: the keys in its own table or in one that it extends.
    """
    texts = {
        "cwd": (spec.cwd,),
        "stdin": (spec.stdin,),
        "ready": spec.ready.target if spec.ready else (),
        "live": spec.live.target if spec.live else (),
        "stop_pre": spec.stop_pre,
        "logging": (spec.logging.file or "",),
    }
    for key, used in texts.items():
        if spec.port is None and uses_port(used):
            yield key, "uses {port}, but the service has no port"
    if spec.run is Run.TASK:
        for key in _PROCESS_ONLY:
            if key in written:
                yield key, "a task has no process of its own for that"
        for key in _LIMITS_OF_A_PROCESS:
            if "limits" in written and getattr(spec.limits, key) is not None:
                yield "limits", f"a task has no process of its own for {key}"
        return
    for key in ("user", "group"):
        if getattr(spec, key) is not None and os.geteuid() != 0:
            yield key, "only root can start programs as somebody else"


def resolve_dependencies(services: dict[str, ServiceSpec], names: set[str], place: Where) -> None:
    """Give each dependency its condition; report those that do not exist or can never be met."""
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


def check_single(services: Mapping[str, ServiceSpec], kinds: Kinds, where: Where) -> None:
    """Report a second service of a type that allows one, unless profiles exclude each other."""
    seen: list[ServiceSpec] = []
    for name, spec in services.items():
        if not kinds[spec.type].single or spec.disabled:
            continue
        for other in seen:
            apart = spec.profiles and other.profiles and not {*spec.profiles} & {*other.profiles}
            if other.type == spec.type and not apart:
                where.at("services").at(name).at("type").report(
                    f"there may be one service of type {spec.type}, and {other.name} is one"
                )
        seen.append(spec)


def check_graph(services: Mapping[str, ServiceSpec], where: Where) -> None:
    """Report a cycle of dependencies."""
    if cycle := graph.find_cycle(edges(services)):
        where.at("services").at(cycle[0]).at("depends_on").report(
            f"dependency cycle: {' -> '.join(cycle)}"
        )


def check_groups(
    groups: Mapping[str, GroupSpec], services: Mapping[str, ServiceSpec], where: Where
) -> None:
    """Report members that do not exist or are in two groups, and services that need a group."""
    seen: dict[str, str] = {}
    for name, group in groups.items():
        here = where.at("groups").at(name).at("members")
        if not group.members:
            here.report("missing: which services belong to it?")
        for member in group.members:
            if member not in services:
                here.report(f"no service {member!r}{did_you_mean(member, services)}")
            elif member in seen:
                here.report(f"{member} is in group {seen[member]} already")
            seen.setdefault(member, name)
    for name, spec in services.items():
        if spec.restart.on_exhausted is OnExhausted.GROUP and name not in seen:
            where.at("services").at(name).at("restart").at("on_exhausted").report(
                "the service is in no group"
            )


def check_environment(topology: Topology, where: Where) -> None:
    """Build every environment once, so that a missing variable is known before anything runs."""
    base = environment.inherited(os.environ)
    fields = {"service": "", "replica": 1, "replicas": 1, "project": topology.name}
    project = where.at("project")
    files = _read(topology, topology.env_file, project)
    try:
        base = environment.build(base, [files, topology.env], {**fields, "port": 0})
    except Invalid as exc:
        project.at("env").report(str(exc))
    for name, spec in topology.services.items():
        known = fields if spec.port is None else {**fields, "port": spec.port}
        here = where.at("services").at(name)
        try:
            environment.build(base, [_read(topology, spec.env_file, here), spec.env], known)
        except Invalid as exc:
            here.at("env").report(str(exc))


def _read(topology: Topology, names: tuple[str, ...], here: Where) -> environment.FromFile:
    try:
        return environment.read_all(topology.directory, names)
    except Invalid as exc:
        here.at("env_file").report(str(exc))
        return environment.FromFile()
