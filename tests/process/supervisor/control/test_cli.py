"""Every command of a running project, as a person types it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest
from supervisor_harness import PATIENCE, TOML, naq, python, rows

from naq.supervisor.control.client import connect


@pytest.fixture
def project(up):
    running = up(TOML)
    running.wait("all services are up")
    return running


def test_start_stop_and_wait(project, tmp_path):
    assert set(rows(tmp_path)) == {"db", "web.1", "web.2", "once"}
    everything = rows(tmp_path, "--all")
    assert everything["off"]["state"] == "DOWN"
    assert naq(tmp_path, "start", "off", "--wait").returncode == 0
    assert naq(tmp_path, "start", "--profile", "more", "--wait").returncode == 0
    now = rows(tmp_path)
    assert (now["off"]["state"], now["extra"]["state"]) == ("READY", "READY")

    assert naq(tmp_path, "stop", "web.2").returncode == 0
    assert rows(tmp_path)["web.2"]["state"] == "DOWN"
    assert naq(tmp_path, "ps").returncode == 1
    late = naq(tmp_path, "wait", "web", "--timeout", "100ms")
    assert (late.returncode, late.stderr) == (1, "naq: web.2: DOWN\n")
    assert naq(tmp_path, "wait", "web.2", "--for", "stopped").returncode == 0
    assert naq(tmp_path, "wait", "once", "--for", "completed").returncode == 0
    assert naq(tmp_path, "start", "web", "--wait", "--timeout", "10s").returncode == 0
    assert naq(tmp_path, "ps").returncode == 0


def test_restart_scale_and_signal(project, tmp_path):
    before = rows(tmp_path)
    assert naq(tmp_path, "restart", "web", "--rolling").returncode == 0
    after = rows(tmp_path)
    assert before["db"]["pid"] == after["db"]["pid"]
    assert before["web.1"]["pid"] != after["web.1"]["pid"]
    assert after["web.2"]["restarts"] == 1
    assert naq(tmp_path, "restart", "db", "--force", "--wait").returncode == 0
    assert rows(tmp_path)["db"]["last_exit"]["signal"] == signal.SIGKILL

    assert naq(tmp_path, "scale", "web=3", "--wait").returncode == 0
    assert "web.3" in rows(tmp_path)
    assert naq(tmp_path, "scale", "web=1").returncode == 0
    assert set(rows(tmp_path)) == {"db", "web", "once"}
    assert naq(tmp_path, "signal", "web", "KILL").returncode == 0
    project.wait("web ended: killed by SIGKILL")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["start", "nope"], 66, "no service 'nope'; there are: db, web"),
        (["stop", "web.7"], 66, "web has no replica 7"),
        (["start", "--profile", "nope"], 66, "no service belongs to profile 'nope'"),
        (["start"], 2, "which services?"),
        (["scale", "web"], 2, "expected SERVICE=NUMBER"),
        (["scale", "nope=1"], 66, "no service 'nope'"),
        (["signal", "web"], 2, "which service, and which signal?"),
        (["signal", "web", "NOPE"], 1, "expected a signal"),
        (["pause", "web"], 1, "web.1: type command cannot pause"),
        (["wait", "--timeout", "soon"], 2, "--timeout: 'soon' is not a duration"),
        (["down", "--timeout", "nan"], 2, "--timeout: 'nan' is not a duration"),
        (["down", "-t", "9999999999d"], 2, "is longer than a century"),
        (["logs", "nope"], 66, "no service 'nope'"),
        (["events", "nope"], 66, "no service 'nope'"),
        (["run", "nope"], 66, "no service 'nope'"),
    ],
)
def test_what_cannot_be_done_is_one_line(project, tmp_path, arguments, code, text):
    done = naq(tmp_path, *arguments)
    assert done.returncode == code
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


def test_logs(project, tmp_path):
    project.wait("hello from 2")
    shown = naq(tmp_path, "logs", "web.1", "db")
    assert sorted(shown.stdout.splitlines()) == [
        "db | db up",
        "web.1 | hello from 1",
        "web.1 | run",
    ]
    assert naq(tmp_path, "logs", "web.1", "-n", "1", "--raw").stdout == "hello from 1\n"
    (row,) = map(json.loads, naq(tmp_path, "logs", "db", "--json").stdout.splitlines())
    assert (row["service"], row["message"]) == ("db", "db up")
    assert naq(tmp_path, "logs", "db", "--previous").stdout == ""
    assert naq(tmp_path, "logs", "--since", "0.000001").stdout == ""
    assert "all services are up" in naq(tmp_path, "logs", "naq").stdout
    naq(tmp_path, "restart", "db", "--wait")
    assert naq(tmp_path, "logs", "db", "--previous").stdout == "db | db up\n"
    assert naq(tmp_path, "logs", "db").stdout == "db | db up\n" * 2


def follow(tmp_path, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "naq", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_following_ends_with_the_project(project, tmp_path):
    logs = follow(tmp_path, "logs", "-f", "web", "-n", "0")
    events = follow(tmp_path, "events", "-f", "db", "--json")
    snapshot = json.loads(events.stdout.readline())
    assert (snapshot["name"], snapshot["state"]) == ("db", "READY")
    # The other follower is there when its first line is: make one until it comes.
    naq(tmp_path, "restart", "web", "--wait")
    naq(tmp_path, "restart", "web", "db", "--wait")
    assert logs.stdout.readline().startswith("web.")
    assert json.loads(events.stdout.readline())["state"] == "STOPPING"
    assert naq(tmp_path, "down").returncode == 0
    assert logs.wait(PATIENCE) == 0
    assert events.wait(PATIENCE) == 0
    for one in (logs, events):
        one.communicate()


def test_events_of_the_past(project, tmp_path):
    told = json.loads(naq(tmp_path, "events", "once", "--json").stdout)
    assert [row["state"] for row in told] == [
        "WAITING",
        "STARTING",
        "READY",
        "EXITED",
        "COMPLETED",
    ]
    shown = naq(tmp_path, "events").stdout
    assert re.search(r"once EXITED -> COMPLETED \(after \d+ms; exit code 0\)", shown)


def test_a_client_that_stops_reading_slows_nobody_and_is_told_what_it_missed(up, tmp_path):
    code = "for i in range(6000): print('x' * 1000)\nprint('end'); import time; time.sleep(1000)"
    running = up(
        "[logging]\nbuffer = 10\n[services.a]\ncommand = ['sleep', '1000']\n"
        f"[services.s]\ndisabled = true\ncommand = {json.dumps(python(code))}\n"
    )
    running.wait("all services are up")
    with connect(tmp_path) as client:
        stalled = client.follow("logs", services=["s"], follow=True)
        naq(tmp_path, "start", "s")
        next(stalled)  # it follows; nothing is read after this
        running.wait(r"s \| end", timeout=PATIENCE)
        dropped = 0
        for event in stalled:
            if isinstance(event, dict):
                dropped = event["dropped"]
                break
        assert dropped > 1000


def test_reload_by_command_and_by_signal(project, tmp_path):
    file = tmp_path / "supervisor.toml"
    before = rows(tmp_path)
    file.write_text(TOML.replace('X = "1"', 'X = "2"'))
    dry = naq(tmp_path, "reload", "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "web is restarted: env\n")
    assert rows(tmp_path)["web.1"]["pid"] == before["web.1"]["pid"]
    done = naq(tmp_path, "reload")
    assert (done.returncode, done.stdout) == (0, "web is restarted: env\n")
    after = rows(tmp_path)
    assert after["web.1"]["pid"] != before["web.1"]["pid"]
    assert after["db"]["pid"] == before["db"]["pid"]

    file.write_text("[services.web]\ncomand = 'x'\nreplcas = 2\n")
    bad = naq(tmp_path, "reload")
    assert bad.returncode == 78
    first, second = bad.stderr.splitlines()
    assert "services.web.comand: unknown key" in first
    assert "services.web.replcas: unknown key" in second
    project.signal(signal.SIGHUP)
    project.wait("not reloaded, nothing was changed: .*comand: unknown key")
    assert rows(tmp_path)["web.1"]["pid"] == after["web.1"]["pid"]

    file.write_text(TOML.replace("replicas = 2", "replicas = 3"))
    project.signal(signal.SIGHUP)
    project.wait("reload: web is restarted: replicas, env")
    project.wait(r"web\.3 running")
    assert naq(tmp_path, "wait").returncode == 0


def test_restarting_with_the_new_definition(project, tmp_path):
    (tmp_path / "supervisor.toml").write_text(TOML.replace('X = "1"', 'X = "2"'))
    assert naq(tmp_path, "restart", "web", "--reload", "--wait").returncode == 0
    assert naq(tmp_path, "run", "web", "--", "printenv", "X").stdout == "2\n"
    assert naq(tmp_path, "reload", "--dry-run").stdout == "nothing has changed\n"


def test_run_has_the_environment_and_the_directory_of_the_service(project, tmp_path):
    done = naq(tmp_path, "run", "web.2", "--", "sh", "-c", "echo $X $NAQ_REPLICA; pwd; exit 7")
    assert (done.stdout, done.returncode) == (f"1 2\n{tmp_path}\n", 7)
    assert naq(tmp_path, "run", "once").returncode == 0
    assert naq(tmp_path, "run", "web", "--", "no-such-program").returncode == 127
    naq(tmp_path, "down")
    assert naq(tmp_path, "run", "web", "--", "true").returncode == 3
    alone = naq(tmp_path, "run", "--no-deps", "web", "--", "printenv", "X")
    assert (alone.stdout, alone.returncode) == ("1\n", 0)


def test_graph_with_times(up, tmp_path):
    running = up(
        "[services.once]\ncommand = 'sleep 0.4'\noneshot = true\n"
        "[services.web]\ncommand = 'sleep 1000'\ndepends_on = ['once']\n"
        "[services.other]\ncommand = 'sleep 1000'\n"
    )
    running.wait("all services are up")
    shown = naq(tmp_path, "graph", "--timing").stdout
    # A oneshot takes as long as it runs, for that is what others wait for.
    assert int(re.search(r"^once (\d+)ms$", shown, re.MULTILINE)[1]) >= 400
    assert "\ncritical chain: once -> web (" in shown
