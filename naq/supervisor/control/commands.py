"""What the control socket can be asked for and answers at once; ``streams.py`` has the others."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, Protocol

import trio

from naq.base.version import __version__
from naq.supervisor.control.metrics import exposition
from naq.supervisor.control.protocol import VERSION, Args
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
    all_ = _Commands(desk)
    return {
        "ping": all_.ping,
        "ps": all_.ps,
        "metrics": all_.metrics,
        "down": all_.down,
        "start": all_.start,
        "pause": all_.pause,
        "signal": all_.signal,
        "plan": all_.plan,
        "graph": all_.graph,
        "environment": all_.environment,
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

    def ping(self, args: Mapping[str, Any]) -> object:
        Args(args).done()
        topology = self._desk.project.topology
        return {
            "project": topology.name,
            "pid": os.getpid(),
            "version": __version__,
            "protocol": VERSION,
            "file": topology.file,
        }

    def ps(self, args: Mapping[str, Any]) -> object:
        taken = Args(args)
        names, everything = taken.names(), taken.flag("all")
        taken.done()
        board, crew = self._desk.project.board, self._desk.crew
        shown = [s for s in board if everything or s.active]
        if names and crew is not None:
            meant = [replica.status for replica in crew.roster.find(names)]
            keys = {(status.service, status.replica) for status in meant}
            shown = [s for s in board if (s.service, s.replica) in keys]
        return describe(shown, trio.current_time())

    def metrics(self, args: Mapping[str, Any]) -> object:
        """Return what ``metrics`` in ``[control]`` would let be collected, for who asks here."""
        Args(args).done()
        project = self._desk.project
        return exposition(project.topology.name, describe(project.board, trio.current_time()))

    def down(self, args: Mapping[str, Any]) -> object:
        taken = Args(args)
        timeout, now = taken.seconds("timeout"), taken.flag("now")
        taken.done()
        self._desk.stop(timeout=timeout)
        if now:
            self._desk.hurry()
        return {"pid": os.getpid()}

    def start(self, args: Mapping[str, Any]) -> object:
        taken = Args(args)
        names, profile = taken.names(), taken.text("profile")
        dependencies = taken.flag("dependencies")
        taken.done()
        crew = crew_of(self._desk)
        if profile:
            members = [n for n, spec in crew.roster.specs.items() if profile in spec.profiles]
            if not members:
                raise Refused("unknown-service", f"no service is in profile {profile!r}")
            names = [*names, *members]
        replicas = crew.start(crew.roster.find(names), dependencies=dependencies)
        return [replica.status.name for replica in replicas]

    def pause(self, args: Mapping[str, Any]) -> object:
        taken = Args(args)
        names, on = taken.names(), taken.flag("on", default=True)
        taken.done()
        replicas = crew_of(self._desk).roster.find(names)
        for replica in replicas:
            if not replica.pauses:
                kind = replica.spec.type
                raise Refused("failed", f"{replica.status.name}: type {kind} cannot pause")
        for replica in replicas:
            replica.pause(on=on)
        return [replica.status.name for replica in replicas]

    def signal(self, args: Mapping[str, Any]) -> object:
        taken = Args(args)
        names, word = taken.names(), taken.text("signal")
        taken.done()
        try:
            number = signal_number(word)
        except Invalid as exc:
            raise Refused("bad-request", str(exc)) from exc
        replicas = crew_of(self._desk).roster.find(names)
        reached = [replica.status.name for replica in replicas if replica.signal(number)]
        if not reached:
            raise Refused("failed", f"no process to send {signal.Signals(number).name} to")
        return reached

    def plan(self, args: Mapping[str, Any]) -> object:
        taken = Args(args)
        prune = taken.flag("prune", default=True)
        taken.done()
        plan = prepare_reload(crew_of(self._desk), prune=prune).plan
        return {"lines": plan.lines(), "changes": [c.as_dict() for c in plan.changes]}

    def graph(self, args: Mapping[str, Any]) -> object:
        """Return who needs whom, and how long the start of each took; to its end, of a oneshot."""
        Args(args).done()
        times: dict[str, float] = {}
        for transition in self._desk.project.events.recent():
            if transition.took is not None:
                name = transition.status.service
                times[name] = max(times.get(name, 0.0), round(transition.took, 3))
        return {"edges": graph.edges(self._desk.project.topology.services), "took_s": times}

    def environment(self, args: Mapping[str, Any]) -> object:
        """Return what a one-off of a service is to be started with."""
        taken = Args(args)
        name = taken.text("service")
        taken.done()
        crew = crew_of(self._desk)
        replica = crew.roster.find([name])
        if not replica:
            raise Refused("unknown-service", f"{name!r} has no replica")
        host, status = crew.host, replica[0].status
        context: ReplicaContext = host.context(
            replica[0].spec, status.replica, status.runs, say=lambda _: None
        )
        env = {k: v for k, v in context.env.items() if not k.startswith("NAQ_SUPERVISED")}
        return {"env": env, "cwd": os.fspath(context.cwd)}
