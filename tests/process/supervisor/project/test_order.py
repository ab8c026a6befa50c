"""Starting: dependencies and their conditions, with real processes."""

from __future__ import annotations

import os
import signal

import pytest
from supervisor_harness import python, trio_test

SLEEP = {"command": ["sleep", "1000"]}


@trio_test
async def test_a_service_starts_when_its_dependency_is_ready_and_not_before(run_project, tmp_path):
    go = tmp_path / "go"
    code = f"""
import os, time
while not os.path.exists({str(go)!r}): time.sleep(0.01)
print("ready now"); time.sleep(1000)
"""
    services = {
        "web": {**SLEEP, "depends_on": ["db"]},
        "db": {"command": python(code), "ready": {"log": "ready now"}},
    }
    async with run_project(services) as running:
        status = await running.until("web", "WAITING")
        await running.until("db", "STARTING")
        assert running.status("web").detail == "waiting for db"
        assert status.runs == 0
        go.touch()
        await running.until("web", "READY")
        assert running.status("web").detail == ""


@trio_test
async def test_a_failed_dependency_skips_all_that_need_it_at_once(run_project):
    services = {
        "bad": {"command": python("raise SystemExit(78)"), "ready": {"log": "never"}},
        "needs": {**SLEEP, "depends_on": ["bad"]},
        "further": {**SLEEP, "depends_on": ["needs"]},
        "anyway": {"command": ["true"], "restart": "on-failure"},
    }
    services["anyway"]["depends_on"] = {"bad": {"condition": "ready", "required": False}}
    async with run_project(services) as running:
        assert await running.ended() == 1
    states = {name: running.status(name).state for name in services}
    assert states == {
        "bad": "FAILED",
        "needs": "SKIPPED",
        "further": "SKIPPED",
        "anyway": "COMPLETED",
    }
    assert running.status("needs").detail == "bad is FAILED"
    assert running.status("further").detail == "needs is SKIPPED"
    assert running.lines.count("needs skipped: bad is FAILED") == 1


@trio_test
async def test_a_service_waits_for_a_oneshot_to_complete(run_project):
    services = {
        "web": {"command": ["echo", "serving"], "depends_on": ["migrate"], "restart": "on-failure"},
        "migrate": {"command": ["echo", "migrated"], "oneshot": True},
    }
    async with run_project(services) as running:
        assert await running.ended() == 0
    assert running.lines.index("migrate completed") < running.lines.index("web running")


@pytest.mark.parametrize(
    ("command", "condition"), [("false", "exited"), ("true", "exited"), ("true", "completed")]
)
def test_conditions_on_the_end_of_a_dependency(run_project, command, condition):
    @trio_test
    async def run():
        services = {
            "first": {"command": [command], "restart": "never"},
            "then": {"command": ["true"], "restart": "never", "depends_on": {"first": condition}},
        }
        async with run_project(services) as running:
            await running.ended()
        assert running.status("then").state == "COMPLETED"

    run()


@trio_test
async def test_started_is_enough_where_it_is_asked_for(run_project):
    services = {
        "slow": {**SLEEP, "ready": {"log": "never"}},
        "eager": {**SLEEP, "depends_on": {"slow": "started"}},
    }
    async with run_project(services) as running:
        await running.until("eager", "READY")
        assert running.status("slow").state == "STARTING"


@trio_test
async def test_a_dependency_that_never_gets_ready_is_given_up_after_its_timeout(run_project):
    services = {
        "slow": {**SLEEP, "ready": {"log": "never"}},
        "web": {**SLEEP, "depends_on": {"slow": {"timeout": "100ms"}}},
    }
    async with run_project(services) as running:
        status = await running.until("web", "SKIPPED")
    assert status.detail == "slow is not ready after 0.1 s"


@trio_test
async def test_stopping_while_waiting_for_a_dependency_is_immediate(run_project):
    services = {
        "slow": {**SLEEP, "ready": {"log": "never"}},
        "web": {**SLEEP, "depends_on": ["slow"]},
    }
    async with run_project(services) as running:
        await running.until("slow", "STARTING")
        running.supervisor.stop()
        await running.ended()
    assert running.status("web").state == "DOWN"
    assert running.status("web").runs == 0


@trio_test
async def test_a_dependency_that_restarts_does_not_disturb_its_dependents(run_project):
    services = {
        "db": {**SLEEP, "restart": {"backoff": "0s"}},
        "web": {**SLEEP, "depends_on": ["db"]},
    }
    async with run_project(services) as running:
        await running.until("web", "READY")
        web, db = running.pid("web"), running.pid("db")
        os.kill(db, 9)
        await running.lines.wait("db running", count=2)
        assert running.pid("web") == web


