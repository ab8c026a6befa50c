"""Which connection a call uses that was given none, and the one each event loop shares.

A block (``async with naq.connect()``) or a job is known by a context variable, which reaches the
tasks that are started inside. The requests of a web application are not among them: its lifespan is
one task, each request another. So a call looks, in this order, for

1. the connection of the block or job it runs in,
2. an open one of the same event loop that leads to the same place: the one of the lifespan,
3. the shared one of this event loop to that place, which the first such call opens.

**The event loop owns a shared connection**, since no block does. Its task ends when the loop does,
which both kinds of loop see to: Trio cancels its system tasks when the main task has ended,
``asyncio.run`` (and every server that is built on it) the tasks that are left. Until then the
connection reconnects by itself, like any other. Calls count as its users, and as users of a block's
connection that they borrow: a block that ends waits a moment for them.

After ``fork`` nothing of this is used in the child, whose first call opens a new one.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager
from contextvars import Context
from copy import copy
from typing import TYPE_CHECKING

import anyio

from naq.base.imports import here
from naq.exceptions import NaqConnectionError, NaqException
from naq.nats.connection import connect, current_connection, open_here
from naq.nats.link.seam import on_trio
from naq.nats.locate import DEFAULT, locate
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from naq.nats.connection import Connection

__all__ = ["open_connection"]

log = logging.getLogger("naq.connection")


@asynccontextmanager
async def open_connection(
    nats_url: str | None = None,
    *,
    given: Connection | None = None,
    settings: Settings | None = None,
    prefix: str | None = None,
) -> AsyncIterator[Connection]:
    """Yield a connection for the length of the block: the given one, or as the module says.

    Args:
        nats_url: where to; None: that of the block around, or as found.
        given: one to use.
        settings: instead of the environment's.
        prefix: what the names of the block around must begin with, to be used.

    Raises:
        NaqConnectionError: a new one is needed, and there is no usable server.
        ConfigurationError: the url or a setting cannot be used.
    """
    if given is None and nats_url is None:
        given = current_connection()
        if given is not None and prefix not in {None, given.settings.prefix}:
            given = None
    if given is not None:
        yield given
        return
    connection = await _find(nats_url, settings or Settings.from_env())
    with connection.borrowed():
        yield connection


async def _find(nats_url: str | None, settings: Settings) -> Connection:
    around = open_here()
    for connection in reversed(around):
        if connection.leads_to(nats_url, settings):
            return connection
    if around and nats_url is None:
        only = _only_one(around, settings)
        if only is not None:
            return only
    for shared in _shared:
        if shared.is_here() and shared.leads_to(nats_url, settings):
            break
    else:
        shared = _Shared(nats_url, settings)
    return await shared.opened()


def _only_one(around: list[Connection], settings: Settings) -> Connection | None:
    """Return the connection of a block where nothing but the block says where the server is."""
    blocks = [one for one in around if not any(one is shared.connection for shared in _shared)]
    prefixes = {one.settings.prefix for one in blocks}
    if len({one.url for one in blocks}) != 1 or prefixes != {settings.prefix}:
        return None
    return blocks[-1] if locate(None, settings).source == DEFAULT else None


class _Shared:
    """A connection that an event loop owns."""

    def __init__(self, nats_url: str | None, settings: Settings) -> None:
        """Begin to open it, in this event loop."""
        self.connection: Connection | None = None
        self._asked = nats_url, settings, here()
        self._decided = anyio.Event()
        self._problem: Exception | None = None
        _shared.append(self)
        # In a context of its own: what is opened here is nobody's request.
        if on_trio():
            import trio  # noqa: PLC0415

            self._loop: object = trio.lowlevel.current_trio_token()
            trio.lowlevel.spawn_system_task(self._hold, name=NAME, context=Context())
        else:
            self._loop = loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._hold(), name=NAME, context=Context())

    def is_here(self) -> bool:
        """Whether it belongs to the event loop this code runs in."""
        return self._loop is _loop()

    def leads_to(self, nats_url: str | None, settings: Settings) -> bool:
        """Whether a connection to that place is what is being opened here."""
        return self._asked == (nats_url, settings, here())

    async def opened(self) -> Connection:
        """Wait until it is open.

        Raises what :func:`connect` raises.
        """
        await self._decided.wait()
        if self._problem is not None:
            raise copy(self._problem) from self._problem  # there may be many who wait
        if self.connection is None:
            raise NaqConnectionError("not connected: the event loop ends")
        return self.connection

    async def _hold(self) -> None:
        nats_url, settings, _ = self._asked
        try:
            async with connect(nats_url, settings=settings, name=NAME) as self.connection:
                self._decided.set()
                await anyio.sleep_forever()
        except Exception as exc:
            self._problem = exc
            if not isinstance(exc, NaqException):
                log.exception("the shared connection has ended; the next call opens another")
        finally:
            _shared.remove(self)
            self._decided.set()


NAME = "naq shared"
"""Of the connection, in the server's monitoring, and of the task that holds it."""

_shared: list[_Shared] = []
os.register_at_fork(after_in_child=_shared.clear)


def _loop() -> object:
    """Return what stands for the event loop this code runs in."""
    if on_trio():
        import trio  # noqa: PLC0415

        return trio.lowlevel.current_trio_token()
    return asyncio.get_running_loop()
