"""A type of service: what it tells the supervisor, and what it is given.

The supervisor knows how to start, watch and stop; a :class:`Kind` knows what. :mod:`naq.services`
has the table of kinds that supervisor.toml may name; a program that uses ``Supervisor`` itself may
pass others.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import trio

from naq.base.text import fill
from naq.exceptions import SupervisorError
from naq.supervisor.model.board import Bell
from naq.supervisor.model.spec import Run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from naq.supervisor.kinds.schema import Key, Type
    from naq.supervisor.model.spec import ServiceSpec

__all__ = [
    "Kind",
    "Kinds",
    "Launch",
    "PauseSignals",
    "Project",
    "ReplicaContext",
    "StopRequest",
    "Switch",
]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The project a service belongs to.

    Attributes:
        directory: relative paths of the file are relative to it.
        run_dir: ``.naq/run`` in it, mode 0700: sockets, locks, generated secrets.
    """

    name: str
    directory: Path
    run_dir: Path


class Switch:
    """Whether a task should take no new work (``naq pause``); work already begun continues.

    Attributes:
        on: whether it is paused.
    """

    def __init__(self) -> None:
        self.on = False
        self._bell = Bell()

    def turn(self, *, on: bool) -> None:
        """Set it; for the supervisor."""
        self.on = on
        self._bell.ring()

    async def wait(self, *, on: bool) -> None:
        """Wait until the task is (not) paused."""
        await self._bell.until(lambda: True if self.on is on else None)


class StopRequest:
    """Tells a task that it is to stop, if it wants to know that before it is cancelled.

    Attributes:
        event: None until the task asks for it.
    """

    def __init__(self) -> None:
        self.event: trio.Event | None = None

    def __call__(self) -> trio.Event:
        """Return the event; from then on the task ends in its own time."""
        if self.event is None:
            self.event = trio.Event()
        return self.event


@dataclass(frozen=True, slots=True)
class PauseSignals:
    """Signals for a program that can pause; never sent before it has reported ready."""

    pause: int = signal.SIGUSR1
    resume: int = signal.SIGUSR2


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaContext:
    """A replica about to run, as passed to :meth:`Kind.launch` and :meth:`Kind.run`.

    It is made anew for every run, so the environment is the current one.

    Attributes:
        service: the resolved service; the kind's own keys are in ``service.options``.
        index: which replica, from 1.
        incarnation: which run of this replica, from 1.
        env: the complete environment a process would get.
        say: prints a text as lines of this replica.
        stopping: called once, by a task that wants to end in its own time. The event is set when
            the service is stopped, ``stop_timeout`` before the task is cancelled. A task that never
            calls it is cancelled at once.
        paused: for a task of a kind that can pause.
    """

    service: ServiceSpec
    index: int
    incarnation: int
    project: Project
    env: Mapping[str, str]
    say: Callable[[str], None]
    stopping: StopRequest = field(default_factory=StopRequest)
    paused: Switch = field(default_factory=Switch)

    @property
    def name(self) -> str:
        """``service`` if there is only one replica, otherwise ``service.N``."""
        return (
            f"{self.service.name}.{self.index}" if self.service.replicas > 1 else self.service.name
        )

    @property
    def port(self) -> int | None:
        """The service's port plus the number of replicas before this one."""
        return None if self.service.port is None else self.service.port + self.index - 1

    @property
    def cwd(self) -> Path:
        """The absolute directory to run in."""
        return self.project.directory / self.fill(self.service.cwd)

    @property
    def stdin(self) -> Path | None:
        """The absolute path of the file it reads; None for nothing."""
        written = self.service.stdin
        return None if written == "null" else self.project.directory / self.fill(written)

    @property
    def fields(self) -> dict[str, object]:
        """The values of this replica's placeholders."""
        fields: dict[str, object] = {
            "service": self.service.name,
            "replica": self.index,
            "replicas": self.service.replicas,
            "project": self.project.name,
        }
        if self.port is not None:
            fields["port"] = self.port
        return fields

    def fill(self, template: str) -> str:
        """Fill in ``{service}``, ``{replica}``, ``{replicas}``, ``{project}`` and ``{port}``."""
        return fill(template, self.fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to run one replica as a process.

    Attributes:
        argv: program and arguments, templates filled in.
        env: laid over ``ReplicaContext.env``; None unsets.
        cwd: None means ``ReplicaContext.cwd``.
        ready: waits until the service is ready, if the file does not say how to tell. It may raise
            :class:`OSError` or :class:`~naq.exceptions.NaqException`, which fails the start.
        lifeline: the program ends by itself when the descriptor named by ``NAQ_LIFELINE_FD`` comes
            to its end (:func:`naq.supervisor.notify.lifeline_lost`), so the guardian need not stop
            it when the supervisor is gone.
        reword: replaces each line that the program prints, or drops it by returning None.
        aftermath: for a program that writes what it has in hand into the file whose descriptor
            ``NAQ_LEDGER_FD`` names (:func:`naq.supervisor.notify.ledger`): the command that is run
            once the process has ended, given its status, a signal as its negative number. It
            inherits the same file, user and environment. None is run if the file is empty.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str | None] = field(default_factory=lambda: _NOTHING)
    cwd: Path | None = None
    ready: Callable[[], Awaitable[None]] | None = None
    lifeline: bool = False
    reword: Callable[[bytes], bytes | None] | None = None
    aftermath: Callable[[int], tuple[str, ...]] | None = None


