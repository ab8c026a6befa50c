"""One run of a replica with everything around it: its context, its readiness check, its end."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import trio

from naq.exceptions import NaqException
from naq.supervisor import spec as specs
from naq.supervisor.causes import Cause, CauseKind
from naq.supervisor.health import HealthCheck
from naq.supervisor.process import Command
from naq.supervisor.runs import ProcessRun
from naq.supervisor.tasks import Started, TaskRun, guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.supervisor.host import Host
    from naq.supervisor.kinds import Kind, Launch, ReplicaContext
    from naq.supervisor.logs import Source
    from naq.supervisor.runs import Run
    from naq.supervisor.spec import ServiceSpec

__all__ = ["Incarnation"]

_NO_CHECK = specs.Readiness(probe="none")


class Incarnation:
    """A run that has begun, and what its health check found out about it.

    Attributes:
        run: the process or task.
        is_ready: set when it is ready.
        has_failed: set when it must not go on; ``fault`` says why.
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
        on_status: Callable[[str], None],
    ) -> None:
        """Start a run.

        Args:
            spec: the service.
            index: which replica of it.
            number: which run of that.
            kind: knows what to run.
            host: collaborators.
            source: where its lines go.
            nursery: for its task and its health check; outlives the run.
            on_status: told what it says of itself.

        Raises:
            OSError, NaqException: it cannot be started.
        """
        self.is_ready = trio.Event()
        self.has_failed = trio.Event()
        self.fault = Cause(kind=CauseKind.SPAWN_ERROR)
        self._on_status = on_status
        self._scope = trio.CancelScope()
        task = TaskRun()  # not used by a process, and too small to mind
        context = host.context(spec, index, number, say=source.say, stopping=task.stopping)
        with ExitStack() as stack:
            check = stack.enter_context(_new_check(context, host, source))
            self.run: Run = (
                _start_process(kind, context, check, host, source)
                if spec.run is specs.Run.PROCESS
                else _start_task(kind, context, check, task=task, source=source, nursery=nursery)
            )
            self._resources = stack.pop_all()
        self.waits = check.waits
        if self.waits:
            nursery.start_soon(self._watch, check, source, name=f"naq health {context.name}")

    async def close(self) -> str:
        """Give back what the run held, after its end. Return what a person should know, if any."""
        self._scope.cancel()
        self._resources.close()
        return await self.run.close()

    def ready(self) -> None:
        """Take the check's word that it is ready."""
        self.is_ready.set()

    def status(self, text: str) -> None:
        """Take what the program says of itself."""
        self._on_status(text)

    async def _watch(self, check: HealthCheck, source: Source) -> None:
        with self._scope:
            cause = await guarded(partial(self._look, check), source.say)
            if cause.kind is CauseKind.CRASH:
                self._fail(cause.message)

    async def _look(self, check: HealthCheck) -> None:
        try:
            await check.run(self)
        except (OSError, NaqException) as exc:
            self._fail(str(exc))

    def _fail(self, message: str) -> None:
        self.fault = Cause(kind=CauseKind.SPAWN_ERROR, message=message)
        self.has_failed.set()


def _new_check(context: ReplicaContext, host: Host, source: Source) -> HealthCheck:
    spec = context.service
    how = _NO_CHECK if _tells_itself(spec) else spec.ready or _NO_CHECK
    return HealthCheck(how, replica=context, source=source, notify_path=host.notify_path())


def _tells_itself(spec: ServiceSpec) -> bool:
    """Whether it is a task that calls ``started()``; ``notify`` means the same thing there."""
    return spec.run is specs.Run.TASK and (spec.ready is None or spec.ready.probe == "notify")


def _start_process(
    kind: Kind, context: ReplicaContext, check: HealthCheck, host: Host, source: Source
) -> Run:
    launch = kind.launch(context)
    if context.service.ready is None and launch.ready is not None:
        check.replace(launch.ready)
    return ProcessRun(
        _command(launch, context, check, host),
        context,
        source=source,
        pumps=host.pumps,
        state=host.state,
        lifeline=launch.lifeline,
        reword=launch.reword,
    )


def _command(launch: Launch, context: ReplicaContext, check: HealthCheck, host: Host) -> Command:
    env = {**context.env, **launch.env, **check.env}
    if launch.lifeline:
        env |= host.lifeline.env
    return Command(
        argv=launch.argv,
        env={name: value for name, value in env.items() if value is not None},
        cwd=launch.cwd or context.cwd,
        pass_fds=(host.lifeline.fd,) if launch.lifeline else (),
        kill_group=context.service.kill_group,
    )


def _start_task(
    kind: Kind,
    context: ReplicaContext,
    check: HealthCheck,
    *,
    task: TaskRun,
    source: Source,
    nursery: trio.Nursery,
) -> Run:
    said = trio.Event()
    if _tells_itself(context.service):
        check.replace(said.wait)
    main = partial(kind.run, context, task_status=Started(said.set))
    nursery.start_soon(task.main, main, source.say, name=f"naq {context.name}")
    return task
