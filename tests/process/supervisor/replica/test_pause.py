"""Pausing: services of a kind that can take nothing new, and go on with what they have."""

from __future__ import annotations

import pytest
from supervisor_harness import NOTIFY, python, trio_test

from naq.services import KINDS
from naq.supervisor.kinds.kind import Kind, Launch, PauseSignals
from naq.supervisor.model.errors import Refused
from naq.supervisor.model.spec import Run

PROGRAM = NOTIFY + (
    "import signal\n"
    "signal.signal(signal.SIGUSR1, lambda *_: print('paused'))\n"
    "signal.signal(signal.SIGUSR2, lambda *_: print('resumed'))\n"
    "say('READY=1')\npause()"
)


class Pausing(Kind):
    name = "pausing"
    runs = (Run.PROCESS, Run.TASK)
    pauses = PauseSignals()

    def launch(self, replica):
        return Launch(argv=tuple(python(PROGRAM)))

    async def run(self, replica, *, task_status):
        task_status.started()
        while True:
            await replica.paused.wait(on=True)
            replica.say("paused")
            await replica.paused.wait(on=False)
            replica.say("resumed")


@pytest.mark.parametrize("run", ["process", "task"])
def test_pause_and_resume(run_project, run):
    @trio_test
    async def main():
        kinds = {**KINDS, "pausing": Pausing}
        service = {"type": "pausing", "run": run, "ready": "notify"}
        async with run_project({"p": service}, kinds=kinds) as running:
            await running.until("p", "READY")
            (replica,) = running.supervisor.crew.roster.of("p")
            replica.pause(on=True)
            await running.lines.wait(r"p \| paused")
            assert running.status("p").paused
            assert running.status("p").satisfied
            # It stays paused over a restart.
            from naq.supervisor.model.causes import Cause, CauseKind

            problem = await replica.restart(Cause(kind=CauseKind.OPERATOR)).wait()
            assert problem == ""
            await running.lines.wait(r"p \| paused", count=2)
            replica.pause(on=False)
            await running.lines.wait(r"p \| resumed")
            assert not running.status("p").paused

    main()


@trio_test
async def test_a_kind_that_cannot_pause_says_so(run_project):
    from naq.supervisor.control.commands import commands

    async with run_project({"s": {"command": ["sleep", "1000"]}}) as running:
        await running.until("s", "READY")
        with pytest.raises(Refused, match="s: type command cannot pause"):
            commands(running.supervisor)["pause"]({"services": ["s"]})
