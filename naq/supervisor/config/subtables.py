"""Keys of a service that are tables of their own: health, restarts, dependencies; and groups.

``ready``, ``live`` and ``watchdog``; ``restart`` and ``rolling``; ``depends_on``; ``[groups]``.
Several have a short form, a word or a number, that stands for a table.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from naq.supervisor.kinds.schema import (
    Apply,
    Choice,
    EachKey,
    Either,
    Invalid,
    ListOf,
    Partial,
    Scalar,
    Table,
    Type,
    describe,
)
from naq.supervisor.kinds.values import (
    BOOLEAN,
    COMMAND,
    COUNT,
    DURATION,
    POSITIVE_DURATION,
    TEXT,
    address_template,
    key,
    live,
    ratio,
    text,
    whole,
)
from naq.supervisor.model.spec import (
    Backoff,
    Condition,
    Dependency,
    OnExhausted,
    Order,
    Policy,
    Readiness,
    RestartSpec,
    Rolling,
    Strategy,
    Watchdog,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq.supervisor.kinds.schema import Where

__all__ = [
    "DEPENDS_ON",
    "GROUPS",
    "LIVE",
    "READY",
    "READY_TABLE",
    "RESTART",
    "RESTART_TABLE",
    "ROLLING",
    "WATCHDOG",
]

# ------------------------------------------------------------------ ready, live, watchdog


def _regex(value: object) -> str:
    try:
        re.compile(text(value))
    except re.error as exc:
        raise Invalid(f"not a regular expression: {exc}") from exc
    return text(value)


def _url(value: object) -> str:
    if isinstance(value, str) and re.match(r"https?://[^/\s]+", value):
        return value
    raise Invalid(f"expected an http:// or https:// URL, got {describe(value)}")


_STATUS = Scalar(whole(100, 599), {"type": "integer", "minimum": 100, "maximum": 599})

_FAILURES = Scalar(whole(1, 1000), {"type": "integer", "minimum": 1})

_FROM_OUTSIDE: Mapping[str, Type] = {
    "http": Scalar(_url, {"type": "string", "format": "uri"}),
    "tcp": Scalar(address_template, {"type": "string"}),
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
    """One of a few words, or a table with exactly one probe. It replaces that of a lower layer."""

    def __init__(self, table: Table, probes: Mapping[str, Type], words: tuple[str, ...]) -> None:
        self._table = table
        self._probes = probes
        self._words = words
        self.schema: Mapping[str, Any] = {"anyOf": [{"enum": list(words)}, table.schema]}

    def parse(self, value: object, where: Where) -> Readiness:
        if value in self._words:
            return Readiness(probe=str(value))
        if isinstance(value, str):
            words = ", ".join(f'"{word}"' for word in self._words)
            raise Invalid(f"expected {words} or a table, got {describe(value)}")
        keys = self._table.finish(self._table.parse(value, where))
        probes = [name for name in self._probes if keys[name] is not None]
        if len(probes) != 1:
            names = " | ".join(self._probes)
            raise Invalid(f"needs exactly one of {names}, has {', '.join(probes) or 'none'}")
        status = keys["status"]
        if len(status) != 2 or status[0] > status[1]:
            raise Invalid(
                "status needs two numbers: the lowest and the highest code that count as success"
            )
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

# ------------------------------------------------------------------ restart, rolling


def _constant_backoff(value: object) -> Mapping[str, object]:
    return {"initial": value, "max": value, "factor": 1}


def _backoff(**keys: Any) -> Backoff:
    return Backoff(maximum=keys.pop("max"), **keys)


_BACKOFF_TABLE = Table(
    {
        "initial": live(DURATION, 0.5, "delay before the first restart"),
        "factor": live(ratio(1, 100), 2.0, "growth of the delay per failure"),
        "max": live(DURATION, 30.0, "longest delay"),
        "jitter": live(ratio(0, 1), 0.2, "share of the delay it may differ by"),
    },
    build=_backoff,
)
_BACKOFF = Either(_BACKOFF_TABLE, _constant_backoff, DURATION.schema)
_POLICIES = tuple(policy.value for policy in Policy)
RESTART_TABLE = Table(
    {
        "policy": live(Choice(*_POLICIES, into=Policy), Policy.ALWAYS, "which ends restart it"),
        "backoff": live(_BACKOFF, None, "delay before a restart"),
        "reset_after": live(DURATION, 60.0, "READY time that clears delay and budget"),
        "max_restarts": live(COUNT, 8, "failures allowed in the window; 0 = no limit"),
        "within": live(POSITIVE_DURATION, 300.0, "the window"),
        "on_exhausted": live(
            Choice(*(word.value for word in OnExhausted), into=OnExhausted),
            OnExhausted.DEGRADE,
            "what to do when the budget is spent",
        ),
    },
    build=RestartSpec,
)
RESTART = Either(RESTART_TABLE, lambda value: {"policy": value}, {"enum": list(_POLICIES)})

_ORDERS = tuple(order.value for order in Order)
ROLLING = Either(
    Table(
        {
            "order": live(Choice(*_ORDERS, into=Order), Order.STOP_FIRST, "old or new one first"),
            "max_surge": live(COUNT, 1, "start-first: replicas that may run twice"),
            "max_unavailable": live(COUNT, 1, "stop-first: replicas that may be missing"),
        },
        build=Rolling,
    ),
    lambda value: {"order": value},
    {"enum": list(_ORDERS)},
)

# ------------------------------------------------------------------ depends_on

_CONDITION = Choice(*(condition.value for condition in Condition), into=Condition)
_EDGE = Either(
    Table(
        {
            "condition": key(_CONDITION, None, "what it must have reached", Apply.GRAPH),
            "required": key(BOOLEAN, True, "false: start even if it never will be", Apply.GRAPH),
            "timeout": key(POSITIVE_DURATION, None, "how long to wait for it", Apply.GRAPH),
            "restart": key(BOOLEAN, False, "restart when it was restarted", Apply.GRAPH),
        }
    ),
    lambda value: {"condition": value},
    _CONDITION.schema,
)


def _edges(value: object) -> Mapping[str, object]:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return {name: {} for name in value}
    raise Invalid(f"expected a list of services or a table, got {describe(value)}")


def _dependencies(edges: Partial) -> tuple[Dependency, ...]:
    # The condition may still be None; checks.py knows the default, which depends on the service.
    return tuple(Dependency(service=name, **edge) for name, edge in edges.items())


DEPENDS_ON = Either(
    EachKey(_EDGE, build=_dependencies), _edges, {"type": "array", "items": {"type": "string"}}
)

# ------------------------------------------------------------------ groups

_STRATEGIES = tuple(strategy.value for strategy in Strategy)
GROUPS = EachKey(
    Table(
        {
            "members": live(ListOf(TEXT, at_least=1), (), "its services"),
            "strategy": live(
                Choice(*_STRATEGIES, into=Strategy),
                Strategy.ONE_FOR_ONE,
                "who is restarted when a member fails",
            ),
            "max_restarts": live(COUNT, 3, "restarts of the group in the window; 0 = no limit"),
            "within": live(POSITIVE_DURATION, 600.0, "the window"),
            "on_exhausted": live(
                Choice("degrade", "fail", "shutdown", into=OnExhausted),
                OnExhausted.DEGRADE,
                "what to do when they are spent",
            ),
        }
    )
)
