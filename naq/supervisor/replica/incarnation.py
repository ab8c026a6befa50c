"""One run of a replica with everything around it: its context, its checks, its limits."""

from __future__ import annotations

import math
import random
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import trio

from naq.exceptions import NaqException
from naq.supervisor.model import spec as specs
from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.errors import leaves
from naq.supervisor.process import limits
from naq.supervisor.process.health import Health
from naq.supervisor.process.limits import identity
from naq.supervisor.process.process import Command
from naq.supervisor.process.run import ProcessRun
from naq.supervisor.process.task import Started, TaskRun, guarded
from naq.supervisor.replica.looks import bonds

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.supervisor.kinds.kind import Launch, ReplicaContext
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.process.limits import Identity
    from naq.supervisor.process.run import Run
    from naq.supervisor.replica.host import Host
    from naq.supervisor.replica.state import ReplicaState

__all__ = ["Incarnation"]

_NO_CHECK = specs.Readiness(probe="none")


class Incarnation:
    """A run that has begun, and what is known about it. Everything here is state to look at.

    Attributes:
        run: the process or task.
        env_digest: of the environment files it was started with.
        bonds: the runs of its dependencies that it is based on.
        ended: how it ended, once it has.
        is_ready: whether its readiness check says so now.
        why_unready: what that check said when it did not any more.
        failure: why it must not go on, if so.
        outgrown: why it should be replaced, if so: too much memory.
        retire_at: monotonic time at which it should be replaced for its age.
        waits: whether there is anything to wait for until it is ready.
    """

    def __init__(
        self,
        state: ReplicaState,
        *,
        nursery: trio.Nursery,
        on_extend: Callable[[Incarnation, float], None],
    ) -> None:
        """Start a run.

        Args:
            state: of its replica; its bell is rung when one of the attributes has changed.
            nursery: for its task and its checks; outlives the run.
            on_extend: called when the run asks for more time, with seconds.

        Raises:
            OSError, NaqException: it cannot be started.
        """
        spec, host, source = state.spec, state.host, state.source
        self.env_digest = host.env_digest(spec)
        self.bonds = bonds(spec, host.board)
        self.ended: Cause | None = None
        self.is_ready = False
        self.why_unready = ""
        self.failure: Cause | None = None
        self.outgrown: Cause | None = None
        self.retire_at = _retirement(spec.limits, trio.current_time())
        self._state = state
        self._nursery = nursery
        self._on_extend = on_extend
        self._watch_scope = trio.CancelScope()
        self._monitor_scope = trio.CancelScope()
        status = state.status
        source.run = status.runs
        self._context = host.context(spec, status.replica, status.runs, say=source.say)
        with ExitStack() as stack:
            who = identity(spec.user, spec.group)
            self._health = stack.enter_context(_new_health(self._context, state, who))
            self.run: Run = (
                _start_process(self._context, self._health, state, who=who)
                if spec.run is specs.Run.PROCESS
                else _start_task(self._context, self._health, state, nursery=nursery)
            )
            self._resources = stack.pop_all()
        self.waits = self._health.waits
        self._limit(spec.limits)
        nursery.start_soon(self._await_end, name=f"naq end {self._context.name}")
        if self._health.has_work:
            nursery.start_soon(self._watch, name=f"naq health {self._context.name}")

    async def close(self) -> str:
        """Give back what the run held, after its end; return a note for people, if there is one."""
        self._watch_scope.cancel()
        self._monitor_scope.cancel()
        self._resources.close()
        return await self.run.close()

    def take_over(self, spec: ServiceSpec) -> None:
        """Take over what can change while it runs: probes and its age limit."""
        age = spec.limits.max_age
        if age != self._context.service.limits.max_age:
            self.retire_at = _retirement(spec.limits, trio.current_time())
        if self.is_ready or self.why_unready:
            self._health.stop_probing()
            self._monitor_scope.cancel()
            self._monitor_scope = trio.CancelScope()
            self._nursery.start_soon(self._monitor, self._monitor_scope, spec)

    def started(self) -> None:
        """Take note that its owner regards it as ready: liveness and watchdog begin."""
        self.is_ready = True
        self._health.started()

    # ------------------------------------------------------------ what checks report

    def ready(self) -> None:
        """Take the check's word that it is ready."""
        self.is_ready, self.why_unready = True, ""
        self._state.bell.ring()

    def unready(self, why: str) -> None:
        """Take the check's word that it is not any more."""
        self.is_ready, self.why_unready = False, why
        self._state.bell.ring()

    def fault(self, cause: Cause) -> None:
        """Take the check's word that it must not go on."""
        self.failure = cause
        self._state.bell.ring()

    def status(self, text: str) -> None:
        """Take what the program says of itself."""
        self._state.publish(detail=text)

    def extend(self, seconds: float) -> None:
        """Take its request for more time."""
        self._on_extend(self, seconds)

    # ------------------------------------------------------------ tasks of the run

    async def _await_end(self) -> None:
        self.ended = await self.run.wait()
        self._state.bell.ring()

    async def _watch(self) -> None:
        with self._watch_scope:
            cause = await guarded(self._check, self._state.source.say)
            if cause.kind is CauseKind.CRASH:
                self.fault(Cause(kind=CauseKind.SPAWN_ERROR, message=cause.message))

    async def _check(self) -> None:
        try:
            await self._health.run(self)
        except* (OSError, NaqException) as group:
            message = str(next(leaves(group)))
            self.fault(Cause(kind=CauseKind.SPAWN_ERROR, message=message))

    async def _monitor(self, scope: trio.CancelScope, spec: ServiceSpec) -> None:
        with scope:
            is_ready = not self.why_unready
            await self._health.monitor(spec.ready, spec.live, self, is_ready=is_ready)

    def _limit(self, what: specs.Limits) -> None:
        """Set the limits of a process that was just started."""
        if self.run.pid is None:
            return
        for problem in limits.apply(self.run.pid, what):
            self._state.host.hub.say(f"{self._context.name}: {problem}", level="warning")
        if what.max_memory is not None:
            watch = self._state.host.memory.watching(self.run.pid, what.max_memory, self._too_big)
            self._resources.enter_context(watch)

    def _too_big(self, size: int) -> None:
        if self.outgrown is None:
            message = f"uses {size / 2**20:.0f} MiB"
            self.outgrown = Cause(kind=CauseKind.MEMORY, message=message)
            self._state.bell.ring()


