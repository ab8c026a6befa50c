"""The keys of a supervisor file: one line each, from which reading, defaults and schema are made.

:data:`SERVICE` are the keys every service has; a kind adds its own (``Kind.keys``).
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from naq.supervisor._schema import (
    Apply,
    Choice,
    EachKey,
    Either,
    Invalid,
    Key,
    ListOf,
    Partial,
    Scalar,
    Table,
    Type,
    describe,
)
from naq.supervisor._values import (
    BOOLEAN,
    COMMAND,
    COUNT,
    DURATION,
    EXIT_CODES,
    PORT,
    POSITIVE_DURATION,
    SIGNAL,
    SIZE,
    TEXT,
    number,
    text,
    whole,
)
from naq.supervisor.environment import ENV_VALUE
from naq.supervisor.spec import (
    Backoff,
    Condition,
    Dependency,
    ExitPolicy,
    Logging,
    OnExhausted,
    Policy,
    Readiness,
    RestartSpec,
    Run,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq.supervisor._schema import Where

__all__ = ["LOGGING", "PROJECT", "SERVICE"]


def _key(type_: Type, default: object, doc: str, apply: Apply = Apply.RESTART) -> Key:
    return Key(type=type_, default=default, doc=doc, apply=apply)


def _live(type_: Type, default: object, doc: str) -> Key:
    return Key(type=type_, default=default, doc=doc, apply=Apply.LIVE)


def _number(low: float, high: float) -> Scalar:
    return Scalar(number(low, high), {"type": "number", "minimum": low, "maximum": high})


# ------------------------------------------------------------------ restart


def _constant_backoff(value: object) -> Mapping[str, object]:
    return {"initial": value, "max": value, "factor": 1}


def _backoff(**keys: Any) -> Backoff:
    return Backoff(maximum=keys.pop("max"), **keys)


_BACKOFF_TABLE = Table(
    {
        "initial": _live(DURATION, 0.5, "delay before the first restart"),
        "factor": _live(_number(1, 100), 2.0, "growth of the delay per failure"),
        "max": _live(DURATION, 30.0, "longest delay"),
        "jitter": _live(_number(0, 1), 0.2, "share of the delay it may differ by"),
    },
    build=_backoff,
)
_BACKOFF = Either(_BACKOFF_TABLE, _constant_backoff, DURATION.schema)
_POLICIES = tuple(policy.value for policy in Policy)
_RESTART_TABLE = Table(
    {
        "policy": _live(Choice(*_POLICIES, into=Policy), Policy.ALWAYS, "which ends restart it"),
        "backoff": _live(_BACKOFF, None, "delay before a restart"),
        "reset_after": _live(DURATION, 60.0, "READY time that clears delay and budget"),
        "max_restarts": _live(COUNT, 8, "failures allowed in the window; 0 = no limit"),
        "within": _live(POSITIVE_DURATION, 300.0, "the window"),
        "on_exhausted": _live(
            Choice(*(word.value for word in OnExhausted), into=OnExhausted),
            OnExhausted.DEGRADE,
            "what to do when the budget is spent",
        ),
    },
    build=RestartSpec,
)


def _restart_policy(value: object) -> Mapping[str, object]:
    return {"policy": value}


_RESTART = Either(_RESTART_TABLE, _restart_policy, {"enum": list(_POLICIES)})

# ------------------------------------------------------------------ depends_on

_CONDITION = Choice(*(condition.value for condition in Condition), into=Condition)
_EDGE = Either(
    Table(
        {
            "condition": _key(_CONDITION, None, "what it must have reached", Apply.GRAPH),
            "required": _key(BOOLEAN, True, "false: start even if it never will be", Apply.GRAPH),
            "timeout": _key(POSITIVE_DURATION, None, "how long to wait for it", Apply.GRAPH),
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


_DEPENDS_ON = Either(
    EachKey(_EDGE, build=_dependencies), _edges, {"type": "array", "items": {"type": "string"}}
)

# ------------------------------------------------------------------ ready


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
_PROBES: Mapping[str, Type] = {
    "http": Scalar(_url, {"type": "string", "format": "uri"}),
    "tcp": Scalar(_address, {"type": "string"}),
    "exec": COMMAND,
    "log": Scalar(_regex, {"type": "string", "format": "regex"}),
}
_READY_TABLE = Table(
    {
        **{name: _live(type_, None, f"{name} probe") for name, type_ in _PROBES.items()},
        "period": _live(POSITIVE_DURATION, 1.0, "longest time between two tries"),
        "timeout": _live(POSITIVE_DURATION, 1.0, "for one try"),
        "status": _live(ListOf(_STATUS), (200, 399), "http status codes, first and last"),
    }
)


class _Ready(Type):
    """``"notify"``, ``"none"``, or a table with exactly one probe; it replaces a lower layer's."""

    schema: Mapping[str, Any] = {"anyOf": [{"enum": ["notify", "none"]}, _READY_TABLE.schema]}

    def parse(self, value: object, where: Where) -> Readiness | None:
        if value in ("notify", "none"):
            return Readiness(probe=str(value))
        if isinstance(value, str):
            raise Invalid(f'expected "notify", "none" or a table, got {describe(value)}')
        keys = _READY_TABLE.finish(_READY_TABLE.parse(value, where))
        probes = [name for name in _PROBES if keys[name] is not None]
        if len(probes) != 1:
            names = " | ".join(_PROBES)
            raise Invalid(f"needs exactly one of {names}, has {', '.join(probes) or 'none'}")
        status = keys["status"]
        if len(status) != 2 or status[0] > status[1]:
            raise Invalid("status needs two numbers, the first and the last code that count")
        target = keys[probes[0]]
        return Readiness(
            probe=probes[0],
            target=(target,) if isinstance(target, str) else target,
            period=keys["period"],
            timeout=keys["timeout"],
            status=status,
        )


