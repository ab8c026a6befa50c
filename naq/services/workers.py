"""Service kinds of naq itself, each in processes or on the supervisor's loop."""

from __future__ import annotations

import secrets
import socket
import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from naq.base.text import uses_port
from naq.services.values import AT_LEAST_ONE, BIND, LISTEN, QUEUE
from naq.supervisor.kinds.kind import Kind, Launch, PauseSignals
from naq.supervisor.kinds.schema import Choice, Key, ListOf
from naq.supervisor.kinds.values import BOOLEAN, DURATION, TEXT
from naq.supervisor.model.spec import Run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from naq.schedules.scheduler import Scheduler
    from naq.supervisor.kinds.kind import Project, ReplicaContext, TaskStatus
    from naq.supervisor.model.spec import ServiceSpec
    from naq.worker.worker import Worker

__all__ = ["DashboardKind", "SchedulerKind", "WorkerKind"]

DASHBOARD_PORT = 8080
_METRICS = Key(
    type=LISTEN,
    doc="where to answer /healthz, /readyz and /metrics: host:port; {port} is the replica's",
)


class WorkerKind(Kind):
    """``type = "worker"``: a naq worker, in a process of its own or on the supervisor's loop."""

    name: ClassVar[str] = "worker"
    runs: ClassVar[tuple[Run, ...]] = (Run.PROCESS, Run.TASK)
    pauses: ClassVar[PauseSignals | None] = PauseSignals()
    keys: ClassVar[Mapping[str, Key]] = {
        "queues": Key(type=ListOf(QUEUE), default=(), doc="names; default: NAQ_DEFAULT_QUEUE"),
        "import": Key(type=ListOf(TEXT), default=(), doc="modules with tasks"),
        "allow": Key(type=ListOf(TEXT), default=(), doc="modules that may run in json mode"),
        "backend": Key(
            type=Choice("asyncio", "trio"), default="asyncio", doc="event loop of the process"
        ),
        "concurrency": Key(type=AT_LEAST_ONE, default=10, doc="jobs at the same time"),
        "crash_limit": Key(
            type=AT_LEAST_ONE, default=3, doc="workers a job may take down before it is poison"
        ),
        "burst": Key(type=BOOLEAN, default=False, doc="end when the queues are empty"),
        "metrics": _METRICS,
    }
    defaults: ClassVar[Mapping[str, Any]] = {"ready": "notify", "stop_timeout": "30s"}

    @classmethod
    def check(cls, service: ServiceSpec) -> Iterable[tuple[str, str]]:
        """Each replica needs a place of its own for its metrics."""
        return _check_metrics(service)

    def launch(self, replica: ReplicaContext) -> Launch:
        """Run ``naq worker``."""
        options = replica.service.options
        words = [sys.executable, "-m", "naq", "worker", *options["queues"]]
        words += ["--name", _worker_name(replica), "--backend", options["backend"]]
        words += ["--concurrency", str(options["concurrency"])]
        words += ["--crash-limit", str(options["crash_limit"])]
        words += ["--drain-timeout", f"{_drain_timeout(replica.service):g}"]
        for flag, values in (("--import", options["import"]), ("--allow", options["allow"])):
            words += [word for value in values for word in (flag, value)]
        if options["burst"]:
            words.append("--burst")
        words += _metrics_words(replica)
        return Launch(argv=tuple(words), lifeline=True)

    async def run(  # noqa: ASYNC128 - the worker calls started()
        self, replica: ReplicaContext, *, task_status: TaskStatus
    ) -> None:
        """Run a worker here, on Trio."""
        from naq.settings import Settings
        from naq.worker.worker import Worker

        options = replica.service.options
        directory = str(replica.cwd)
        if directory not in sys.path:
            sys.path.insert(0, directory)
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

        await _until_stopped(
            replica,
            partial(worker.run, task_status=task_status),
            worker.stop,
            pause,
            monitor=_monitor(replica, worker),
        )


class SchedulerKind(Kind):
    """``type = "scheduler"``: as many as one likes, in processes or on the supervisor's loop."""

    name: ClassVar[str] = "scheduler"
    runs: ClassVar[tuple[Run, ...]] = (Run.PROCESS, Run.TASK)
    keys: ClassVar[Mapping[str, Key]] = {
        "poll_interval": Key(
            type=DURATION, default=10.0, doc="how often missed runs are looked for"
        ),
        "backend": Key(
            type=Choice("asyncio", "trio"), default="asyncio", doc="event loop of the process"
        ),
        "ha": Key(type=BOOLEAN, default=True, doc="share that looking with other schedulers"),
        "metrics": _METRICS,
    }
    defaults: ClassVar[Mapping[str, Any]] = {"ready": "notify"}

    @classmethod
    def check(cls, service: ServiceSpec) -> Iterable[tuple[str, str]]:
        """Looking for missed runs all the time would be no better than polling."""
        if service.options["poll_interval"] < 1:
            yield "poll_interval", "must be one second or more"
        yield from _check_metrics(service)

    def launch(self, replica: ReplicaContext) -> Launch:
        """Run ``naq scheduler``."""
        options = replica.service.options
        words = [sys.executable, "-m", "naq", "scheduler", "--instance-id", _worker_name(replica)]
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
        await _until_stopped(
            replica,
            partial(scheduler.run, task_status=task_status),
            scheduler.stop,
            monitor=_monitor(replica, scheduler),
        )


