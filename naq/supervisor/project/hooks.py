"""Commands that are run when something happens: ``[hooks]`` of the file.

A command gets the event on standard input, as JSON. It never holds anything up: it has ten seconds
beside everything else, and when too many are waiting, further ones are dropped.
"""

from __future__ import annotations

import json
import os
from collections import deque
from typing import TYPE_CHECKING

import trio

from naq.base.text import fill
from naq.supervisor.kinds import environment
from naq.supervisor.model.board import Bell
from naq.supervisor.model.lifecycle import State
from naq.supervisor.process.process import run_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from naq.supervisor.kinds.topology import Topology
    from naq.supervisor.project.events import Transition

__all__ = ["Hooks", "hook_for"]

TIMEOUT = 10.0  # seconds
_AT_ONCE = 4
_MOST_WAITING = 100
_LAST_WAIT = 2.0  # seconds that hooks may hold up the end of the project

_BY_STATE = {
    State.READY: "on_ready",
    State.UNREADY: "on_unready",
    State.EXITED: "on_exited",
    State.CRASHLOOP: "on_crashloop",
    State.COMPLETED: "on_completed",
    State.FAILED: "on_failed",
    State.SKIPPED: "on_skipped",
    State.DOWN: "on_stopped",
}


def hook_for(transition: Transition) -> str:
    """Return the name of the hook that a transition is for; empty if there is none."""
    return _BY_STATE.get(transition.status.state, "")


class Hooks:
    """Runs hooks. :meth:`run` belongs in a task."""

    def __init__(self, topology: Topology, say: Callable[[str, str], None]) -> None:
        self._topology = topology
        self._say = say
        self._waiting: deque[tuple[str, Mapping[str, object]]] = deque()
        self._bell = Bell()
        self._running = 0
        self._dropped = 0
        self._run_id = ""

    def configure(self, topology: Topology) -> None:
        """Take over other hooks."""
        self._topology = topology

    def offer(self, transition: Transition) -> None:
        """Run the hook of a transition, if there is one."""
        if (name := hook_for(transition)) in self._topology.hooks:
            self._put(name, transition.as_dict())

    def offer_project(self, name: str) -> None:
        """Run a hook that is about the whole project."""
        if name in self._topology.hooks:
            self._put(name, {"service": "", "replica": 0})

    def _put(self, name: str, event: Mapping[str, object]) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            self._dropped += 1
            return
        self._waiting.append((name, {"hook": name, "project": self._topology.name, **event}))
        self._bell.ring()

    async def run(self, run_id: str) -> None:
        """Run what is offered, a few at a time.

        Args:
            run_id: marks them as belonging to this run, so that they end with it.
        """
        self._run_id = run_id
        async with trio.open_nursery() as nursery:
            while True:
                await self._bell.until(self._next_may_run)
                name, event = self._waiting.popleft()
                self._running += 1
                nursery.start_soon(self._run, name, event, name=f"naq hook {name}")
                if self._dropped:
                    self._say(f"{self._dropped} hooks dropped: too many were waiting", "warning")
                    self._dropped = 0

    async def drain(self, *, hurry: bool) -> None:
        """Give what was offered a moment to end.

        Args:
            hurry: do not wait at all.
        """
        with trio.move_on_after(0.0 if hurry else _LAST_WAIT):
            await self._bell.until(lambda: None if self._running or self._waiting else True)

    def _next_may_run(self) -> bool | None:
        return True if self._waiting and self._running < _AT_ONCE else None

    async def _run(self, name: str, event: Mapping[str, object]) -> None:
        try:
            await self._call(name, event)
        finally:
            self._running -= 1
            self._bell.ring()

    async def _call(self, name: str, event: Mapping[str, object]) -> None:
        command = self._topology.hooks.get(name, ())
        fields = {
            "service": event["service"],
            "replica": event["replica"],
            "replicas": "",
            "project": self._topology.name,
            "port": "",
        }
        env = environment.inherited(os.environ) | {
            "NAQ_HOOK": name,
            environment.MARKER: self._run_id,
        }
        try:
            done = await run_helper(
                [fill(word, fields) for word in command],
                env=env,
                cwd=self._topology.directory,
                timeout=TIMEOUT,
                stdin=json.dumps(event).encode() + b"\n",
                capture=True,
            )
        except OSError as exc:
            self._say(f"hook {name}: cannot start {command[0]!r}: {exc.strerror}", "error")
            return
        for line in done.output.splitlines():
            self._say(f"hook {name}: {line}", "info")
        if done.problem:
            self._say(f"hook {name}: {done.problem}", "warning")
