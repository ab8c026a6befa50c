"""Schedules on the command line and in supervisor.toml, against a real ``naq up``."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from project import Project

pytestmark = pytest.mark.process

TOPOLOGY = """
version = 1
[services.nats]
type = "nats"
port = 0
[services.worker]
type = "worker"
depends_on = ["nats"]
[services.scheduler]
type = "scheduler"
run = "{run}"
replicas = 2
depends_on = ["nats"]
"""
SCHEDULES = """
[schedules.beat]
function = "examples.tasks:add"
args     = [1, 2]
cron     = "* * * * * *"
[schedules.few]
function = "examples.tasks:add"
args     = [3, 4]
interval = "1s"
repeat   = 2
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("shop"), TOPOLOGY.format(run="task"))
    project.up()
    yield project
    project.down()


def row(project, schedule_id):
    (found,) = project.json("list-scheduled", "--job-id", schedule_id)
    return found


def test_make_list_and_control(project):
    made = project.run(
        *("schedule", "examples.tasks:add", "2", "3", "--cron", "0 7 * * mon-fri"),
        *("--timezone", "Europe/Berlin", "--id", "sums"),
    )
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("sums active, next run 20")

    found = row(project, "sums")
    assert found["function"] == "examples.tasks:add"
    assert (found["queue"], found["status"], found["runs"]) == ("default", "active", 0)
    assert (found["cron"], found["timezone"]) == ("0 7 * * mon-fri", "Europe/Berlin")
    assert (found["interval"], found["repeat"], found["last_run"]) == (None, None, None)
    assert found["next_run"].endswith("Z")

    said = project.run("job-control", "sums", "pause").stdout
    assert said == "sums paused\n"
    assert row(project, "sums")["next_run"] is None
    said = project.run("job-control", "sums", "resume").stdout
    assert said.startswith("sums active, next run ")
    said = project.run("job-control", "sums", "reschedule", "--interval", "1h").stdout
    assert said.startswith("sums active, next run ")
    assert row(project, "sums")["interval"] == 3600.0
    said = project.run(
        "job-control", "sums", "reschedule", "--next-run", "2031-01-31T09:00+00:00"
    ).stdout
    assert row(project, "sums")["next_run"] == "2031-01-31T09:00:00Z"

    said = project.run("job-control", "sums", "run-now").stdout
    assert said.startswith("sums runs now as sums-20")
    job_id = said.split()[-1]
    for _ in range(100):
        if (job := project.json("job", job_id))["status"] == "completed":
            break
        time.sleep(0.05)
    assert job["result"] == 5
    assert project.run("job-control", "sums", "cancel").stdout == "sums cancelled\n"
    assert row(project, "sums")["status"] == "cancelled"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["job-control", "nix", "pause"], 66, "no schedule or delayed job nix"),
        (["job-control", "wrong", "fly"], 2, '"fly"'),
        (["job-control", "wrong", "reschedule"], 2, "nothing to change"),
        (["job-control", "wrong", "reschedule", "--cron", "61 * * * *"], 2, "minute: '61'"),
        (
            ["job-control", "wrong", "reschedule", "--interval", "soon"],
            2,
            "'soon' is not a duration",
        ),
        (["job-control", "wrong", "reschedule", "--next-run", "soon"], 2, "--next-run 'soon'"),
        (["job-control", "wrong", "reschedule", "--timezone", "Mars"], 2, "timezone='Mars'"),
        (["job-control", "wrong", "reschedule", "--repeat", "0"], 2, "repeat=0"),
        (["job-control", "wrong", "pause", "--cron", "* * * * *"], 2, "--cron: only for"),
        (["job-control", "a.b", "pause"], 2, "job id 'a.b'"),
        (["list-scheduled", "--job-id", "nix"], 66, "nix"),
        (["list-scheduled", "--status", "odd"], 2, '"odd"'),
        (["schedule", "examples.tasks:add"], 2, "give cron or interval"),
        (["schedule", "examples.tasks:add", "--cron", "x"], 2, "has 1 fields"),
        (["schedule", "examples.tasks:nope", "--interval", "5"], 2, "nope"),
        (["scheduler", "--poll-interval", "0"], 2, "poll_interval"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_code(project, words, code, says):
    if "wrong" in words:
        project.run("schedule", "examples.tasks:add", "1", "1", "--interval", "1h", "--id", "wrong")
    result = project.run(*words)
    assert (result.returncode, result.stdout) == (code, "")
    assert says in result.stderr
    assert result.stderr.startswith("naq: ")
    assert result.stderr.count("\n") == 1


def test_delayed_jobs_and_long_retries(project):
    later = project.run("enqueue", "examples.tasks:add", "2", "3", "--in", "1h").stdout.strip()
    found = row(project, later)
    assert (found["kind"], found["status"]) == ("delayed", "scheduled")
    refused = project.run("job-control", later, "pause")
    assert (refused.returncode, "is a delayed job" in refused.stderr) == (2, True)
    refused = project.run("job-control", later, "reschedule", "--cron", "* * * * *")
    assert (refused.returncode, "cron: " in refused.stderr) == (2, True)

    tomorrow = datetime.now(UTC) + timedelta(days=1)
    said = project.run("job-control", later, "reschedule", "--next-run", tomorrow.isoformat())
    assert said.returncode == 0
    assert row(project, later)["next_run"][:16] == tomorrow.isoformat()[:16]
    assert project.run("job-control", later, "run-now").returncode == 0
    for _ in range(100):
        if (job := project.json("job", later))["status"] == "completed":
            break
        time.sleep(0.05)
    assert job["result"] == 5

    gone = project.run("enqueue", "examples.tasks:add", "2", "3", "--in", "1h").stdout.strip()
    assert project.run("job-control", gone, "cancel").stdout == f"{gone} cancelled\n"
    assert project.run("list-scheduled", "-j", gone).returncode == 66


def test_a_table_for_people(project):
    project.run("schedule", "examples.tasks:add", "1", "1", "--interval", "90", "--id", "people")
    brief = project.run("list-scheduled").stdout
    assert brief.splitlines()[0].split() == [
        "ID",
        "FUNCTION",
        "QUEUE",
        "STATUS",
        "WHEN",
        "NEXT",
        "RUN",
        "IN",
    ]
    assert "every 1m30s" in brief
    detailed = project.run("list-scheduled", "--detailed", "--status", "active").stdout
    assert "POLICY" in detailed.splitlines()[0]
    assert project.run("list-scheduled", "--status", "paused").stderr == (
        "naq: nothing is scheduled\n"
    )
    assert project.run("list-scheduled", "--queue", "nix").returncode == 66
    project.run("job-control", "people", "cancel")


def test_schedules_of_the_file_come_change_and_go(tmp_path):
    project = Project(tmp_path, TOPOLOGY.format(run="process") + SCHEDULES)
    file = tmp_path / "supervisor.toml"
    assert project.run("validate").returncode == 0
    project.up()
    try:
        project.run("schedule", "examples.tasks:add", "1", "1", "--interval", "1h", "--id", "mine")
        assert row(project, "beat")["source"] == f"project {tmp_path.name}"
        for _ in range(100):
            if row(project, "few")["status"] == "finished":
                break
            time.sleep(0.05)
        assert row(project, "few")["runs"] == 2
        beats = row(project, "beat")["runs"]

        project.run("job-control", "beat", "pause")
        file.write_text(file.read_text().replace('"* * * * * *"', '"0 0 * * *"'))
        assert "schedules is restarted" in project.run("reload").stdout
        found = row(project, "beat")
        assert found["cron"] == "0 0 * * *"  # changed in place, and what people did stays
        assert found["status"] == "paused"
        assert found["runs"] >= beats

        bad = project.run("reload")
        assert bad.returncode == 0  # nothing has changed
        broken = file.read_text().replace('"0 0 * * *"', '"61 0 * * *"')
        whole = file.read_text()
        file.write_text(broken)
        refused = project.run("reload")
        assert refused.returncode == 78
        assert "minute: '61'" in refused.stderr
        file.write_text(whole.partition("[schedules.beat]")[0])
        assert project.run("reload").returncode == 0
        listed = {found["id"] for found in project.json("list-scheduled")}
        assert listed == {"mine"}
    finally:
        project.down()


def test_without_a_scheduler_one_is_told_so(tmp_path):
    topology = TOPOLOGY.partition("[services.scheduler]")[0]
    project = Project(tmp_path, topology)
    project.up()
    try:
        project.run("schedule", "examples.tasks:add", "1", "1", "--interval", "1h")
        assert project.run("list-scheduled").stderr == ""
        project.run("schedule", "examples.tasks:add", "1", "1", "--interval", "1h", "--repeat", "3")
        assert "no scheduler is running" in project.run("list-scheduled").stderr
    finally:
        project.down()
