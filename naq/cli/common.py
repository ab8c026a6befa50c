"""What commands share: options that recur, durations, settings, a connection on an event loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import Parameter

from naq.exceptions import ConfigurationError, EnvironmentProblemError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from cyclopts import Token

    from naq.nats.connection import Connection
    from naq.settings import Settings

__all__ = ["Common", "Duration", "Flag", "Json", "run", "settings"]

T = TypeVar("T")

Flag = Annotated[bool, Parameter(negative=())]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON document.")]


def _read_duration(_: Any, tokens: Sequence[Token]) -> float:
    from naq.base.text import duration

    return duration(tokens[0].value)


@Parameter(converter=_read_duration, n_tokens=1)
class Duration(float):
    """The type of an option that takes a duration, such as ``1h30m``; seconds once it is read.

    What cannot be read is refused with the rest of the command line, before anything is done.
    """


@Parameter(name="*")
@dataclass
class Common:
    """Options of every command."""

    nats_url: Annotated[
        str | None,
        Parameter(name=["--nats-url", "-u"], help="The server's address. Default: as found."),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"] | None,
        Parameter(name=["--log-level", "-l"], help="Least level to log. Default: NAQ_LOG_LEVEL."),
    ] = None


def settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        EnvironmentProblemError: with all that is wrong with them.
    """
    from naq.settings import Settings

    try:
        return Settings.from_env()
    except ConfigurationError as exc:
        raise EnvironmentProblemError(*exc.problems) from exc


def run(common: Common | None, function: Callable[[Connection], Awaitable[T]]) -> T:
    """Run ``await function(connection)`` on an event loop, without naq's log unless asked for."""
    import anyio

    from naq.nats.connection import connect

    common = common or Common()
    current = settings()
    _quiet(common.log_level)

    async def main() -> T:
        async with connect(common.nats_url, settings=current, name="naq cli") as connection:
            return await function(connection)

    return anyio.run(main)


def _quiet(level: str | None) -> None:
    """Show naq's log on stderr only on request; errors are reported in one line anyway."""
    import logging

    if level is None:
        logging.getLogger("naq").addHandler(logging.NullHandler())
        logging.getLogger("nats").addHandler(logging.NullHandler())
        return
    logging.basicConfig(level=level.upper(), format="naq: %(levelname)s %(name)s: %(message)s")
