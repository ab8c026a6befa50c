"""What the control socket can be asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import trio

from naq import __version__
from naq.supervisor.protocol import VERSION, Refused
from naq.supervisor.report import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from naq.supervisor.supervisor import Supervisor

__all__ = ["commands"]


def commands(supervisor: Supervisor) -> dict[str, Callable[[Mapping[str, Any]], object]]:
    """Return the commands of a supervisor, by name."""

    def ping(args: Mapping[str, Any]) -> object:
        _only(args)
        return {
            "project": supervisor.topology.name,
            "pid": os.getpid(),
            "version": __version__,
            "protocol": VERSION,
        }

    def ps(args: Mapping[str, Any]) -> object:
        _only(args, "services")
        services = args.get("services", [])
        if not isinstance(services, list):
            raise Refused("bad-request", "services is not a list")
        for name in services:
            if not isinstance(name, str) or name not in supervisor.topology.services:
                known = ", ".join(supervisor.topology.services)
                raise Refused("unknown-service", f"no service {name!r}; there are: {known}")
        shown = [s for s in supervisor.board if not services or s.service in services]
        return describe(shown, trio.current_time())

    def down(args: Mapping[str, Any]) -> object:
        _only(args, "timeout", "now")
        timeout, now = args.get("timeout"), args.get("now", False)
        if not isinstance(timeout, (int, float, type(None))) or not isinstance(now, bool):
            raise Refused("bad-request", "timeout is a number of seconds, now is true or false")
        if timeout is not None and timeout < 0:
            raise Refused("bad-request", "timeout is negative")
        supervisor.stop(timeout=timeout)
        if now:
            supervisor.hurry()
        return {"pid": os.getpid()}

    return {"ping": ping, "ps": ps, "down": down}


def _only(args: Mapping[str, Any], *known: str) -> None:
    """Refuse arguments that would be ignored: they were meant for something."""
    if unknown := sorted(set(args) - set(known)):
        raise Refused("bad-request", f"unknown argument {unknown[0]!r}")
