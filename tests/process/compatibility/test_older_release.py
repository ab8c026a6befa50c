"""An older naq and this one on one server: what either writes, the other reads.

The older one comes out of this repository's history, so both run at the same time, with the same
interpreter and the same dependencies.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import anyio
import pytest

REVISION = "486a81c96f310a28c7c63d3db7852926ab71dfce"
"""The last one whose modules lay in one folder."""
ROOT = Path(__file__).parents[3]
SUPPORT = ROOT / "tests" / "support" / "compatibility"

pytestmark = [pytest.mark.process, pytest.mark.time_limit(180)]


@pytest.fixture(scope="session")
def older(tmp_path_factory):
    """Where the older naq lies, as it was committed."""
    archive = subprocess.run(
        ["git", "archive", REVISION, "naq"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"the history of this clone does not reach back to {REVISION}")
    home = tmp_path_factory.mktemp("older")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(home, filter="data")
    return home


class Release:
    """One of the two: its programs and its commands."""

    def __init__(self, tree, env, home):
        self.tree = tree
        self.home = home
        self.env = {**os.environ, **env, "PYTHONPATH": f"{tree}:{SUPPORT}"}
        self._started = []

    def ask(self, *words):
        """Run the program of both; return its answer."""
        run = subprocess.run(
            [sys.executable, SUPPORT / "compatibility_program.py", *map(json.dumps, words)],
            env=self.env,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        said = json.loads(run.stdout)
        assert said["naq"] == str(self.tree / "naq" / "__init__.py")
        return said["answer"]

    def run(self, *words):
        """Run a command of naq; return what it prints."""
        command = [sys.executable, "-m", "naq", *words]
        return subprocess.run(
            command, env=self.env, cwd=self.home, capture_output=True, text=True, check=True
        ).stdout

    def start(self, *words):
        """Start a worker or scheduler and wait until it is ready."""
        address = self.home / f"{secrets.token_hex(4)}.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(address))
            ready.settimeout(30)
            log = (self.home / f"{address.stem}.log").open("wb")
            process = subprocess.Popen(
                [sys.executable, "-m", "naq", *words],
                env={**self.env, "NOTIFY_SOCKET": str(address)},
                stdout=log,
                stderr=log,
                cwd=self.home,
            )
            log.close()
            self._started.append(process)
            while b"READY=1" not in ready.recv(4096):
                pass
        return process

    def stop(self):
        """Stop everything that was started."""
        for process in self._started:
            process.send_signal(signal.SIGTERM)
        for process in self._started:
            process.wait(30)
        self._started.clear()


@pytest.fixture
def both(older, settings, tmp_path):
    """The older release and this one; what they write is signed."""
    env = {
        "NAQ_NATS_URL": settings.nats_url,
        "NAQ_PREFIX": settings.prefix,
        "NAQ_SECRET_KEY": "a key that both of them know, and nobody else",
    }
    found = [Release(older, env, tmp_path), Release(ROOT, env, tmp_path)]
    yield found
    for release in found:
        release.stop()


@pytest.fixture(params=["older", "this"])
def releases(request, both):
    """``one, other``: the one named by the parameter writes, the other works it off."""
    return both if request.param == "older" else both[::-1]


def until(ask, timeout=30):
    """Wait until something that tells nobody is true."""

    async def wait():
        with anyio.fail_after(timeout):
            while not (value := await anyio.to_thread.run_sync(ask)):  # noqa: ASYNC110
                await anyio.sleep(0.2)
        return value

    return anyio.run(wait)


PORTABLE = {
    "by reference": "5",
    "by name": "5",
    "options": ["1", "'ä'"],
    "delayed": "5",
    "chosen": "2",
    "one of many 0": "1",
    "one of many 1": "2",
    "one of many 2": "3",
}
PYTHON = {
    "of main": "3",
    "task of main": "2",
    "a lambda": "2",
    "uses naq": "(6, True, 1)",
    "values": [
        "<JobStatus.FAILED: 'failed'>",
        "<ScheduleStatus.PAUSED: 'paused'>",
        "JobTimeoutError('slow')",
        "<naq.call add>",
        "add",
        "enqueue",
        "enqueue_sync",
        "Worker",
    ],
}


def test_jobs_of_one_are_run_by_the_other(releases):
    one, other = releases
    jobs = one.ask("put", "pickle")
    other.start("worker", "default", "--concurrency", "5")

    assert one.ask("results", jobs) == PORTABLE | PYTHON
    assert other.ask("results", jobs) == PORTABLE | PYTHON
    # A job of that id has run. This release finds its record; the older one looks no further than
    # its own messages of the last two minutes, but no worker runs the job a second time.
    assert one.ask("put_again", "chosen") is True
    other.ask("put_again", "chosen")
    assert one.ask("results", jobs) == PORTABLE | PYTHON


def test_jobs_in_json_mode(releases):
    one, other = releases
    for release in releases:
        release.env["NAQ_JOB_SERIALIZER"] = "json"
        del release.env["NAQ_SECRET_KEY"]
    jobs = one.ask("put", "json")
    other.start("worker", "default", "--allow", "compatibility_jobs")
    assert one.ask("results", jobs) == PORTABLE
    assert other.ask("results", jobs) == PORTABLE


def test_a_retry_and_a_dead_letter_change_hands(releases, tmp_path):
    one, other = releases
    retried = one.ask("put_once", str(tmp_path / "a"), {"max_retries": 1, "retry_delay": 600})
    dead = one.ask("put_once", str(tmp_path / "b"), {})
    one.start("worker", "default")
    until(lambda: one.ask("known", retried)[0] == "retrying")
    until(lambda: one.ask("known", dead)[0] == "failed")
    one.stop()

    assert other.ask("known", dead) == ["failed", 1, one.ask("known", dead)[2]]
    assert dead in other.run("list-failed")
    other.run("requeue", dead)
    other.run("job-control", retried, "run-now")
    other.start("worker", "default")
    expected = {"retried": "('there', 2)", "dead": "('there', 1)"}
    assert one.ask("results", {"retried": retried, "dead": dead}) == expected
    status, attempts, errors = one.ask("known", retried)
    assert (status, attempts) == ("completed", 2)
    assert errors == ["ValueError: not yet: there"]


def test_schedules_change_hands(releases, tmp_path):
    one, other = releases
    plain, policy = tmp_path / "plain", tmp_path / "policy"
    one.ask("schedule", "plain", str(plain), {"cron": "* * * * * *"})
    one.ask("schedule", "policy", str(policy), {"interval": 1, "repeat": 2})
    one.start("worker", "default", "--import", "compatibility_jobs")
    revisions = {name: found[1] for name, found in one.ask("schedules").items()}
    assert set(revisions) == {"plain", "policy", "declared"}
    one.stop()

    other.start("worker", "default", "--import", "compatibility_jobs")
    other.start("scheduler", "--poll-interval", "1")
    until(lambda: plain.exists() and len(plain.read_text().splitlines()) >= 2)
    until(lambda: other.ask("schedules")["policy"][0] == "finished")
    # To say the same again changes nothing, whoever says it.
    assert other.ask("schedule", "plain", str(plain), {"cron": "* * * * * *"}) == 1
    assert {name: found[1] for name, found in other.ask("schedules").items()} == revisions
    assert other.ask("modify", "plain", {"interval": 3600}) == "active"
    assert one.ask("modify", "plain", {"cron": "0 0 * * *"}) == "active"
    assert one.ask("schedules") == other.ask("schedules")
    runs = policy.read_text().splitlines()
    assert len(set(runs)) == len(runs) == 2


def test_values_of_classes_that_are_not_public_are_read_by_this_one(both):
    """The older one cannot read those of this one: it looks where they were."""
    one, other = both
    job = one.ask("put", "json")["chosen"]
    one.start("worker", "default")
    one.ask("results", {"": job})
    asked = one.ask("put_everything", job)
    said = "".join(*other.ask("results", {"": asked}).values())
    for name in ("JobInfo(", "JobRecord(", "QueueStats(", "WorkerInfo("):
        assert name in said