class DashboardKind(Kind):
    """``type = "dashboard"``: on the supervisor's loop, or in a process."""

    name: ClassVar[str] = "dashboard"
    _port: int
    runs: ClassVar[tuple[Run, ...]] = (Run.TASK, Run.PROCESS)
    keys: ClassVar[Mapping[str, Key]] = {
        "bind": Key(
            type=BIND,
            doc="where it listens; default: 127.0.0.1:8080, or another port if that is taken",
        ),
        "token": Key(type=TEXT, doc="what one logs in with; default: NAQ_DASHBOARD_TOKEN, or made"),
        "proxy_header": Key(type=TEXT, doc="header in which a reverse proxy names who it let in"),
        "readonly": Key(type=BOOLEAN, default=False, doc="show only"),
    }
    defaults: ClassVar[Mapping[str, Any]] = {"ready": "notify"}

    @classmethod
    def check(cls, service: ServiceSpec) -> Iterable[tuple[str, str]]:
        """Several on one address would be one too many."""
        bind = service.options["bind"]
        if service.replicas != 1 and (bind is None or bind[1] != 0):
            yield "replicas", "must be 1: they would listen at the same port"

    def prepare(self, project: Project, services: Mapping[str, ServiceSpec]) -> None:  # noqa: ARG002
        """Choose a port, once, so that a restart does not move what people look at."""
        from naq.base.local import free_port, is_free

        if not hasattr(self, "_port") and any(s.options["bind"] is None for s in services.values()):
            self._port = DASHBOARD_PORT if is_free(DASHBOARD_PORT) else free_port()

    def _place(self, replica: ReplicaContext) -> tuple[str, int]:
        bind: tuple[str, int] | None = replica.service.options["bind"]
        return ("127.0.0.1", self._port) if bind is None else bind

    def launch(self, replica: ReplicaContext) -> Launch:
        """Run ``naq dashboard``."""
        options = replica.service.options
        host, port = self._place(replica)
        words = [sys.executable, "-m", "naq", "dashboard", "--host", host, "--port", str(port)]
        env: dict[str, str | None] = {}
        if options["token"]:
            env["NAQ_DASHBOARD_TOKEN"] = options["token"]  # not for everybody who runs ps
        if options["proxy_header"]:
            words += ["--proxy-header", options["proxy_header"]]
        if options["readonly"]:
            words.append("--readonly")
        return Launch(argv=tuple(words), env=env, lifeline=True)

    async def run(  # noqa: ASYNC128 - the dashboard calls started()
        self, replica: ReplicaContext, *, task_status: TaskStatus
    ) -> None:
        """Serve it here, on Trio."""
        import trio

        # A web framework takes a while to import; meanwhile the loop has to supervise.
        await trio.to_thread.run_sync(import_module, "naq.dashboard.serve")
        from naq.dashboard.serve import Dashboard
        from naq.settings import Settings

        options = replica.service.options
        host, port = self._place(replica)
        dashboard = Dashboard(
            host=host,
            port=port,
            token=options["token"] or replica.env.get("NAQ_DASHBOARD_TOKEN") or None,
            proxy_header=options["proxy_header"],
            readonly=options["readonly"],
            settings=Settings.from_env(replica.env),
            directory=replica.project.directory,
            project=replica.project.name,
        )

        class Ready:
            def started(self, value: object = None, /) -> None:
                task_status.started(value)
                if dashboard.generated:
                    replica.say(f"log in: {dashboard.login_url}")

        await _until_stopped(replica, partial(dashboard.run, task_status=Ready()), dashboard.stop)


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


def _drain_timeout(service: ServiceSpec) -> float:
    """Seconds jobs get to finish; what is left of ``stop_timeout`` is for handing back the rest."""
    return max(service.stop_timeout / 2, service.stop_timeout - 7.0)


def _worker_name(replica: ReplicaContext) -> str:
    """Return a name that tells people which replica it is, and is not another run's."""
    return f"{replica.name}-{socket.gethostname()[:20]}-{secrets.token_hex(2)}"


async def _until_stopped(
    replica: ReplicaContext,
    run: Callable[[], Awaitable[None]],
    stop: Callable[[], None],
    *beside: Callable[[], Awaitable[None]],
    monitor: Callable[..., Awaitable[None]] | None = None,
) -> None:
    """Run something on the supervisor's loop, and ``stop`` it when its replica is stopped.

    Args:
        replica: whose it is.
        run: runs it to its end.
        stop: asks it to end.
        beside: tasks for as long as it runs.
        monitor: one more such task, which listens before the thing itself begins.
    """
    import trio

    stopping = replica.stopping()

    async def obey() -> None:
        await stopping.wait()
        stop()

    async with trio.open_nursery() as nursery:
        for task in (obey, *beside):
            nursery.start_soon(task)
        if monitor is not None:
            await nursery.start(monitor)
        await run()
        nursery.cancel_scope.cancel()
