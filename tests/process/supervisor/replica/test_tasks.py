"""Services in the supervisor's own process, and the same function in one of its own."""

from __future__ import annotations

import sys
from types import MappingProxyType

import trio
from supervisor_harness import trio_test

from naq.services import KINDS
from naq.supervisor.kinds.kind import Kind
from naq.supervisor.model.spec import Run

STEADY = {"command": ["sleep", "1000"]}


class Task(Kind):
    """Runs the function named in its table."""

    name = "task"
    runs = (Run.TASK,)
    keys = MappingProxyType({"does": KINDS["callable"].keys["target"]})

    async def run(self, replica, *, task_status):  # noqa: ASYNC128 - handed on
        name = replica.service.options["does"].partition(":")[2]
        await globals()[name](replica, task_status.started)


TASKS = {**KINDS, "task": Task}


def task(name: str, **table) -> dict:
    return {"type": "task", "does": f"here:{name}", **table}


async def steady(_, started):
    started()
    await trio.sleep_forever()


async def crash(_, started):
    started()
    raise ValueError("no such thing")


async def exits(_, started):
    sys.exit(3)


async def exits_with_text(_, started):
    sys.exit("cannot go on")


async def nested(_, started):
    async def fail(text):
        raise KeyError(text)

    async with trio.open_nursery() as outer, trio.open_nursery() as inner:
        outer.start_soon(fail, "a")
        inner.start_soon(fail, "b")


async def base(_, started):
    class Odd(BaseException):
        pass

    raise Odd("not even an Exception")


async def patient(replica, started):
    stopping = replica.stopping()
    started()
    await stopping.wait()
    replica.say("draining")
    await trio.sleep(0.05)
    replica.say("drained")


async def never_ready(_, started):
    await trio.sleep_forever()


async def cleans_up(replica, started):
    started()
    try:
        await trio.sleep_forever()
    finally:
        with trio.move_on_after(1, shield=True):
            await trio.sleep(0.02)
            replica.say("cleaned up")


@trio_test
async def test_no_task_takes_another_one_or_the_supervisor_down(run_project):
    bad = ["crash", "exits", "exits_with_text", "nested", "base"]
    services = {
        "steady": task("steady"),
        "process": dict(STEADY),
        **{name: task(name, restart="never") for name in bad},
    }
    async with run_project(services, kinds=TASKS) as running:
        for name in bad:
            await running.until(name, "FAILED")
        causes = {name: running.status(name).last_exit.cause for name in bad}
        assert running.status("steady").state == "READY"
        assert running.status("process").state == "READY"
    assert str(causes["crash"]) == "crash: ValueError: no such thing"
    assert causes["exits"].code == 3
    assert causes["exits_with_text"].code == 1
    assert set(causes["nested"].message.split("; ")) == {"KeyError: 'a'", "KeyError: 'b'"}
    assert "not even an Exception" in causes["base"].message
    assert running.lines.count(r"exits_with_text \| cannot go on") == 1
    assert running.lines.count(r"crash \| ValueError: no such thing") == 1


@trio_test
async def test_a_task_that_asked_to_be_asked_ends_in_its_own_time(run_project):
    async with run_project({"p": task("patient"), "c": task("cleans_up")}, kinds=TASKS) as running:
        await running.until("p", "READY")
        await running.until("c", "READY")
        running.supervisor.stop()
        assert await running.ended() == 0
    assert running.lines.index(r"p \| draining") < running.lines.index(r"p \| drained")
    assert running.lines.count(r"c \| cleaned up") == 1


@trio_test
async def test_a_task_that_does_not_start_in_time_is_cancelled_and_fails(run_project):
    service = task("never_ready", start_timeout="50ms", restart="never")
    async with run_project({"t": service}, kinds=TASKS) as running:
        assert await running.ended() == 1
    assert running.status("t").last_exit.cause.kind == "start_timeout"


@trio_test
async def test_a_task_that_crashes_is_restarted_with_a_backoff(run_project):
    service = task("crash", restart={"backoff": "10ms", "max_restarts": 3})
    async with run_project({"t": service}, kinds=TASKS) as running:
        assert (await running.until("t", "CRASHLOOP")).runs == 4


FUNCTION = """
import os, trio
async def serve(ctx, *, task_status):
    ctx.say(f"hello from {ctx.name} {os.getpid()}")
    stopping = ctx.stopping()
    task_status.started()
    await stopping.wait()
    ctx.say("bye")
async def fail(ctx, *, task_status):
    async with trio.open_nursery():
        raise SystemExit(78)
"""


@trio_test
async def test_a_callable_cannot_tell_a_task_from_a_process(run_project, tmp_path):
    (tmp_path / "shop_tasks_for_test.py").write_text(FUNCTION)
    target = {"type": "callable", "target": "shop_tasks_for_test:serve"}
    bad = {"type": "callable", "target": "shop_tasks_for_test:fail"}
    missing = {"type": "callable", "target": "shop_tasks_for_test:nothing", "restart": "never"}
    services = {
        "own": {**target, "run": "process"},
        "here": {**target, "run": "task"},
        "bad-own": {**bad, "run": "process"},
        "bad-here": {**bad, "run": "task"},
        "missing": {**missing, "run": "task"},
    }
    async with run_project(services) as running:
        pids = {}
        for name in ("own", "here"):
            pids[name] = int((await running.lines.wait(rf"hello from {name} (\d+)"))[1])
            await running.until(name, "READY")
        for name in ("bad-own", "bad-here", "missing"):
            await running.until(name, "FAILED")
        assert pids["own"] == running.pid("own") != pids["here"]
        running.supervisor.stop()
        await running.ended()
    assert running.status("bad-own").last_exit.code == 78
    assert running.status("bad-here").last_exit.code == 78
    assert "cannot import" in running.status("missing").last_exit.cause.message
    assert running.lines.count(r"\| bye") == 2
