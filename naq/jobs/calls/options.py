"""The options of an enqueue: which there are, what may be given, and what each becomes.

A keyword that could be both an option and an argument is refused, with how to say which is meant.

:func:`normalize` checks them and returns fields of :class:`~naq.jobs.job.JobMessage`. Whatever is
refused is refused here, before anything is sent, by a :class:`~naq.ConfigurationError` that names
the option.
"""

from __future__ import annotations

import inspect
import math
import sys
from datetime import UTC, datetime, timedelta
from types import FunctionType
from typing import TYPE_CHECKING, Any

import msgspec

from naq.base.names import check_job_id
from naq.base.text import CENTURY
from naq.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "OPTIONS",
    "normalize",
    "refuse_clashes",
    "refuse_future",
    "refuse_unknown",
    "seconds",
    "when",
]

STRATEGIES = ("constant", "linear", "exponential")
FIRST_YEAR, LAST_YEAR = 1900, 2200
"""The server counts nanoseconds in 64 bits: less than three centuries."""
MOST_RETRIES = 1_000_000_000
"""More is a typing error, and one that would not fit into 64 bits could not be sent."""


FUTURE = frozenset(
    {
        "debounce",
        "depends_on",
        "isolation",
        "limit",
        "on_failure",
        "priority",
        "queue",
        "rate",
        "unique",
        "unique_for",
        "unique_key",
    }
)
"""What may become an option, or is one elsewhere: a function with ``**kwargs`` would swallow it."""


def refuse_future(function: object, own: Mapping[str, Any]) -> None:
    """Refuse words that may become options, in place of arguments of the function.

    Raises:
        ConfigurationError: with what to write instead.
    """
    words = FUTURE & own.keys()
    if not words:
        return
    name = getattr(function, "__qualname__", function)
    hint = "; a queue is chosen by queue_name=, or by @naq.task" if "queue" in words else ""
    raise ConfigurationError(
        f"{', '.join(sorted(words))}: not an option; if it is an argument of {name}, write "
        f"naq.call({name}, …){hint}"
    )


def _parameters(function: Callable[..., Any]) -> Iterable[str]:
    """Return names of parameters; no signature is kept, and so no function kept alive."""
    if type(function) is FunctionType and not hasattr(function, "__wrapped__"):
        code = function.__code__
        return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return ()


def refuse_clashes(function: object, options: Iterable[str]) -> None:
    """Refuse options that are parameters of the function too: which is meant cannot be known.

    Raises:
        ConfigurationError: with what to write instead.
    """
    if not callable(function):
        return
    both = set(options).intersection(_parameters(function))
    if both:
        name = getattr(function, "__qualname__", repr(function))
        raise ConfigurationError(
            f"{', '.join(sorted(both))}: both an option and a parameter of {name}; write "
            f"naq.call({name}, …) for the function's arguments and give the options beside it"
        )


def refuse_unknown(options: Iterable[str]) -> None:
    """Refuse options that do not exist.

    Raises:
        ConfigurationError: with those that do.
    """
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        known = ", ".join(sorted(OPTIONS))
        raise ConfigurationError(f"{', '.join(unknown)}: no such option; there are {known}")


def seconds(name: str, value: object, *, least: float = 0.0, above: bool = False) -> float:
    """``value`` (a number or timedelta) as seconds.

    Raises:
        ConfigurationError: not a number of seconds, less than ``least``, or more than a century.
    """
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(min(value, sys.maxsize))  # an int may be more than any float
    else:
        raise ConfigurationError(f"{name}={value!r}: give seconds or a timedelta")
    if not math.isfinite(number) or number < least or (above and number == least):
        bound = f"more than {least:g}" if above else f"{least:g} or more"
        raise ConfigurationError(f"{name}={value!r}: must be {bound} seconds")
    if number > CENTURY:
        raise ConfigurationError(f"{name}={value!r}: must be at most {CENTURY:.0f} seconds")
    return number


def when(name: str, value: object) -> float:
    """Return an aware datetime as seconds since the epoch.

    Raises:
        ConfigurationError: not a datetime, one without a time zone, or out of all reason.
    """
    if not isinstance(value, datetime):
        raise ConfigurationError(f"{name}={value!r}: give a datetime with a time zone")
    if value.utcoffset() is None:
        raise ConfigurationError(
            f"{name}={value!r} has no time zone; write datetime(…, tzinfo=UTC) or .astimezone()"
        )
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ConfigurationError(f"{name}={value!r}: must be from {FIRST_YEAR} to {LAST_YEAR}")
    return value.astimezone(UTC).timestamp()