@trio_test
async def test_replicas_start_one_after_the_other_where_that_is_asked_for(run_project):
    services = {
        "soon": {**SLEEP, "replicas": 3, "start_delay": "100ms"},
        "late": {**SLEEP, "replicas": 2, "start_delay": "1h"},
    }
    async with run_project(services) as running:
        await running.until("soon.3", "READY")
        await running.until("late.1", "READY")
        assert running.lines.index(r"soon\.1 running") < running.lines.index(r"soon\.3 running")
        assert running.status("late.2").runs == 0


@trio_test
async def test_templates_and_environment_reach_the_program(run_project, tmp_path, monkeypatch):
    monkeypatch.setenv("FROM_OUTSIDE", "yes")
    monkeypatch.setenv("NOTIFY_SOCKET", "/not/for/children")
    (tmp_path / "sub-2").mkdir()
    (tmp_path / "sub-1").mkdir()
    show = (
        "for n in ('WHO','OUT','GONE','NAQ_SERVICE','NAQ_REPLICA','NOTIFY_SOCKET'):"
        " print(n, os.environ.get(n))\n"
        "import sys; print('cwd', os.path.basename(os.getcwd()), 'arg', sys.argv[1])"
    )
    service = {
        "command": [*python(show), "{port}"],
        "replicas": 2,
        "port": 9000,
        "cwd": "sub-{replica}",
        "restart": "never",
        "env": {
            "WHO": "{project}/{service}-{replica} of {replicas}",
            "OUT": "${FROM_OUTSIDE}",
            "GONE": False,
        },
    }
    project = {"name": "shop", "env": {"GONE": "here"}}
    async with run_project({"s": service}, project=project) as running:
        assert await running.ended() == 0
    second = {text.partition(" | ")[2] for text in running.lines.all if text.startswith("s.2 ")}
    assert {
        "WHO shop/s-2 of 2",
        "OUT yes",
        "GONE None",
        "NAQ_SERVICE s",
        "NAQ_REPLICA 2",
        "NOTIFY_SOCKET None",
        "cwd sub-2 arg 9001",
    } <= second


@trio_test
async def test_standard_input_is_empty_or_a_file(run_project, tmp_path):
    (tmp_path / "s.txt").write_text("from a file\n")
    os.mkfifo(tmp_path / "pipe")
    read = {"command": ["sh", "-c", "echo read: $(cat); exec sleep 1000"]}
    services = {
        "empty": read,
        "s": {**read, "stdin": "{service}.txt"},
        "gone": {**read, "stdin": "gone.txt", "restart": "never"},
        # A fifo that nobody has opened for writing holds up neither the start nor anything else.
        "fifo": {"command": ["cat"], "stdin": "pipe", "restart": "never"},
    }
    async with run_project(services) as running:
        await running.lines.wait(r"^s \| read: from a file")
        await running.lines.wait(r"^empty \| read:$")
        status = await running.until("gone", "FAILED")
        assert "gone.txt: No such file" in str(status.last_exit.cause)
        await running.until("fifo", "READY", "COMPLETED", "FAILED")


@trio_test
async def test_nothing_is_inherited_that_should_not_be(run_project):
    """Descriptors, blocked and ignored signals, the session, variables of the supervisor."""
    script = (
        "echo fds $(ls /proc/self/fd); echo blocked $(grep SigBlk /proc/self/status); "
        "echo ignored $(grep SigIgn /proc/self/status); echo session $(ps -o sid= -p $$) $$; "
        "echo variables ${WATCHDOG_USEC-none} ${LISTEN_FDS-none} ${NOTIFY_SOCKET-none}; sleep 1000"
    )
    mine, theirs = os.pipe()
    os.set_inheritable(mine, True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        async with run_project({"s": {"command": ["sh", "-c", script]}}) as running:
            # Three, and the one with which ls reads the directory.
            assert (await running.lines.wait(r"fds (.*)"))[1] == "0 1 2 3"
            assert int((await running.lines.wait(r"blocked SigBlk: (\w+)"))[1], 16) == 0
            # Python ignores SIGPIPE and SIGXFSZ; its children must not.
            ignored = int((await running.lines.wait(r"ignored SigIgn: (\w+)"))[1], 16)
            for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGCHLD):
                assert not ignored & 1 << number - 1
            found = await running.lines.wait(r"session (\d+) (\d+)")
            assert found[1] == found[2]
            await running.lines.wait(r"variables none none none")
    finally:
        os.close(mine)
        os.close(theirs)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
