"""The supervisor: runs services as processes and tasks, restarts what dies, stops it in order.

It knows nothing of queues or NATS. From the top down; each part imports only from those below it::

    up             on a terminal, in the background, under systemd
    supervisor.py  one project, from its lock to its end
    control        the control socket: what may be asked, and how it is answered
    project        all replicas together: crew, groups, reloads, hooks
    replica        the life of one replica
    process        one run on this machine, and what is left of it if the supervisor dies
    config         the supervisor file: read, checked, shown
    output         what services print: lines, log files, the terminal
    kinds          what a type of service is written with
    model          values and decisions: states, causes, the graph
    notify.py      for the supervised programs themselves: readiness, watchdog, lifeline

Public names are loaded on first use: ``naq ps`` needs no event loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from naq.supervisor.config.read import load, parse, select
    from naq.supervisor.kinds.kind import Kind, Launch, PauseSignals, Project, ReplicaContext
    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.supervisor import Supervisor

__all__ = [
    "Kind",
    "Launch",
    "PauseSignals",
    "Project",
    "ReplicaContext",
    "ServiceSpec",
    "Supervisor",
    "Topology",
    "load",
    "parse",
    "select",
]

_HOMES = {
    "Kind": "kinds.kind",
    "Launch": "kinds.kind",
    "PauseSignals": "kinds.kind",
    "Project": "kinds.kind",
    "ReplicaContext": "kinds.kind",
    "ServiceSpec": "model.spec",
    "Supervisor": "supervisor",
    "Topology": "kinds.topology",
    "load": "config.read",
    "parse": "config.read",
    "select": "config.read",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
