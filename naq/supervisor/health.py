"""Whether a replica is ready: one check per run, made before the spawn and running as long as it.

A check calls ``ready()`` once it knows. It exists before the process does, because the first thing
a quick program does may be what it waits for: a line of log, a datagram. It goes on afterwards: a
notify socket nobody reads would block the program that writes to it.

What is found later (a failing readiness, a liveness probe, a missed watchdog) is reported by the
same task through the same reporter.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from naq.supervisor._notify_socket import NotifySocket
from naq.supervisor._probes import probe_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from naq.supervisor.kinds import ReplicaContext
    from naq.supervisor.logs import Source
    from naq.supervisor.spec import Readiness

__all__ = ["HealthCheck", "Reporter"]

# The first probes follow each other quickly, since most programs are up in no time; the pause
# doubles up to the period.
_FIRST_PAUSE = 0.02


class Reporter(Protocol):
    """Takes what a check finds out."""

    def ready(self) -> None:
        """The replica is ready."""

    def status(self, text: str) -> None:
        """The replica described itself."""


class HealthCheck:
    """The check of one run.

    Attributes:
        env: what the process must have in its environment for this.
        waits: whether there is anything to wait for.
    """

    def __init__(
        self, spec: Readiness, *, replica: ReplicaContext, source: Source, notify_path: Path
    ) -> None:
        """Prepare a check.

        Args:
            spec: what the file or the kind says.
            replica: fills in templates; gives environment and directory of a command.
            source: where the replica's lines come from.
            notify_path: where a notify socket may be made.

        Raises:
            OSError: the socket cannot be made.
        """
        self._stack = ExitStack()
        self.waits = spec.probe != "none"
        self.env: dict[str, str] = {}
        target = tuple(replica.fill(text) for text in spec.target)
        match spec.probe:
            case "none":
                self._run: Callable[[Reporter], Awaitable[None]] = _never
            case "notify":
                receiver = NotifySocket(notify_path)
                self._stack.callback(receiver.close)
                self.env["NOTIFY_SOCKET"] = str(notify_path)
                self._run = partial(_notified, receiver)
            case "log":
                seen = self._stack.enter_context(source.watch(re.compile(target[0])))
                self._run = partial(_logged, seen)
            case _:
                probe = probe_for(spec, target, env=replica.env, cwd=replica.cwd)
                self._run = partial(_probed, probe, spec)

    def replace(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Use a kind's own way to wait instead."""
        self.waits = True
        self._run = partial(_own, wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    async def run(self, reporter: Reporter) -> None:
        """Report until cancelled, or until there is nothing left to find out."""
        await self._run(reporter)


async def _never(reporter: Reporter) -> None:
    """Stand in where there is nothing to wait for, so that nobody waits."""
    del reporter
    await trio.sleep_forever()


async def _own(wait: Callable[[], Awaitable[None]], reporter: Reporter) -> None:
    await wait()
    reporter.ready()


async def _logged(seen: trio.Event, reporter: Reporter) -> None:
    await seen.wait()
    reporter.ready()


async def _notified(receiver: NotifySocket, reporter: Reporter) -> None:
    is_ready = False
    while True:
        said = await receiver.receive()
        if "STATUS" in said:
            reporter.status(said["STATUS"])
        if said.get("READY") == "1" and not is_ready:
            is_ready = True
            reporter.ready()


async def _probed(
    probe: Callable[[], Awaitable[bool]], spec: Readiness, reporter: Reporter
) -> None:
    pause = min(_FIRST_PAUSE, spec.period)
    while not await _succeeds(probe, spec.timeout):
        await trio.sleep(pause)
        pause = min(pause * 2, spec.period)
    reporter.ready()


async def _succeeds(probe: Callable[[], Awaitable[bool]], timeout: float) -> bool:
    with trio.move_on_after(timeout):
        try:
            return await probe()
        except (OSError, trio.BrokenResourceError):
            return False
    return False