def normalize(options: Mapping[str, Any], *, due: float) -> dict[str, Any]:
    """Check options; return them as fields of :class:`naq.jobs.job.JobMessage`.

    Args:
        options: what the caller gave; None means the default.
        due: when the job becomes runnable, seconds since the epoch; ``expires`` counts from there.

    Raises:
        ConfigurationError: with one line per option that cannot be used.
    """
    fields: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in options.items():
        if value is None:
            continue
        try:
            fields.update(_CHECKS[name](value))
        except ConfigurationError as exc:
            problems.extend(exc.problems)
    if problems:
        raise ConfigurationError(*problems)
    expires = fields.get("expires_in")
    if expires is not None:
        fields["expires_at"] = due + expires
    return fields


def _job_id(value: object) -> dict[str, Any]:
    return {"id": check_job_id(value)}


def _max_retries(value: object) -> dict[str, Any]:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_RETRIES:
        raise ConfigurationError(
            f"max_retries={value!r}: must be a whole number from 0 to {MOST_RETRIES}"
        )
    return {"max_retries": value}


def _retry_delay(value: object) -> dict[str, Any]:
    if isinstance(value, (list, tuple)):
        if not value:
            raise ConfigurationError("retry_delay=[]: give at least one delay")
        return {"retry_delay": [seconds("retry_delay", part) for part in value]}
    return {"retry_delay": seconds("retry_delay", value)}


def _retry_strategy(value: object) -> dict[str, Any]:
    if value not in STRATEGIES:
        raise ConfigurationError(
            f"retry_strategy={value!r}: must be one of {', '.join(STRATEGIES)}"
        )
    return {"retry_strategy": value}


def _retry_jitter(value: object) -> dict[str, Any]:
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigurationError(f"retry_jitter={value!r}: must be between 0 and 1, 0.2 is ±20 %")
    return {"retry_jitter": float(value)}


def _exceptions(name: str) -> Callable[[object], dict[str, Any]]:
    def check(value: object) -> dict[str, Any]:
        listed = value if isinstance(value, (list, tuple, set, frozenset)) else (value,)
        names = []
        for item in listed:
            if isinstance(item, type) and issubclass(item, BaseException):
                names.append(f"{item.__module__}:{item.__qualname__}")
            elif isinstance(item, str) and item and _encodable(item):
                names.append(item)
            else:
                raise ConfigurationError(
                    f"{name}: {item!r} is neither an exception class nor the name of one"
                )
        return {name: names}

    return check


def _timeout(value: object) -> dict[str, Any]:
    return {"timeout": seconds("timeout", value, above=True)}


def _expires(value: object) -> dict[str, Any]:
    if isinstance(value, datetime):
        return {"expires_at": when("expires", value)}
    return {"expires_in": seconds("expires", value, above=True)}


def _result_ttl(value: object) -> dict[str, Any]:
    return {"result_ttl": seconds("result_ttl", value, least=1.0)}


def _meta(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigurationError(f"meta={value!r}: must be a dict with string keys")
    try:
        _encode(value)
    except Exception as exc:  # whatever is in it, down to a __repr__ of the user's
        raise ConfigurationError(
            f"meta: cannot be sent ({type(exc).__name__}: {exc}); give numbers, texts, dates, "
            "lists and dicts of them"
        ) from exc
    return {"meta": value}


_encode = msgspec.msgpack.Encoder().encode


def _encodable(text: str) -> bool:
    """Whether a text can be sent: a lone surrogate (an undecodable file name) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_CHECKS: dict[str, Callable[[object], dict[str, Any]]] = {
    "expires": _expires,
    "ignore_on": _exceptions("ignore_on"),
    "job_id": _job_id,
    "max_retries": _max_retries,
    "meta": _meta,
    "result_ttl": _result_ttl,
    "retry_delay": _retry_delay,
    "retry_jitter": _retry_jitter,
    "retry_on": _exceptions("retry_on"),
    "retry_strategy": _retry_strategy,
    "timeout": _timeout,
}
OPTIONS = frozenset(_CHECKS)
