"""The command line against a real ``naq up``: what it prints, its JSON, its exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from project import NAQ, TOPOLOGY, Project

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("shop"))
    project.up()
    yield project
    project.down()


# --------------------------------------------------------------------------- jobs


def test_the_readmes_first_command(project):
    result = project.run("enqueue", "examples.tasks:add", "2", "3", "--wait")

    assert (result.returncode, result.stdout, result.stderr) == (0, "5\n", "")


def test_a_job_from_its_id_to_its_result(project):
    job_id = project.run("enqueue", "examples.tasks:greet", "Ada").stdout.strip()
    assert len(job_id) == 24
    while project.json("job", job_id)["status"] != "completed":
        pass
    described = project.json("job", job_id)

    assert described["result"] == "hello Ada"
    assert described["function"] == "examples.tasks:greet"
    assert (described["queue"], described["attempts"]) == ("default", 1)
    assert described["enqueued_at"].endswith("Z")
    assert described["worker"].startswith("worker.")
    text = project.run("job", job_id)
    assert text.returncode == 0
    assert "status       completed" in text.stdout


def test_an_id_that_is_known_until_it_is_forgotten(project):
    enqueue = ("enqueue", "examples.tasks:add", "2", "3", "--job-id", "sum:1", "--wait")
    assert project.run(*enqueue).stderr == ""
    again = project.run(*enqueue)
    assert (again.returncode, again.stdout) == (0, "5\n")
    assert "nothing was queued: job sum:1 is known, it is completed" in again.stderr
    assert "naq forget sum:1" in again.stderr

    assert project.run("forget", "sum:1").returncode == 0
    assert project.run("forget", "sum:1").returncode == 66
    assert project.run(*enqueue).stderr == ""
    project.run("enqueue", "examples.tasks:add", "2", "3", "--job-id", "sum:2", "--in", "1h")
    waits = project.run("forget", "sum:2")
    assert waits.returncode == 1
    assert "naq cancel sum:2" in waits.stderr
    assert project.run("cancel", "sum:2").returncode == 0
    assert project.run("forget", "sum:2").returncode == 0


def test_arguments_are_json_or_text_and_keywords_have_names(project):
    result = project.run(
        "enqueue", "builtins:dict", "-k", "a=1", "-k", "b=[true, null]", "-k", "c=text", "--wait"
    )

    assert json.loads(result.stdout) == {"a": 1, "b": [True, None], "c": "text"}


def test_a_negative_number_after_two_dashes(project):
    result = project.run("enqueue", "examples.tasks:add", "--wait", "--", "-5", "3")

    assert result.stdout == "-2\n"


def test_a_failed_job(project):
    result = project.run(
        "enqueue", "examples.tasks:add", "1", "null", "--wait", "--job-id", "bad:1"
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "TypeError" in result.stderr

    shown = project.run("job", "bad:1")
    assert shown.returncode == 1
    assert "Traceback" in shown.stdout
    described = json.loads(project.run("job", "bad:1", "--json").stdout)
    assert described["status"] == "failed"
    assert "TypeError" in described["error"]

    (letter,) = project.json("list-failed", "--queue", "default")
    assert (letter["id"], letter["attempts"], letter["reason"]) == ("bad:1", 1, "failed")
    assert "bad:1" in project.run("list-failed").stdout
    requeued = project.run("requeue", "bad:1")
    assert (requeued.stdout, requeued.stderr) == ("bad:1 requeued\n", "")
    while not project.json("list-failed"):
        pass
    assert project.run("delete-failed", "--all", "--yes").stdout == "1 dead letter deleted\n"
    assert project.json("list-failed") == []
    again = project.run("delete-failed", "bad:1")
    assert (again.returncode, again.stderr) == (
        66,
        "naq: there is no dead letter for job bad:1\n",
    )


def test_a_delayed_job_and_its_cancellation(project):
    job_id = project.run("enqueue", "examples.tasks:add", "1", "2", "--in", "1h").stdout.strip()

    assert project.json("job", job_id)["status"] == "scheduled"
    assert "in 59m" in project.run("job", job_id).stdout
    assert project.run("cancel", job_id).stdout == f"{job_id} cancelled\n"
    assert project.json("job", job_id)["status"] == "cancelled"


def test_a_job_that_has_ended_cannot_be_cancelled(project):
    project.run("enqueue", "examples.tasks:add", "1", "2", "--wait", "--job-id", "ended")

    result = project.run("cancel", "ended")

    assert (result.returncode, result.stderr) == (1, "naq: job ended has already ended\n")


def test_a_wait_that_is_over(project):
    result = project.run("enqueue", "examples.tasks:nap", "2", "--wait", "--timeout", "100ms")

    assert result.returncode == 1
    assert "not ended within 0.1 s" in result.stderr
    while any(queue["running"] for queue in project.json("list-queues")):
        pass  # the job goes on, and would be counted by other tests


@pytest.mark.parametrize("command", ["job", "cancel"])
def test_a_job_nobody_knows(project, command):
    result = project.run(command, "nobody")

    assert (result.returncode, result.stderr) == (66, "naq: there is no job nobody\n")


def test_a_module_that_is_only_at_the_worker(project):
    """The function is queued by name, and a note goes to stderr."""
    (project.directory / "shop_jobs.py").write_text("def price(n):\n    return n * 3\n")
    elsewhere = project.directory / "elsewhere"
    elsewhere.mkdir()

    result = project.run("enqueue", "shop_jobs:price", "5", "--wait", cwd=elsewhere)

    assert result.stdout == "15\n"
    assert (
        result.stderr
        == "naq: there is no module shop_jobs here; shop_jobs:price is queued by name\n"
    )


# --------------------------------------------------------------------------- queues, workers


def test_queues_are_listed(project):
    project.run("pause-queue", "default")
    project.run("enqueue", "examples.tasks:add", "1", "2")
    default, mail = project.json("list-queues")

    assert (default["queue"], default["depth"], default["paused"]) == ("default", 1, True)
    assert default["oldest_age_s"] >= 0
    assert (mail["queue"], mail["depth"], mail["paused"]) == ("mail", 0, False)
    table = project.run("list-queues").stdout.splitlines()
    assert table[0] == ("QUEUE    DEPTH  RUNNING  RETRYING  DELAYED  DEAD  WORKERS  STATE   OLDEST")
    assert project.run("purge", "default", "mail", "--yes").stdout == (
        "default: 1 job removed\nmail: 0 jobs removed\n"
    )
    assert project.run("resume-queue", "default").stdout == "default resumed\n"
    assert project.run("enqueue", "examples.tasks:add", "1", "2", "--wait").stdout == "3\n"


def test_workers_are_listed(project):
    workers = project.json("list-workers")

    assert len(workers) == 2
    for worker in workers:
        assert worker["status"] in ("idle", "busy")
        assert worker["queues"] == ["default", "mail"]
        assert worker["heartbeat_age_s"] < 5
        assert psutil.pid_exists(worker["pid"])
    assert "HEARTBEAT" in project.run("list-workers").stdout


def test_workers_are_paused_and_resumed(project):
    assert project.run("pause", "worker").returncode == 0
    try:
        while {w["status"] for w in project.json("list-workers")} != {"paused"}:
            pass
        shown = project.run("ps")
        assert (shown.returncode, shown.stdout.count("READY (paused)")) == (0, 2)
        assert [row["paused"] for row in project.json("ps", "worker")] == [True, True]
        late = project.run("enqueue", "examples.tasks:add", "1", "2", "--job-id", "held-back")
        assert late.returncode == 0
        assert project.json("job", "held-back")["status"] == "pending"
    finally:
        assert project.run("resume", "worker.1", "worker.2").returncode == 0
    while project.json("job", "held-back")["status"] != "completed":
        pass
    refused = project.run("pause", "nats")
    assert (refused.returncode, refused.stderr) == (1, "naq: nats: type nats cannot pause\n")


def test_services_are_listed(project):
    rows = project.json("ps")

    assert [(row["service"], row["replica"], row["state"]) for row in rows] == [
        ("nats", 1, "READY"),
        ("worker", 1, "READY"),
        ("worker", 2, "READY"),
    ]


def test_files_with_secrets_are_for_this_user_only(project):
    run_dir = project.directory / ".naq" / "run"

    assert run_dir.stat().st_mode & 0o777 == 0o700
    for name in ("nats.json", "nats.conf", "nats.token"):
        assert (run_dir / name).stat().st_mode & 0o777 == 0o600
    token = (run_dir / "nats.token").read_text()
    assert token.encode() not in project.output


def test_the_server_listens_on_loopback_only(project):
    pid = next(row["pid"] for row in project.json("ps") if row["service"] == "nats")

    listening = [
        c for c in psutil.Process(pid).net_connections("inet") if c.status == psutil.CONN_LISTEN
    ]

    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}


def test_a_directory_below_finds_the_server_too(project):
    below = project.directory / "a" / "b"
    below.mkdir(parents=True, exist_ok=True)

    result = project.run("list-queues", "--json", cwd=below)

    assert result.returncode == 0
    assert json.loads(result.stdout)


# --------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize(
    "words",
    [
        ["pause-queue", "mial"],
        ["resume-queue", "mial"],
        ["purge", "mial", "--yes"],
        ["purge", "mail", "mial", "--yes"],
        ["delete-queue", "mial", "--yes"],
        ["list-failed", "--queue", "mial"],
        ["list-scheduled", "--queue", "mial"],
        ["requeue", "--all", "--queue", "mial"],
        ["delete-failed", "--all", "--yes", "--queue", "mial"],
    ],
)
def test_a_queue_that_does_not_exist_is_an_error_with_the_nearest_name(project, words):
    result = project.run(*words)

    assert (result.returncode, result.stdout, result.stderr) == (
        66,
        "",
        "naq: there is no queue mial; did you mean mail?\n",
    )
    assert [queue["queue"] for queue in project.json("list-queues")] == ["default", "mail"]


def test_a_queue_that_nobody_serves_is_said_to_be_so_until_it_is_deleted(project):
    enqueued = project.run("enqueue", "examples.tasks:add", "1", "2", "--queue", "lonely")
    assert enqueued.stderr == ("naq: no worker serves queue lonely: the job waits until one does\n")
    listed = project.run("list-queues")
    assert listed.stderr == "naq: no worker serves queue lonely, where 1 job waits\n"
    assert "unserved" in listed.stdout
    assert project.run("delete-queue", "default", "--yes").stderr.endswith("stop it first\n")
    deleted = project.run("delete-queue", "lonely", "--yes")
    assert deleted.stdout == "lonely deleted with 1 job and 0 dead letters\n"


def test_on_a_terminal_it_asks_and_says_how_many(project):
    project.run("enqueue", "examples.tasks:add", "1", "2", "--queue", "asked")
    for answer, code in ((b"n\n", 1), (b"y\n", 0)):
        ours, theirs = os.openpty()
        result = subprocess.Popen(
            [*NAQ, "purge", "asked"],
            cwd=project.directory,
            env=project.env,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)
        os.write(ours, answer)
        out, err = result.communicate(timeout=30)
        os.close(ours)
        assert b"Remove 1 job of asked? [y/N]" in err
        assert (result.returncode, out) == (code, b"" if code else b"asked: 1 job removed\n")
    project.run("delete-queue", "asked", "--yes")


def test_arguments_are_shown_and_nothing_is_executed(project):
    project.run("pause-queue", "mail")
    project.run("enqueue", "examples.tasks:add", "1", "[2]", "--queue", "mail", "--job-id", "shown")

    assert project.json("job", "shown")["arguments"] == "1, [2]"
    assert "arguments    1, [2]\n" in project.run("job", "shown").stdout
    project.run("purge", "mail", "--yes")
    project.run("resume-queue", "mail")


def test_a_list_that_is_cut_says_so(project):
    result = project.run("list-queues", "--limit", "1")

    assert result.stderr == "naq: 1 of 2 queues are shown; --limit 2 shows all\n"
    assert len(project.json("list-workers", "--limit", "1")) == 1


# --------------------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["frobnicate"], 2, "Unknown command"),
        (["enqueue"], 2, "TARGET"),
        (["enqueue", "add"], 2, "module:function"),
        (["enqueue", "examples.tasks:nothing"], 2, "nothing"),
        (["enqueue", "examples.tasks:add", "--in", "soon"], 2, "duration"),
        (["enqueue", "examples.tasks:add", "--in=-5s"], 2, "not a duration"),
        (["enqueue", "examples.tasks:add", "--at", "noon"], 2, "2030-01-31"),
        (["enqueue", "examples.tasks:add", "--in", "1s", "--at", "2030-01-01"], 2, "not both"),
        (["enqueue", "examples.tasks:add", "--queue", "a.b"], 2, "queue name"),
        (["enqueue", "examples.tasks:add", "--kwarg", "x"], 2, "NAME=VALUE"),
        (["enqueue", "examples.tasks:add", "--max-retries", "-1"], 2, "max_retries"),
        (["job", "a b"], 2, "job id"),
        (["purge", "a.b"], 2, "queue name"),
        (["pause-queue", ">"], 2, "queue name"),
        (["requeue"], 2, "--all"),
        (["requeue", "x", "--all"], 2, "--all"),
        (["worker", "a.b"], 2, "queue name"),
        (["worker", "--concurrency", "0"], 2, "concurrency"),
        (["worker", "--concurrency", "many"], 2, "many"),
        (["worker", "--import", "no.such.module"], 78, "no.such.module"),
        (["list-queues", "--nats-url", "http://x"], 2, "NATS URL"),
    ],
)
def test_wrong_use_is_one_line_and_no_traceback(project, arguments, code, words):
    result = project.run(*arguments)

    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("naq: ")
    assert words in lines[0]


def test_a_wrong_environment_is_said_whole(project):
    result = project.run("list-queues", NAQ_REPLICAS="2", NAQ_WORKER_TTL="x")

    assert result.returncode == 78
    assert [line[:5] for line in result.stderr.splitlines()] == ["naq: ", "naq: "]
    assert "NAQ_REPLICAS" in result.stderr
    assert "NAQ_WORKER_TTL" in result.stderr


def test_a_traceback_for_those_who_ask(project):
    result = project.run("job", "nobody", "--log-level", "debug")

    assert result.returncode == 66
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1] == "naq: there is no job nobody"


def test_the_version_and_the_help(project):
    import naq

    assert project.run("--version").stdout == f"naq {naq.__version__}\n"
    helped = project.run("--help")
    assert helped.returncode == 0
    for command in ("up", "worker", "enqueue", "list-failed"):
        assert command in helped.stdout
    assert "TARGET" in project.run("enqueue", "--help").stdout


def test_a_reader_that_goes_away(project):
    command = f"{sys.executable} -m naq list-queues --json | true"
    result = subprocess.run(
        ["/bin/sh", "-c", command],
        check=False,
        cwd=project.directory,
        env=project.env,
        capture_output=True,
        timeout=30,
    )

    assert result.stderr == b""


@pytest.mark.parametrize("command", ["list-queues", "metrics", "graph", "--version", "--help"])
def test_a_full_disk_is_said_in_a_line(project, command):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [*NAQ, command],
            check=False,
            cwd=project.directory,
            env=project.env,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=30,
        )

    assert result.returncode == 74
    assert result.stderr == b"naq: cannot write the output: No space left on device\n"


def test_what_a_terminal_cannot_write_is_written_otherwise(project):
    words = ("enqueue", "builtins:str", "\N{SNOWMAN}", "--wait")

    assert project.run(*words, PYTHONIOENCODING="ascii").stdout == "\\u2603\n"
    shown = project.run("graph", PYTHONIOENCODING="ascii")
    assert (shown.returncode, shown.stderr) == (0, "")


def test_a_directory_that_was_deleted_is_said_in_a_line(project):
    command = f"mkdir gone && cd gone && rmdir ../gone && {sys.executable} -m naq ps"
    result = subprocess.run(
        ["/bin/sh", "-c", command],
        check=False,
        cwd=project.directory,
        env=project.env,
        capture_output=True,
        timeout=30,
    )

    assert b"Traceback" not in result.stderr
    assert result.stderr.startswith(b"naq: ")


# --------------------------------------------------------------------------- the whole tree


def test_a_program_outside_follows_the_server_to_another_port(tmp_path):
    """It found the server by .naq/run; a new `naq up` listens elsewhere and has told so there."""
    project = Project(tmp_path)
    project.up()
    worker = subprocess.Popen(
        [*NAQ, "worker", "outside", "--name", "outside"],
        cwd=tmp_path,
        env=project.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while "outside" not in [w["id"] for w in project.json("list-workers")]:
            pass
        before = (tmp_path / ".naq" / "run" / "nats.json").read_text()
        project.down()
        project.up()
        assert (tmp_path / ".naq" / "run" / "nats.json").read_text() != before

        result = project.run("enqueue", "math:factorial", "5", "--queue", "outside", "--wait")
        assert result.stdout == "120\n"
    finally:
        worker.terminate()
        worker.wait(20)
        project.down()


def test_killing_the_supervisor_leaves_nothing_and_the_next_start_has_the_jobs(tmp_path):
    project = Project(tmp_path)
    project.up()
    children = psutil.Process(project.supervisor.pid).children(recursive=True)
    assert len(children) >= 3
    project.run("pause-queue", "mail")
    project.run("enqueue", "examples.tasks:add", "1", "2", "--queue", "mail", "--job-id", "kept")

    project.supervisor.send_signal(signal.SIGKILL)
    project.supervisor.wait(10)
    _, alive = psutil.wait_procs(children, timeout=40)

    assert not alive
    assert project.run("ps").returncode == 3
    project.supervisor.stdout.close()
    project.up()
    try:
        assert project.json("job", "kept")["status"] == "pending"
        project.run("resume-queue", "mail")
        assert project.run("enqueue", "examples.tasks:add", "1", "2", "--wait").stdout == "3\n"
    finally:
        project.down()


def test_a_killed_server_comes_back_and_the_workers_with_it(tmp_path):
    project = Project(tmp_path)
    project.up()
    try:
        pid = next(row["pid"] for row in project.json("ps") if row["service"] == "nats")
        os.kill(pid, signal.SIGKILL)
        project.read_until(b"restart in")

        result = project.run("enqueue", "examples.tasks:add", "1", "2", "--wait")
        while result.returncode == 69:  # it is not back yet
            result = project.run("enqueue", "examples.tasks:add", "1", "2", "--wait")

        assert result.stdout == "3\n"
        workers = [row for row in project.json("ps") if row["service"] == "worker"]
        assert [row["restarts"] for row in workers] == [0, 0]
    finally:
        project.down()


def test_a_taken_port_is_said_with_who_holds_it(tmp_path, project):
    holder = next(row["pid"] for row in project.json("ps") if row["service"] == "nats")
    port = next(
        c.laddr.port
        for c in psutil.Process(holder).net_connections("inet")
        if c.status == psutil.CONN_LISTEN
    )
    other = Project(tmp_path, f'version = 1\n[services.nats]\ntype = "nats"\nport = {port}\n')
    supervisor = subprocess.Popen(
        [*NAQ, "up"],
        cwd=tmp_path,
        env=other.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    other.supervisor, other.output = supervisor, b""
    try:
        other.read_until(f"127.0.0.1:{port}: it is taken by nats-server (pid {holder})".encode())
    finally:
        other.down()


def test_without_a_file_there_is_all_one_needs(tmp_path):
    project = Project(tmp_path)
    (tmp_path / "supervisor.toml").unlink()
    project.up()
    try:
        services = [row["service"] for row in project.json("ps")]
        assert services == ["nats", "worker", "scheduler", "dashboard"]
        assert project.run("enqueue", "math:factorial", "5", "--wait").stdout == "120\n"
    finally:
        project.down()
    assert project.supervisor.returncode == 0


def test_a_worker_as_a_task_of_the_supervisor(tmp_path):
    project = Project(
        tmp_path, TOPOLOGY.replace('type = "worker"', 'type = "worker"\nrun = "task"')
    )
    project.up()
    try:
        assert project.run("enqueue", "examples.tasks:nap", "0.1", "--wait").stdout == "0.1\n"
        (first, second) = project.json("list-workers")
        assert first["pid"] == second["pid"] == project.supervisor.pid
        assert first["backend"] == "trio"
    finally:
        project.down()
    assert project.supervisor.returncode == 0
    with contextlib.suppress(psutil.NoSuchProcess):
        raise AssertionError(psutil.Process(project.supervisor.pid))
