"""What commands share: options that recur, durations, settings, a connection on an event loop."""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

from naq.exceptions import ConfigurationError, EnvironmentProblemError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from cyclopts import Token

    from naq.nats.connection import Connection
    from naq.settings import Settings

__all__ = [
    "Common",
    "Duration",
    "Flag",
    "Json",
    "import_problem",
    "project_env",
    "raised_by_import",
    "run",
    "settings",
]

T = TypeVar("T")

Flag = Annotated[bool, Parameter(negative=())]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print one JSON document.")]


def _read_limit(_: Any, tokens: Sequence[Token]) -> int:
    text = tokens[0].value
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= MOST_ROWS):
        raise ValueError(f"{text!r} must be a number from 1 to {MOST_ROWS}")
    return int(text)


MOST_ROWS = 1_000_000
Limit = Annotated[
    int,
    Parameter(name=["--limit", "-n"], converter=_read_limit, n_tokens=1, help="At most this many."),
]
"""How many rows a list has at most; a list that is cut says so, see :func:`naq.cli.render.cut`."""
ROWS = 1_000
"""The limit unless one is given."""


def _read_duration(_: Any, tokens: Sequence[Token]) -> float:
    from naq.base.text import duration

    return duration(tokens[0].value)


@Parameter(converter=_read_duration, n_tokens=1)
class Duration(float):
    """The type of an option that takes a duration, such as ``1h30m``; seconds once it is read.

    What cannot be read is refused with the rest of the command line, before anything is done.
    """


LEVELS = ("debug", "info", "warning", "error", "critical")


def _read_level(_: Any, tokens: Sequence[Token]) -> str:
    text = tokens[0].value
    if text.lower() not in LEVELS:
        raise ValueError(f"{text!r} is no level: write {', '.join(LEVELS)}")
    return text.lower()


Level = Annotated[str, Parameter(converter=_read_level, n_tokens=1)]


@Parameter(name="*")
@dataclass
class Common:
    """Options of every command."""

    nats_url: Annotated[
        str | None,
        Parameter(name=["--nats-url", "-u"], help="The server's address. Default: as found."),
    ] = None
    log_level: Annotated[
        Level | None,
        Parameter(
            name=["--log-level", "-l"],
            help="Least level to log: debug to critical. Default: NAQ_LOG_LEVEL.",
        ),
    ] = None


def settings() -> Settings:
    """Read the settings from the environment, and behind it from that of the project here.

    Raises:
        EnvironmentProblemError: with all that is wrong with them.
    """
    from naq.settings import Settings

    try:
        return Settings.from_env({**project_env(), **os.environ})
    except ConfigurationError as exc:
        raise EnvironmentProblemError(*exc.problems) from exc


def project_env(directory: Path = Path()) -> dict[str, str]:
    """Return the ``NAQ_…`` variables that the supervisor.toml of a directory sets for all services.

    So a command in a project's directory talks to the server that its services talk to.

    Raises:
        ConfigurationError: the file, or one that it names, cannot be read.
    """
    file = directory / "supervisor.toml"
    if "NAQ_SERVICE" in os.environ or not file.is_file():  # a service has it all already
        return {}
    import tomllib

    from naq.supervisor.kinds import environment

    try:
        project = tomllib.loads(file.read_text("utf-8")).get("project", {})
        written = {k: None if v is False else str(v) for k, v in project.get("env", {}).items()}
        files = environment.read_all(directory, project.get("env_file", ()))
        ours = [
            {k: v for k, v in layer.items() if k.startswith("NAQ_")} for layer in (files, written)
        ]
        found = environment.build(os.environ, ours, {"project": project.get("name", "")})
    except (OSError, ValueError, AttributeError, TypeError) as exc:
        raise ConfigurationError(f"{file}: {exc}; `naq validate` says more") from exc
    return {name: found[name] for layer in ours for name in layer if name in found}


def import_problem(module: str, exc: BaseException) -> str:
    """Return why a module of the user's cannot be imported: its own error, and where, in a line."""
    text = f"cannot import {module}: {type(exc).__name__}"
    if isinstance(exc, SyntaxError):
        return f"{text}: {exc.msg} ({exc.filename}:{exc.lineno})"
    said = " ".join(str(exc).split())
    frames = [f for f in traceback.extract_tb(exc.__traceback__) if f.name == "<module>"]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return text + (f": {said}" if said else "") + where


def raised_by_import(exc: BaseException) -> bool:
    """Whether an error was raised by code of a module that was being imported."""
    frames = traceback.extract_tb(exc.__traceback__)
    return any(frame.name == "<module>" and "importlib" not in frame.filename for frame in frames)


def run(common: Common | None, function: Callable[[Connection], Awaitable[T]]) -> T:
    """Run ``await function(connection)`` on an event loop, without naq's log unless asked for."""
    import anyio

    from naq.nats.connection import connect

    common = common or Common()
    current = settings()
    _quiet(common.log_level or os.environ.get("NAQ_LOG_LEVEL"))

    async def main() -> T:
        async with connect(common.nats_url, settings=current, name="naq cli") as connection:
            return await function(connection)

    return anyio.run(main)


def _quiet(level: str | None) -> None:
    """Show naq's log on stderr only on request; errors are reported in one line anyway."""
    import logging

    if not level:
        logging.getLogger("naq").addHandler(logging.NullHandler())
        logging.getLogger("nats").addHandler(logging.NullHandler())
        return
    logging.basicConfig(level=level.upper(), format="naq: %(levelname)s %(name)s: %(message)s")
