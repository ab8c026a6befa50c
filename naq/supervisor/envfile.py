r"""Files with environment variables: ``NAME=value`` lines, as Docker and many others read them.

Empty lines and lines that begin with ``#`` mean nothing; ``export`` in front is ignored. A value
may be in double quotes, with ``\n``, ``\t``, ``\"`` and ``\\`` in it, or in single quotes, where
nothing is special. Without quotes, a ``#`` after a blank begins a comment. ``${VAR}`` is filled in
as in the supervisor file, but not in single quotes; ``{replica}`` and the like are not fields here.

Files are read again at every spawn, so a restart is enough to use what was changed.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from naq.supervisor._schema import Invalid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["FromFile", "digest", "parse", "read_all"]

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?', re.DOTALL)
_SINGLE = re.compile(r"'([^']*)'\s*(?:#.*)?", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


class FromFile(dict[str, str]):
    """Variables of a file: ``${VAR}`` is filled in, ``{field}`` is not."""


def parse(text: str) -> FromFile:
    """Return the variables that ``text`` sets.

    Raises:
        Invalid: a line is none of the known forms; the text begins with its number.
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
                raise Invalid(f"line {number}: the quote is never closed")
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
    """Return what changes when the content of any of the files does; empty without files."""
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
        raise Invalid(f"line {number}: holds a NUL")
    if found := _SINGLE.fullmatch(raw):
        return found[1].replace("$", "$$")
    if found := _DOUBLE.fullmatch(raw):
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), found[1], flags=re.DOTALL)
    return re.split(r"\s#", raw, maxsplit=1)[0].strip()
