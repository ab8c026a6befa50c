"""A real `naq up` with a dashboard, and Debian's chromium to look at it with."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from project import Project

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TASKS = Path(__file__).parents[1] / "support" / "jobs" / "browser_tasks.py"
TOPOLOGY = """
version = 1
[services.nats]
type = "nats"
port = 0
[services.worker]
type = "worker"
queues = ["default", "mail"]
import = ["browser_tasks"]
stop_timeout = "2s"
depends_on = ["nats"]
[services.scheduler]
type = "scheduler"
run = "task"
depends_on = ["nats"]
[services.dashboard]
type = "dashboard"
bind = "127.0.0.1:0"
[services.chatter]
command = ["python3", "-u", "-c", '''
import sys
for number in range(50):
    print("line", number, "<script>alert(1)</script>")
for line in open("tick", "rb", buffering=0):
    print(line.decode().strip())
''']
"""


class Site(Project):
    """A project with a dashboard."""

    def __init__(self, directory, topology=TOPOLOGY):
        super().__init__(directory, topology)
        shutil.copy(TASKS, directory)
        self.env["PYTHONPATH"] += os.pathsep + str(directory)
        os.mkfifo(directory / "tick")

    def up(self):
        super().up()
        # Both ends, so that the reader sees no end and nobody waits for the other.
        self._tick = os.open(self.directory / "tick", os.O_RDWR)
        self.link = re.search(r"http://\S+token=\S+", self.output.decode())[0]
        self.url, _, self.token = self.link.partition("/login?token=")

    def tick(self, line):
        os.write(self._tick, line.encode() + b"\n")

    def down(self):
        super().down()
        os.close(self._tick)

    def seed(self):
        """Enqueue what the pages show."""
        self.program(
            """
            import naq, browser_tasks as t
            done = naq.enqueue_sync(t.echo, {"rows": [1, 2]}, job_id="done")
            naq.enqueue_sync(t.later, "not now", job_id="retried")
            for name in ("failing", "failing-2", "failing-3"):
                naq.enqueue_sync(t.broken, "what is wrong", job_id=name, meta={"by": "ada"})
            naq.enqueue_in_sync(3600, t.add, 1, 2, job_id="delayed")
            naq.enqueue_sync(t.nap, 3600, job_id="running")
            naq.schedule_sync(t.add, 1, 2, cron="*/5 * * * *", schedule_id="sums")
            naq.schedule_sync(t.add, 1, 2, interval=3600, schedule_id="hourly")
            done.result_sync(timeout=20)
            """
        )
        self.wait_for("list-queues", lambda rows: sum(row["dead"] for row in rows) == 3)
        self.wait_for("job", lambda job: job["status"] == "retrying", "retried")

    def program(self, text):
        """Run a program in the project."""
        run = [sys.executable, "-c", textwrap.dedent(text)]
        subprocess.run(run, cwd=self.directory, env=self.env, check=True, timeout=60)

    def wait_for(self, command, holds, *arguments):
        """Ask until the answer is as it should be."""
        deadline = time.monotonic() + 20
        while True:
            result = self.run(command, *arguments, "--json")
            if result.stdout and holds(json.loads(result.stdout)):
                return
            assert time.monotonic() < deadline, result.stdout + result.stderr

    def naq(self, *arguments):
        result = self.run(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def enqueue(self, task, *arguments, options=()):
        return self.naq("enqueue", f"browser_tasks:{task}", *arguments, *options)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("shop"))
    site.up()
    try:
        yield site
    finally:
        site.down()


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        if os.environ.get("NAQ_TEST_BROWSER"):
            pytest.fail("there is no chromium, and NAQ_TEST_BROWSER asks for it")
        pytest.skip("needs chromium: apt install chromium")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=20_000)  # milliseconds, on a machine that is busy with other tests
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, site):
    """Open a page in a browser of its own, logged in; complaints of the browser fail the test."""
    contexts, complaints = [], []

    def open_page(path="/", *, log_in=True, url=None, link=None, **options):
        options = {"viewport": {"width": 1280, "height": 800}} | options
        context = chromium.new_context(**options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on(
            "console",
            lambda said: said.type in {"error", "warning"} and complaints.append(said.text),
        )
        if log_in:
            page.goto(link or site.link)
        page.goto((url or site.url) + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    refused = ("the server responded with a status of 4", "Failed to load resource: net::ERR_")
    assert not [text for text in complaints if not any(known in text for known in refused)]
