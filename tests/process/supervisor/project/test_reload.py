"""Reloading and scaling: the smallest change, and none at all for a file with problems."""

from __future__ import annotations

import os
from types import MappingProxyType

import pytest
import trio
from supervisor_harness import is_alive, python, trio_test, true

from naq.exceptions import ConfigurationError
from naq.services import KINDS
from naq.supervisor.config import read as config
from naq.supervisor.kinds.kind import Kind, Launch
from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.errors import Refused
from naq.supervisor.project.reload import prepare_reload

SLEEP = {"command": ["sleep", "1000"]}


async def reload(running, services: dict, **tables) -> dict[str, str]:
    """Take over another topology; return the problems."""
    supervisor = running.supervisor
    for table in services.values():
        table.setdefault("type", "command")
    document = {"version": 1, "services": services, **tables}
    document.setdefault("logging", {"level": "debug"})
    topology = config.parse(
        document, kinds=supervisor.topology.kinds, directory=supervisor.topology.directory
    )
    found = prepare_reload(supervisor.crew, topology)
    running.plan = found.plan.lines()
    return await supervisor.crew.perform(found.run)


def states(running) -> dict[str, str]:
    return {s.name: str(s.state) for s in running.supervisor.board}


@trio_test
async def test_what_did_not_change_is_not_touched(run_project):
    services = {
        "same": dict(SLEEP),
        "env": {**SLEEP, "env": {"A": "1"}},
        "live": {**SLEEP},
        "gone": {**SLEEP, "depends_on": ["same"]},
    }
    async with run_project(services) as running:
        await running.lines.wait("all services are up")
        before = {name: running.pid(name) for name in services}
        after = {
            "same": dict(SLEEP),
            "env": {**SLEEP, "env": {"A": "2"}},
            "live": {**SLEEP, "stop_timeout": "1s", "critical": True},
            "new": {**SLEEP, "depends_on": ["same"]},
        }
        assert await reload(running, after) == {}
        assert running.plan == [
            "env is restarted: env",
            "live takes over stop_timeout, critical",
            "gone is stopped and removed",
            "new is started",
        ]
        await running.until("new", "READY")
        assert running.pid("same") == before["same"]
        assert running.pid("live") == before["live"]
        assert running.pid("env") != before["env"]
        assert not is_alive(before["gone"])
        assert set(states(running)) == {"same", "env", "live", "new"}
        (live,) = running.supervisor.crew.roster.of("live")
        assert live.spec.critical
        assert await reload(running, after) == {}
        assert running.plan == ["nothing has changed"]


@trio_test
async def test_what_an_operator_stopped_stays_down_over_a_reload(run_project):
    async with run_project({"s": dict(SLEEP), "t": dict(SLEEP)}) as running:
        await running.lines.wait("all services are up")
        (replica,) = running.supervisor.crew.roster.of("s")
        replica.stop(Cause(kind=CauseKind.OPERATOR))
        await running.until("s", "DOWN")
        await reload(running, {"s": {**SLEEP, "env": {"A": "1"}}, "t": dict(SLEEP)})
        assert states(running) == {"s": "DOWN", "t": "READY"}
        replica.start()
        await running.until("s", "READY")
        assert replica.spec.env == {"A": "1"}


@trio_test
async def test_replicas_come_and_go_and_the_others_stay(run_project):
    async with run_project({"s": {**SLEEP, "replicas": 2}, "t": dict(SLEEP)}) as running:
        await running.lines.wait("all services are up")
        pids = [running.pid("s.1"), running.pid("s.2")]
        await reload(running, {"s": {**SLEEP, "replicas": 4}, "t": dict(SLEEP)})
        assert running.plan == ["s is scaled: 2 -> 4"]
        for i in (3, 4):
            await running.until(f"s.{i}", "READY")
        assert [running.pid("s.1"), running.pid("s.2")] == pids
        crew = running.supervisor.crew
        await crew.scale("s", 1)
        assert states(running) == {"s": "READY", "t": "READY"}
        assert running.pid("s") == pids[0]
        await crew.scale("s", 0)
        assert states(running) == {"t": "READY"}
        await crew.scale("s", 2)
        await running.until("s.2", "READY")
        # A reload that does not change the number leaves what was scaled alone.
        await reload(running, {"s": {**SLEEP, "replicas": 4, "critical": True}, "t": dict(SLEEP)})
        assert set(states(running)) == {"s.1", "s.2", "t"}


