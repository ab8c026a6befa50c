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
from naq.dashboard.serve import Dashboard
from naq.exceptions import JobExecutionError

TOKEN = "let-me-in"
CONFIG = """
[checks.positive_data_acceptance]
# 400: cron expressions and time zones are languages of their own.
expected-statuses = [200, 400, 404, 409]
"""
KNOWN = {"queues": "default", "jobs": "known", "dead-letters": "dead", "schedules": "new-year"}


@pytest.mark.parametrize("anyio_backend", [("trio", {})])
async def test_the_api_is_what_its_document_says(queue, run_worker, settings, tmp_path):
    dashboard = Dashboard(port=0, token=TOKEN, settings=settings, directory=tmp_path)
    async with run_worker(), trio.open_nursery() as nursery:
        with suppress(JobExecutionError):
            await (await queue.enqueue(add, 1, None, job_id="dead")).result(20)
        await queue.enqueue_in(3600, add, 1, 2, job_id="known", meta={"note": "a/b ü"})
        await queue.schedule(add, 1, 2, cron="0 0 1 1 *", schedule_id="new-year")
        await nursery.start(dashboard.run)
        document = await described(dashboard)
        for path, operations in document["paths"].items():
            for operation in operations.values():
                for parameter in operation.get("parameters", ()):
                    known = KNOWN.get(path.split("/")[2])
                    if parameter["in"] == "path" and known:
                        parameter["example"] = known  # so that some are about what is there
        await trio.Path(tmp_path / "openapi.json").write_text(json.dumps(document))
        await trio.Path(tmp_path / "schemathesis.toml").write_text(CONFIG)
        found = await trio.run_process(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"),
                *("run", "openapi.json", "--url", dashboard.url.rstrip("/"), "--no-color"),
                *("--header", f"Authorization: Bearer {TOKEN}"),
                *("--phases", "examples,coverage,fuzzing", "--mode", "all"),
                *("--checks", "all", "--max-examples", "10", "--continue-on-failure"),
                *("--generation-deterministic", "--generation-database", "none"),
                *("--suppress-health-check", "all", "--warnings", "off"),
            ],
            cwd=tmp_path,
            check=False,
            capture_stdout=True,
            stderr=None,
        )
        dashboard.stop()
    assert found.returncode == 0, found.stdout.decode()


async def described(dashboard):
    """Return the document, once there is a server."""
