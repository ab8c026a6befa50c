"""Groups: who is restarted with whom, in which order, and when it is enough."""

from __future__ import annotations

import os

import pytest
import trio
from supervisor_harness import python, trio_test

from naq.supervisor.model.causes import Cause, CauseKind

BYE = python(
    "import signal, sys, time\n"
    "signal.signal(15, lambda *_: (print('bye'), sys.exit()))\n"
    "print('hello'); time.sleep(1000)"
)
MEMBER = {"command": BYE, "ready": {"log": "hello"}, "restart": {"backoff": "0s"}}


def members(**more) -> dict:
    return {
        "a": {**MEMBER, **more},
        "b": {**MEMBER, **more, "depends_on": ["a"]},
        "c": {**MEMBER, **more, "depends_on": ["b"]},
        "other": {"command": ["sleep", "1000"]},
    }


def group(strategy: str, **more) -> dict:
    return {"groups": {"g": {"members": ["c", "b", "a"], "strategy": strategy, **more}}}


async def kill(running, name: str) -> None:
    pid = running.pid(name)
    os.kill(pid, 9)
    # Until it is noticed, the status still says READY.
    await running.supervisor.board.wait([name], lambda: running.status(name).pid != pid or None)


@pytest.mark.parametrize(
    ("strategy", "restarted"),
    [("one_for_one", {"b"}), ("rest_for_one", {"b", "c"}), ("one_for_all", {"a", "b", "c"})],
)
def test_who_is_restarted(run_project, strategy, restarted):
    @trio_test
    async def run():
        async with run_project(members(), **group(strategy)) as running:
            await running.lines.wait("all services are up")
            await kill(running, "b")
            for name in restarted:
                await running.lines.wait(rf"^{name} \| hello", count=2)
                await running.until(name, "READY")
            runs = {name: running.status(name).runs for name in ("a", "b", "c", "other")}
        assert runs == {name: 1 + (name in restarted) for name in runs}
        if strategy != "one_for_one":
            assert running.status("c").failures == 0
            assert running.lines.count("group g is restarted") == 1

    run()


@trio_test
async def test_others_stop_in_reverse_and_start_in_order(run_project):
    async with run_project(members(), **group("one_for_all")) as running:
        await running.lines.wait("all services are up")
        await kill(running, "b")
        await running.lines.wait(r"^c \| hello", count=2)
        seen = [t for t in running.lines.all if "| hello" in t or "| bye" in t]
    assert seen[:3] == ["a | hello", "b | hello", "c | hello"]
    assert seen[3:8] == ["c | bye", "a | bye", "a | hello", "b | hello", "c | hello"]


@trio_test
async def test_members_that_die_together_are_one_restart(run_project):
    async with run_project(members(), **group("one_for_all")) as running:
        await running.lines.wait("all services are up")
        for name in "abc":
            os.kill(running.pid(name), 9)
        for name in "abc":
            await running.lines.wait(rf"^{name} \| hello", count=2)
            await running.until(name, "READY")
        assert [running.status(name).runs for name in "abc"] == [2, 2, 2]
    assert running.lines.count("group g is restarted") == 1


@trio_test
async def test_a_member_that_an_operator_stopped_stays_down(run_project):
    async with run_project(members(), **group("one_for_all")) as running:
        await running.lines.wait("all services are up")
        (c,) = running.supervisor.crew.roster.of("c")
        c.stop(Cause(kind=CauseKind.OPERATOR))
        await running.until("c", "DOWN")
        await kill(running, "a")
        await running.lines.wait(r"^b \| hello", count=2)
        await running.until("b", "READY")
        assert (running.status("c").state, running.status("c").runs) == ("DOWN", 1)


@trio_test
async def test_a_oneshot_is_run_again_only_if_it_says_so(run_project):
    services = {
        "once": {"command": ["true"], "oneshot": True},
        "again": {"command": ["true"], "oneshot": True, "rerun": True},
        "s": {**MEMBER, "depends_on": ["once", "again"]},
    }
    groups = {"g": {"members": list(services), "strategy": "one_for_all"}}
    async with run_project(services, groups=groups) as running:
        await running.lines.wait("all services are up")
        await kill(running, "s")
        await running.lines.wait(r"^s \| hello", count=2)
        assert (running.status("once").runs, running.status("again").runs) == (1, 2)


FALSE = {"command": ["false"], "restart": {"backoff": "0s", "max_restarts": 0}}


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all"])
@pytest.mark.parametrize(
    ("on_exhausted", "code"), [("fail", None), ("shutdown", 1), ("degrade", None)]
)
def test_when_the_budget_of_the_group_is_spent(run_project, strategy, on_exhausted, code):
    @trio_test
    async def run():
        services = {"bad": FALSE, "good": {"command": ["sleep", "1000"]}}
        spec = {
            "members": ["good", "bad"],
            "strategy": strategy,
            "max_restarts": 2,
            "on_exhausted": on_exhausted,
        }
        async with run_project(services, groups={"g": spec}) as running:
            await running.lines.wait("group g: more than 2 restarts within 600 s")
            if on_exhausted == "fail":
                assert await running.ended() == 1
                assert {s.state for s in running.supervisor.board} == {"FAILED"}
            elif code is not None:
                assert await running.ended() == code
            else:
                await running.until("good", "READY")

    run()


@trio_test
async def test_a_service_can_escalate_to_its_group(run_project):
    services = members()
    services["b"] = {
        "command": python(
            "import sys\nn = sum(f.startswith('run-') for f in os.listdir())\n"
            "open(f'run-{n}', 'w').close()\n"
            "if n < 3: sys.exit(1)\nprint('hello'); import time; time.sleep(1000)"
        ),
        "ready": {"log": "hello"},
        "depends_on": ["a"],
        "restart": {"backoff": "0s", "max_restarts": 2, "on_exhausted": "group"},
    }

    async with run_project(services, **group("one_for_one", max_restarts=0)) as running:
        await running.lines.wait("all services are up")
    assert running.lines.count("its group is restarted") == 1
    assert running.status("a").runs == 2


@trio_test
async def test_stopping_the_project_in_the_middle_of_a_restart(run_project):
    services = members()
    services["a"]["command"] = python(
        "import signal, time\nsignal.signal(15, signal.SIG_IGN); print('hello'); time.sleep(1000)"
    )
    services["a"]["stop_timeout"] = "300ms"
    async with run_project(services, **group("one_for_all")) as running:
        await running.lines.wait("all services are up")
        await kill(running, "c")
        await running.until("a", "STOPPING")
        running.supervisor.stop()
        with trio.fail_after(5):
            assert await running.ended() == 0
    assert {s.state for s in running.supervisor.board} == {"DOWN"}
