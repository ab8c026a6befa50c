"""What every command of the queue shares: options, settings, a connection, an event loop."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from cyclopts import Parameter

from naq.exceptions import ConfigurationError, EnvironmentProblemError
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.connection import Connection

__all__ = ["Common", "Json", "run", "seconds", "settings"]

T = TypeVar("T")

Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON document.")]


@Parameter(name="*")
@dataclass
class Common:
    """Options of every command."""

    nats_url: Annotated[
        str | None,
        Parameter(name=["--nats-url", "-u"], help="Where the server is. Default: as found."),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"] | None,
        Parameter(name=["--log-level", "-l"], help="Default: NAQ_LOG_LEVEL."),
    ] = None


def settings() -> Settings:
    """Read the settings.

    Raises:
        EnvironmentProblemError: with all that is wrong.
    """
    try:
        return Settings.from_env()
    except ConfigurationError as exc:
        raise EnvironmentProblemError(*exc.problems) from exc


def run(common: Common | None, function: Callable[[Connection], Awaitable[T]]) -> T:
    """Run ``await function(connection)`` on an event loop; quiet but for its own output."""
    import anyio

    from naq.connection import connect

    common = common or Common()
    current = settings()
    _quiet(common.log_level)

    async def main() -> T:
        async with connect(common.nats_url, settings=current, name="naq cli") as connection:
            return await function(connection)

    return anyio.run(main)


def _quiet(level: str | None) -> None:
    """Show naq's own log on stderr only when asked to; errors are one line anyway."""
    if level is None:
        logging.getLogger("naq").addHandler(logging.NullHandler())
        logging.getLogger("nats").addHandler(logging.NullHandler())
        return
    logging.basicConfig(level=level.upper(), format="naq: %(levelname)s %(name)s: %(message)s")


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """``250ms``, ``10s``, ``5m``, ``1h``, ``2d`` or a number, as seconds.

    Raises:
        ConfigurationError: none of these.
    """
    number, unit = text, "s"
    for suffix in ("ms", "s", "m", "h", "d"):
        if text.endswith(suffix):
            number, unit = text.removesuffix(suffix), suffix
            break
    try:
        return float(number) * _UNITS[unit]
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is no duration: write 250ms, 10s, 5m, 1h or 90"
        ) from None
