"""The values of a supervisor file: durations, sizes, signals, commands and others.

Each has a pure function from a TOML value to the program's value, which raises
:class:`~naq.supervisor.kinds.schema.Invalid` with what it expected, and a type for tables of keys
that is made of it. At the end are short ways to write such a table.
"""

from __future__ import annotations

import contextlib
import grp
import pwd
import re
import shlex
import signal
from typing import TYPE_CHECKING, Any

from naq.base import text as base_text
from naq.supervisor.kinds.schema import Apply, Invalid, Key, ListOf, Scalar, Type, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "ADDRESS",
    "BOOLEAN",
    "COMMAND",
    "COUNT",
    "DURATION",
    "EXIT_CODES",
    "GROUP",
    "PORT",
    "POSITIVE_DURATION",
    "SIGNAL",
    "SIZE",
    "TEXT",
    "UMASK",
    "USER",
    "address",
    "address_template",
    "command",
    "duration",
    "key",
    "live",
    "number",
    "ratio",
    "signal_number",
    "text",
    "whole",
]


def duration(value: object) -> float:
    """Seconds: ``"250ms"``, ``"10s"``, ``"5m"``, ``"1h30m"``, or a number of seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value <= base_text.CENTURY:
            raise Invalid(f"a duration cannot be {value}")
        return float(value)
    if isinstance(value, str) and base_text.DURATION.fullmatch(value):
        try:
            return base_text.duration(value)
        except ValueError as exc:
            raise Invalid(str(exc)) from exc
    raise Invalid(
        f'expected a duration such as "250ms", "10s", "5m" or a number of seconds, '
        f"got {describe(value)}"
    )


def positive_duration(value: object) -> float:
    """Like :func:`duration`, but not zero."""
    seconds = duration(value)
    if seconds <= 0:
        raise Invalid("expected a duration above zero")
    return seconds


def size(value: object) -> int:
    """Bytes: ``"512MiB"``, ``"16KiB"``, ``"1GB"``, or a number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str) and base_text.SIZE.fullmatch(value):
        with contextlib.suppress(ValueError):  # it is nothing
            return base_text.size(value)
    raise Invalid(f'expected a size such as "512MiB" or a number of bytes, got {describe(value)}')


def text(value: object) -> str:
    """Non-empty text without a NUL, which no argument or variable can hold."""
    if isinstance(value, str) and value and "\0" not in value:
        return value
    raise Invalid(f"expected a string, got {describe(value)}")


def address(value: object) -> str:
    """Host and port: ``"127.0.0.1:9465"``, ``"[::1]:9465"``."""
    return _address(value, value)


def address_template(value: object) -> str:
    """Like :func:`address`; the port may also be ``{port}``."""
    return _address(value, value.replace("{port}", "1") if isinstance(value, str) else value)


def _address(value: object, filled: object) -> str:
    try:
        if isinstance(value, str) and isinstance(filled, str) and ":" in filled:
            base_text.address(filled)
            return value
    except ValueError:
        pass
    raise Invalid(f'expected "host:port", such as "127.0.0.1:9465", got {describe(value)}')


def boolean(value: object) -> bool:
    """``true`` or ``false``, and no other spelling."""
    if isinstance(value, bool):
        return value
    raise Invalid(f"expected true or false, got {describe(value)}")


