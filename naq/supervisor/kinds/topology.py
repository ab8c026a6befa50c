"""TODO docstring."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from naq.supervisor.model.spec import ExitPolicy, GroupSpec, Logging, ServiceSpec, _nothing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from naq.supervisor.kinds.kind import Kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A project: everything that must run, and where it lives on disk.

    Attributes:
        directory: what relative paths are relative to; ``.naq`` is made here.
        file: where it was read from, for messages; empty for one built in a program.
        services: in the order of the file; also those that are not started at first.
        active: those that are started; None: all.
        groups: by name; a service is in one of them at most.
        hooks: command per event; see ``hooks.py``.
        socket: path of the control socket; None: chosen.
        metrics: ``host:port`` where numbers may be collected; None: nowhere.
        kinds: what ``type`` may name.
    """

    name: str
    directory: Path
    services: Mapping[str, ServiceSpec]
    file: str = ""
    active: frozenset[str] | None = None
    profiles: tuple[str, ...] = ("default",)
    shutdown_timeout: float = 60.0
    exit_policy: ExitPolicy = ExitPolicy.WHEN_ALL_DONE
    env: Mapping[str, str | None] = field(default_factory=_nothing)
    env_file: tuple[str, ...] = ()
    logging: Logging = field(default_factory=Logging)
    groups: Mapping[str, GroupSpec] = field(default_factory=_nothing)
    hooks: Mapping[str, tuple[str, ...]] = field(default_factory=_nothing)
    socket: str | None = None
    metrics: str | None = None
    kinds: Kinds = field(default_factory=_nothing)

    def is_active(self, name: str) -> bool:
        """Whether the service is one of those that are started at first."""
        return self.active is None or name in self.active
