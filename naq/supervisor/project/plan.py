"""What a reload has to do: the smallest change that leads from one topology to another. Pure.

Each key of a service has an apply class (``config/keys.py``); a change has the strongest class of
the keys that differ. A service whose environment files have changed since its runs began is
restarted as well. Where nothing differs, nothing is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from naq.supervisor.config.keys import SERVICE
from naq.supervisor.kinds.schema import Apply, Spread

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from naq.supervisor.kinds.schema import Key
    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.model.spec import ServiceSpec

__all__ = ["Action", "Change", "Plan", "compare"]


class Action(StrEnum):
    """What happens to a service, the mildest first."""

    LIVE = "live"
    GRAPH = "graph"
    SCALE = "scale"
    RESTART = "restart"
    START = "start"
    STOP = "stop"
    REMOVE = "remove"


_OF_CLASS = {
    Apply.LIVE: Action.LIVE,
    Apply.GRAPH: Action.GRAPH,
    Apply.SCALE: Action.SCALE,
    Apply.RESTART: Action.RESTART,
}
_WORDS = {
    Action.LIVE: "takes over",
    Action.GRAPH: "takes over, from the next start on,",
    Action.SCALE: "is scaled:",
    Action.RESTART: "is restarted:",
    Action.START: "is started",
    Action.STOP: "is stopped:",
    Action.REMOVE: "is stopped and removed",
}


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one service.

    Attributes:
        actions: everything that is to be done.
        keys: the keys that differ.
        note: the numbers of replicas before and after, if they differ.
    """

    service: str
    actions: frozenset[Action]
    keys: tuple[str, ...] = ()
    note: str = ""

    @property
    def action(self) -> Action:
        """The strongest of the actions."""
        return max(self.actions, key=list(Action).index)

    def __str__(self) -> str:
        what = self.note if self.action is Action.SCALE else ", ".join(self.keys) or self.note
        return f"{self.service} {_WORDS[self.action]} {what}".rstrip(" ")

    def as_dict(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {"service": self.service, "action": str(self.action), "keys": list(self.keys)}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a reload does.

    Attributes:
        changes: of services.
        project: keys of the project that are taken over at once.
        later: keys that take effect at the next ``naq up``.
    """

    changes: tuple[Change, ...]
    project: tuple[str, ...] = ()
    later: tuple[str, ...] = ()

    def of(self, *actions: Action) -> list[Change]:
        """Return the changes that include one of ``actions``."""
        return [change for change in self.changes if change.actions & set(actions)]

    def lines(self) -> list[str]:
        """Return the plan for people."""
        lines = [str(change) for change in self.changes]
        if self.project:
            lines.append(f"project takes over {', '.join(self.project)}")
        if self.later:
            lines.append(f"at the next `naq up`: {', '.join(self.later)}")
        return lines or ["nothing has changed"]


def compare(
    old: Topology,
    new: Topology,
    *,
    running: Mapping[str, Collection[str]],
    digests: Mapping[str, str],
    prune: bool = True,
) -> Plan:
    """Return what leads from ``old`` to ``new``.

    Args:
        old: the topology so far.
        new: the one to come.
        running: digests of the environment files that the runs of each service began with.
        digests: the same of each service, as the files are now.
        prune: whether services that are no longer in the file are stopped.
    """
    everything = _project_restarts(old, new)
    changes = []
    for name in dict.fromkeys((*old.services, *new.services)):
        before, after = old.services.get(name), new.services.get(name)
        if after is None:
            if prune:
                changes.append(Change(name, frozenset({Action.REMOVE})))
        elif before is None:
            if new.is_active(name):
                changes.append(Change(name, frozenset({Action.START})))
        else:
            found = _service(before, after, new, everything)
            if any(digest != digests.get(name, "") for digest in running.get(name, ())):
                found.append(("env_file", Action.RESTART))
            if old.is_active(name) != new.is_active(name):
                found.append(("profiles", Action.START if new.is_active(name) else Action.STOP))
            if found:
                changes.append(_change(before, after, found))
    return Plan(tuple(changes), *_project(old, new))


def _change(before: ServiceSpec, after: ServiceSpec, found: list[tuple[str, Action]]) -> Change:
    note = f"{before.replicas} -> {after.replicas}" if before.replicas != after.replicas else ""
    actions = frozenset(action for _, action in found)
    return Change(before.name, actions, tuple(dict.fromkeys(key for key, _ in found)), note)


def _service(
    before: ServiceSpec, after: ServiceSpec, new: Topology, everything: Iterable[str]
) -> list[tuple[str, Action]]:
    """Return what differs in a service, with what that calls for."""
    found = [(key, Action.RESTART) for key in everything]
    for path, apply in _differences(SERVICE, before, after):
        found.append((path, _OF_CLASS[apply]))
    kind = new.kinds.get(after.type)
    keys = {} if kind is None else kind.keys
    for name in dict.fromkeys((*before.options, *after.options)):
        if before.options.get(name) != after.options.get(name):
            apply = keys[name].apply if name in keys else Apply.RESTART
            found.append((name, _OF_CLASS[apply]))
    return found


def _differences(
    keys: Mapping[str, Key], before: Any, after: Any, prefix: str = ""
) -> Iterator[tuple[str, Apply]]:
    for name, key in keys.items():
        if isinstance(key.type, Spread):
            continue  # another way to write other keys, which are compared themselves
        one, other = getattr(before, name), getattr(after, name)
        if one == other:
            continue
        inner = key.type.keys
        if inner and key.apply is Apply.RESTART and all(hasattr(one, word) for word in inner):
            yield from _differences(inner, one, other, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", key.apply


def _project_restarts(old: Topology, new: Topology) -> list[str]:
    """Return the keys of the project whose change restarts everything."""
    return [
        f"project.{key}" for key in ("env", "env_file") if getattr(old, key) != getattr(new, key)
    ]


_TAKEN_OVER = ("shutdown_timeout", "exit_policy", "logging", "groups", "hooks")


def _project(old: Topology, new: Topology) -> tuple[tuple[str, ...], tuple[str, ...]]:
    now = tuple(key for key in _TAKEN_OVER if getattr(old, key) != getattr(new, key))
    later = []
    if old.name != new.name:
        later.append("project.name")
    if old.socket != new.socket:
        later.append("control.socket")
    if old.metrics != new.metrics:
        later.append("control.metrics")
    return now, tuple(later)