def whole(low: int, high: int) -> Callable[[object], int]:
    """Return a reader of whole numbers from ``low`` to ``high``."""

    def convert(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise Invalid(f"expected a whole number from {low} to {high}, got {describe(value)}")

    return convert


def number(low: float, high: float) -> Callable[[object], float]:
    """Return a reader of numbers from ``low`` to ``high``."""

    def convert(value: object) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        raise Invalid(f"expected a number from {low:g} to {high:g}, got {describe(value)}")

    return convert


def signal_number(value: object) -> int:
    """A signal by name, with or without ``SIG``: ``"TERM"``, ``"SIGINT"``."""
    if isinstance(value, str):
        found = getattr(signal.Signals, f"SIG{value.removeprefix('SIG')}", None)
        if isinstance(found, signal.Signals):
            return int(found)
    raise Invalid(f'expected a signal such as "TERM", got {describe(value)}')


def command(value: object) -> tuple[str, ...]:
    """A program and its arguments: a list as it is, a text split as a shell would split it."""
    if isinstance(value, str):
        try:
            parts = shlex.split(value)
        except ValueError as exc:
            raise Invalid(f"cannot be split into words: {exc}") from exc
    elif isinstance(value, list) and all(isinstance(part, str) for part in value):
        parts = value
    else:
        raise Invalid(f"expected a list of strings or a string, got {describe(value)}")
    if not parts or not parts[0]:
        raise Invalid("names no program")
    if any("\0" in part for part in parts):
        raise Invalid("an argument cannot contain a NUL")
    return tuple(parts)


def user(value: object) -> str | int:
    """A user by number, or by a name that exists on this machine."""
    return _account(value, pwd.getpwnam, "user")


def group(value: object) -> str | int:
    """A group by number, or by a name that exists on this machine."""
    return _account(value, grp.getgrnam, "group")


def _account(value: object, find: Callable[[str], object], what: str) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str) or not value:
        raise Invalid(f"expected the name or number of a {what}, got {describe(value)}")
    try:
        find(value)
    except KeyError:
        raise Invalid(f"there is no {what} {value!r} on this machine") from None
    return value


def umask(value: object) -> int:
    """Mode bits as an octal text, ``"022"``, or as a number, in TOML ``0o022``."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
        return value
    if isinstance(value, str) and re.fullmatch("[0-7]{1,4}", value) and int(value, 8) <= 0o777:
        return int(value, 8)
    raise Invalid(f'expected mode bits such as "022", got {describe(value)}')


def _scalar(convert: Callable[[object], Any], **schema: object) -> Scalar:
    return Scalar(convert, schema)


_DURATION_SCHEMA: Mapping[str, object] = {
    "type": ["string", "number"],
    "pattern": f"^{base_text.DURATION.pattern}$",
    "minimum": 0,
}
ADDRESS = _scalar(address, type="string", pattern=r":\d{1,5}$")
TEXT = _scalar(text, type="string", minLength=1)
BOOLEAN = _scalar(boolean, type="boolean")
COUNT = _scalar(whole(0, 100_000), type="integer", minimum=0, maximum=100_000)
PORT = _scalar(whole(1, 65535), type="integer", minimum=1, maximum=65535)
DURATION = Scalar(duration, _DURATION_SCHEMA)
POSITIVE_DURATION = Scalar(positive_duration, _DURATION_SCHEMA)
SIZE = _scalar(size, type=["string", "integer"], pattern=f"^{base_text.SIZE.pattern}$", minimum=1)
SIGNAL = _scalar(signal_number, type="string")
USER = _scalar(user, type=["string", "integer"], minimum=0)
GROUP = _scalar(group, type=["string", "integer"], minimum=0)
UMASK = _scalar(umask, type=["string", "integer"], pattern="^[0-7]{1,4}$")
COMMAND = _scalar(command, type=["string", "array"], items={"type": "string"}, minItems=1)
EXIT_CODES = ListOf(_scalar(whole(0, 255), type="integer", minimum=0, maximum=255))


def key(type_: Type, default: object, doc: str, apply: Apply = Apply.RESTART) -> Key:
    """Return a key whose change restarts the service, unless ``apply`` says otherwise."""
    return Key(type=type_, default=default, doc=doc, apply=apply)


def live(type_: Type, default: object, doc: str) -> Key:
    """Return a key whose change applies at once, without a restart."""
    return Key(type=type_, default=default, doc=doc, apply=Apply.LIVE)


def ratio(low: float, high: float) -> Scalar:
    """Return the type of a number from ``low`` to ``high``."""
    return Scalar(number(low, high), {"type": "number", "minimum": low, "maximum": high})
