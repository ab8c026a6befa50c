"""The supervisor: runs services as processes and tasks, restarts what dies, stops it in order.

It knows nothing of queues or NATS. A module imports only from lower lines::

    foreground                                          signals, output, exit code of `naq up`
    supervisor  commands                                a project as a whole
    client  control  report  protocol                   asking it
    service  gate  wish  announce                       the owner of one replica
    incarnation  host                                   one run and its surroundings
    runs  tasks  process  health  _probes               as a process, as a task, is it ready
    leftovers  guardian  rundir                         if the supervisor itself dies; one at a time
    logs  _lines  _writer  _render                      what services print
    board  dependencies  lifecycle  causes  graph       what is the case, and pure decisions
    config  kinds  _keys  environment  _values  _schema  spec   what must run
    notify  _notify_socket  _system                     what the operating system offers

Public names are loaded on first use: ``naq ps`` needs no event loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from naq.supervisor.config import load, parse, select
    from naq.supervisor.kinds import Kind, Launch, Project, ReplicaContext
    from naq.supervisor.spec import ServiceSpec, Topology
    from naq.supervisor.supervisor import Supervisor

__all__ = [
    "Kind",
    "Launch",
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
    "Kind": "kinds",
    "Launch": "kinds",
    "Project": "kinds",
    "ReplicaContext": "kinds",
    "ServiceSpec": "spec",
    "Supervisor": "supervisor",
    "Topology": "spec",
    "load": "config",
    "parse": "config",
    "select": "config",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
