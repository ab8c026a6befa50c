"""``type = "worker"`` and ``type = "scheduler"``: in processes, or on the supervisor's loop."""

from __future__ import annotations

import secrets
import socket
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from naq.base.imports import PYTHON, let_import
from naq.base.text import uses_port
from naq.services.tasks import until_stopped
from naq.services.values import AT_LEAST_ONE, LISTEN, QUEUE
from naq.supervisor.kinds.kind import Kind, Launch, PauseSignals
from naq.supervisor.kinds.schema import Choice, Key, ListOf
from naq.supervisor.kinds.values import BOOLEAN, DURATION, TEXT
from naq.supervisor.model.spec import Run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from naq.schedules.scheduler import Scheduler
    from naq.supervisor.kinds.kind import ReplicaContext, TaskStatus
    from naq.supervisor.model.spec import ServiceSpec
    from naq.worker.worker import Worker

__all__ = ["SchedulerKind", "WorkerKind"]

_METRICS = Key(
    type=LISTEN,
    doc="where to serve /healthz, /readyz and /metrics: host:port; {port} is the replica's",
)


class WorkerKind(Kind):
    """``type = "worker"``: a naq worker, in a process of its own or on the supervisor's loop."""

    name: ClassVar[str] = "worker"
    runs: ClassVar[tuple[Run, ...]] = (Run.PROCESS, Run.TASK)
    pauses: ClassVar[PauseSignals | None] = PauseSignals()
    keys: ClassVar[Mapping[str, Key]] = {
        "queues": Key(type=ListOf(QUEUE), default=(), doc="names; default: NAQ_DEFAULT_QUEUE"),
        "import": Key(type=ListOf(TEXT), default=(), doc="modules with tasks"),
        "allow": Key(
            type=ListOf(TEXT),
            default=(),
            doc="modules that may run in JSON mode, or globs",
        ),
        "backend": Key(
            type=Choice("asyncio", "trio"), default="asyncio", doc="event loop of the process"
        ),
        "concurrency": Key(type=AT_LEAST_ONE, default=10, doc="jobs at the same time"),
        "crash_limit": Key(
            type=AT_LEAST_ONE, default=3, doc="workers a job may take down before it is poison"
        ),
        "stall_timeout": Key(
            type=DURATION,
            default=300.0,
            doc="how long a job may block the event loop before the process is ended; 0: any time",
        ),
        "burst": Key(type=BOOLEAN, default=False, doc="end when the queues are empty"),
        "metrics": _METRICS,
    }
    defaults: ClassVar[Mapping[str, Any]] = {"ready": "notify", "stop_timeout": "30s"}

    @classmethod
    def check(cls, service: ServiceSpec) -> Iterable[tuple[str, str]]:
        """Each replica needs an address of its own for its metrics."""
        return _check_metrics(service)

    def launch(self, replica: ReplicaContext) -> Launch:
        """Run ``naq worker``."""
        options = replica.service.options
        words = [*PYTHON, "-m", "naq", "worker", *options["queues"]]
        words += ["--name", _worker_name(replica), "--backend", options["backend"]]
        words += ["--concurrency", str(options["concurrency"])]
        words += ["--crash-limit", str(options["crash_limit"])]
        words += ["--stall-timeout", f"{options['stall_timeout']:g}"]
        words += ["--drain-timeout", f"{_drain_timeout(replica.service):g}"]
        for flag, values in (("--import", options["import"]), ("--allow", options["allow"])):
            words += [word for value in values for word in (flag, value)]
        if options["burst"]:
            words.append("--burst")
        words += _metrics_words(replica)
        return Launch(argv=tuple(words), lifeline=True, aftermath=_aftermath)

    async def run(  # noqa: ASYNC128 - the worker calls started()
        self, replica: ReplicaContext, *, task_status: TaskStatus
    ) -> None:
        """Run a worker here, on Trio."""
        from naq.settings import Settings
        from naq.worker.worker import Worker

        options = replica.service.options
        let_import(replica.cwd)
        for module in options["import"]:
            import_module(module)
        worker = Worker(
            options["queues"],
            concurrency=options["concurrency"],
            name=_worker_name(replica),
            drain_timeout=_drain_timeout(replica.service),
            burst=options["burst"],
            crash_limit=options["crash_limit"],
            allow=options["allow"],
            settings=Settings.from_env(replica.env),
        )

        async def pause() -> None:
            while True:
                await replica.paused.wait(on=True)
                worker.pause()
                await replica.paused.wait(on=False)
                worker.resume()

        await until_stopped(
            replica,
            partial(worker.run, task_status=task_status),
            worker.stop,
            pause,
            monitor=_monitor(replica, worker),
        )


