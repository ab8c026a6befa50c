"""A project as a value: what a supervisor file comes to, or what a program puts together."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from naq.supervisor.model.spec import ExitPolicy, GroupSpec, Logging, ServiceSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from naq.supervisor.kinds.kind import Kinds

__all__ = ["Topology"]

_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A project: everything that must run, and where it lives on disk.

    Attributes:
        directory: relative paths are relative to it; ``.naq`` is made in it.
        services: in the order of the file; also those that are not started at first.
        file: where it was read from, for messages; empty if a program made it.
        active: the services that are started; None: all.
        profiles: those that chose them.
        shutdown_timeout: seconds that stopping everything may take.
        exit_policy: when the project as a whole is over.
        env: variables of all services.
        env_file: files with such variables.
        logging: what becomes of output, unless a service says otherwise.
        groups: by name; a service is in at most one.
        hooks: a command for each event; see :mod:`naq.supervisor.project.hooks`.
        socket: path of the control socket; None: one in ``.naq/run``.
        metrics: ``host:port`` where Prometheus may collect numbers; None: nowhere.
        kinds: the types of services that the project may have.
    """

    name: str
    directory: Path
    services: Mapping[str, ServiceSpec]
    file: str = ""
    active: frozenset[str] | None = None
    profiles: tuple[str, ...] = ("default",)
    shutdown_timeout: float = 60.0
    exit_policy: ExitPolicy = ExitPolicy.WHEN_ALL_DONE
    env: Mapping[str, str | None] = field(default_factory=lambda: _EMPTY)
    env_file: tuple[str, ...] = ()
    logging: Logging = field(default_factory=Logging)
    groups: Mapping[str, GroupSpec] = field(default_factory=lambda: _EMPTY)
    hooks: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _EMPTY)
    socket: str | None = None
    metrics: str | None = None
    kinds: Kinds = field(default_factory=lambda: _EMPTY)

    def is_active(self, name: str) -> bool:
        """Whether a service is one of those that are started at first."""
        return self.active is None or name in self.active
