"""What must run, as values: the resolved form of a supervisor file.

Nothing here reads a file or starts anything. All durations are seconds, all sizes bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "Backoff",
    "Condition",
    "Dependency",
    "ExitPolicy",
    "Logging",
    "OnExhausted",
    "Policy",
    "Readiness",
    "RestartSpec",
    "Run",
    "ServiceSpec",
    "Topology",
]


class Run(StrEnum):
    """Where a replica lives: a process of its own, or a task in the supervisor's process."""

    PROCESS = "process"
    TASK = "task"


class Condition(StrEnum):
    """What a dependency must have reached before its dependents start."""

    STARTED = "started"
    READY = "ready"
    COMPLETED = "completed"  # ended with success
    EXITED = "exited"  # ended


class Policy(StrEnum):
    """Which ends are followed by a new start."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class OnExhausted(StrEnum):
    """What happens when a replica failed more often than its budget allows."""

    DEGRADE = "degrade"  # CRASHLOOP: keep trying at the longest delay
    FAIL = "fail"
    SHUTDOWN = "shutdown"  # fail, and stop the project


class ExitPolicy(StrEnum):
    """When a project ends by itself."""

    WHEN_ALL_DONE = "when-all-done"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delay before restart ``n``, from 0: ``min(maximum, initial * factor**n)``, jittered."""

    initial: float = 0.5
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartSpec:
    """When a replica is started again, how soon, and how often."""

    policy: Policy = Policy.ALWAYS
    backoff: Backoff = field(default_factory=Backoff)
    reset_after: float = 60.0
    max_restarts: int = 8  # within the window; 0 = no limit
    within: float = 300.0
    on_exhausted: OnExhausted = OnExhausted.DEGRADE


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """One edge of the graph: ``service`` must have reached ``condition``."""

    service: str
    condition: Condition = Condition.READY
    required: bool = True
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """How to know that a replica is ready.

    Attributes:
        probe: ``none`` (as soon as it runs), ``notify``, ``log``, ``http``, ``tcp`` or ``exec``.
        target: the url, ``host:port``, regular expression or command; templates not yet filled.
        period: longest time between two tries; the first ones follow each other faster.
        timeout: for one try.
        status: HTTP status codes that count, first and last.
    """

    probe: str = "none"
    target: tuple[str, ...] = ()
    period: float = 1.0
    timeout: float = 1.0
    status: tuple[int, int] = (200, 399)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """What happens to the lines services print."""

    format: str = "auto"  # auto | text | json
    level: str = "info"  # of the supervisor's own lines
    buffer: int = 2000  # lines kept per replica
    max_line: int = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """One service, complete: the defaults of the file and of its type are merged in.

    Attributes:
        ready: None where the file says nothing; then the kind decides.
        port: of the first replica; the others follow it. None where there is none.
        options: the keys that belong to the service's type.
    """

    name: str
    type: str = "command"
    run: Run = Run.PROCESS
    replicas: int = 1
    depends_on: tuple[Dependency, ...] = ()
    restart: RestartSpec = field(default_factory=RestartSpec)
    env: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))
    cwd: str = "."
    port: int | None = None
    stop_signal: int = 15
    stop_timeout: float = 10.0
    start_timeout: float = 60.0
    start_delay: float = 0.0
    kill_group: bool = True
    critical: bool = False
    success_exit_codes: tuple[int, ...] = (0,)
    fatal_exit_codes: tuple[int, ...] = (78,)
    oneshot: bool = False
    ready: Readiness | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A project: everything that must run, and where it lives on disk.

    Attributes:
        directory: what relative paths are relative to; ``.naq`` is made here.
        file: where it was read from, for messages; empty for one built in a program.
        services: in the order of the file.
    """

    name: str
    directory: Path
    services: Mapping[str, ServiceSpec]
    file: str = ""
    shutdown_timeout: float = 60.0
    exit_policy: ExitPolicy = ExitPolicy.WHEN_ALL_DONE
    env: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))
    logging: Logging = field(default_factory=Logging)
