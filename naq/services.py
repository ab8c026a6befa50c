"""The kinds of services that supervisor.toml may name, and what runs where there is no file.

Each kind is a class of its own; :data:`KINDS` is the table the command line gives to the
supervisor, which itself knows none of them.
"""

from __future__ import annotations

import re
import secrets
import socket
import sys
from functools import partial
from importlib import import_module
from ipaddress import ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from naq._names import check_queue
from naq._schedules_table import SchedulesKind
from naq.exceptions import ConfigurationError
from naq.supervisor._schema import Choice, Invalid, Key, ListOf, Scalar
from naq.supervisor._target import TARGET, resolve
from naq.supervisor._values import (
    BOOLEAN,
    COMMAND,
    DURATION,
    SIZE,
    TEXT,
    address,
    command,
    uses_port,
    whole,
)
from naq.supervisor.kinds import Kind, Launch, PauseSignals
from naq.supervisor.spec import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import trio

    from naq.scheduler import Scheduler
    from naq.server import EmbeddedServer
    from naq.supervisor.kinds import Kinds, Project, ReplicaContext, TaskStatus
    from naq.supervisor.spec import ServiceSpec
    from naq.worker import Worker

__all__ = [
    "DEFAULT_TOPOLOGY",
    "KINDS",
    "CallableKind",
    "CommandKind",
    "NatsKind",
    "SchedulerKind",
    "WorkerKind",
]


_PORT = Scalar(whole(0, 65535), {"type": "integer", "minimum": 0, "maximum": 65535})
_AT_LEAST_ONE = Scalar(whole(1, 100_000), {"type": "integer", "minimum": 1})


def _queue(value: object) -> str:
    try:
        return check_queue(value)
    except ConfigurationError as exc:
        raise Invalid(str(exc)) from exc


