"""Async functions for code without an event loop: every ``*_sync`` is made by :func:`synced`.

It runs on the process's one thread for that (:mod:`naq.jobs.runtime`), which is imported by the
first call: what only defines such functions, or knows of jobs, needs no client and no event loop.
"""

from __future__ import annotations

from functools import wraps
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.nats.connection import Connection

__all__ = ["synced"]

P = ParamSpec("P")
T = TypeVar("T")


def synced(
    function: Callable[P, Awaitable[T]], *, url: Callable[[Any], str | None] | None = None
) -> Callable[P, T]:
    """Return ``function`` for code without an event loop: it runs on the process's thread.

    A function with a keyword ``nats_url`` runs over the connection for that url, a method over the
    one ``url`` names, anything else over the default one.

    Args:
        function: an async function or method.
        url: given the object of a method, returns the url of its server.
    """
    takes_url = "nats_url" in (getattr(function, "__kwdefaults__", None) or ())

    @wraps(function)
    def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        from naq.jobs.runtime import runtime  # noqa: PLC0415 - see above
        from naq.nats.connection import use_connection  # noqa: PLC0415

        nats_url: Any = None
        if takes_url:
            nats_url = kwargs.pop("nats_url", None)
        elif url is not None:
            nats_url = url(args[0])

        async def call(connection: Connection) -> T:
            use_connection(connection)
            return await function(*args, **kwargs)

        return runtime().run_connected(nats_url, call)

    name = twin.__name__
    twin.__name__ += "_sync"
    twin.__qualname__ += "_sync"
    twin.__doc__ = f"``{name}`` for code without an event loop.\n\n{cleandoc(twin.__doc__ or '')}"
    return twin
