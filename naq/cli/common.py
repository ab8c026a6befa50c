"""What every command of the queue shares: options, settings, a connection, an event loop.

Calls as they are typed: a function, its arguments, a time.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec
from cyclopts import Parameter

from naq.base.text import duration
from naq.cli import render
from naq.exceptions import ConfigurationError, EnvironmentProblemError
from naq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.nats.connection import Connection

__all__ = [
    "Common",
    "Json",
    "function_of",
    "moment_of",
    "pair_of",
    "run",
    "seconds",
    "settings",
    "time_of",
    "value_of",
]

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

    from naq.nats.connection import connect

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


def seconds(text: str, option: str) -> float:
    """Return the seconds of a duration that was typed.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return duration(text)
    except ValueError as exc:
        raise ConfigurationError(f"{option}: {exc}") from exc


def function_of(target: str) -> Any:
    """Import the target for its queue and options; send it by name where it is not here."""
    from naq.base.text import resolve

    sys.path.insert(0, str(Path.cwd()))
    module = target.partition(":")[0]
    try:
        return resolve(target)
    except ModuleNotFoundError as exc:
        if exc.name and (module == exc.name or module.startswith(f"{exc.name}.")):
            render.line(f"{module} is not here; {target} is queued by name")
            return target
        raise ConfigurationError(f"cannot import {module}: {exc}") from exc
    except (ImportError, AttributeError, ValueError) as exc:
        raise ConfigurationError(f"{target}: {exc}") from exc


def value_of(text: str) -> Any:
    """Return an argument: JSON where it is JSON, text otherwise."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def pair_of(text: str) -> tuple[str, Any]:
    """Return name and value of ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigurationError(f"--kwarg {text!r}: write NAME=VALUE")
    return name, value_of(value)


def moment_of(delay: str | None, at: str | None) -> datetime | None:
    """Return the time that ``--in`` or ``--at`` means; None for neither."""
    if delay is not None and at is not None:
        raise ConfigurationError("give --in or --at, not both")
    if delay is not None:
        return datetime.now(UTC) + timedelta(seconds=seconds(delay, "--in"))
    return None if at is None else time_of("--at", at)


def time_of(flag: str, text: str) -> datetime:
    """Return a time that was typed; without an offset it is meant in local time.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{flag} {text!r}: write a time like 2030-01-31T09:00 or 2030-01-31T09:00+01:00"
        ) from None
    return moment.astimezone() if moment.tzinfo is None else moment
