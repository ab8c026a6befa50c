"""What may be enqueued, and the options that go with it.

A call is written in one of four ways: a function and its arguments, a name (``module:function``), a
task (:class:`Declared`), or arguments bound beforehand (:class:`Call`). :func:`bind` turns each of
them into a :class:`Call`; :func:`normalize` checks its options.

Options are keywords, with the same names in ``enqueue``, ``@naq.task`` and on the command line. A
function that has a parameter of such a name is enqueued as ``naq.call(function, …)``.
"""

from __future__ import annotations

import inspect
import math
import sys
from datetime import UTC, datetime, timedelta
from functools import lru_cache, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeAlias, TypeVar

from naq.base.names import check_job_id
from naq.base.public import public
from naq.base.text import CENTURY
from naq.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Function: TypeAlias = "Callable[..., Any] | Declared[..., Any] | Call | str"

__all__ = [
    "OPTIONS",
    "Call",
    "Declared",
    "bind",
    "call",
    "normalize",
    "refuse_clashes",
    "refuse_unknown",
    "seconds",
    "split",
    "when",
]

P = ParamSpec("P")
R = TypeVar("R")

OPTIONS = frozenset(
    {
        "expires",
        "ignore_on",
        "job_id",
        "max_retries",
        "meta",
        "result_ttl",
        "retry_delay",
        "retry_jitter",
        "retry_on",
        "retry_strategy",
        "timeout",
    }
)
_NONE: dict[str, Any] = {}
"""The options of a call without any; one for all of them, and never changed."""
STRATEGIES = ("constant", "linear", "exponential")
FIRST_YEAR, LAST_YEAR = 1900, 2200
"""The server counts nanoseconds in 64 bits: less than three centuries."""


@public
class Call:
    """A function with its arguments, ready to be enqueued; made by :func:`call`."""

    __slots__ = ("args", "function", "kwargs", "options")

    def __init__(
        self,
        function: Callable[..., Any] | str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any] | None = None,
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.options = options or _NONE

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", self.function)
        return f"<naq.call {name}>"

    def with_options(self, **options: Any) -> Call:
        """Return this call with options of its own, which override those of the enqueue.

        Raises:
            ConfigurationError: there is no such option of enqueue.
        """
        refuse_unknown(options)
        return Call(self.function, self.args, self.kwargs, {**self.options, **options})


@public
def call(function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Call:
    """Bind arguments for a later enqueue; every keyword goes to the function.

    ``naq.enqueue_many([naq.call(add, i, 1) for i in range(10_000)])``
    """
    return Call(function, args, kwargs)


class Declared(Generic[P, R]):
    """A function with the queue and options its jobs get. Calling it just calls it."""

    def __init__(
        self, function: Callable[P, R], *, queue: str | None, options: dict[str, Any]
    ) -> None:
        self.function = function
        self.queue = queue
        self.options = options
        update_wrapper(self, function)
        # So that inspect and frameworks see what calling it gives. Python 3.11 cannot be told.
        if inspect.iscoroutinefunction(function) and hasattr(inspect, "markcoroutinefunction"):
            inspect.markcoroutinefunction(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<naq.task {self.function.__module__}:{self.function.__qualname__}>"

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """Bind arguments for ``enqueue_many``."""
        return Call(self.function, args, dict(kwargs), self.options)


def bind(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Return the call that was written: arguments and options apart, those of a task included.

    Options that are given for this call win over those of the task, and those of a
    :class:`Call` over both.

    Args:
        function: what is to be called, in any of the four ways.
        args: its positional arguments.
        kwargs: its keyword arguments, and options.

    Raises:
        ConfigurationError: arguments beside a :class:`Call`, or an option that is also a parameter
            of the function.
    """
    options, own = split(kwargs)
    if isinstance(function, Call):
        if args or own:
            raise ConfigurationError("give the arguments to naq.call, not after it")
        bound = function
        options = {**options, **bound.options}
        function, args, own = bound.function, bound.args, bound.kwargs
    elif options:
        refuse_clashes(function.function if isinstance(function, Declared) else function, options)
    if isinstance(function, Declared):
        options = {**function.options, **options}
        function = function.function
    return Call(function, args, own, options)


def split(kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part keyword arguments into ``(options, the function's own)``."""
    if not kwargs:
        return {}, kwargs
    options = {name: kwargs.pop(name) for name in OPTIONS & kwargs.keys()}
    return options, kwargs


@lru_cache(maxsize=1024)
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a builtin without a signature
        return frozenset()


def refuse_clashes(function: object, options: Iterable[str]) -> None:
    """Refuse options that are parameters of the function too: which is meant cannot be known.

    Raises:
        ConfigurationError: with what to write instead.
    """
    if not callable(function):
        return
    try:
        both = _parameters(function) & set(options)
    except TypeError:  # not hashable
        return
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
    expires = fields.pop("expires", None)
    if expires is not None:
        fields["expires_at"] = due + expires
    return fields


def _job_id(value: object) -> dict[str, Any]:
    return {"id": check_job_id(value)}


def _max_retries(value: object) -> dict[str, Any]:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigurationError(f"max_retries={value!r}: must be a whole number, 0 or more")
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
            elif isinstance(item, str) and item:
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
    return {"expires": seconds("expires", value, above=True)}


def _result_ttl(value: object) -> dict[str, Any]:
    return {"result_ttl": seconds("result_ttl", value, least=1.0)}


def _meta(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ConfigurationError(f"meta={value!r}: must be a dict with string keys")
    return {"meta": value}


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
