"""``type = "nats"``: the embedded nats-server as a service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from naq.exceptions import ConfigurationError
from naq.services.values import ANY_PORT, HOST
from naq.supervisor.kinds.kind import Kind, Launch
from naq.supervisor.kinds.schema import Key, ListOf
from naq.supervisor.kinds.values import SIZE, TEXT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from naq.services.server import EmbeddedServer
    from naq.supervisor.kinds.kind import Project, ReplicaContext
    from naq.supervisor.model.spec import ServiceSpec

__all__ = ["NatsKind"]

_NATS_LINE = re.compile(rb"\[\d+\] (?:[\d/]+ [\d:.]+ )?\[(INF|WRN|ERR|FTL|DBG|TRC)\] ")


class NatsKind(Kind):
    """``type = "nats"``: the embedded nats-server, on loopback, with a token of its own."""

    name: ClassVar[str] = "nats"
    last: ClassVar[bool] = True
    single: ClassVar[bool] = True
    tells_ready: ClassVar[bool] = True
    _server: EmbeddedServer
    keys: ClassVar[Mapping[str, Key]] = {
        "port": Key(
            type=ANY_PORT, doc="for clients; 0: any free one; default: 4222 if that is free"
        ),
        "http_port": Key(
            type=ANY_PORT, default=0, doc="for health and monitoring; 0: any free one"
        ),
        "store_dir": Key(type=TEXT, default=".naq/jetstream", doc="where the jobs are kept"),
        "sync": Key(
            type=TEXT,
            default="2m",
            doc='how often data is forced to disk; "always": before acks',
        ),
        "max_payload": Key(type=SIZE, default=1_048_576, doc="largest message"),
        "memory": Key(
            type=SIZE,
            doc="where its memory is held; default: 400 MiB, more if much is kept at its start",
        ),
        "path": Key(type=TEXT, doc="the executable; default: the wheel's, or the one on PATH"),
        "listen": Key(
            type=HOST,
            default="127.0.0.1",
            doc="address for clients; monitoring is always on loopback",
        ),
        "config": Key(type=TEXT, doc="a nats-server file, read after the generated one"),
        "args": Key(type=ListOf(TEXT), default=(), doc="more arguments for nats-server"),
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "stop_timeout": "30s",
        "restart": {"backoff": {"initial": "200ms", "max": "5s"}},
    }

    @classmethod
    def check(cls, service: ServiceSpec) -> Iterable[tuple[str, str]]:
        """There is one server: several on one machine would not make a cluster."""
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
                port = self._server.port  # changed while it runs: it keeps its port
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
                memory=options["memory"],
                listen=options["listen"],
                config=project.directory / options["config"] if options["config"] else None,
                args=tuple(options["args"]),
            )
            self._server.withdraw()

    def exports(self, service: ServiceSpec) -> Mapping[str, str]:  # noqa: ARG002 - there is one
        """Tell all other services where it is."""
        return {"NAQ_NATS_URL": self._server.url_with_token}

    def launch(self, replica: ReplicaContext) -> Launch:
        """Run the server. If its port is taken, the start fails and says by whom."""
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
    """Drop what nats-server prints at every start; keep warnings and errors, without prefix."""
    found = _NATS_LINE.match(line)
    if found is None:
        return line
    return None if found[1] in (b"INF", b"DBG", b"TRC") else line[found.end() :]
