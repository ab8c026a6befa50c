"""What people write, read in one place: durations, addresses, ``module:function``, templates.

Each reader takes a text and raises :class:`ValueError` with what it expected. The caller knows
where the text comes from and adds that.
"""

from __future__ import annotations

import importlib
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "CENTURY",
    "DURATION",
    "SIZE",
    "TARGET",
    "address",
    "attribute",
    "duration",
    "fill",
    "resolve",
    "size",
    "uses_port",
]

CENTURY = 100 * 365 * 86_400.0
"""The longest duration in seconds: what is added to a moment must give one that can be written."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d|w))+")
"""A duration with units; the pattern is part of the JSON Schema of supervisor.toml."""
_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

_SIZES = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMG]i?B|B)")
"""A size with its unit; the pattern is part of the JSON Schema of supervisor.toml."""
_BYTES = re.compile(rf"{SIZE.pattern}|([0-9]+)")

_PORT = re.compile(r"[0-9]{1,5}")

TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")

# The fields a template may use, and their doubled form, which stands for itself. Other braces are
# left alone: they belong to the shell, to JSON, to Go templates. `${port}` is the shell's.
_NAMES = "service|replicas|replica|project|port"
_FIELD = re.compile(rf"\{{\{{({_NAMES})\}}\}}|(?<!\$)\{{({_NAMES})\}}")


def duration(text: str) -> float:
    """Return the seconds of ``250ms``, ``10s``, ``5m``, ``1h30m``, ``2d``, ``1w`` or ``90``.

    Raises:
        ValueError: it is none of these, or it is longer than a century.
    """
    if DURATION.fullmatch(text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    elif _NUMBER.fullmatch(text):
        seconds = float(text)
    else:
        raise ValueError(f"{text!r} is not a duration: write 250ms, 10s, 5m, 1h30m or 90")
    if not math.isfinite(seconds) or seconds > CENTURY:
        raise ValueError(f"{text!r} is longer than a century")
    return seconds


def size(text: str) -> int:
    """Return the bytes of ``512MiB``, ``16KiB``, ``1.5GB`` or ``4096``.

    Raises:
        ValueError: it is none of these, or nothing.
    """
    found = _BYTES.fullmatch(text)
    number = int(float(found[1] or found[3]) * _SIZES[found[2] or ""]) if found else 0
    if not number:
        raise ValueError(f"{text!r} is not a size: write 512MiB, 1GB or a number of bytes")
    return number


def address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, ``[::1]:PORT`` or ``PORT``; no host is 127.0.0.1.

    Raises:
        ValueError: it is none of these.
    """
    host, _, port = text.rpartition(":")
    bracketed = (host[:1], host[-1:]) == ("[", "]")
    usable = (":" not in host or bracketed) and not re.search(r"\s", host)
    if usable and _PORT.fullmatch(port) and int(port) < 65_536:
        return host.strip("[]") or "127.0.0.1", int(port)
    raise ValueError(f"{text!r} is not an address: write host:port, such as 127.0.0.1:9466")


@lru_cache(maxsize=4096)
def resolve(target: str) -> Any:
    """Import what ``module:function`` names.

    Raises:
        ImportError: there is no such module.
        AttributeError: it has nothing of that name.
        ValueError: it is not of that form, or what it names is not callable.
    """
    module, colon, path = target.partition(":")
    if not (module and colon and path) or module.startswith("."):
        raise ValueError(f"{target!r} does not name a function; write it as module:function")
    found = attribute(importlib.import_module(module), path)
    if not callable(found):
        problem = f"{target!r} is a {type(found).__name__}, not a function"
        raise ValueError(problem)  # noqa: TRY004 - the text is wrong, not its type
    return found


def attribute(root: Any, path: str) -> Any:
    """Return the attribute of an attribute of ... ``root`` that a dotted path names.

    Raises:
        AttributeError: there is none.
    """
    for name in path.split("."):
        root = getattr(root, name)
    return root


def fill(template: str, fields: Mapping[str, object]) -> str:
    """Replace ``{service}``, ``{replica}``, ``{replicas}``, ``{project}``, ``{port}``.

    ``{{port}}`` stands for ``{port}``. Other braces, and ``${port}``, stay as they are.

    Raises:
        KeyError: a field is used that ``fields`` does not have (``{port}`` without a port).
    """

    def replace(found: re.Match[str]) -> str:
        if found[1] is not None:
            return f"{{{found[1]}}}"
        return str(fields[found[2]])

    return _FIELD.sub(replace, template)


def uses_port(texts: Iterable[str]) -> bool:
    """Whether any of ``texts`` has the field ``{port}``."""
    return any(found[2] == "port" for text in texts for found in _FIELD.finditer(text))
