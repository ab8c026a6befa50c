"""Commands and their options that are not in the way of the other tests; exit codes of each."""

from __future__ import annotations

import json

import pytest
from supervisor_harness import TOML, naq, rows


@pytest.fixture
def project(up):
    running = up(TOML)
    running.wait("all services are up")
    return running


@pytest.mark.parametrize(
    "arguments",
    [
        ["ps"],
        ["ps", "-w"],
        ["ps", "--json"],
        ["down"],
        ["logs"],
        ["logs", "-f"],
        ["start", "web"],
        ["stop", "web"],
        ["restart", "web"],
        ["scale", "web=2"],
        ["reload"],
        ["reload", "--dry-run"],
        ["events"],
        ["events", "-f"],
        ["wait"],
        ["pause", "web"],
        ["resume", "web"],
        ["signal", "web", "HUP"],
        ["graph", "--timing"],
    ],
)
def test_where_nothing_runs_every_command_says_so_with_3(tmp_path, arguments):
    (tmp_path / "supervisor.toml").write_text(TOML)
    done = naq(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("naq: not running: ")
    assert done.stderr.count("\n") == 1


def test_in_the_background_without_waiting(tmp_path):
    """It returns when the supervisor answers, with nothing on standard output."""
    (tmp_path / "supervisor.toml").write_text(TOML)
    done = naq(tmp_path, "up", "--detach", "supervisor.toml", "db", "--scale", "web=1")
    try:
        assert (done.returncode, done.stdout) == (0, "")
        assert naq(tmp_path, "wait", "db").returncode == 0
        assert set(rows(tmp_path)) == {"db"}
    finally:
        assert naq(tmp_path, "down", "--timeout", "10s").returncode == 0
    assert naq(tmp_path, "down").returncode == 3


def test_waiting_for_what_is_not_ready_in_time_is_1_and_leaves_it_running(tmp_path):
    toml = "[services.slow]\ncommand = 'sleep 1000'\nready = { log = 'never' }\n"
    (tmp_path / "supervisor.toml").write_text(toml)
    done = naq(tmp_path, "up", "--wait", "--timeout", "300ms")
    try:
        assert done.returncode == 1
        assert "slow: STARTING" in done.stderr
        assert naq(tmp_path, "ps").returncode == 1
    finally:
        assert naq(tmp_path, "down").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nope.toml"], 78, "nope.toml: cannot be read"),
        (["supervisor.toml", "nope"], 66, "no service 'nope'"),
        (["--profile", "nope"], 66, "no profile 'nope'"),
        (["--scale", "nope=1"], 78, "services.nope"),
        (["--scale", "web"], 2, "expected SERVICE=NUMBER"),
        (["--set", "services.web.replcas=2"], 78, "did you mean 'replicas'?"),
        (["--set", "services.web.replicas"], 2, "KEY=VALUE"),
        (["--exit-on", "nope"], 66, "no service 'nope'"),
        (["--env-file", "nope.env"], 78, "nope.env"),
        (["--wait", "--timeout", "soon"], 2, "is not a duration"),
        (["--log-format", "xml"], 2, "xml"),
    ],
)
def test_options_that_cannot_be(tmp_path, arguments, code, words):
    (tmp_path / "supervisor.toml").write_text(TOML)
    done = naq(tmp_path, "up", *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert done.stderr.startswith("naq: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".naq").exists()


def test_options_of_starting_and_stopping(project, tmp_path):
    assert naq(tmp_path, "stop", "db", "web", "--now").returncode == 0
    assert {row["state"] for name, row in rows(tmp_path).items() if name != "once"} == {"DOWN"}
    assert naq(tmp_path, "start", "web", "--with-deps", "--wait").returncode == 0
    assert naq(tmp_path, "ps").returncode == 0
    before = rows(tmp_path)
    assert naq(tmp_path, "restart", "web", "--rolling", "--parallel", "2").returncode == 0
    assert naq(tmp_path, "restart", "web.1").returncode == 0
    assert naq(tmp_path, "wait", "--timeout", "10s").returncode == 0
    after = rows(tmp_path)
    assert after["web.1"]["restarts"] == before["web.1"]["restarts"] + 2
    assert after["web.2"]["restarts"] == before["web.2"]["restarts"] + 1
    assert naq(tmp_path, "stop", "web", "--timeout", "5s").returncode == 0
    assert naq(tmp_path, "scale", "web=0").returncode == 0
    assert "web" not in " ".join(rows(tmp_path))


def test_nobody_waits_for_what_somebody_has_stopped(project, tmp_path):
    assert naq(tmp_path, "stop", "db", "web.1").returncode == 0
    for arguments in (
        ["start", "web", "--wait"],
        ["wait", "web.1"],
        ["restart", "web.1", "--wait"],
    ):
        done = naq(tmp_path, *arguments)
        assert done.returncode == 1
        assert "waiting for db, which is down" in done.stderr
    assert rows(tmp_path)["web.1"]["state"] == "WAITING"
    assert naq(tmp_path, "start", "db").returncode == 0
    assert naq(tmp_path, "wait", "web.1").returncode == 0


def test_plans_as_json_and_without_pruning(project, tmp_path):
    (tmp_path / "supervisor.toml").write_text(TOML.replace("[services.web]", "[services.site]"))
    plan = naq(tmp_path, "reload", "--dry-run", "--json")
    assert plan.returncode == 0
    assert {(c["service"], c["action"]) for c in json.loads(plan.stdout)} == {
        ("web", "remove"),
        ("site", "start"),
    }
    kept = naq(tmp_path, "reload", "--no-prune")
    assert (kept.returncode, kept.stdout) == (0, "site is started\n")
    assert {"web.1", "site.1"} <= set(rows(tmp_path))
    pruned = naq(tmp_path, "reload")
    assert (pruned.returncode, pruned.stdout) == (0, "web is stopped and removed\n")
    assert "web.1" not in rows(tmp_path)


def test_ps_of_a_service_that_was_scaled(project, tmp_path):
    assert naq(tmp_path, "scale", "web=3", "--wait").returncode == 0
    assert set(rows(tmp_path, "web")) == {"web.1", "web.2", "web.3"}
    assert set(rows(tmp_path, "web.1", "web.3")) == {"web.1", "web.3"}


def test_run_starts_what_the_service_needs_first(project, tmp_path):
    assert naq(tmp_path, "stop", "db").returncode == 0
    assert naq(tmp_path, "run", "web", "--", "true").returncode == 0
    assert rows(tmp_path)["db"]["state"] == "READY"


def test_ps_for_people_and_for_programs(project, tmp_path):
    naq(tmp_path, "restart", "db", "--force", "--wait")
    shown = naq(tmp_path, "ps", "db", "--wide")
    head, row = shown.stdout.splitlines()
    assert head.split()[:4] == ["NAME", "STATE", "WANT", "READY"]
    assert row.split()[:4] == ["db", "READY", "UP", "yes"]
    assert row.endswith("on request")
    (told,) = json.loads(naq(tmp_path, "ps", "db", "--json").stdout)
    promised = (
        "service replica state want ready pid restarts uptime_s rss_bytes cpu_percent last_exit"
    )
    assert set(promised.split()) <= set(told)
    assert set(told["last_exit"]) >= {"cause", "code", "signal", "at"}


@pytest.mark.parametrize("command", ["up", "validate", "graph", "run"])
def test_a_bad_file_is_78_whoever_reads_it(tmp_path, command):
    for toml, words in (("[services.a]\n", "services.a.command: missing"), ("[serv", "not TOML")):
        (tmp_path / "supervisor.toml").write_text(toml)
        done = naq(tmp_path, command, *(["a"] if command == "run" else []))
        assert (done.returncode, done.stdout) == (78, "")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_what_a_type_finds_out_only_at_the_start_is_78_too(tmp_path):
    (tmp_path / "supervisor.toml").write_text("[services.n]\ntype = 'nats'\npath = 'no-such'\n")
    done = naq(tmp_path, "up")
    assert (done.returncode, done.stderr) == (78, "naq: no-such is not an executable nats-server\n")


@pytest.mark.parametrize("how", ["ascii", "mermaid", "dot", "json"])
def test_a_graph_needs_no_project_that_runs(tmp_path, how):
    (tmp_path / "supervisor.toml").write_text(TOML)
    drawn = naq(tmp_path, "graph", "--format", how)
    assert drawn.returncode == 0
    begin = {"ascii": "db\n", "mermaid": "flowchart", "dot": "digraph", "json": "[{"}[how]
    assert drawn.stdout.startswith(begin)
