"""Service kinds that run a program: any command, a function, the embedded nats-server."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from naq.base.text import resolve, uses_port
from naq.exceptions import ConfigurationError
from naq.services.values import ADDRESS, FUNCTION, PORT
from naq.supervisor.kinds.kind import Kind, Launch
from naq.supervisor.kinds.schema import Invalid, Key, ListOf, Scalar
from naq.supervisor.kinds.values import BOOLEAN, COMMAND, SIZE, TEXT, command
from naq.supervisor.model.spec import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from naq.services.server import EmbeddedServer
    from naq.supervisor.kinds.kind import Project, ReplicaContext, TaskStatus
    from naq.supervisor.model.spec import ServiceSpec

__all__ = ["CallableKind", "CommandKind", "NatsKind"]


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


class CallableKind(Kind):
    """``type = "callable"``: ``async def func(ctx, *, task_status)``, on Trio.

    As a task it shares the supervisor's process, and must never block it; as a process it has a
    Python interpreter of its own. The function cannot tell the difference.
    """

    name: ClassVar[str] = "callable"
    runs: ClassVar[tuple[Run, ...]] = (Run.PROCESS, Run.TASK)
    keys: ClassVar[Mapping[str, Key]] = {
        "target": Key(
            type=FUNCTION,
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
        runner = ("-m", "naq.supervisor.process.runner")
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
        "port": Key(type=PORT, doc="for clients; 0: any free one; default: 4222 if that is free"),
        "http_port": Key(type=PORT, default=0, doc="for health and monitoring; 0: any free one"),
        "store_dir": Key(type=TEXT, default=".naq/jetstream", doc="where the jobs are kept"),
        "sync": Key(
            type=TEXT, default="2m", doc='how often data is forced to disk; "always": before acks'
        ),
        "max_payload": Key(type=SIZE, default=1_048_576, doc="largest message"),
        "path": Key(type=TEXT, doc="the executable; default: the wheel's, or the one on PATH"),
        "listen": Key(
            type=ADDRESS,
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
        from naq.base.local import is_free
        from naq.services.server import DEFAULT_PORT, EmbeddedServer, find_binary

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

        return Launch(
            argv=tuple(server.configure()),
            env=server.environment(replica.env),
            ready=ready,
            reword=_reword_nats,
        )


def _reword_nats(line: bytes) -> bytes | None:
    """Leave out what nats-server tells of every start; keep warnings and errors."""
    found = _NATS_LINE.match(line)
    if found is None:
        return line
    return None if found[1] in (b"INF", b"DBG", b"TRC") else line[found.end() :]


_NATS_LINE = re.compile(rb"\[\d+\] (?:[\d/]+ [\d:.]+ )?\[(INF|WRN|ERR|FTL|DBG|TRC)\] ")
