"""What a replica gets from the supervisor it belongs to."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from naq.exceptions import SupervisorError
from naq.supervisor import environment
from naq.supervisor._schema import Invalid
from naq.supervisor.kinds import ReplicaContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import trio

    from naq.supervisor.board import Board, Status
    from naq.supervisor.kinds import Project
    from naq.supervisor.leftovers import Lifeline, StateFile
    from naq.supervisor.logs import LogHub
    from naq.supervisor.spec import ServiceSpec, Topology

__all__ = ["Host"]


@dataclass(kw_only=True)
class Host:
    """The collaborators of all replicas of one supervisor.

    Attributes:
        project: names and directories.
        topology: for the environment of the whole project.
        exports: per exporting service, what all others get in their environment.
        sockets: where notify sockets are made.
        pumps: nursery of the log pumps; outlives every replica.
        changed: told of every change of a replica, with the status before and after.
    """

    project: Project
    topology: Topology
    exports: Mapping[str, Mapping[str, str]]
    sockets: Path
    hub: LogHub
    board: Board
    state: StateFile
    lifeline: Lifeline
    pumps: trio.Nursery
    changed: Callable[[Status, Status], None]
    _numbers: Iterator[int] = field(default_factory=partial(itertools.count, 1))

    def notify_path(self) -> Path:
        """Return a path for a notify socket that no other run has."""
        return self.sockets / f"notify-{next(self._numbers) % 100_000}"

    def context(
        self,
        spec: ServiceSpec,
        index: int,
        incarnation: int,
        *,
        say: Callable[[str], None],
        stopping: Callable[[], trio.Event],
    ) -> ReplicaContext:
        """Return what the kind is told about a run that is about to begin.

        Raises:
            SupervisorError: the environment asks for a variable that is not set.
        """
        bare = ReplicaContext(
            service=spec,
            index=index,
            incarnation=incarnation,
            project=self.project,
            env={},
            say=say,
            stopping=stopping,
        )
        base = environment.inherited(os.environ)
        for exporter, exported in self.exports.items():
            if exporter != spec.name:
                base |= exported
        try:
            env = environment.build(base, [self.topology.env, spec.env], bare.fields)
        except Invalid as exc:
            raise SupervisorError(f"environment: {exc}") from exc
        env |= {"NAQ_SERVICE": spec.name, "NAQ_REPLICA": str(index)}
        if spec.kill_group:
            # Who has this is stopped with the project even where it left its group.
            env[environment.MARKER] = self.state.run_id
        return replace(bare, env=env)
