"""The supervisor: runs services as processes and tasks, restarts what dies, stops it in order.

It knows nothing of queues or NATS. A module imports only from lower lines::

    foreground  _signals  _terminal  _statusbar         `naq up` on a terminal
    detach  systemd  stall  _dump                       in the background, under systemd, stuck
    supervisor  commands  streams  shutdown             a project as a whole
    reload  plan  crew  groups  roster                  all services, and what is asked of them
    replica  service  tenure  observed  wish  announce  the owner of one replica
    incarnation  host  runs  tasks  tasklogs  process  health   one run and its surroundings
    limits  identity  _probes  helper  hooks            what it may use, who it is, short commands
    control  outbox  client  protocol  _args            asking and telling over a socket
    metrics  report                                     what is the case, for people and collectors
    leftovers  guardian  rundir  infrastructure         if the supervisor itself dies; one at a time
    logs  logfiles  _rotation  _lines  _writer  _render what services print
    events  board  bell  dependencies  lifecycle        what is the case and what happened
    causes  graph                                       pure decisions and values
    recipe  config  advice  document  drawing           what must run: files read, judged, shown
    _layers  _checks  _keys*  _schema  _values  spec    its tables, keys and values
    preparation  kinds  environment  envfile            types of services, their environment
    notify  _notify_socket  _system                     what the operating system offers

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
