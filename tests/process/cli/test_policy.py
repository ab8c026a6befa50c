"""What a task says of its jobs, in a project as people have it: command line and [schedules]."""

from __future__ import annotations

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
queues = ["default", "mail"]
import = ["shop"]
depends_on = ["nats"]
[schedules.its]
function = "shop:report"
cron = "@yearly"
[schedules.own]
function = "shop:report"
queue = "default"
max_retries = 1
cron = "@yearly"
[schedules.plain]
function = "shop:plain"
cron = "@yearly"
[schedules.elsewhere]
function = "not_here.tasks:run"
cron = "@yearly"
"""
SHOP = """
import naq
print("shop is imported")
@naq.task(queue="mail", max_retries=4, timeout=60)
def report(): return naq.current_job().queue
def plain(): return naq.current_job().queue
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shop")
    (directory / "shop.py").write_text(SHOP)
    (directory / "queue.py").write_text("raise SystemExit('a file of the project was imported')")
    project = Project(directory, TOPOLOGY)
    project.up()
    yield project
    project.down()


def test_a_table_of_schedules_asks_the_tasks(project):
    assert project.run("wait", "schedules").returncode == 0
    rows = {row["id"]: row["queue"] for row in project.json("list-scheduled")}

    declared = {"its": "mail", "own": "default", "plain": "default", "elsewhere": "default"}
    assert declared.items() <= rows.items()


@pytest.mark.parametrize(
    ("function", "queue"), [("shop:report", "mail"), ("shop:plain", "default")]
)
def test_the_command_line_takes_what_the_task_says(project, function, queue):
    done = project.run("enqueue", function, "--wait")
    assert done.stdout.splitlines()[-1] == queue

    made = project.run("schedule", function, "--interval", "1h", "--id", f"by-{queue}")
    assert made.returncode == 0, made.stderr
    (row,) = project.json("list-scheduled", "--job-id", f"by-{queue}")
    assert row["queue"] == queue
