"""The keys about health: ready, live, watchdog."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from naq.supervisor._key import key, live
from naq.supervisor._schema import Either, Invalid, ListOf, Scalar, Table, Type, describe
from naq.supervisor._values import BOOLEAN, COMMAND, DURATION, POSITIVE_DURATION, text, whole
from naq.supervisor.spec import Readiness, Watchdog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq.supervisor._schema import Where

__all__ = ["LIVE", "READY", "READY_TABLE", "WATCHDOG"]


def _regex(value: object) -> str:
    try:
        re.compile(text(value))
    except re.error as exc:
        raise Invalid(f"not a regular expression: {exc}") from exc
    return text(value)


def _url(value: object) -> str:
    if isinstance(value, str) and re.match(r"https?://[^/\s]+", value):
        return value
    raise Invalid(f"expected an http:// or https:// url, got {describe(value)}")


def _address(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"\S+:(\d{1,5}|\{port\})", value):
        return value
    raise Invalid(f'expected "host:port", got {describe(value)}')


_STATUS = Scalar(whole(100, 599), {"type": "integer", "minimum": 100, "maximum": 599})
_FAILURES = Scalar(whole(1, 1000), {"type": "integer", "minimum": 1})
_FROM_OUTSIDE: Mapping[str, Type] = {
    "http": Scalar(_url, {"type": "string", "format": "uri"}),
    "tcp": Scalar(_address, {"type": "string"}),
    "exec": COMMAND,
}
_LOG = {"log": Scalar(_regex, {"type": "string", "format": "regex"})}


def _table(probes: Mapping[str, Type]) -> Table:
    return Table(
        {
            **{name: live(type_, None, f"{name} probe") for name, type_ in probes.items()},
            "period": live(POSITIVE_DURATION, None, "longest time between two tries"),
            "timeout": live(POSITIVE_DURATION, 1.0, "for one try"),
            "failures": live(_FAILURES, 3, "failed tries in a row that make a difference"),
            "initial_delay": live(DURATION, 0.0, "from READY to the first try (live only)"),
            "status": live(ListOf(_STATUS), (200, 399), "http status codes, first and last"),
        }
    )


READY_TABLE = _table({**_FROM_OUTSIDE, **_LOG})
_LIVE_TABLE = _table(_FROM_OUTSIDE)


class _Probe(Type):
    """One of a few words, or a table with exactly one probe; it replaces a lower layer's."""

    def __init__(self, table: Table, probes: Mapping[str, Type], words: tuple[str, ...]) -> None:
        self._table = table
        self._probes = probes
        self._words = words
        self.schema: Mapping[str, Any] = {"anyOf": [{"enum": list(words)}, table.schema]}

    def parse(self, value: object, where: Where) -> Readiness:
        if value in self._words:
            return Readiness(probe=str(value))
        if isinstance(value, str):
            words = "".join(f'"{word}", ' for word in self._words).removesuffix(", ")
            raise Invalid(f"expected {words} or a table, got {describe(value)}")
        keys = self._table.finish(self._table.parse(value, where))
        probes = [name for name in self._probes if keys[name] is not None]
        if len(probes) != 1:
            names = " | ".join(self._probes)
            raise Invalid(f"needs exactly one of {names}, has {', '.join(probes) or 'none'}")
        status = keys["status"]
        if len(status) != 2 or status[0] > status[1]:
            raise Invalid("status needs two numbers, the first and the last code that count")
        target = keys[probes[0]]
        common = ("period", "timeout", "failures", "initial_delay", "status")
        return Readiness(
            probe=probes[0],
            target=(target,) if isinstance(target, str) else target,
            **{name: keys[name] for name in common},
        )


READY = _Probe(READY_TABLE, {**_FROM_OUTSIDE, **_LOG}, ("notify", "none"))
LIVE = _Probe(_LIVE_TABLE, _FROM_OUTSIDE, ("none",))


def _watchdog(*, timeout: float | None, abort: bool) -> Watchdog | None:
    return None if timeout is None else Watchdog(timeout=timeout, abort=abort)


WATCHDOG = Either(
    Table(
        {
            "timeout": key(POSITIVE_DURATION, None, "longest time between two WATCHDOG=1"),
            "abort": key(BOOLEAN, True, "send SIGABRT before SIGKILL"),
        },
        build=_watchdog,
    ),
    lambda value: {"timeout": value},
    POSITIVE_DURATION.schema,
)
