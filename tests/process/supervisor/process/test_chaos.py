"""Everything at once: several people and a murderer at one supervisor, in any order.

What must hold is not much, and must always hold: nobody waits for ever, the supervisor does not
stumble, and when the noise is over the project can be brought to where the file says.
"""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress

import pytest
import trio
from supervisor_harness import PATIENCE, trio_test, wait_dead

from naq.services import KINDS
from naq.supervisor.config import read as config
from naq.supervisor.control.commands import commands
from naq.supervisor.control.streams import streams
from naq.supervisor.model.errors import Refused
from naq.supervisor.project.reload import prepare_reload

PEOPLE = 5
DEEDS = 50  # of each
AGAIN = {"backoff": "5ms", "max_restarts": 0}
TASK = """
import random, trio
async def task(ctx, *, task_status):
    task_status.started()
    await trio.sleep(random.random() / 2)
    if random.random() < .5:
        raise ValueError("it happens")
"""


def document(chance: random.Random | None = None) -> dict:
    """The project; with ``chance`` a version of it that differs in this and that."""
    pick = (lambda *choices: choices[0]) if chance is None else (lambda *c: chance.choice(c))
    cache = pick("cache", "cache", "cache", "store")
    services = {
        "db": {"command": ["sh", "-c", "echo db up; exec sleep 1000"], "ready": {"log": "db up"}},
        "web": {
            "command": ["sleep", "1000"],
            "replicas": pick(3, 1, 2),
            "depends_on": {"db": {"restart": True}},
            "rolling": pick("start-first", "stop-first"),
            "env": {"X": pick("1", "2", "3")},
        },
        cache: {"command": ["sleep", "1000"]},
        "once": {"command": ["true"], "oneshot": True, "rerun": True},
        "task": {"type": "callable", "target": "chaos:task", "run": "task", "replicas": 2},
    }
    for name, table in services.items():
        table.setdefault("type", "command")
        if name != "once":
            table["restart"] = AGAIN
    strategy = pick("rest_for_one", "one_for_all", "one_for_one")
    group = {"members": ["db", cache, "once"], "strategy": strategy, "max_restarts": 0}
    return {"version": 1, "services": services, "groups": {"g": group}}


class Person:
    """Does one thing after the other, whatever others do meanwhile."""

    def __init__(self, running, directory, chance):
        self.supervisor = running.supervisor
        self.ask = {**commands(running.supervisor), **streams(running.supervisor)}
        self.directory = directory
        self.chance = chance

    async def live(self):
        deeds = (self.start, self.stop, self.restart, self.scale, self.reload, self.kill, self.wait)
        for _ in range(DEEDS):
            with suppress(Refused, ProcessLookupError):
                await self.chance.choice(deeds)()
            await trio.sleep(self.chance.random() / 100)

    def anybody(self):
        return self.chance.choice(
            ["db", "web", "web.1", "web.2", "cache", "once", "task", "task.1"]
        )

    def maybe(self):
        return self.chance.random() < 0.5

    async def start(self):
        self.ask["start"]({"services": [self.anybody()], "dependencies": self.maybe()})

    async def stop(self):
        args = {"services": [self.anybody()], "now": self.maybe(), "wait": self.maybe()}
        await self.ask["stop"](args, print)

    async def restart(self):
        args = {"services": [self.anybody()], "timeout": 1.0}
        for name in ("rolling", "force", "wait"):
            args[name] = self.maybe()
        await self.ask["restart"](args, lambda _: None)

    async def scale(self):
        args = {"replicas": {"web": self.chance.randrange(5)}}
        await self.ask["scale"](args, lambda _: None)

    async def reload(self):
        topology = config.parse(document(self.chance), kinds=KINDS, directory=self.directory)
        crew = self.supervisor.crew
        await crew.perform(prepare_reload(crew, topology).run)

    async def kill(self):
        pids = [status.pid for status in self.supervisor.board if status.pid is not None]
        if pids:
            os.kill(self.chance.choice(pids), signal.SIGKILL)
        await trio.lowlevel.checkpoint()

    async def wait(self):
        goal = self.chance.choice(["ready", "stopped", "completed"])
        await self.ask["wait"]({"services": [self.anybody()], "goal": goal, "timeout": 0.2}, print)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_comes_nobody_waits_for_ever_and_all_can_be_put_right(
    run_project, tmp_path, monkeypatch, seed
):
    (tmp_path / "chaos.py").write_text(TASK)
    monkeypatch.syspath_prepend(str(tmp_path))
    base = document()

    @trio_test
    async def main():
        pids = set()
        async with run_project(base.pop("services"), **base) as running:
            crew, board = running.supervisor.crew, running.supervisor.board
            with trio.fail_after(2 * PATIENCE):
                async with trio.open_nursery() as people:
                    for number in range(PEOPLE):
                        chance = random.Random(f"{seed}-{number}")
                        people.start_soon(Person(running, tmp_path, chance).live)
                pids |= {status.pid for status in board if status.pid is not None}
                topology = config.parse(document(), kinds=KINDS, directory=tmp_path)
                await crew.perform(prepare_reload(crew, topology).run)
                await crew.scale("web", 3)
                for replica in crew.start(crew.roster, dependencies=False):
                    if replica.spec.type == "command":
                        assert await crew.wait([replica], "ready") == {}
            names = {status.name for status in board}
            assert names == {"db", "web.1", "web.2", "web.3", "cache", "once", "task.1", "task.2"}
            assert running.exit_code is None
            pids |= {status.pid for status in board if status.pid is not None}
        assert running.exit_code == 0
        assert wait_dead(pids) == []
        assert running.lines.count(r"^naq \| .*(Traceback|internal error|has failed:)") == 0

    main()
