"""Calls as they are typed: a function, its arguments, a time."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from naq.cli import render
from naq.cli._common import seconds
from naq.exceptions import ConfigurationError, SerializationError

__all__ = ["function_of", "moment_of", "pair_of", "time_of", "value_of"]


def function_of(target: str) -> Any:
    """Import the target for its queue and options; send it by name where it is not here."""
    from naq.serializers import resolve

    sys.path.insert(0, str(Path.cwd()))
    module = target.partition(":")[0]
    try:
        return resolve(target)
    except ModuleNotFoundError as exc:
        if exc.name and (module == exc.name or module.startswith(f"{exc.name}.")):
            render.line(f"{module} is not here; {target} is queued by name")
            return target
        raise ConfigurationError(f"cannot import {module}: {exc}") from exc
    except (ImportError, AttributeError, SerializationError) as exc:
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
        wait = seconds(delay)
        if wait < 0:
            raise ConfigurationError(f"--in {delay}: must not be negative")
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() + wait, UTC)
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
