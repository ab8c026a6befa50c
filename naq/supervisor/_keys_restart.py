"""The keys about starting again and in which order: restart, rolling, depends_on, groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from naq.supervisor._key import key, live, ratio
from naq.supervisor._schema import (
    Apply,
    Choice,
    EachKey,
    Either,
    Invalid,
    ListOf,
    Partial,
    Table,
    describe,
)
from naq.supervisor._values import BOOLEAN, COUNT, DURATION, POSITIVE_DURATION, TEXT
from naq.supervisor.spec import (
    Backoff,
    Condition,
    Dependency,
    OnExhausted,
    Order,
    Policy,
    RestartSpec,
    Rolling,
    Strategy,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEPENDS_ON", "GROUPS", "RESTART", "RESTART_TABLE", "ROLLING"]


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
    # The condition may still be None here; config.py knows what the default is for whom.
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
