"""The health of a run: whether it is ready, alive, or silent for too long.

Checks are prepared before the process exists, because the first thing a quick program does may be
what a check waits for: a line of output, a datagram. There are up to three parts, each a task only
where there is something to do:

* what the program says itself, through a notify socket. It must be read for as long as the program
  runs, or the program would block; the watchdog is a deadline on the same task;
* the **readiness** probe, tried until it succeeds, and periodically afterwards. What it finds then
  only makes a replica UNREADY or READY again;
* the **liveness** probe, which begins at READY and whose failure ends the run.
"""

from __future__ import annotations

import math
import re
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.process.notify_socket import NotifySocket
from naq.supervisor.process.probes import look, probe_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from naq.supervisor.kinds.kind import ReplicaContext
    from naq.supervisor.model.spec import Readiness, Watchdog
    from naq.supervisor.output.hub import Source

    Probe = Callable[[], Awaitable[bool]]

__all__ = ["Health", "Reporter"]

# The first probes follow each other quickly, since most programs are up in no time; the pause
# doubles up to the period.
_FIRST_PAUSE = 0.02
_PERIOD_BEFORE = 1.0  # seconds between tries where the file says nothing, before the first success
_PERIOD_AFTER = 10.0  # and after it
_SHORTEST_EXEC = 1.0  # a command once it has succeeded: each costs a process


class Reporter(Protocol):
    """Is told what is found out about a run."""

    def ready(self) -> None:
        """It is ready, or ready again."""

    def unready(self, why: str) -> None:
        """It is not ready any more."""

    def fault(self, cause: Cause) -> None:
        """It must be ended."""

    def status(self, text: str) -> None:
        """It has described its state in words."""

    def extend(self, seconds: float) -> None:
        """It asks for more time to start or to stop, from now on."""


class Health:
    """The checks of one run. Use as a context manager; :meth:`run` belongs in a task.

    Attributes:
        env: what the process must have in its environment for this.
        waits: whether it takes something to be ready.
        has_work: whether :meth:`run` has anything to do.
    """

    def __init__(
        self,
        ready: Readiness,
        live: Readiness | None,
        watchdog: Watchdog | None,
        *,
        replica: ReplicaContext,
        source: Source,
        notify_path: Path,
        uid: int | None = None,
    ) -> None:
        """Prepare checks.

        Args:
            ready: how to tell that it is ready.
            live: how to tell that it is alive.
            watchdog: how long it may be silent.
            replica: fills in templates; gives environment and directory of a command.
            source: where the replica's lines come from.
            notify_path: where a notify socket may be made.
            uid: the user that the program runs as, if it is another one.

        Raises:
            OSError: the socket cannot be made.
        """
        self._stack = ExitStack()
        self._probing = (trio.CancelScope(), trio.CancelScope())
        self._replica = replica
        self._watchdog = watchdog
        self._live = live
        self._is_ready = trio.Event()
        self._listener: _Listener | None = None
        self._wait: Callable[[], Awaitable[object]] | None = None
        self._ready = ready
        self.waits = ready.probe != "none"
        self.env: dict[str, str] = {}
        if ready.probe == "notify" or watchdog is not None:
            self._listen(notify_path, uid)
        if ready.probe == "log":
            pattern = re.compile(replica.fill(ready.target[0]))
            self._wait = self._stack.enter_context(source.watch(pattern)).wait

    def _listen(self, path: Path, uid: int | None) -> None:
        receiver = NotifySocket(path, uid)
        self._stack.callback(receiver.close)
        self.env["NOTIFY_SOCKET"] = receiver.address
        if self._watchdog is not None:
            self.env["WATCHDOG_USEC"] = str(int(self._watchdog.timeout * 1_000_000))
        says_ready = self._ready.probe == "notify"
        self._listener = _Listener(receiver, self._watchdog, says_ready=says_ready)

    def replace(self, wait: Callable[[], Awaitable[object]]) -> None:
        """Use a kind's own way to wait until it is ready."""
        self.waits = True
        self._wait = wait

    @property
    def has_work(self) -> bool:
        """Whether there is a reason for a task."""
        return self.waits or self._listener is not None or _is_probe(self._live)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def started(self) -> None:
        """Begin with liveness and watchdog: the run is ready."""
        self._is_ready.set()
        if self._listener is not None:
            self._listener.arm()

    async def run(self, reporter: Reporter) -> None:
        """Report until cancelled, or until nothing is left to check.

        Raises:
            OSError, NaqException: a kind's own way to wait has failed.
        """
        async with trio.open_nursery() as nursery:
            if self._listener is not None:
                nursery.start_soon(self._listener.run, reporter)
            if self._wait is not None:
                nursery.start_soon(_own, self._wait, reporter)
            elif _is_probe(self._ready):
                nursery.start_soon(self._readiness, self._ready, reporter)
            if self._live is not None and _is_probe(self._live):
                nursery.start_soon(self._liveness, self._live, reporter, self._probing[1])

    def stop_probing(self) -> None:
        """End the probes, but go on listening."""
        for scope in self._probing:
            scope.cancel()

    async def monitor(
        self, ready: Readiness | None, live: Readiness | None, reporter: Reporter, *, is_ready: bool
    ) -> None:
        """Check a run that is up with other probes than those it was started with."""
        async with trio.open_nursery() as nursery:
            if ready is not None and _is_probe(ready):
                nursery.start_soon(
                    partial(_keep_looking, self._probe(ready), ready, reporter, is_ready=is_ready)
                )
            if live is not None and _is_probe(live):
                nursery.start_soon(self._liveness, live, reporter, trio.CancelScope())

    async def _readiness(self, spec: Readiness, reporter: Reporter) -> None:
        probe = self._probe(spec)
        period = spec.period or _PERIOD_BEFORE
        pause = min(_FIRST_PAUSE, period)
        with self._probing[0]:
            while not await look(probe, spec.timeout):
                await trio.sleep(pause)
                pause = min(pause * 2, period)
            reporter.ready()
            await _keep_looking(probe, spec, reporter, is_ready=True)

    async def _liveness(self, spec: Readiness, reporter: Reporter, scope: trio.CancelScope) -> None:
        with scope:
            await self._is_ready.wait()
            await trio.sleep(spec.initial_delay)
            probe = self._probe(spec)
            failures = 0
            while failures < spec.failures:
                await trio.sleep(_period(spec))
                alive = await look(probe, spec.timeout)
                if alive is not None:
                    failures = 0 if alive else failures + 1
            message = f"{spec.probe} probe failed {spec.failures} times"
            reporter.fault(Cause(kind=CauseKind.LIVENESS, message=message))

    def _probe(self, spec: Readiness) -> Probe:
        replica = self._replica
        target = tuple(replica.fill(text) for text in spec.target)
        return probe_for(spec, target, env=replica.env, cwd=replica.cwd)


