"""What is not wrong in a file, but may not do what its author expects: ``naq validate``."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from naq.supervisor.kinds.kind import Project, ReplicaContext
from naq.supervisor.kinds.values import command
from naq.supervisor.model import graph
from naq.supervisor.model.graph import edges
from naq.supervisor.model.spec import Condition, Order, Policy, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.model.spec import ServiceSpec

__all__ = ["advice", "fastest_exhaustion"]


def advice(topology: Topology) -> list[str]:
    """Return what a person should know, one line each, as ``services.NAME.KEY: text``."""
    found = [
        f"services.{spec.name}.{key}: {text}"
        for spec in topology.services.values()
        for key, text in (*_restarts(spec), *_programs(topology, spec), *_misc(topology, spec))
    ]
    found += [f"services.{text}" for text in _ports(topology)]
    found += list(_hooks(topology))
    found += list(_times(topology))
    return found


def fastest_exhaustion(spec: ServiceSpec) -> float:
    """Return the least seconds in which ``max_restarts`` failures can happen."""
    backoff = spec.restart.backoff
    delay, total = backoff.initial, 0.0
    for _ in range(spec.restart.max_restarts):
        total += min(delay, backoff.maximum) * (1 - backoff.jitter)
        delay = min(delay * backoff.factor, backoff.maximum)
    return total


def _restarts(spec: ServiceSpec) -> Iterator[tuple[str, str]]:
    restart = spec.restart
    if restart.policy is Policy.NEVER or not restart.max_restarts:
        return
    needed = fastest_exhaustion(spec)
    if needed >= restart.within:
        yield (
            "restart",
            (
                f"max_restarts = {restart.max_restarts} is never reached: with these delays so "
                f"many restarts take {needed:.0f} s, and the window is {restart.within:g} s"
            ),
        )


def _programs(topology: Topology, spec: ServiceSpec) -> Iterator[tuple[str, str]]:
    candidates = [("stop_pre", spec.stop_pre)]
    for key, probe in (("ready", spec.ready), ("live", spec.live)):
        if probe is not None and probe.probe == "exec":
            candidates.append((key, probe.target))
    written = spec.options.get("command")
    if written is not None and not spec.options.get("shell"):
        words = command(written if isinstance(written, str) else list(written))
        candidates.append(("command", words))
    context = _context(topology, spec)
    path = spec.env.get("PATH")
    for key, words in candidates:
        if not words:
            continue
        program = context.fill(words[0])
        at = context.cwd / program if "/" in program else program
        # A PATH of the service's own is not evaluated here.
        if path is None and shutil.which(str(at)) is None:
            yield key, f"there is no program {program!r}"
    if not context.cwd.is_dir():
        yield "cwd", f"there is no directory {context.cwd}"


def _hooks(topology: Topology) -> Iterator[str]:
    for name, words in topology.hooks.items():
        at = topology.directory / words[0] if "/" in words[0] else words[0]
        if "{" not in words[0] and shutil.which(str(at)) is None:
            yield f"hooks.{name}: there is no program {words[0]!r}"


def _context(topology: Topology, spec: ServiceSpec) -> ReplicaContext:
    project = Project(name=topology.name, directory=topology.directory, run_dir=topology.directory)
    return ReplicaContext(
        service=spec,
        index=1,
        incarnation=1,
        project=project,
        env={},
        say=lambda _: None,
    )


def _misc(topology: Topology, spec: ServiceSpec) -> Iterator[tuple[str, str]]:
    if spec.rolling.order is Order.START_FIRST and spec.port is not None:
        yield "rolling", "with start-first, two runs want the same port for a moment"
    for edge in spec.depends_on:
        target = topology.services[edge.service]
        other = topology.kinds.get(target.type)
        own = other is not None and ("ready" in other.defaults or other.tells_ready)
        bare = target.ready is None and not own and target.run is Run.PROCESS
        if edge.condition is Condition.READY and bare:
            yield (
                "depends_on",
                f"{edge.service} has no `ready`, so it counts as ready as soon as it was started",
            )


def _ports(topology: Topology) -> Iterator[str]:
    taken: dict[int, str] = {}
    for spec in topology.services.values():
        if not isinstance(spec.port, int) or spec.port == 0 or not topology.is_active(spec.name):
            continue
        for index in range(spec.replicas):
            name = f"{spec.name}.{index + 1}" if spec.replicas > 1 else spec.name
            port = spec.port + index
            if port in taken:
                yield f"{spec.name}.port: {name} and {taken[port]} both have port {port}"
                break
            taken[port] = name


def _times(topology: Topology) -> Iterator[str]:
    """Compare the time that stopping may take, layer after layer, with what is allowed."""
    total = 0.0
    for layer in graph.stop_layers(edges(topology.services)):
        total += max((_stop_time(topology.services[name]) for name in layer), default=0.0)
    if total > topology.shutdown_timeout:
        yield (
            f"project.shutdown_timeout: {topology.shutdown_timeout:g} s is less than the "
            f"{total:g} s that the services may take to stop one after the other"
        )


def _stop_time(spec: ServiceSpec) -> float:
    return spec.stop_timeout if spec.replicas else 0.0
