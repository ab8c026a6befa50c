"""The dashboard on a socket."""

from __future__ import annotations

import logging
import socket
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from naq.base.imports import here
from naq.dashboard.app import make_app
from naq.dashboard.auth import Auth, is_loopback, new_token
from naq.dashboard.data.link import Link
from naq.dashboard.data.services import Services
from naq.dashboard.pages.live import Hub
from naq.dashboard.pages.pages import find
from naq.dashboard.pages.render import Renderer
from naq.dashboard.state import State
from naq.exceptions import ConfigurationError, EnvironmentProblemError
from naq.settings import Settings
from naq.supervisor.model.rundir import RunDir

__all__ = ["Dashboard"]

log = logging.getLogger("naq.dashboard")

BACKLOG = 128
STALLED = 30.0
"""Seconds after which the kernel ends a connection whose other end accepts none of what is sent.
Only the kernel can: the answer waits there."""
GRACE = 2.0
"""Seconds that requests in progress get when the dashboard is stopped."""


class Dashboard:
    """Serves the dashboard: ``await Dashboard().run()``, on Trio, until :meth:`stop`.

    Attributes:
        host, port: where it listens; with port 0 the real one is known once it runs.
        token: what people log in with.
        generated: whether the token was made up here, so that somebody has to be told.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        token: str | None = None,
        proxy_header: str | None = None,
        readonly: bool = False,
        nats_url: str | None = None,
        settings: Settings | None = None,
        directory: Path | None = None,
        project: str = "",
    ) -> None:
        """Describe a dashboard.

        Args:
            host: address to listen at. Any but loopback requires a token or a proxy header.
            port: 0 means any free one.
            token: what people log in with; None generates one, kept in the project's ``.naq/run``
                if there is one.
            proxy_header: header in which a reverse proxy names the user it has authenticated.
            readonly: show everything, change nothing.
            nats_url: the server's address; None looks where docs/guide.md says.
            settings: used instead of those of the environment.
            directory: of the project whose services are shown; None means the current one.
            project: its name, for people.

        Raises:
            ConfigurationError: it would be open to everybody, or the port is no port.
        """
        if not is_loopback(host) and not (token or proxy_header):
            raise ConfigurationError(
                f"{host} can be reached from other machines: give a token (--token, "
                "NAQ_DASHBOARD_TOKEN) or the header of a reverse proxy that authenticates people "
                "(--proxy-header)"
            )
        if not 0 <= port <= 65535:
            raise ConfigurationError(f"port={port!r}: must be between 0 and 65535")
        self.host, self.port = host, port
        self.generated = token is None
        directory = directory or here() or Path("/")
        found = RunDir.find(directory)
        self.token = token or new_token(found.path if found else None)
        self._stopping = trio.Event()
        self._link = Link(nats_url, settings or Settings.from_env())
        self._state = State(
            self._link,
            Services(directory),
            Auth(self.token, proxy_header),
            readonly=readonly,
            project=project or directory.name,
        )
        self._render = Renderer(self._state)
        self._hub = Hub(self._parts, self._state.changes)

    @property
    def url(self) -> str:
        """Its address, for a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"

    @property
    def login_url(self) -> str:
        """Its address with the token in it: a link that logs in."""
        return f"{self.url}login?token={quote(self.token)}"

    def stop(self) -> None:
        """Accept no more requests, and end when those in progress are answered."""
        self._stopping.set()

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped or cancelled; ready (``task_status``) when the socket listens.

        Raises:
            EnvironmentProblemError: the address cannot be used.
        """
        config = _configured(self._listen())
        app = make_app(self._state, self._render, self._hub)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._link.run, self._changed)
            nursery.start_soon(self._hub.run)
            nursery.start_soon(self._hub.beat)
            nursery.start_soon(self._listen_to_server)
            await nursery.start(self._serve, app, config)
            task_status.started()
            log.info("dashboard at %s", self.url)
            try:
                await self._stopping.wait()
            finally:
                self._stopping.set()  # when cancelled, too: hypercorn is told, and ends
            nursery.cancel_scope.deadline = trio.current_time() + GRACE + 1
            await self._served.wait()
            nursery.cancel_scope.cancel()

    async def _serve(
        self,
        app: Any,
        config: Config,
        *,
        task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        self._served = trio.Event()
        # Hypercorn is told to stop, never cancelled: that would leave connections half closed.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                serving = partial(serve, app, config, shutdown_trigger=self._ended)
                await nursery.start(serving)
                task_status.started()
        self._served.set()

    async def _ended(self) -> None:
        """Wait until told to stop, then close the open pages, which would delay the end."""
        await self._stopping.wait()
        self._hub.close_all()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if (option := getattr(socket, "TCP_USER_TIMEOUT", None)) is not None:  # Linux
                listener.setsockopt(socket.IPPROTO_TCP, option, int(STALLED * 1000))
            listener.bind((self.host.strip("[]"), self.port))
            listener.listen(BACKLOG)
        except OSError as exc:
            listener.close()
            raise EnvironmentProblemError(
                f"cannot listen at {self.host}:{self.port}: {exc.strerror or exc}"
            ) from exc
        self.port = listener.getsockname()[1]
        return listener

    # ------------------------------------------------------------------ open pages

    def _changed(self) -> None:
        self._hub.tell(self._link.problem)
        self._state.changes.ring()

    async def _parts(self, path: str) -> dict[str, str] | None:
        found = await find(self._state, path)
        return None if found is None else self._render.parts(found, path)

    async def _listen_to_server(self) -> None:
        await self._link.came.wait()
        connection = self._link.connection
        if connection is not None:
            await self._hub.listen(connection)


def _configured(listener: socket.socket) -> Config:
    """Return how hypercorn serves; it takes over the listening socket."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog = None
    config.errorlog = None
    config.graceful_timeout = GRACE
    config.shutdown_timeout = GRACE
    config.include_server_header = False
    config.h11_max_incomplete_size = 32_768
    config.keep_alive_timeout = 30
    return config
