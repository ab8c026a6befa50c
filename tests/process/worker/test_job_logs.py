"""What is logged in a job says which job; in real workers, on each loop, in both formats."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import anyio
import logging_jobs
import pytest

from naq.queue.queue import Queue

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]
SUPPORT = ROOT / "tests" / "support" / "jobs"
LOOPS = {
    "asyncio": ["-m", "benchmarks.measures.no_uvloop", "worker", "--backend", "asyncio"],
    "uvloop": ["-m", "naq", "worker", "--backend", "asyncio"],
    "trio": ["-m", "naq", "worker", "--backend", "trio"],
}


@pytest.fixture(params=LOOPS)
def loop(request):
    return LOOPS[request.param]


@pytest.fixture
def work(settings):
    """``work(loop, format, call, ...)``: let a worker run calls; their ids, and what it printed."""

    def run(loop, style, *calls):
        async def enqueue():
            async with Queue("mail", settings=settings) as queue:
                return [(await queue.enqueue(call, max_retries=1)).id for call in calls]

        ids = anyio.run(enqueue)
        env = {
            "NAQ_NATS_URL": settings.nats_url,
            "NAQ_PREFIX": settings.prefix,
            "NAQ_LOG_FORMAT": style,
            "PYTHONPATH": os.pathsep.join([str(SUPPORT), str(ROOT)]),
        }
        done = subprocess.run(
            [sys.executable, *loop, "mail", "--burst"],
            env={**os.environ, **env},
            capture_output=True,
            check=True,
            text=True,
            timeout=50,
        )
        return ids, done

    return run


def about(job_id, function, attempt=1):
    return {
        "job_id": job_id,
        "queue": "mail",
        "attempt": attempt,
        "function": f"logging_jobs:{function}",
    }


def test_json_of_async_jobs_sync_jobs_and_of_what_becomes_of_them(work, loop):
    calls = (logging_jobs.speak, logging_jobs.speak_on_the_loop, logging_jobs.fail)
    (sync, on_loop, failing), done = work(loop, "json", *calls)

    lines = [json.loads(line) for line in done.stderr.splitlines()]
    for job_id, name in ((sync, "speak"), (on_loop, "speak_on_the_loop")):
        bound, logged, structured = [line for line in lines if line.get("job_id") == job_id]
        for line in (bound, logged, structured):
            assert line.items() >= about(job_id, name).items()
            assert (line["level"], line["logger"]) == ("info", "shop")
        assert (bound["event"], bound["request"]) == ("bound by logging", "r1")
        assert (logged["event"], structured["event"]) == ("by logging", "by structlog")
        assert "request" not in logged
        assert structured["items"] == 3
    again, dead = [line for line in lines if line.get("job_id") == failing]
    assert again.items() >= about(failing, "fail", 1).items()
    assert again["event"].endswith("ValueError: no luck; will be tried again")
    assert dead.items() >= about(failing, "fail", 2).items()
    assert dead["event"].endswith("ValueError: no luck; dead letter")
    first = lines[0]
    assert "takes jobs of mail" in first["event"]
    assert not first.keys() & {"job_id", "queue", "attempt", "function"}


def test_text_has_time_level_message_then_fields(work, loop):
    (sync, failing), done = work(loop, "auto", logging_jobs.speak, logging_jobs.fail)

    lines = [re.sub(r"^\d\d:\d\d:\d\d\.\d{3} ", "", line) for line in done.stderr.splitlines()]
    fields = f"job_id={sync} queue=mail attempt=1 function=logging_jobs:speak"
    assert f"INFO    by logging {fields}" in lines
    assert f"INFO    by structlog items=3 {fields}" in lines
    # This one says itself which job it is about, and so not twice.
    assert any(
        line.startswith(f"ERROR   job {failing} ") and line.endswith("; dead letter")
        for line in lines
    )
    assert any(line.endswith(" takes jobs of mail") for line in lines)
    assert "\x1b" not in done.stderr


def test_a_failure_is_logged_with_its_traceback_whatever_a_module_does_to_logging(work, loop):
    (_, failing), done = work(loop, "json", logging_jobs.take_over_logging, logging_jobs.fail)

    lines = [json.loads(line) for line in done.stderr.splitlines()]
    again, dead = [line for line in lines if line.get("job_id") == failing]
    for line in (again, dead):
        assert line["exception"].endswith("ValueError: no luck")
        assert 'in fail\n    raise ValueError("no luck")' in line["exception"]
        assert "naq/worker" not in line["exception"]


def test_who_configures_structlog_keeps_that(work):
    (job_id,), done = work(LOOPS["uvloop"], "json", logging_jobs.speak_otherwise)

    assert done.stdout == "attempt_=1 event='mine'\n"
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    (line,) = [line for line in lines if line["event"] == "theirs"]
    assert line.items() >= about(job_id, "speak_otherwise").items()
