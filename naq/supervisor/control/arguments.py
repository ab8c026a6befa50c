"""What each command of the control socket takes, as types that are checked against what arrives.

One class per command, named after it. A field is an argument, with its type, its bounds and its
default; an argument that is unknown, or is not what it should be, is refused and never ignored. The
table in docs/design/supervision.md is compared with these classes by a test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Literal, ParamSpec, TypeVar

import msgspec
from msgspec import Meta, Struct

from naq.base.text import CENTURY
from naq.supervisor.model.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Arguments",
    "Down",
    "Environment",
    "Events",
    "Graph",
    "Logs",
    "Metrics",
    "Pause",
    "Ping",
    "Plan",
    "Ps",
    "Reload",
    "Restart",
    "Scale",
    "Signal",
    "Start",
    "Stop",
    "Wait",
    "checked",
]

_Names = tuple[str, ...]
_Seconds = Annotated[float, Meta(ge=0, le=CENTURY)] | None
_Replicas = Annotated[int, Meta(ge=0, le=100_000)]


class Arguments(Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of one command."""


class Ping(Arguments, frozen=True):
    """Which project, process and version this is."""


class Ps(Arguments, frozen=True):
    """The state of replicas: of those that were started, of ``services``, or of ``all``."""

    services: _Names = ()
    all: bool = False


class Metrics(Arguments, frozen=True):
    """The same in Prometheus' text format."""


class Down(Arguments, frozen=True):
    """Stop the project: within ``timeout`` seconds, or ``now``, without any grace."""

    timeout: _Seconds = None
    now: bool = False


class Start(Arguments, frozen=True):
    """Start services, those of a profile, and with ``dependencies`` what they depend on."""

    services: _Names = ()
    profile: str = ""
    dependencies: bool = False


class Pause(Arguments, frozen=True):
    """Let workers take no new jobs, or let them take jobs again."""

    services: _Names = ()
    on: bool = True


class Signal(Arguments, frozen=True, kw_only=True):
    """Send a signal, such as ``USR1``, to the processes of services."""

    services: _Names = ()
    signal: str


class Plan(Arguments, frozen=True):
    """What ``reload`` would do."""

    prune: bool = True


class Graph(Arguments, frozen=True):
    """Which service depends on which, and how long the last start of each took."""


class Environment(Arguments, frozen=True):
    """The variables and the directory that a command of a service would be started with."""

    service: str


class Wait(Arguments, frozen=True):
    """Wait until services, or all that were started, have reached a goal or never will."""

    services: _Names = ()
    goal: Literal["ready", "stopped", "completed"] = "ready"
    timeout: _Seconds = None


class Stop(Arguments, frozen=True):
    """Stop services: within ``timeout`` seconds, or ``now``; with ``wait``, until they are down."""

    services: _Names = ()
    timeout: _Seconds = None
    now: bool = False
    wait: bool = True


class Restart(Arguments, frozen=True):
    """Restart services.

    With ``rolling`` or ``parallel``, a few replicas at a time, each ready before the next; with
    ``reload``, after taking over what the file says of them now; with ``force``, killed instead of
    asked. ``timeout`` is for waiting.
    """

    services: _Names = ()
    rolling: bool = False
    parallel: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    reload: bool = False
    force: bool = False
    wait: bool = False
    timeout: _Seconds = None


class Scale(Arguments, frozen=True, kw_only=True):
    """Change how many replicas services have; with ``wait``, until all are ready."""

    replicas: Annotated[dict[str, _Replicas], Meta(min_length=1)]
    wait: bool = False
    timeout: _Seconds = None


class Reload(Arguments, frozen=True):
    """Read the file again and change what differs; with ``prune``, stop what is gone from it."""

    prune: bool = True


class Logs(Arguments, frozen=True):
    """The lines of services: the last ``tail`` ones, those of the last ``since`` seconds.

    With ``previous``, those of the run before this one; with ``follow``, those to come as well.
    """

    services: _Names = ()
    follow: bool = False
    tail: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    since: _Seconds = None
    previous: bool = False


class Events(Arguments, frozen=True):
    """What has happened to services; with ``follow``, their state and what happens from now on."""

    services: _Names = ()
    follow: bool = False


A = TypeVar("A", bound=Arguments)
P = ParamSpec("P")
R = TypeVar("R")


def checked(
    kind: type[A], run: Callable[Concatenate[A, P], R]
) -> Callable[Concatenate[Mapping[str, Any], P], R]:
    """Return ``run`` as a function of arguments as they arrive.

    Args:
        kind: what the arguments are to be; :class:`Refused` is raised if they are not.
        run: takes them, and whatever else the server passes.
    """

    def call(args: Mapping[str, Any], /, *more: P.args, **named: P.kwargs) -> R:
        return run(_read(kind, args), *more, **named)

    return call


def _read(kind: type[A], args: Mapping[str, Any]) -> A:
    try:
        return msgspec.convert(args, kind)
    except msgspec.ValidationError as exc:
        known = ", ".join(kind.__struct_fields__)
        text = f"it takes {known}" if known else "it takes no arguments"
        raise Refused("bad-request", f"{kind.__name__.lower()}: {exc}; {text}") from exc
