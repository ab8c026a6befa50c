"""``type = "dashboard"``: the dashboard as a service."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from naq.base.imports import PYTHON
from naq.services.tasks import until_stopped
from naq.services.values import BIND
from naq.supervisor.kinds.kind import Kind, Launch
from naq.supervisor.kinds.schema import Key
from naq.supervisor.kinds.values import BOOLEAN, TEXT
from naq.supervisor.model.spec import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from naq.supervisor.kinds.kind import Project, ReplicaContext, TaskStatus
    from naq.supervisor.model.spec import ServiceSpec

__all__ = ["DashboardKind"]

DEFAULT_PORT = 8080


class DashboardKind(Kind):
    """``type = "dashboard"``: on the supervisor's loop, or in a process."""

    name: ClassVar[str] = "dashboard"
    runs: ClassVar[tuple[Run, ...]] = (Run.TASK, Run.PROCESS)
    keys: ClassVar[Mapping[str, Key]] = {
        "bind": Key(
            type=BIND,
            doc="where it listens; default: 127.0.0.1:8080, or another port if that is taken",
        ),
        "token": Key(type=TEXT, doc="to log in; default: NAQ_DASHBOARD_TOKEN, or a generated one"),
        "proxy_header": Key(type=TEXT, doc="header in which a reverse proxy names the user"),
        "readonly": Key(type=BOOLEAN, default=False, doc="show only"),
    }
    defaults: ClassVar[Mapping[str, Any]] = {"ready": "notify"}
    _port: int

    @classmethod
    def check(cls, service: ServiceSpec) -> Iterable[tuple[str, str]]:
        """Several replicas cannot listen at one address."""
        bind = service.options["bind"]
        if service.replicas != 1 and (bind is None or bind[1] != 0):
            yield "replicas", "must be 1: they would listen at the same port"

    def prepare(self, project: Project, services: Mapping[str, ServiceSpec]) -> None:  # noqa: ARG002
        """Choose a port once, so that the address stays the same after a restart."""
        from naq.base.local import free_port, is_free

        if not hasattr(self, "_port") and any(s.options["bind"] is None for s in services.values()):
            self._port = DEFAULT_PORT if is_free(DEFAULT_PORT) else free_port()

    def _place(self, replica: ReplicaContext) -> tuple[str, int]:
        bind: tuple[str, int] | None = replica.service.options["bind"]
        return ("127.0.0.1", self._port) if bind is None else bind

    def launch(self, replica: ReplicaContext) -> Launch:
        """Run ``naq dashboard``."""
        options = replica.service.options
        host, port = self._place(replica)
        words = [*PYTHON, "-m", "naq", "dashboard", "--host", host, "--port", str(port)]
        env: dict[str, str | None] = {}
        if options["token"]:
            # Not on the command line, which everybody on this machine can read.
            env["NAQ_DASHBOARD_TOKEN"] = options["token"]
        if options["proxy_header"]:
            words += ["--proxy-header", options["proxy_header"]]
        if options["readonly"]:
            words.append("--readonly")
        return Launch(argv=tuple(words), env=env, lifeline=True)

    async def run(  # noqa: ASYNC128 - the dashboard calls started()
        self, replica: ReplicaContext, *, task_status: TaskStatus
    ) -> None:
        """Serve it here, on Trio."""
        import trio

        # A web framework takes a while to import; meanwhile the loop has to supervise.
        await trio.to_thread.run_sync(import_module, "naq.dashboard.serve")
        from naq.dashboard.serve import Dashboard
        from naq.settings import Settings

        options = replica.service.options
        host, port = self._place(replica)
        dashboard = Dashboard(
            host=host,
            port=port,
            token=options["token"] or replica.env.get("NAQ_DASHBOARD_TOKEN") or None,
            proxy_header=options["proxy_header"],
            readonly=options["readonly"],
            settings=Settings.from_env(replica.env),
            directory=replica.project.directory,
            project=replica.project.name,
        )

        class Ready:
            def started(self, value: object = None, /) -> None:
                task_status.started(value)
                if dashboard.generated:
                    replica.say(f"log in: {dashboard.login_url}")

        await until_stopped(replica, partial(dashboard.run, task_status=Ready()), dashboard.stop)
