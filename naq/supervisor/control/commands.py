"""What the control socket can be asked for and answers at once; ``streams.py`` has the others."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import trio

from naq.base.version import __version__
from naq.supervisor.config.read import edges
from naq.supervisor.control.metrics import exposition
from naq.supervisor.control.protocol import VERSION, Args
from naq.supervisor.kinds.schema import Invalid
from naq.supervisor.kinds.values import signal_number
from naq.supervisor.model.errors import Refused
from naq.supervisor.process.task import TaskRun
from naq.supervisor.project.events import describe
from naq.supervisor.project.reload import prepare_reload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from naq.supervisor.kinds.kind import ReplicaContext
    from naq.supervisor.project.crew import Crew
    from naq.supervisor.supervisor import Supervisor

__all__ = ["commands", "crew_of"]


def commands(supervisor: Supervisor) -> dict[str, Callable[[Mapping[str, Any]], object]]:
    """Return the commands of a supervisor, by name."""
    all_ = _Commands(supervisor)
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


def crew_of(supervisor: Supervisor) -> Crew:
    """Return the services.

    Raises:
        Refused: they do not run yet, or not any more.
    """
    if supervisor.crew is None:
        raise Refused("starting", "the supervisor is cleaning up after the previous run")
    if supervisor.stopping:
        raise Refused("stopping", "the project is being stopped")
    return supervisor.crew


class _Commands:
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def ping(self, args: Mapping[str, Any]) -> object:
        Args(args).done()
        supervisor = self._supervisor
        return {
            "project": supervisor.topology.name,
            "pid": os.getpid(),
            "version": __version__,
            "protocol": VERSION,
            "file": supervisor.topology.file,
        }

    def ps(self, args: Mapping[str, Any]) -> object:
        taken = Args(args)
        names, everything = taken.names(), taken.flag("all")
        taken.done()
        supervisor = self._supervisor
        shown = [s for s in supervisor.board if everything or s.active]
        if names and supervisor.crew is not None:
            meant = [replica.status for replica in supervisor.crew.roster.find(names)]
            keys = {(status.service, status.replica) for status in meant}
            shown = [s for s in supervisor.board if (s.service, s.replica) in keys]
        return describe(shown, trio.current_time())

    def metrics(self, args: Mapping[str, Any]) -> object:
        """Return what ``metrics`` in ``[control]`` would let be collected, for who asks here."""
        Args(args).done()
        supervisor = self._supervisor
        return exposition(supervisor.topology.name, describe(supervisor.board, trio.current_time()))

    def down(self, args: Mapping[str, Any]) -> object:
        taken = Args(args)
        timeout, now = taken.seconds("timeout"), taken.flag("now")
        taken.done()
        self._supervisor.stop(timeout=timeout)
        if now:
            self._supervisor.hurry()
        return {"pid": os.getpid()}

    def start(self, args: Mapping[str, Any]) -> object:
        taken = Args(args)
        names, profile = taken.names(), taken.text("profile")
        dependencies = taken.flag("dependencies")
        taken.done()
        crew = crew_of(self._supervisor)
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
        replicas = crew_of(self._supervisor).roster.find(names)
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
        replicas = crew_of(self._supervisor).roster.find(names)
        reached = [replica.status.name for replica in replicas if replica.signal(number)]
        if not reached:
            raise Refused("failed", f"no process to send {signal.Signals(number).name} to")
        return reached

    def plan(self, args: Mapping[str, Any]) -> object:
        taken = Args(args)
        prune = taken.flag("prune", default=True)
        taken.done()
        plan = prepare_reload(crew_of(self._supervisor), prune=prune).plan
        return {"lines": plan.lines(), "changes": [c.as_dict() for c in plan.changes]}

    def graph(self, args: Mapping[str, Any]) -> object:
        """Return who needs whom, and how long the start of each took; to its end, of a oneshot."""
        Args(args).done()
        times: dict[str, float] = {}
        for transition in self._supervisor.events.recent():
            if transition.took is not None:
                name = transition.status.service
                times[name] = max(times.get(name, 0.0), round(transition.took, 3))
        return {"edges": edges(self._supervisor.topology.services), "took_s": times}

    def environment(self, args: Mapping[str, Any]) -> object:
        """Return what a one-off of a service is to be started with."""
        taken = Args(args)
        name = taken.text("service")
        taken.done()
        crew = crew_of(self._supervisor)
        replica = crew.roster.find([name])
        if not replica:
            raise Refused("unknown-service", f"{name!r} has no replica")
        task = TaskRun()
        host, status = crew.host, replica[0].status
        context: ReplicaContext = host.context(
            replica[0].spec, status.replica, status.runs, say=lambda _: None, task=task
        )
        env = {k: v for k, v in context.env.items() if not k.startswith("NAQ_SUPERVISED")}
        return {"env": env, "cwd": os.fspath(context.cwd)}