@trio_test
async def test_a_probe_is_replaced_in_a_run_that_goes_on(run_project, tmp_path, monkeypatch):
    from naq.supervisor.process import health

    monkeypatch.setattr(health, "_SHORTEST_EXEC", 0.02)
    ready = {"exec": ["true"], "period": "20ms", "failures": 1}
    async with run_project({"s": {**SLEEP, "ready": ready}}) as running:
        await running.until("s", "READY")
        pid = running.pid("s")
        await reload(running, {"s": {**SLEEP, "ready": {**ready, "exec": ["false"]}}})
        await running.until("s", "UNREADY")
        await reload(running, {"s": {**SLEEP, "ready": ready}})
        await running.until("s", "READY")
        live = {"exec": ["false"], "period": "20ms", "failures": 1}
        await reload(running, {"s": {**SLEEP, "ready": ready, "live": live}})
        await running.lines.wait("s stopping: liveness")
        assert pid in {t.status.pid for t in running.supervisor.events.recent()}


@trio_test
async def test_a_service_that_does_not_get_ready_is_reported(run_project):
    service = {**SLEEP, "restart": "never"}
    async with run_project({"s": service, "t": dict(SLEEP)}) as running:
        await running.lines.wait("all services are up")
        after = {"s": {**service, "command": ["/no/such"]}, "t": dict(SLEEP)}
        problems = await reload(running, after)
        assert problems == {"s": "cannot start '/no/such': no such file"}


@trio_test
async def test_a_changed_environment_file_restarts_who_uses_it(run_project, tmp_path):
    (tmp_path / "s.env").write_text("A=1\n")
    services = {"s": {**SLEEP, "env_file": ["s.env"]}, "t": dict(SLEEP)}
    async with run_project(services) as running:
        await running.lines.wait("all services are up")
        t = running.pid("t")
        (tmp_path / "s.env").write_text("A=2\n")
        await reload(running, services)
        assert running.plan == ["s is restarted: env_file"]
        assert running.status("s").runs == 2
        assert running.pid("t") == t
        await reload(running, services)
        assert running.plan == ["nothing has changed"]


class Exporting(Kind):
    """Exports a number that comes with its options."""

    name = "exporting"
    keys = MappingProxyType({"number": KINDS["command"].keys["command"]})

    def exports(self, service):
        return {"NUMBER": str(service.options["number"])}

    def launch(self, replica):
        return Launch(argv=("sleep", "1000"))


@trio_test
async def test_who_is_told_something_else_is_restarted_too(run_project):
    kinds = {**KINDS, "exporting": Exporting}
    services = {"e": {"type": "exporting", "number": "one"}, "s": dict(SLEEP)}
    async with run_project(services, kinds=kinds) as running:
        await running.lines.wait("all services are up")
        await reload(running, {"e": {"type": "exporting", "number": "two"}, "s": dict(SLEEP)})
        assert (running.status("e").runs, running.status("s").runs) == (2, 2)


@trio_test
async def test_a_file_with_problems_changes_nothing(run_project):
    async with run_project({"s": dict(SLEEP)}) as running:
        await running.until("s", "READY")
        supervisor = running.supervisor
        pid = running.pid("s")

        def bad():
            raise ConfigurationError("s.toml: one", "s.toml: two")

        with pytest.raises(Refused, match="was not started from a file"):
            prepare_reload(supervisor.crew)
        supervisor.project.reread = bad
        with pytest.raises(Refused, match=r"s\.toml: one\ns\.toml: two") as caught:
            prepare_reload(supervisor.crew)
        assert caught.value.code == "bad-config"
        assert running.pid("s") == pid


@trio_test
async def test_groups_and_hooks_are_taken_over(run_project, tmp_path):
    services = {"a": {**SLEEP, "restart": {"backoff": "0s"}}, "b": dict(SLEEP)}
    async with run_project(services) as running:
        await running.lines.wait("all services are up")
        groups = {"g": {"members": ["a", "b"], "strategy": "one_for_all"}}
        await reload(running, services, groups=groups, hooks={"on_exited": ["touch", "exited"]})
        assert running.plan == ["project takes over groups, hooks"]
        os.kill(running.pid("a"), 9)
        await running.lines.wait("b running", count=2)
        await true((tmp_path / "exited").exists)


@trio_test
async def test_stopping_the_project_ends_a_reload(run_project):
    slow = {"command": python("print('x'); import time; time.sleep(1000)"), "ready": {"log": "x"}}
    async with run_project({"s": slow}) as running:
        await running.until("s", "READY")
        async with trio.open_nursery() as nursery:

            async def try_it():
                with pytest.raises(Refused, match="being stopped"):
                    await reload(running, {"s": {**slow, "ready": {"log": "never"}, "port": 7}})

            nursery.start_soon(try_it)
            await running.until("s", "STARTING")
            running.supervisor.stop()
        assert await running.ended() == 0
