"""The API against its own document: whatever is sent, what comes back is what that says.

schemathesis makes requests of the document, right ones and wrong ones, and sends them over real
HTTP to a dashboard with something of everything in it. The seed is fixed, so a failure is one.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress

import pytest
import trio

from examples.tasks import add
from naq.dashboard.api.openapi import describe
from naq.dashboard.serve import Dashboard
from naq.exceptions import JobExecutionError

TOKEN = "let-me-in"
CONFIG = """
[checks.positive_data_acceptance]
# 400: cron expressions and time zones are languages of their own.
expected-statuses = [200, 400, 404, 409]
"""
# What each path is about, so that some requests are about something that is there. Each verb has
# its own: what one has removed is of no use to the next.
VERBS = ("pause", "resume", "cancel", "run-now", "reschedule", "requeue", "delete")


def known(path):
    """Return an id for a path of the document, None if there is none to know."""
    kind, *rest = path.removeprefix("/api/").split("/")
    if kind == "services":
        return None
    return "default" if kind == "queues" else f"{kind}-{rest[-1].strip('{}')}"


@pytest.mark.time_limit(150)  # some twenty seconds of work, for a machine that has other work too
@pytest.mark.parametrize("anyio_backend", [("trio", {})])
async def test_the_api_is_what_its_document_says(queue, run_worker, settings, tmp_path):
    dashboard = Dashboard(port=0, token=TOKEN, settings=settings, directory=tmp_path)
    async with run_worker(), trio.open_nursery() as nursery:
        for verb in VERBS:
            with suppress(JobExecutionError):
                await (await queue.enqueue(add, 1, None, job_id=f"dead-letters-{verb}")).result(20)
            await queue.schedule(add, 1, 2, cron="0 0 1 1 *", schedule_id=f"schedules-{verb}")
        for name in ("jobs-id", "jobs-cancel"):
            await queue.enqueue_in(3600, add, 1, 2, job_id=name, meta={"note": "a/b ü"})
        await nursery.start(dashboard.run)
        await dashboard._link.came.wait()
        document = describe(readonly=False)
        for path, operations in document["paths"].items():
            for operation in operations.values():
                for parameter in operation.get("parameters", ()):
                    there = known(path) if parameter["in"] == "path" else None
                    if parameter["name"] == "queue":
                        there = "default"
                    if there:
                        parameter["schema"] = {"anyOf": [{"const": there}, parameter["schema"]]}
        await trio.Path(tmp_path / "openapi.json").write_text(json.dumps(document))
        await trio.Path(tmp_path / "schemathesis.toml").write_text(CONFIG)
        found = await trio.run_process(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"),
                *("run", "openapi.json", "--url", dashboard.url.rstrip("/"), "--no-color"),
                *("--header", f"Authorization: Bearer {TOKEN}"),
                *("--phases", "examples,coverage,fuzzing", "--mode", "all"),
                *("--checks", "all", "--max-examples", "4", "--continue-on-failure"),
                "--generation-deterministic",
                *("--suppress-health-check", "all", "--warnings", "off"),
            ],
            cwd=tmp_path,
            check=False,
            capture_stdout=True,
            stderr=None,
        )
        dashboard.stop()
    assert found.returncode == 0, found.stdout.decode()
