r"""The environment of a service: what is inherited, what kinds export, what the file sets.

Later layers win: the supervisor's own environment, exports of other services, the project's
``env_file`` and ``env``, the service's ``env_file`` and ``env``. Each value may use what the layers
below it and the keys above it gave: ``${VAR}`` (empty if unset), ``${VAR:-default}`` (if unset or
empty), ``${VAR:?message}`` (an error if unset or empty), ``$$`` for a dollar sign. Any other ``$``
is left alone.

An ``env_file`` has ``NAME=value`` lines, as Docker and many others read them. Empty lines and lines
that begin with ``#`` mean nothing; ``export`` in front is ignored. A value may be in double quotes,
with ``\n``, ``\t``, ``\"`` and ``\\`` in it, or in single quotes, where nothing is special. Without
quotes, a ``#`` after a blank begins a comment. ``${VAR}`` is filled in as in the supervisor file,
but not in single quotes; ``{replica}`` and the like are not fields here. Files are read again for
every run, so a restart is enough to use what has changed.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from naq.base.text import fill
from naq.supervisor.kinds.schema import Invalid, Scalar, describe

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence
    from pathlib import Path

__all__ = [
    "ENV_VALUE",
    "LEDGER_FD",
    "LIFELINE_FD",
    "MARKER",
    "FromFile",
    "build",
    "digest",
    "inherited",
    "parse",
    "read_all",
]

#: Set in every process that the supervisor may kill when its group is gone or it is dead itself.
MARKER = "NAQ_SUPERVISED"
#: Number of the descriptor whose end of file means that the supervisor is gone.
LIFELINE_FD = "NAQ_LIFELINE_FD"
#: Number of the descriptor of the file for what a program has in hand.
LEDGER_FD = "NAQ_LEDGER_FD"

# Variables that are meant for the supervisor itself and would mislead a child.
_OURS = frozenset(
    {
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "NAQ_DETACHED_FD",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "NAQ_SERVICE",
        "NAQ_REPLICA",
        LEDGER_FD,
        LIFELINE_FD,
        MARKER,
    }
)
_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)\}?")
_INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::([-?])(.*))?", re.DOTALL)
# Of a file: a line, and the two kinds of quoted values with what may follow them.
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?', re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


class FromFile(dict[str, str]):
    """Variables of a file: ``${VAR}`` is filled in, ``{field}`` is not."""


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` without what is meant for the supervisor alone.

    Adds ``PYTHONUNBUFFERED``: a Python program that prints to a pipe would keep its lines to itself
    until it has 8 KiB of them.
    """
    kept = {name: value for name, value in environ.items() if name not in _OURS}
    kept.setdefault("PYTHONUNBUFFERED", "1")
    return kept


def build(
    base: Mapping[str, str],
    layers: Sequence[Mapping[str, str | None]],
    fields: Mapping[str, object],
) -> dict[str, str]:
    """Lay ``layers`` of the file over ``base``; None unsets.

    Args:
        base: what is there already, taken as it is.
        layers: lowest first.
        fields: values of ``{service}``, ``{replica}`` and so on.

    Raises:
        Invalid: a ``${VAR:?message}`` found nothing; the text begins with the variable being set.
    """
    env = dict(base)
    for written in layers:
        _lay(env, written, fields)
    return env


def _lay(
    env: MutableMapping[str, str], written: Mapping[str, str | None], fields: Mapping[str, object]
) -> None:
    for name, value in written.items():
        if value is None:
            env.pop(name, None)
            continue
        try:
            filled = value if isinstance(written, FromFile) else fill(value, fields)
            env[name] = _interpolate(filled, env)
        except Invalid as exc:
            raise Invalid(f"{name}: {exc}") from exc
        except KeyError as exc:
            raise Invalid(
                f"{name}: uses {{{exc.args[0]}}}, which this service does not have"
            ) from exc


def _interpolate(value: str, env: Mapping[str, str]) -> str:
    def replace(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        inside = _INSIDE.fullmatch(found[1])
        if inside is None or not found[0].endswith("}"):
            raise Invalid(
                f"{found[0]!r} is not one of ${{VAR}}, ${{VAR:-default}}, ${{VAR:?message}}; "
                "write $$ for a dollar sign"
            )
        name, operator, rest = inside.groups()
        present = env.get(name, "")
        if operator is None or present:
            return present
        if operator == "-":
            return str(rest)
        raise Invalid(f"{name} is not set: {rest}" if rest else f"{name} is not set")

    return _REFERENCE.sub(replace, value)


def parse(text: str) -> FromFile:
    """Return the variables that ``text`` sets.

    Raises:
        Invalid: a line has none of the known forms; the text begins with its number.
    """
    variables = FromFile()
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise Invalid(f"line {number}: expected NAME=value")
        name, raw = found.groups()
        while raw[:1] in {'"', "'"} and not _closed(raw):  # a quoted value may have several lines
            following = next(lines, None)
            if following is None:
                raise Invalid(f"line {number}: the quotation mark is never closed")
            raw = f"{raw}\n{following[1]}"
        variables[name] = _value(raw, number)
    return variables


def read_all(directory: Path, names: Sequence[str]) -> FromFile:
    """Read files one after the other, later ones winning.

    Args:
        directory: what names are relative to.
        names: with a ``?`` in front where the file may be missing.

    Raises:
        Invalid: a file cannot be read or understood; the text names it.
    """
    variables = FromFile()
    for name in names:
        try:
            variables.update(parse((directory / name.removeprefix("?")).read_text("utf-8")))
        except FileNotFoundError:
            if not name.startswith("?"):
                raise Invalid(f"{name}: no such file; a ? in front makes it optional") from None
        except (OSError, UnicodeDecodeError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise Invalid(f"{name}: cannot be read: {why}") from exc
        except Invalid as exc:
            raise Invalid(f"{name}: {exc}") from exc
    return variables


def digest(directory: Path, names: Sequence[str]) -> str:
    """Return a text that differs when the content of any of the files does; empty without files."""
    if not names:
        return ""
    content = hashlib.sha256()
    for name in names:
        try:
            data = (directory / name.removeprefix("?")).read_bytes()
        except OSError:
            data = b""
        content.update(f"{name}:{len(data)}:".encode() + data)
    return content.hexdigest()


def _closed(raw: str) -> bool:
    return (_DOUBLE if raw[0] == '"' else _SINGLE).fullmatch(raw) is not None


def _value(raw: str, number: int) -> str:
    if "\0" in raw:
        raise Invalid(f"line {number}: contains a NUL")
    if found := _SINGLE.fullmatch(raw):
        return found[1].replace("$", "$$")
    if found := _DOUBLE.fullmatch(raw):
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), found[1], flags=re.DOTALL)
    return re.split(r"\s#", raw, maxsplit=1)[0].strip()


def _env_value(value: object) -> str | None:
    if value is False:
        return None
    if isinstance(value, str) and "\0" not in value:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise Invalid(f"expected a string, a number, or false to unset it, got {describe(value)}")


ENV_VALUE = Scalar(_env_value, {"type": ["string", "number", "boolean"]})
