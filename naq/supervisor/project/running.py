"""A project while it runs: what it consists of, what is known about it, and where its output goes.

One object that the supervisor makes and everything below it shares. The services themselves are
the crew's (``crew.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from naq.supervisor.kinds.kind import Project
from naq.supervisor.model.board import Board
from naq.supervisor.model.lifecycle import UNDECIDED
from naq.supervisor.model.rundir import RunDir
from naq.supervisor.output.files import LogFiles
from naq.supervisor.output.hub import LogHub
from naq.supervisor.project.events import Events
from naq.supervisor.project.hooks import Hooks
from naq.supervisor.project.preparation import Preparation

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.supervisor.kinds.kind import Kinds
    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.model.board import Status

__all__ = ["RunningProject"]


class RunningProject:
    """The parts of a running project that do not belong to any one service.

    Attributes:
        run_dir: where its sockets and its state file are.
        identity: its name and directories, as kinds are told.
        preparation: its kinds.
        board: the status of every replica.
        events: what has happened to the replicas.
        hub: every line of output.
        files: the log files.
        hooks: the commands of ``[hooks]``.
        reread: reads the supervisor file again; None where there is no file.
        all_ready: set once every service has been ready at the same time.
        start_over: set once every service has become ready or has failed.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        kinds: Kinds | None = None,
        reread: Callable[[], Topology] | None = None,
    ) -> None:
        """Prepare the parts; nothing is started, and nothing is written to disk.

        Args:
            topology: what to run.
            kinds: the types it may name; None: those it was read with.
            reread: reads the topology again.
        """
        self._topology = topology
        self.reread = reread
        self.run_dir = RunDir.of(topology.directory, topology.socket)
        self.identity = Project(
            name=topology.name, directory=topology.directory, run_dir=self.run_dir.path
        )
        self.preparation = Preparation(kinds or topology.kinds, self.identity)
        self.board = Board()
        self.events = Events()
        self.hub = LogHub(topology.logging)
        self.files = LogFiles(topology, self.warn)
        self.hooks = Hooks(topology, self.say)
        self.all_ready = trio.Event()
        self.start_over = trio.Event()

    @property
    def topology(self) -> Topology:
        """What the project consists of, as of the last reload."""
        return self._topology

    def adopt(self, topology: Topology) -> None:
        """Apply what a new topology says about the project as a whole."""
        self._topology = topology
        self.hub.configure(topology.logging)
        self.files.configure(topology)
        self.hooks.configure(topology)

    def record(self, before: Status, after: Status) -> None:
        """Put a replica's change of state into the history, and run the hook for it."""
        self.hooks.offer(self.events.add(before, after, trio.current_time()))

    def watch_start(self) -> None:
        """Set :attr:`all_ready` and :attr:`start_over` if the board shows that it is time."""
        if not self.all_ready.is_set() and all(status.satisfied for status in self.board):
            self.hooks.offer_project("on_all_ready")
            self.all_ready.set()
        if not any(status.active and status.state in UNDECIDED for status in self.board):
            self.start_over.set()

    def pids(self) -> set[int]:
        """Return the processes that have an owner here; nobody else may reap them."""
        return {status.pid for status in self.board if status.pid is not None}

    def say(self, text: str, level: str = "info") -> None:
        """Print a text as a line of the supervisor's own."""
        self.hub.say(text, level=level)

    def warn(self, text: str) -> None:
        """Print a warning."""
        self.hub.say(text, level="warning")