def _retirement(what: specs.Limits, now: float) -> float:
    """Return when a run that begins now is too old. Replicas differ, so as not to end together."""
    if what.max_age is None:
        return math.inf
    spread = what.max_age_jitter
    return now + what.max_age * random.uniform(1 - spread, 1 + spread)  # noqa: S311


def _new_health(context: ReplicaContext, state: ReplicaState, who: Identity) -> Health:
    spec = context.service
    return Health(
        _NO_CHECK if _tells_itself(spec) else spec.ready or _NO_CHECK,
        spec.live,
        spec.watchdog,
        replica=context,
        source=state.source,
        notify_path=state.host.notify_path(),
        uid=who.uid,
    )


def _tells_itself(spec: ServiceSpec) -> bool:
    """Whether it is a task that calls ``started()``; ``notify`` means the same thing there."""
    return spec.run is specs.Run.TASK and (spec.ready is None or spec.ready.probe == "notify")


def _start_process(
    context: ReplicaContext, health: Health, state: ReplicaState, *, who: Identity
) -> Run:
    host = state.host
    launch = state.kind.launch(context)
    if context.service.ready is None and launch.ready is not None:
        health.replace(launch.ready)
    return ProcessRun(
        _command(launch, context, health, host=host, who=who),
        context,
        source=state.source,
        pumps=host.pumps,
        state=host.state,
        lifeline=launch.lifeline,
        reword=launch.reword,
        pauses=state.kind.pauses,
        aftermath=launch.aftermath,
    )


def _command(
    launch: Launch, context: ReplicaContext, health: Health, *, host: Host, who: Identity
) -> Command:
    spec = context.service
    account = {name: value for name, value in who.env.items() if name not in spec.env}
    env = {**context.env, **account, **launch.env, **health.env}
    if launch.lifeline:
        env |= host.lifeline.env
    return Command(
        argv=launch.argv,
        env={name: value for name, value in env.items() if value is not None},
        cwd=launch.cwd or context.cwd,
        pass_fds=(host.lifeline.fd,) if launch.lifeline else (),
        kill_group=spec.kill_group,
        identity=who,
        umask=spec.umask,
        stdin=context.stdin,
    )


def _start_task(
    context: ReplicaContext, health: Health, state: ReplicaState, *, nursery: trio.Nursery
) -> Run:
    task = TaskRun(context.stopping, context.paused)
    ready = trio.Event()
    if _tells_itself(context.service):
        health.replace(ready.wait)
    main = partial(state.kind.run, context, task_status=Started(ready.set))
    nursery.start_soon(task.main, main, state.source.say, name=f"naq {context.name}")
    return task