class TaskStatus(Protocol):
    """What a task calls when it is ready; the same shape as Trio's and AnyIO's."""

    def started(self, value: Any = None, /) -> None:
        """Say that the task is ready. ``value`` is ignored."""


class Kind:
    """A type of service. Subclasses override what they need; one object is made per supervisor.

    Attributes:
        name: what ``type`` says in the file.
        runs: allowed values of ``run``; the first one is the default.
        keys: the kind's own keys, in the same form as the common ones.
        defaults: common keys in the form of the file, below ``[defaults]``.
        last: other services rely on it: it is stopped after all those it does not depend on.
        single: there may be only one service of this type.
        table: name of a table of the file that is for this kind, and becomes one service of the
            same name.
        table_type: type of that table.
        tells_ready: it knows when its services are ready if the file does not say.
        pauses: how ``naq pause`` works: a process gets these signals, a task looks at
            ``ReplicaContext.paused``. None: it cannot pause.
    """

    name: ClassVar[str]
    runs: ClassVar[tuple[Run, ...]] = (Run.PROCESS,)
    keys: ClassVar[Mapping[str, Key]] = _NOTHING
    defaults: ClassVar[Mapping[str, Any]] = _NOTHING
    last: ClassVar[bool] = False
    single: ClassVar[bool] = False
    table: ClassVar[str | None] = None
    table_type: ClassVar[Type | None] = None
    tells_ready: ClassVar[bool] = False
    pauses: ClassVar[PauseSignals | None] = None

    @classmethod
    def check_table(cls, entries: Any) -> Iterable[tuple[str, str]]:
        """Yield ``(entry, problem)`` for what is wrong with entries of :attr:`table`."""
        _ = entries
        return ()

    @classmethod
    def imply(
        cls,
        entries: Any,  # noqa: ARG003
        services: Mapping[str, Any],  # noqa: ARG003
        directory: Path,  # noqa: ARG003
    ) -> Mapping[str, Any] | None:
        """Return the service that :attr:`table` becomes, as it would be written; None: no service.

        Args:
            entries: the table; an empty one where there is none.
            services: the file's table of services.
            directory: the project's.
        """
        return None

    @classmethod
    def check(cls, service: ServiceSpec) -> Iterable[tuple[str, str]]:
        """Yield ``(key, problem)`` for what no single key can tell, such as a missing command."""
        _ = service
        return ()

    def prepare(self, project: Project, services: Mapping[str, ServiceSpec]) -> None:
        """Get ready before anything starts: choose a port, write a configuration.

        Called again when a service of this kind is changed or added later, before it starts and
        with that service alone.

        Args:
            project: with its run directory, which exists.
            services: those of this kind that are about to run.

        Raises:
            NaqException: the project cannot start.
        """

    def exports(self, service: ServiceSpec) -> Mapping[str, str]:
        """Return variables for every other service, unless the file or the service sets them."""
        _ = service
        return _NOTHING

    def launch(self, replica: ReplicaContext) -> Launch:  # noqa: ARG002 - for subclasses
        """Return how to start a replica as a process; called at every spawn.

        Raises:
            OSError, NaqException: it cannot be started now; this counts as a failure.
        """
        raise SupervisorError(f"type {self.name} does not run as a process")

    async def run(
        self,
        replica: ReplicaContext,  # noqa: ARG002
        *,
        task_status: TaskStatus,  # noqa: ARG002
    ) -> None:
        """Run a replica as a task: call ``task_status.started()`` when ready, return when done."""
        raise SupervisorError(f"type {self.name} does not run as a task")


Kinds = Mapping[str, type[Kind]]
