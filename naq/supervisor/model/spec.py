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

__all__ = [
    "Backoff",
    "Condition",
    "Dependency",
    "ExitPolicy",
    "GroupSpec",
    "Limits",
    "LogFile",
    "Logging",
    "OnExhausted",
    "Order",
    "Policy",
    "Readiness",
    "RestartSpec",
    "Rolling",
    "Rotation",
    "Run",
    "ServiceSpec",
    "Strategy",
    "Watchdog",
]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return _NOTHING


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
    """What happens when a replica has failed more often than its budget allows."""

    DEGRADE = "degrade"  # CRASHLOOP: keep trying at the longest delay
    FAIL = "fail"
    GROUP = "group"  # restart the group it is a member of
    SHUTDOWN = "shutdown"  # fail, and stop the project


class ExitPolicy(StrEnum):
    """When a project ends by itself."""

    WHEN_ALL_DONE = "when-all-done"
    NEVER = "never"


class Order(StrEnum):
    """How a running replica is replaced by a new run of it."""

    STOP_FIRST = "stop-first"
    START_FIRST = "start-first"  # the old one stops when the new one is ready


class Strategy(StrEnum):
    """Who is restarted when a member of a group fails."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"  # it and the members after it


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
    restart: bool = False  # a new run of it, once it is there again, restarts us


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """How to know that a replica is ready, or alive.

    Attributes:
        probe: ``none`` (as soon as it runs), ``notify``, ``log``, ``http``, ``tcp`` or ``exec``.
        target: the url, ``host:port``, regular expression or command; templates not yet filled.
        period: longest time between two tries; None: a second until it succeeded once, ten
            seconds from then on. The first tries follow each other faster.
        timeout: for one try.
        failures: how many in a row make a difference, once it has succeeded.
        initial_delay: seconds after READY before the first look at whether it is alive.
        status: HTTP status codes that count as success, first and last.
    """

    probe: str = "none"
    target: tuple[str, ...] = ()
    period: float | None = None
    timeout: float = 1.0
    failures: int = 3
    initial_delay: float = 0.0
    status: tuple[int, int] = (200, 399)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """How long a replica may be silent.

    Attributes:
        timeout: longest time between two ``WATCHDOG=1``, from READY on.
        abort: send SIGABRT first, which makes many programs say where they hang.
    """

    timeout: float
    abort: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a replica may use; None: no limit.

    Attributes:
        max_memory: resident bytes of its session; it is restarted when it uses more.
        max_age: seconds after which it is restarted.
        max_age_jitter: share of it by which replicas differ, so that they do not end together.
        nofile: open files (RLIMIT_NOFILE).
        nice: priority, -20 to 19.
    """

    max_memory: int | None = None
    max_age: float | None = None
    max_age_jitter: float = 0.1
    nofile: int | None = None
    nice: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """How many replicas are replaced at the same time, and in which order.

    Attributes:
        max_surge: replicas that may run twice, with ``start-first``.
        max_unavailable: replicas that may be missing, with ``stop-first``.
    """

    order: Order = Order.STOP_FIRST
    max_surge: int = 1
    max_unavailable: int = 1

    @property
    def parallel(self) -> int:
        """How many replicas are replaced at the same time."""
        first = self.order is Order.START_FIRST
        return max(1, self.max_surge if first else self.max_unavailable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """When a log file is rotated, and what becomes of the old one.

    Attributes:
        max_size: bytes from which on it is rotated.
        keep: how many old files.
        max_age: seconds; older ones are removed. None: only their number counts.
        compress: whether old files are gzipped.
    """

    max_size: int = 50 * 2**20
    keep: int = 5
    max_age: float | None = None
    compress: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """Where else the lines of a service are written; ``file`` is a template, or None."""

    file: str | None = None
    rotate: Rotation | None = None  # None: as the project says


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """What happens to the lines services print."""

    format: str = "auto"  # auto | text | json
    level: str = "info"  # of the supervisor's own lines
    on_slow_sink: str = "drop"  # nothing else is supported
    buffer: int = 2000  # lines kept per replica
    max_line: int = 16 * 1024
    dir: str | None = None  # where each replica has a file of its own
    rotate: Rotation = field(default_factory=Rotation)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpec:
    """Services that share their fate.

    Attributes:
        members: in the order of their dependencies, then of the file.
        max_restarts: of the group within the window; 0 = no limit.
    """

    name: str
    members: tuple[str, ...]
    strategy: Strategy = Strategy.ONE_FOR_ONE
    max_restarts: int = 3
    within: float = 600.0
    on_exhausted: OnExhausted = OnExhausted.DEGRADE


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """One service in full: the defaults of the file and of its type are merged in.

    Attributes:
        ready: None if the file does not say; then the kind decides.
        port: of the first replica; the others get the following ones. None: it has no port.
        options: the keys that belong to the service's type.
        stdin: a file, or ``null``.
        profiles: those it belongs to; empty: all.
        disabled: it is not started until somebody asks for it.
        rerun: it runs again when its group is restarted, even if it has completed.
        stop_pre: command that runs before the stop signal, within ``stop_timeout``.
        user: name or number; None: the supervisor's own. The same goes for ``group``.
    """

    name: str
    type: str = "command"
    run: Run = Run.PROCESS
    replicas: int = 1
    depends_on: tuple[Dependency, ...] = ()
    restart: RestartSpec = field(default_factory=RestartSpec)
    env: Mapping[str, str | None] = field(default_factory=_nothing)
    env_file: tuple[str, ...] = ()
    cwd: str = "."
    stdin: str = "null"
    port: int | None = None
    user: str | int | None = None
    group: str | int | None = None
    umask: int | None = None
    stop_signal: int = 15
    stop_timeout: float = 10.0
    stop_pre: tuple[str, ...] = ()
    start_timeout: float = 60.0
    start_delay: float = 0.0
    kill_group: bool = True
    critical: bool = False
    success_exit_codes: tuple[int, ...] = (0,)
    fatal_exit_codes: tuple[int, ...] = (78,)
    oneshot: bool = False
    rerun: bool = False
    disabled: bool = False
    profiles: tuple[str, ...] = ()
    ready: Readiness | None = None
    live: Readiness | None = None
    watchdog: Watchdog | None = None
    limits: Limits = field(default_factory=Limits)
    rolling: Rolling = field(default_factory=Rolling)
    logging: LogFile = field(default_factory=LogFile)
    options: Mapping[str, Any] = field(default_factory=_nothing)
