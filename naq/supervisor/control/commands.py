"""The commands of the control socket that are answered at once; ``streams.py`` has the others."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, Protocol

import trio

from naq.base.version import __version__
from naq.supervisor.control import arguments
from naq.supervisor.control.arguments import checked
from naq.supervisor.control.metrics import exposition
from naq.supervisor.control.protocol import VERSION
from naq.supervisor.kinds.schema import Invalid
from naq.supervisor.kinds.values import signal_number
from naq.supervisor.model import graph
from naq.supervisor.model.errors import Refused
from naq.supervisor.project.events import describe
from naq.supervisor.project.reload import prepare_reload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from naq.supervisor.kinds.kind import ReplicaContext
    from naq.supervisor.project.crew import Crew
    from naq.supervisor.project.running import RunningProject

__all__ = ["Desk", "commands", "crew_of"]


class Desk(Protocol):
    """What commands are given of the supervisor that they are sent to."""

    @property
    def project(self) -> RunningProject:
        """The topology, the board, the history and the output."""

    @property
    def crew(self) -> Crew | None:
        """The services; None while the supervisor still cleans up after the previous run."""

    @property
    def stopping(self) -> bool:
        """Whether the project has been asked to stop."""

    def stop(self, *, timeout: float | None = None) -> None:
        """Ask for an orderly stop within ``timeout`` seconds; None: as the project says."""

    def hurry(self) -> None:
        """Stop, and kill what does not end at once."""


def commands(desk: Desk) -> dict[str, Callable[[Mapping[str, Any]], object]]:
    """Return the commands of a supervisor, by name."""
    known = _Commands(desk)
    return {
        "ping": checked(arguments.Ping, known.ping),
        "ps": checked(arguments.Ps, known.ps),
        "metrics": checked(arguments.Metrics, known.metrics),
        "down": checked(arguments.Down, known.down),
        "start": checked(arguments.Start, known.start),
        "pause": checked(arguments.Pause, known.pause),
        "signal": checked(arguments.Signal, known.signal),
        "plan": checked(arguments.Plan, known.plan),
        "graph": checked(arguments.Graph, known.graph),
        "environment": checked(arguments.Environment, known.environment),
    }


def crew_of(desk: Desk) -> Crew:
    """Return the services.

    Raises:
        Refused: they do not run yet, or not any more.
    """
    if desk.crew is None:
        raise Refused("starting", "the supervisor is cleaning up after the previous run")
    if desk.stopping:
        raise Refused("stopping", "the project is being stopped")
    return desk.crew


class _Commands:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def ping(self, _asked: arguments.Ping) -> object:
        topology = self._desk.project.topology
        return {
            "project": topology.name,
            "pid": os.getpid(),
            "version": __version__,
            "protocol": VERSION,
            "file": topology.file,
        }

    def ps(self, asked: arguments.Ps) -> object:
        board, crew = self._desk.project.board, self._desk.crew
        shown = [s for s in board if asked.all or s.active]
        if asked.services and crew is not None:
            meant = [replica.status for replica in crew.roster.find(asked.services)]
            keys = {(status.service, status.replica) for status in meant}
            shown = [s for s in board if (s.service, s.replica) in keys]
        return describe(shown, trio.current_time())

    def metrics(self, _asked: arguments.Metrics) -> object:
        """Return the numbers that ``metrics`` in ``[control]`` would serve over HTTP."""
        project = self._desk.project
        return exposition(project.topology.name, describe(project.board, trio.current_time()))

    def down(self, asked: arguments.Down) -> object:
        self._desk.stop(timeout=asked.timeout)
        if asked.now:
            self._desk.hurry()
        return {"pid": os.getpid()}

    def start(self, asked: arguments.Start) -> object:
        crew = crew_of(self._desk)
        names = asked.services
        if asked.profile:
            specs = crew.roster.specs
            members = [name for name in specs if asked.profile in specs[name].profiles]
            if not members:
                raise Refused("unknown-service", f"no service belongs to profile {asked.profile!r}")
            names = (*names, *members)
        replicas = crew.start(crew.roster.find(names), dependencies=asked.dependencies)
        return [replica.status.name for replica in replicas]

    def pause(self, asked: arguments.Pause) -> object:
        replicas = crew_of(self._desk).roster.find(asked.services)
        for replica in replicas:
            if not replica.pauses:
                kind = replica.spec.type
                raise Refused("failed", f"{replica.status.name}: type {kind} cannot pause")
        for replica in replicas:
            replica.pause(on=asked.on)
        return [replica.status.name for replica in replicas]

    def signal(self, asked: arguments.Signal) -> object:
        try:
            number = signal_number(asked.signal)
        except Invalid as exc:
            raise Refused("bad-request", str(exc)) from exc
        replicas = crew_of(self._desk).roster.find(asked.services)
        reached = [replica.status.name for replica in replicas if replica.signal(number)]
        if not reached:
            raise Refused("failed", f"no process to send {signal.Signals(number).name} to")
        return reached

    def plan(self, asked: arguments.Plan) -> object:
        plan = prepare_reload(crew_of(self._desk), prune=asked.prune).plan
        return {"lines": plan.lines(), "changes": [c.as_dict() for c in plan.changes]}

    def graph(self, _asked: arguments.Graph) -> object:
        """Return the dependencies, and how long each service took to start (a oneshot: to end)."""
        times: dict[str, float] = {}
        for transition in self._desk.project.events.recent():
            if transition.took is not None:
                name = transition.status.service
                times[name] = max(times.get(name, 0.0), round(transition.took, 3))
        return {"edges": graph.edges(self._desk.project.topology.services), "took_s": times}

    def environment(self, asked: arguments.Environment) -> object:
        """Return what a one-off command of a service is to be started with."""
        crew = crew_of(self._desk)
        replica = crew.roster.find([asked.service])
        if not replica:
            raise Refused("unknown-service", f"{asked.service!r} has no replica")
        host, status = crew.host, replica[0].status
        context: ReplicaContext = host.context(
            replica[0].spec, status.replica, status.runs, say=lambda _: None
        )
        env = {k: v for k, v in context.env.items() if not k.startswith("NAQ_SUPERVISED")}
        return {"env": env, "cwd": os.fspath(context.cwd)}