class SchedulerKind(Kind):
    """``type = "scheduler"``: any number of them, in processes or on the supervisor's loop."""

    name: ClassVar[str] = "scheduler"
    runs: ClassVar[tuple[Run, ...]] = (Run.PROCESS, Run.TASK)
    keys: ClassVar[Mapping[str, Key]] = {
        "poll_interval": Key(
            type=DURATION, default=10.0, doc="how often missed runs are looked for"
        ),
        "backend": Key(
            type=Choice("asyncio", "trio"), default="asyncio", doc="event loop of the process"
        ),
        "ha": Key(type=BOOLEAN, default=True, doc="take turns with other schedulers"),
        "metrics": _METRICS,
    }
    defaults: ClassVar[Mapping[str, Any]] = {"ready": "notify"}

    @classmethod
    def check(cls, service: ServiceSpec) -> Iterable[tuple[str, str]]:
        """Looking for missed runs more often than every second would be polling."""
        if service.options["poll_interval"] < 1:
            yield "poll_interval", "must be one second or more"
        yield from _check_metrics(service)

    def launch(self, replica: ReplicaContext) -> Launch:
        """Run ``naq scheduler``."""
        options = replica.service.options
        words = [*PYTHON, "-m", "naq", "scheduler", "--instance-id", _worker_name(replica)]
        words += ["--poll-interval", f"{options['poll_interval']:g}"]
        words += ["--backend", options["backend"]]
        if not options["ha"]:
            words.append("--disable-ha")
        words += _metrics_words(replica)
        return Launch(argv=tuple(words), lifeline=True)

    async def run(  # noqa: ASYNC128 - the scheduler calls started()
        self, replica: ReplicaContext, *, task_status: TaskStatus
    ) -> None:
        """Run a scheduler here, on Trio."""
        from naq.schedules.scheduler import Scheduler
        from naq.settings import Settings

        options = replica.service.options
        scheduler = Scheduler(
            poll_interval=options["poll_interval"],
            instance_id=_worker_name(replica),
            enable_ha=options["ha"],
            settings=Settings.from_env(replica.env),
        )
        await until_stopped(
            replica,
            partial(scheduler.run, task_status=task_status),
            scheduler.stop,
            monitor=_monitor(replica, scheduler),
        )


def _check_metrics(service: ServiceSpec) -> Iterable[tuple[str, str]]:
    where = service.options["metrics"]
    if where is None:
        return
    if not uses_port([where]):
        if service.replicas > 1:
            yield "metrics", "each replica needs a port of its own: use {port}, and set port"
    elif service.port is None:
        yield "metrics", "uses {port}, but the service has no port"


def _metrics_words(replica: ReplicaContext) -> list[str]:
    where = replica.service.options["metrics"]
    return [] if where is None else ["--metrics", replica.fill(where)]


def _monitor(
    replica: ReplicaContext, watched: Worker | Scheduler
) -> Callable[..., Awaitable[None]] | None:
    where = replica.service.options["metrics"]
    if where is None:
        return None
    from naq.worker.monitor import serve_monitor

    return partial(serve_monitor, replica.fill(where), watched)


def _aftermath(status: int) -> tuple[str, ...]:
    """Give back the jobs of a worker that has ended, and write down how it did."""
    return (*PYTHON, "-m", "naq.worker.life.aftermath", str(status))


def _drain_timeout(service: ServiceSpec) -> float:
    """Return the seconds that jobs get to finish.

    The rest of ``stop_timeout`` is for handing back those that do not.
    """
    return max(service.stop_timeout / 2, service.stop_timeout - 7.0)


def _worker_name(replica: ReplicaContext) -> str:
    """Return a name that tells which replica it is, and that no other run has."""
    return f"{replica.name}-{socket.gethostname()[:20]}-{secrets.token_hex(2)}"
