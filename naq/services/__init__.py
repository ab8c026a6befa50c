"""The kinds of services that supervisor.toml may name, and what runs where there is no file.

Each kind is a class of its own; :data:`KINDS` is the table that the command line gives to the
supervisor, which itself knows none of them.

* ``programs``: ``command`` and ``callable``, a program or a function of the user's own
* ``nats``: the embedded nats-server as a service
* ``server``: the embedded nats-server itself, also for tests and benchmarks
* ``queue``: ``worker`` and ``scheduler``
* ``dashboard``: ``dashboard``
* ``schedules``: the table ``[schedules]``
* ``policies``: what tasks declare, asked in a process of its own
* ``tasks``: what kinds need that run on the supervisor's own loop
* ``values``: types of values in their tables

``former`` is no part of this: it has modules by the names they had in the first release.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from naq.services.dashboard import DashboardKind
from naq.services.nats import NatsKind
from naq.services.programs import CallableKind, CommandKind
from naq.services.queue import SchedulerKind, WorkerKind
from naq.services.schedules import SchedulesKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq.supervisor.kinds.kind import Kinds

__all__ = ["DEFAULT_TOPOLOGY", "KINDS"]

KINDS: Kinds = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            CommandKind,
            CallableKind,
            NatsKind,
            WorkerKind,
            SchedulerKind,
            DashboardKind,
            SchedulesKind,
        )
    }
)

# What `naq up` runs where there is no supervisor.toml, in the form of one.
DEFAULT_TOPOLOGY: Mapping[str, Any] = MappingProxyType(
    {
        "version": 1,
        "services": {
            "nats": {"type": "nats"},
            "worker": {"type": "worker", "queues": ["default"], "depends_on": ["nats"]},
            "scheduler": {"type": "scheduler", "run": "task", "depends_on": ["nats"]},
            "dashboard": {"type": "dashboard"},
        },
    }
)
