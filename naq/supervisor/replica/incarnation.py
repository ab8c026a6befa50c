"""One run of a replica with everything around it: its context, its checks, its limits, its end."""

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

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.supervisor.kinds.kind import Kind, Launch, ReplicaContext
    from naq.supervisor.model.spec import ServiceSpec
    from naq.supervisor.output.hub import Source
    from naq.supervisor.process.limits import Identity
    from naq.supervisor.process.run import Run
    from naq.supervisor.replica.host import Host

__all__ = ["Incarnation"]

_NO_CHECK = specs.Readiness(probe="none")


class Incarnation:
    """A run that has begun, and what is known about it. Everything here is state to look at.

    Attributes:
        run: the process or task.
        number: which run of its replica.
        env_digest: of the environment files it was started with.
        ended: how it ended, once it has.
        is_ready: whether its readiness check says so now.
        why_unready: what that check said when it did not any more.
        failure: why it must not go on, if so.
        outgrown: why it should be replaced, if so: too much memory.
        retire_at: monotonic time at which it should be replaced for its age.
        waits: whether there is something to wait for until it is ready.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        index: int,
        number: int,
        *,
        kind: Kind,
        host: Host,
        source: Source,
        nursery: trio.Nursery,
        changed: Callable[[], None],
        on_status: Callable[[str], None],
        on_extend: Callable[[float], None],
    ) -> None:
        """Start a run.

        Args:
            spec: the service.
            index: which replica of it.
            number: which run of that.
            kind: knows what to run.
            host: collaborators.
            source: where its lines go.
            nursery: for its task and its checks; outlives the run.
            changed: called when one of the attributes has changed.
            on_status: told what it says of itself.
            on_extend: told when it asks for more time, with seconds.

        Raises:
            OSError, NaqException: it cannot be started.
        """
        self.number = number
        self.env_digest = host.env_digest(spec)
        self.ended: Cause | None = None
        self.is_ready = False
        self.why_unready = ""
        self.failure: Cause | None = None
        self.outgrown: Cause | None = None
        self.retire_at = _retirement(spec.limits, trio.current_time())
        self._host = host
        self._source = source
        self._nursery = nursery
        self._changed = changed
        self._on_status = on_status
        self._on_extend = on_extend
        self._scope = trio.CancelScope()
        self._monitor_scope = trio.CancelScope()
        task = TaskRun()  # not used by a process, and too small to mind
        self._context = host.context(spec, index, number, say=source.say, task=task)
        with ExitStack() as stack:
            who = identity(spec.user, spec.group)
            self._health = stack.enter_context(_new_health(self._context, host, source, who))
            parts = (kind, self._context, self._health)
            self.run: Run = (
                _start_process(*parts, host=host, source=source, who=who)
                if spec.run is specs.Run.PROCESS
                else _start_task(*parts, task=task, source=source, nursery=nursery)
            )
            self._resources = stack.pop_all()
        self.waits = self._health.waits
        self._limit(spec.limits)
        nursery.start_soon(self._await_end, name=f"naq end {self._context.name}")
        if self._health.has_work:
            nursery.start_soon(self._watch, name=f"naq health {self._context.name}")

    async def close(self) -> str:
        """Give back what the run held, after its end. Return what a person should know, if any."""
        self._scope.cancel()
        self._monitor_scope.cancel()
        self._resources.close()
        return await self.run.close()

    def take_over(self, spec: ServiceSpec) -> None:
        """Take over what can change while it runs: probes and limits."""
        age = spec.limits.max_age
        if age != self._context.service.limits.max_age:
            self.retire_at = _retirement(spec.limits, trio.current_time())
        if self.is_ready or self.why_unready:
            self._health.stop_probing()
            self._monitor_scope.cancel()
            self._monitor_scope = trio.CancelScope()
            self._nursery.start_soon(self._monitor, self._monitor_scope, spec)

    def started(self) -> None:
        """Take note that the owner has it as ready: liveness and watchdog begin."""
        self.is_ready = True
        self._health.started()

    # ------------------------------------------------------------ what checks report

    def ready(self) -> None:
        """Take the check's word that it is ready."""
        self.is_ready, self.why_unready = True, ""
        self._changed()

    def unready(self, why: str) -> None:
        """Take the check's word that it is not any more."""
        self.is_ready, self.why_unready = False, why
        self._changed()

    def fault(self, cause: Cause) -> None:
        """Take the check's word that it must not go on."""
        self.failure = cause
        self._changed()

    def status(self, text: str) -> None:
        """Take what the program says of itself."""
        self._on_status(text)

    def extend(self, seconds: float) -> None:
        """Take its wish for more time."""
        self._on_extend(seconds)

    # ------------------------------------------------------------ tasks of the run

    async def _await_end(self) -> None:
        self.ended = await self.run.wait()
        self._changed()

    async def _watch(self) -> None:
        with self._scope:
            cause = await guarded(self._look, self._source.say)
            if cause.kind is CauseKind.CRASH:
                self.fault(Cause(kind=CauseKind.SPAWN_ERROR, message=cause.message))

    async def _look(self) -> None:
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
            self._host.hub.say(f"{self._context.name}: {problem}", level="warning")
        if what.max_memory is not None:
            watch = self._host.memory.watching(self.run.pid, what.max_memory, self._too_big)
            self._resources.enter_context(watch)

    def _too_big(self, size: int) -> None:
        if self.outgrown is None:
            message = f"uses {size / 2**20:.0f} MiB"
            self.outgrown = Cause(kind=CauseKind.MEMORY, message=message)
            self._changed()


def _retirement(what: specs.Limits, now: float) -> float:
    """Return when a run that begins now is too old. Replicas differ, so as not to go together."""
    if what.max_age is None:
        return math.inf
    spread = what.max_age_jitter
    return now + what.max_age * random.uniform(1 - spread, 1 + spread)  # noqa: S311


def _new_health(context: ReplicaContext, host: Host, source: Source, who: Identity) -> Health:
    spec = context.service
    return Health(
        _NO_CHECK if _tells_itself(spec) else spec.ready or _NO_CHECK,
        spec.live,
        spec.watchdog,
        replica=context,
        source=source,
        notify_path=host.notify_path(),
        uid=who.uid,
    )


def _tells_itself(spec: ServiceSpec) -> bool:
    """Whether it is a task that calls ``started()``; ``notify`` means the same thing there."""
    return spec.run is specs.Run.TASK and (spec.ready is None or spec.ready.probe == "notify")


def _start_process(
    kind: Kind,
    context: ReplicaContext,
    health: Health,
    *,
    host: Host,
    source: Source,
    who: Identity,
) -> Run:
    launch = kind.launch(context)
    if context.service.ready is None and launch.ready is not None:
        health.replace(launch.ready)
    return ProcessRun(
        _command(launch, context, health, host=host, who=who),
        context,
        source=source,
        pumps=host.pumps,
        state=host.state,
        lifeline=launch.lifeline,
        reword=launch.reword,
        pauses=kind.pauses,
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
        stdin=None
        if spec.stdin == "null"
        else context.project.directory / context.fill(spec.stdin),
    )


def _start_task(
    kind: Kind,
    context: ReplicaContext,
    health: Health,
    *,
    task: TaskRun,
    source: Source,
    nursery: trio.Nursery,
) -> Run:
    said = trio.Event()
    if _tells_itself(context.service):
        health.replace(said.wait)
    main = partial(kind.run, context, task_status=Started(said.set))
    nursery.start_soon(task.main, main, source.say, name=f"naq {context.name}")
    return task
