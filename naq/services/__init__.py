"""The kinds of services that supervisor.toml may name, and what runs where there is no file.

Each kind is a class of its own; :data:`KINDS` is the table the command line gives to the
supervisor, which itself knows none of them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from naq.services.programs import CallableKind, CommandKind, NatsKind
from naq.services.schedules import SchedulesKind
from naq.services.workers import DashboardKind, SchedulerKind, WorkerKind

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