def _is_probe(spec: Readiness | None) -> bool:
    return spec is not None and spec.probe in ("http", "tcp", "exec")


def _period(spec: Readiness) -> float:
    period = spec.period or _PERIOD_AFTER
    return max(period, _SHORTEST_EXEC) if spec.probe == "exec" else period


async def _own(wait: Callable[[], Awaitable[object]], reporter: Reporter) -> None:
    await wait()
    reporter.ready()


async def _keep_looking(
    probe: Probe, spec: Readiness, reporter: Reporter, *, is_ready: bool
) -> None:
    """Probe forever; report when the result changes."""
    failures = 0
    while True:
        await trio.sleep(_period(spec))
        found = await look(probe, spec.timeout)
        if found is None:
            continue
        failures = 0 if found else failures + 1
        if found and not is_ready:
            is_ready = True
            reporter.ready()
        elif is_ready and failures >= spec.failures:
            is_ready = False
            reporter.unready(f"{spec.probe} probe failed {failures} times")


class _Listener:
    """Receives what a program says, and notices when it says nothing for too long."""

    def __init__(
        self, receiver: NotifySocket, watchdog: Watchdog | None, *, says_ready: bool
    ) -> None:
        self._receiver = receiver
        self._timeout = math.inf if watchdog is None else watchdog.timeout
        self._says_ready = says_ready
        self._is_ready = False
        self._armed = False
        self._scope = trio.CancelScope()

    def arm(self) -> None:
        """Begin to expect signs of life."""
        self._armed = True
        self._scope.deadline = trio.current_time() + self._timeout

    async def run(self, reporter: Reporter) -> None:
        """Report until cancelled."""
        deadline = math.inf
        while True:
            with trio.CancelScope(deadline=deadline) as self._scope:
                said = await self._receiver.receive()
                self._take(said, reporter)
            if self._scope.cancelled_caught:
                self._armed = False
                message = f"silent for {self._timeout:g} s"
                reporter.fault(Cause(kind=CauseKind.WATCHDOG, message=message))
                deadline = math.inf
            elif "WATCHDOG" in said or "WATCHDOG_USEC" in said:
                deadline = trio.current_time() + self._timeout if self._armed else math.inf
            else:
                deadline = self._scope.deadline

    def _take(self, said: Mapping[str, str], reporter: Reporter) -> None:
        if "STATUS" in said:
            reporter.status(said["STATUS"])
        if usec := _microseconds(said, "EXTEND_TIMEOUT_USEC"):
            reporter.extend(usec)
        if usec := _microseconds(said, "WATCHDOG_USEC"):
            self._timeout = usec
        if said.get("WATCHDOG") == "trigger":
            reporter.fault(Cause(kind=CauseKind.WATCHDOG, message="it asked for it"))
        for name, why in (("STOPPING", "stopping"), ("RELOADING", "reloading")):
            if said.get(name) == "1" and self._is_ready:
                self._is_ready = False
                reporter.unready(why)
        if said.get("READY") == "1" and self._says_ready and not self._is_ready:
            self._is_ready = True
            reporter.ready()


def _microseconds(said: Mapping[str, str], name: str) -> float:
    """Return the seconds that a variable in microseconds stands for; 0 if it is none."""
    text = said.get(name, "")
    return int(text) / 1_000_000 if text.isdecimal() and len(text) < 19 else 0.0
