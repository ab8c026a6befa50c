"""Traces from one process to another, with the set-up of docs/operations/tracing.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]
SUPPORT = ROOT / "tests" / "support" / "jobs"

PRODUCER = """
import telemetry
import naq
from examples.tasks import add

with telemetry.trace.get_tracer("shop").start_as_current_span("order"):
    naq.enqueue_sync(add, 2, 3, queue_name="mail")
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_workers_span_is_below_its_producers(settings, tmp_path, backend):
    env = {
        **os.environ,
        "NAQ_NATS_URL": settings.nats_url,
        "NAQ_PREFIX": settings.prefix,
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), str(ROOT)]),
        "TRACES": str(tmp_path / "traces"),
    }
    worker = ["-m", "naq", "worker", "mail", "--burst", "--import", "telemetry"]
    for command in (["-c", PRODUCER], [*worker, "--backend", backend]):
        subprocess.run([sys.executable, *command], env=env, check=True, timeout=50)

    lines = (tmp_path / "traces").read_text().splitlines()
    by_name = {span["name"]: span for span in map(json.loads, lines)}
    assert by_name.keys() == {"order", "enqueue mail", "process mail"}
    order, sent, ran = (by_name[name] for name in ("order", "enqueue mail", "process mail"))
    assert (order["parent_id"], sent["parent_id"], ran["parent_id"]) == (
        None,
        order["context"]["span_id"],
        sent["context"]["span_id"],
    )
    assert len({span["context"]["trace_id"] for span in by_name.values()}) == 1
    assert ran["attributes"]["naq.job.outcome"] == "completed"
