"""The environment of a service: what is inherited, what kinds export, what the file sets.

Later layers win: the supervisor's own environment, exports of other services, the project's
``env_file`` and ``env``, the service's ``env_file`` and ``env``. Each value may use what the layers
below it and the keys above it gave: ``${VAR}`` (empty if unset), ``${VAR:-default}`` (if unset or
empty), ``${VAR:?message}`` (an error if unset or empty), ``$$`` for a dollar sign. Any other ``$``
is left alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from naq.supervisor._schema import Invalid, Scalar, describe
from naq.supervisor._values import fill
from naq.supervisor.envfile import FromFile

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

__all__ = ["ENV_VALUE", "LIFELINE_FD", "MARKER", "build", "inherited"]

#: Set in every process that the supervisor may kill when its group is gone or it is dead itself.
MARKER = "NAQ_SUPERVISED"
#: Number of the descriptor whose end of file means that the supervisor is gone.
LIFELINE_FD = "NAQ_LIFELINE_FD"

# What was meant for the supervisor itself and would mislead a child.
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
        LIFELINE_FD,
        MARKER,
    }
)
_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)\}?")
_INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::([-?])(.*))?", re.DOTALL)


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` without what was meant for the supervisor alone.

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
                f"{found[0]!r} is none of ${{VAR}}, ${{VAR:-default}}, ${{VAR:?message}}; "
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


def _env_value(value: object) -> str | None:
    if value is False:
        return None
    if isinstance(value, str) and "\0" not in value:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise Invalid(f"expected a text, a number, or false to unset it, got {describe(value)}")


ENV_VALUE = Scalar(_env_value, {"type": ["string", "number", "boolean"]})