_QUEUE = Scalar(_queue, {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"})


def _program(value: object) -> str | tuple[str, ...]:
    """Take a text or a list as it is; whether a text is for a shell is another key."""
    return value if isinstance(value, str) and value.strip() else command(value)


class CommandKind(Kind):
    """``type = "command"``: any program."""

    name: ClassVar[str] = "command"
    keys: ClassVar[Mapping[str, Key]] = {
        "command": Key(
            type=Scalar(_program, COMMAND.schema),
            doc="program and arguments: a list, or a text that is split into words",
        ),
        "shell": Key(type=BOOLEAN, default=False, doc="give the text to /bin/sh instead"),
    }

    @classmethod
    def check(cls, service: ServiceSpec) -> Iterable[tuple[str, str]]:
        """Yield what is wrong with the command as a whole."""
        written, shell = service.options["command"], service.options["shell"]
        if written is None:
            yield "command", "missing: what is to be run?"
            return
        if shell and not isinstance(written, str):
            yield "shell", "needs the command as one text"
            return
        try:
            words = (written,) if shell else command(_as_written(written))
        except Invalid as exc:
            yield "command", str(exc)
            return
        if service.port is None and uses_port(words):
            yield "command", "uses {port}, but the service has no port"

    def launch(self, replica: ReplicaContext) -> Launch:
        """Run the command, or a shell that runs it."""
        written = replica.service.options["command"]
        if replica.service.options["shell"]:
            return Launch(argv=("/bin/sh", "-c", replica.fill(written)))
        return Launch(argv=tuple(replica.fill(word) for word in command(_as_written(written))))


def _as_written(program: str | tuple[str, ...]) -> object:
    return program if isinstance(program, str) else list(program)


def _listen(value: object) -> str:
    """Check where to listen; the port may be the replica's own."""
    if isinstance(value, str):
        address(value.replace("{port}", "1"))
        return value
    return address(value)


_METRICS = Key(
    type=Scalar(_listen, {"type": "string"}),
    doc="where to answer /healthz, /readyz and /metrics: host:port; {port} is the replica's",
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


async def _serve_metrics(
    nursery: trio.Nursery, replica: ReplicaContext, watched: Worker | Scheduler
) -> None:
    where = replica.service.options["metrics"]
    if where is not None:
        from naq._monitor import serve_monitor

        await nursery.start(partial(serve_monitor, replica.fill(where), watched))


def _address(value: object) -> str:
    try:
        return str(ip_address(value if isinstance(value, str) else ""))
    except ValueError:
        raise Invalid(f'expected an IP address such as "0.0.0.0", got {value!r}') from None


def _target(value: object) -> str:
    if isinstance(value, str) and TARGET.fullmatch(value):
        return value
    raise Invalid(f'expected "package.module:function", got {value!r}')


class CallableKind(Kind):
    """``type = "callable"``: ``async def func(ctx, *, task_status)``, on Trio.

    As a task it shares the supervisor's process, and must never block it; as a process it has a
    Python interpreter of its own. The function cannot tell the difference.
    """

    name: ClassVar[str] = "callable"
    runs: ClassVar[tuple[Run, ...]] = (Run.PROCESS, Run.TASK)
    keys: ClassVar[Mapping[str, Key]] = {
        "target": Key(
            type=Scalar(_target, {"type": "string", "pattern": f"^{TARGET.pattern}$"}),
            doc="the function, as package.module:function",
        ),
    }
    # It calls task_status.started(), which is READY=1 from a process.
    defaults: ClassVar[Mapping[str, Any]] = {"ready": "notify"}

    @classmethod
    def check(cls, service: ServiceSpec) -> Iterable[tuple[str, str]]:
        """There must be a target."""
        if service.options["target"] is None:
            yield "target", "missing: which function is to be run?"

    def launch(self, replica: ReplicaContext) -> Launch:
        """Run the function in a Python process of its own."""
        runner = ("-m", "naq.supervisor._runner")
        target = replica.service.options["target"]
        return Launch(argv=(sys.executable, *runner, target, replica.name), lifeline=True)

    async def run(  # noqa: ASYNC128 - the function calls started()
        self, replica: ReplicaContext, *, task_status: TaskStatus
    ) -> None:
        """Run the function here."""
        directory = str(replica.cwd)
        if directory not in sys.path:  # where `python -m` would look first
            sys.path.insert(0, directory)
        await resolve(replica.service.options["target"])(replica, task_status=task_status)


class NatsKind(Kind):
    """``type = "nats"``: the embedded nats-server, on loopback, with a token of its own."""

    name: ClassVar[str] = "nats"
    last: ClassVar[bool] = True
    single: ClassVar[bool] = True
    tells_ready: ClassVar[bool] = True
    _server: EmbeddedServer
    keys: ClassVar[Mapping[str, Key]] = {
        "port": Key(type=_PORT, doc="for clients; 0: any free one; default: 4222 if that is free"),
        "http_port": Key(type=_PORT, default=0, doc="for health and monitoring; 0: any free one"),
        "store_dir": Key(type=TEXT, default=".naq/jetstream", doc="where the jobs are kept"),
        "sync": Key(
            type=TEXT, default="2m", doc='how often data is forced to disk; "always": before acks'
        ),
        "max_payload": Key(type=SIZE, default=1_048_576, doc="largest message"),
        "path": Key(type=TEXT, doc="the executable; default: the wheel's, or the one on PATH"),
        "listen": Key(
            type=Scalar(_address, {"type": "string"}),
            default="127.0.0.1",
            doc="address for clients; monitoring is on loopback always",
        ),
        "config": Key(type=TEXT, doc="a file of nats-server that is read after ours, and wins"),
        "args": Key(type=ListOf(TEXT), default=(), doc="more arguments for nats-server"),
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "stop_timeout": "30s",
        "restart": {"backoff": {"initial": "200ms", "max": "5s"}},
    }

    @classmethod
    def check(cls, service: ServiceSpec) -> Iterable[tuple[str, str]]:
        """There is one server; several on one machine would be no cluster but a trap."""
        if service.replicas != 1:
            yield "replicas", "must be 1; for a cluster, run nats-servers elsewhere and name them"

    def prepare(self, project: Project, services: Mapping[str, ServiceSpec]) -> None:
        """Choose ports and token, so that every other service can be told before it starts."""
        from naq._ports import is_free
        from naq.server import DEFAULT_PORT, EmbeddedServer, find_binary

        if len(services) > 1:  # by profiles that exclude each other in the file
            raise ConfigurationError(f"only one service may be of type nats: {', '.join(services)}")
        for service in services.values():
            options = service.options
            port = options["port"]
            if port is None and hasattr(self, "_server"):
                port = self._server.port  # changed while it runs: it keeps its place
            elif port is None:
                port = DEFAULT_PORT if is_free(DEFAULT_PORT) else 0
            self._server = EmbeddedServer(
                binary=find_binary(options["path"]),
                run_dir=project.run_dir,
                store_dir=project.directory / options["store_dir"],
                port=port,
                http_port=options["http_port"],
                sync=options["sync"],
                max_payload=options["max_payload"],
                listen=options["listen"],
                config=project.directory / options["config"] if options["config"] else None,
                args=tuple(options["args"]),
            )
            self._server.withdraw()

    def exports(self, service: ServiceSpec) -> Mapping[str, str]:  # noqa: ARG002 - there is one
        """Tell all others where it is."""
        return {"NAQ_NATS_URL": self._server.url_with_token}

    def launch(self, replica: ReplicaContext) -> Launch:
        """Run the server; a taken port is a failed start that says who has it."""
        server = self._server

        async def ready() -> None:
            await server.wait_healthy(replica.service.start_timeout)
            server.announce()
            replica.say(f"ready at {server.url}")

        return Launch(argv=tuple(server.configure()), ready=ready, reword=_reword_nats)


def _reword_nats(line: bytes) -> bytes | None:
    """Leave out what nats-server tells of every start; keep warnings and errors."""
    found = _NATS_LINE.match(line)
    if found is None:
        return line
    return None if found[1] in (b"INF", b"DBG", b"TRC") else line[found.end() :]


_NATS_LINE = re.compile(rb"\[\d+\] (?:[\d/]+ [\d:.]+ )?\[(INF|WRN|ERR|FTL|DBG|TRC)\] ")


class WorkerKind(Kind):
    """``type = "worker"``: a naq worker, in a process of its own or on the supervisor's loop."""

    name: ClassVar[str] = "worker"
    runs: ClassVar[tuple[Run, ...]] = (Run.PROCESS, Run.TASK)
    pauses: ClassVar[PauseSignals | None] = PauseSignals()
    keys: ClassVar[Mapping[str, Key]] = {
        "queues": Key(type=ListOf(_QUEUE), default=(), doc="names; default: NAQ_DEFAULT_QUEUE"),
        "import": Key(type=ListOf(TEXT), default=(), doc="modules with tasks"),
        "allow": Key(type=ListOf(TEXT), default=(), doc="modules that may run in json mode"),
        "backend": Key(
            type=Choice("asyncio", "trio"), default="asyncio", doc="event loop of the process"
        ),
        "concurrency": Key(type=_AT_LEAST_ONE, default=10, doc="jobs at the same time"),
        "crash_limit": Key(
            type=_AT_LEAST_ONE, default=3, doc="workers a job may take down before it is poison"
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
        import trio

        from naq.settings import Settings
        from naq.worker import Worker

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
        stopping = replica.stopping()
        async with trio.open_nursery() as nursery:

            async def obey() -> None:
                await stopping.wait()
                worker.stop()

            async def pause() -> None:
                while True:
                    await replica.paused.wait(on=True)
                    worker.pause()
                    await replica.paused.wait(on=False)
                    worker.resume()

            nursery.start_soon(obey)
            nursery.start_soon(pause)
            await _serve_metrics(nursery, replica, worker)
            await worker.run(task_status=task_status)
            nursery.cancel_scope.cancel()


def _drain_timeout(service: ServiceSpec) -> float:
    """Seconds jobs get to finish; what is left of ``stop_timeout`` is for handing back the rest."""
    return max(service.stop_timeout / 2, service.stop_timeout - 7.0)


def _worker_name(replica: ReplicaContext) -> str:
    """Return a name that tells people which replica it is, and is not another run's."""
    return f"{replica.name}-{socket.gethostname()[:20]}-{secrets.token_hex(2)}"


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
        import trio

        from naq.scheduler import Scheduler
        from naq.settings import Settings

        options = replica.service.options
        scheduler = Scheduler(
            poll_interval=options["poll_interval"],
            instance_id=_worker_name(replica),
            enable_ha=options["ha"],
            settings=Settings.from_env(replica.env),
        )
        stopping = replica.stopping()
        async with trio.open_nursery() as nursery:

            async def obey() -> None:
                await stopping.wait()
                scheduler.stop()

            nursery.start_soon(obey)
            await _serve_metrics(nursery, replica, scheduler)
            await scheduler.run(task_status=task_status)
            nursery.cancel_scope.cancel()


KINDS: Kinds = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            CommandKind,
            CallableKind,
            NatsKind,
            WorkerKind,
            SchedulerKind,
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
        },
    }
)
