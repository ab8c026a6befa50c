"""A call as it is typed: a function, its arguments, and when it is to run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from naq.base.imports import let_import
from naq.base.text import resolve
from naq.cli import render
from naq.cli.common import import_problem, raised_by_import
from naq.exceptions import ConfigurationError, EnvironmentProblemError
from naq.jobs.calls import call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from naq.jobs.calls import Call

__all__ = ["Typed", "moment_of", "time_of", "typed_call"]


class Typed(NamedTuple):
    """A call with its arguments and options, and the queue it names, if any."""

    call: Call
    queue: str | None


def typed_call(
    target: str, arguments: Sequence[str], kwarg: Sequence[str], **options: object
) -> Typed:
    """Return the call that was typed.

    Args:
        target: ``module:function``; of a task, its own queue and options apply as well.
        arguments: positional arguments, as :func:`value_of` reads them.
        kwarg: keyword arguments, ``NAME=VALUE``.
        options: of the enqueue; None stands for one that was not typed.

    Raises:
        EnvironmentProblemError: the function's module cannot be imported.
        ConfigurationError: it has no such function, or an argument cannot be read.
    """
    function = _function(target)
    args = [_value(text) for text in arguments]
    kwargs = dict(_pair(text) for text in kwarg)
    given = {name: value for name, value in options.items() if value is not None}
    typed = call(function, *args, **kwargs).with_options(**given)
    return Typed(typed, typed.policy.queue)


def _function(target: str) -> Any:
    """Import the target; where its module does not exist, its name is enough to queue it.

    What the module raises while it is imported is the user's own error, and is shown as that.
    """
    let_import()
    module = target.partition(":")[0]
    try:
        return resolve(target)
    except ModuleNotFoundError as exc:
        if exc.name and (module == exc.name or module.startswith(f"{exc.name}.")):
            render.line(f"there is no module {module} here; {target} is queued by name")
            return target
        raise EnvironmentProblemError(import_problem(module, exc)) from exc
    except ImportError as exc:
        raise EnvironmentProblemError(import_problem(module, exc)) from exc
    except (AttributeError, ValueError) as exc:
        if raised_by_import(exc):
            raise EnvironmentProblemError(import_problem(module, exc)) from exc
        raise ConfigurationError(f"{target}: {exc}") from exc
    except (Exception, SystemExit) as exc:
        raise EnvironmentProblemError(import_problem(module, exc)) from exc


def _value(text: str) -> Any:
    """Return an argument: JSON if it is JSON, otherwise the text."""
    try:
        return msgspec.json.decode(text.encode())
    except UnicodeEncodeError as exc:
        raise ConfigurationError(f"argument {text!a}: it is not valid UTF-8") from exc
    except msgspec.DecodeError:
        return text


def _pair(text: str) -> tuple[str, Any]:
    """Return name and value of ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigurationError(f"--kwarg {text!r}: write NAME=VALUE")
    return name, _value(value)


def moment_of(delay: float | None, at: str | None) -> datetime | None:
    """Return the time that ``--in`` or ``--at`` stands for; None for neither.

    Raises:
        ConfigurationError: both were given, or ``at`` is not a time.
    """
    if delay is not None and at is not None:
        raise ConfigurationError("give --in or --at, not both")
    if delay is not None:
        return datetime.now(UTC) + timedelta(seconds=delay)
    return time_of("--at", at)


def time_of(flag: str, text: str | None) -> datetime | None:
    """Return a time that was typed, in local time unless it has an offset; None for none.

    Raises:
        ConfigurationError: it is not a time.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone() if moment.tzinfo is None else moment
    except (ValueError, OverflowError, OSError):
        raise ConfigurationError(
            f"{flag} {text!r}: write a time like 2030-01-31T09:00 or 2030-01-31T09:00+01:00"
        ) from None
