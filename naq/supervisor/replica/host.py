"""What all replicas of one supervisor share, and the environment that their runs get."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from naq.exceptions import SupervisorError
from naq.supervisor.kinds import environment
from naq.supervisor.kinds.kind import ReplicaContext
from naq.supervisor.kinds.schema import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import trio

    from naq.supervisor.kinds.kind import Project
    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.model.board import Board, Status
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.output.hub import LogHub
    from naq.supervisor.process.leftovers import Lifeline, StateFile
    from naq.supervisor.process.limits import MemoryWatch

__all__ = ["Host", "env_digest"]


@dataclass(kw_only=True)
class Host:
    """What all replicas of one supervisor share.

    Attributes:
        project: its name and directories.
        topology: returns the newest one, for the environment of the whole project.
        exports: what others export to a service, by its name.
        sockets: where notify sockets are made.
        pumps: nursery of the log pumps; outlives every replica.
        memory: watches the size of processes.
        changed: told of every change of a replica, with the status before and after.
        failed: told of a failure that is followed by a restart: the status, the delay in seconds,
            and whether the whole group must be restarted.
    """

    project: Project
    topology: Callable[[], Topology]
    exports: Callable[[str], Mapping[str, str]]
    sockets: Path
    hub: LogHub
    board: Board
    state: StateFile
    lifeline: Lifeline
    pumps: trio.Nursery
    memory: MemoryWatch
    changed: Callable[[Status, Status], None]
    failed: Callable[[Status, float, bool], None]
    _numbers: Iterator[int] = field(default_factory=partial(itertools.count, 1))

    def notify_path(self) -> Path:
        """Return a path for a notify socket that no other run uses."""
        return self.sockets / f"notify-{next(self._numbers) % 100_000}"

    def env_digest(self, spec: ServiceSpec) -> str:
        """Return what changes when an environment file of the service does."""
        return env_digest(self.topology(), spec)

    def context(
        self,
        spec: ServiceSpec,
        index: int,
        incarnation: int,
        *,
        say: Callable[[str], None],
    ) -> ReplicaContext:
        """Return what a kind is told about a run that is about to begin.

        Args:
            spec: the service.
            index: which replica of it.
            incarnation: which run of that.
            say: prints a text as lines of the replica.

        Raises:
            SupervisorError: the environment asks for a variable that is not set, or a file with
                variables cannot be read.
        """
        bare = ReplicaContext(
            service=spec,
            index=index,
            incarnation=incarnation,
            project=self.project,
            env={},
            say=say,
        )
        return replace(bare, env=self.environment(spec, bare))

    def environment(self, spec: ServiceSpec, replica: ReplicaContext) -> dict[str, str]:
        """Return the environment of a run, with files as they are now."""
        topology = self.topology()
        base = {**environment.inherited(os.environ), **self.exports(spec.name)}
        try:
            layers = [
                environment.read_all(topology.directory, topology.env_file),
                topology.env,
                environment.read_all(topology.directory, spec.env_file),
                spec.env,
            ]
            env = environment.build(base, layers, replica.fields)
        except Invalid as exc:
            raise SupervisorError(f"environment: {exc}") from exc
        env |= {"NAQ_SERVICE": spec.name, "NAQ_REPLICA": str(replica.index)}
        if spec.kill_group:
            # Whatever carries this is stopped with the project, even if it has left its group.
            env[environment.MARKER] = self.state.run_id
        return env


def env_digest(topology: Topology, spec: ServiceSpec) -> str:
    """Return what changes when an environment file of a service does.

    Args:
        topology: with the files of the whole project.
        spec: the service, with files of its own.
    """
    return environment.digest(topology.directory, (*topology.env_file, *spec.env_file))
