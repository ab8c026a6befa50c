"""``type = "command"`` and ``type = "callable"``: a program, or a function, of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from naq.base.imports import PYTHON, let_import
from naq.base.text import uses_port
from naq.services.values import FUNCTION
from naq.supervisor.kinds.kind import Kind, Launch
from naq.supervisor.kinds.schema import Invalid, Key, Scalar
from naq.supervisor.kinds.values import BOOLEAN, COMMAND, command
from naq.supervisor.model.spec import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from naq.supervisor.kinds.kind import ReplicaContext, TaskStatus
    from naq.supervisor.model.spec import ServiceSpec

__all__ = ["CallableKind", "CommandKind"]


def _program(value: object) -> str | tuple[str, ...]:
    """Take a text or a list as it is; another key tells whether a text is for a shell."""
    return value if isinstance(value, str) and value.strip() else command(value)


class CommandKind(Kind):
    """``type = "command"``: any program."""

    name: ClassVar[str] = "command"
    keys: ClassVar[Mapping[str, Key]] = {
        "command": Key(
            type=Scalar(_program, COMMAND.schema),
            doc="program and arguments: a list, or a text that is split into words",
        ),
        "shell": Key(type=BOOLEAN, default=False, doc="give the text to /bin/sh instead"),
    }

    @classmethod
    def check(cls, service: ServiceSpec) -> Iterable[tuple[str, str]]:
        """Yield what is wrong with the command as a whole."""
        written, shell = service.options["command"], service.options["shell"]
        if written is None:
            yield "command", "missing: what is to be run?"
            return
        if shell and not isinstance(written, str):
            yield "shell", "needs the command as one text"
            return
        try:
            words = (written,) if shell else command(_as_written(written))
        except Invalid as exc:
            yield "command", str(exc)
            return
        if service.port is None and uses_port(words):
            yield "command", "uses {port}, but the service has no port"

    def launch(self, replica: ReplicaContext) -> Launch:
        """Run the command, or a shell that runs it."""
        written = replica.service.options["command"]
        if replica.service.options["shell"]:
            return Launch(argv=("/bin/sh", "-c", replica.fill(written)))
        return Launch(argv=tuple(replica.fill(word) for word in command(_as_written(written))))


def _as_written(program: str | tuple[str, ...]) -> object:
    return program if isinstance(program, str) else list(program)


class CallableKind(Kind):
    """``type = "callable"``: ``async def func(ctx, *, task_status)``, on Trio.

    As a task it shares the supervisor's process, and must never block it; as a process it has a
    Python interpreter of its own. The function is the same for both.
    """

    name: ClassVar[str] = "callable"
    runs: ClassVar[tuple[Run, ...]] = (Run.PROCESS, Run.TASK)
    keys: ClassVar[Mapping[str, Key]] = {
        "target": Key(
            type=FUNCTION,
            doc="the function, as package.module:function",
        ),
    }
    # It calls task_status.started(), which is READY=1 from a process.
    defaults: ClassVar[Mapping[str, Any]] = {"ready": "notify"}

    @classmethod
    def check(cls, service: ServiceSpec) -> Iterable[tuple[str, str]]:
        """Yield a problem if there is no target."""
        if service.options["target"] is None:
            yield "target", "missing: which function is to be run?"

    def launch(self, replica: ReplicaContext) -> Launch:
        """Run the function in a Python process of its own."""
        runner = ("-m", "naq.supervisor.process.runner")
        target = replica.service.options["target"]
        return Launch(argv=(*PYTHON, *runner, target, replica.name), lifeline=True)

    async def run(  # noqa: ASYNC128 - the function calls started()
        self, replica: ReplicaContext, *, task_status: TaskStatus
    ) -> None:
        """Run the function here."""
        from naq.supervisor.process.runner import function_of

        let_import(replica.cwd)
        function = function_of(replica.service.options["target"])
        await function(replica, task_status=task_status)