# ------------------------------------------------------------------ tables

_ENV = EachKey(ENV_VALUE, build=MappingProxyType)

_RUN = Choice(*(run.value for run in Run), into=Run)

SERVICE: Mapping[str, Key] = {
    "type": _key(TEXT, "command", "kind of service"),
    "run": _key(_RUN, None, "a process of its own, or a task in the supervisor"),
    "replicas": _key(COUNT, 1, "how many of it run", Apply.SCALE),
    "depends_on": _key(_DEPENDS_ON, (), "what must be there first", Apply.GRAPH),
    "restart": _live(_RESTART, None, "when to start it again"),
    "env": _key(_ENV, MappingProxyType({}), "environment variables; false unsets one"),
    "cwd": _key(TEXT, ".", "directory to run in, relative to the file"),
    "port": _key(PORT, None, "of the first replica; {port} in texts"),
    "stop_signal": _live(SIGNAL, 15, "how to ask it to stop"),
    "stop_timeout": _live(DURATION, 10.0, "how long it may take to stop before it is killed"),
    "start_timeout": _live(POSITIVE_DURATION, 60.0, "from its start to READY"),
    "start_delay": _live(DURATION, 0.0, "between the starts of two replicas"),
    "kill_group": _key(BOOLEAN, True, "stop and kill everything it started, not it alone"),
    "critical": _live(BOOLEAN, False, "if it fails for good, the project stops with its exit code"),
    "success_exit_codes": _live(EXIT_CODES, (0,), "exit codes that are no failure"),
    "fatal_exit_codes": _live(EXIT_CODES, (78,), "exit codes after which a restart is pointless"),
    "oneshot": _key(BOOLEAN, False, "runs once, to its end"),
    "ready": _live(_Ready(), None, "how to tell that it is ready"),
}

PROJECT = Table(
    {
        "name": _key(TEXT, None, "name of the project; default: the directory's"),
        "shutdown_timeout": _live(POSITIVE_DURATION, 60.0, "to stop everything"),
        "exit_policy": _live(
            Choice(*(policy.value for policy in ExitPolicy), into=ExitPolicy),
            ExitPolicy.WHEN_ALL_DONE,
            "end when nothing is left to run, or never",
        ),
        "env": _key(_ENV, MappingProxyType({}), "environment variables of all services"),
    }
)

LOGGING = Table(
    {
        "format": _live(Choice("auto", "text", "json"), "auto", "of lines on standard output"),
        "level": _live(Choice("debug", "info", "warning", "error"), "info", "of naq's own lines"),
        "buffer": _live(
            Scalar(whole(0, 1_000_000), {"type": "integer", "minimum": 0}),
            2000,
            "lines kept per replica",
        ),
        "max_line": _live(SIZE, 16 * 1024, "longer lines are cut"),
    },
    build=Logging,
)
