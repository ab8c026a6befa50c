"""The page on monitoring and the Grafana file, against what a project lets be collected."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from itertools import combinations
from pathlib import Path

import pytest
from project import Project
from prometheus_client.parser import text_string_to_metric_families

from naq.base.local import free_port

pytestmark = pytest.mark.process

DOCS = Path(__file__).parents[3] / "docs" / "operations"
TOKEN = "let-me-in"
TOPOLOGY = """
version = 1
[control]
metrics = "127.0.0.1:{control}"
[services.nats]
type = "nats"
port = 0
[services.worker]
type = "worker"
import = ["examples.tasks"]
metrics = "127.0.0.1:{worker}"
depends_on = ["nats"]
[services.scheduler]
type = "scheduler"
metrics = "127.0.0.1:{scheduler}"
depends_on = ["nats"]
[services.dashboard]
type = "dashboard"
bind = "127.0.0.1:{dashboard}"
token = "let-me-in"
depends_on = ["worker"]
"""
SUFFIXES = re.compile(r"_(bucket|sum|count)$")


def get(port, path="/metrics"):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        return reply.read().decode()


def until_counted(port):
    """Wait until the worker has counted what it did, which it does a second later."""
    wanted = [
        'naq_jobs_processed_total{queue="default"} 3.0',
        'naq_job_run_seconds_count{queue="default"} 4.0',
        'naq_job_wait_seconds_count{queue="default"} 3.0',
        'naq_jobs_dead_total{queue="default"} 1.0',
    ]
    deadline = time.monotonic() + 30
    while not all(line in (text := get(port)) for line in wanted):
        assert time.monotonic() < deadline, text
        time.sleep(0.05)


@pytest.fixture(scope="module")
def exposed(tmp_path_factory):
    """The texts of all sources, after a job that was done, a retried one and a failed one."""
    ports = {name: free_port() for name in ("control", "worker", "scheduler", "dashboard")}
    project = Project(tmp_path_factory.mktemp("shop"), TOPOLOGY.format(**ports))
    project.up()
    try:
        assert project.run("enqueue", "examples.tasks:add", "1", "2", "--wait").returncode == 0
        once = project.run("enqueue", "examples.tasks:flaky", "1", "--wait")
        assert once.returncode == 0, once.stderr
        assert project.run("enqueue", "examples.tasks:add", "1", "null", "--wait").returncode == 1
        made = project.run("schedule", "examples.tasks:add", "1", "2", "--cron", "0 0 1 1 *")
        assert made.returncode == 0, made.stderr
        assert project.run("restart", "scheduler", "--wait").returncode == 0  # its numbers go on
        for name in ("worker", "scheduler", "dashboard"):
            assert get(ports[name], "/healthz")
            assert get(ports[name], "/readyz")
        until_counted(ports["dashboard"])
        texts = {name: get(port) for name, port in ports.items()}
        texts["naq metrics"] = project.run("metrics").stdout
    finally:
        project.down()
    return texts


def families(text):
    """Return names and types of what an exposition has samples of; names as they are queried."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in text_string_to_metric_families(text)
    }


@pytest.fixture(scope="module")
def known(exposed):
    return {name: kind for text in exposed.values() for name, kind in families(text).items()}


@pytest.fixture(scope="module")
def listed():
    rows = re.findall(
        r"^\| `(\w+)` \| (gauge|counter|histogram) \|",
        (DOCS / "monitoring.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) == len(dict(rows))
    return dict(rows)


@pytest.fixture(scope="module")
def grafana():
    return json.loads((DOCS / "grafana" / "naq.json").read_text())


def test_the_list_is_what_is_exposed(known, listed):
    assert known == listed


def test_names_and_texts_are_as_prometheus_wants_them(exposed):
    for source, text in exposed.items():
        for word in ("HELP", "TYPE"):
            names = re.findall(rf"^# {word} (\S+)", text, re.MULTILINE)
            assert len(names) == len(set(names)), source
        for name, kind in families(text).items():
            assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", name)
            assert name.endswith("_total") == (kind == "counter"), name
            assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|percent)(_|$)", name)
            if kind == "histogram":
                assert name.endswith("_seconds")
        for family in text_string_to_metric_families(text):
            assert family.documentation, family.name


def test_numbers_are_those_of_what_happened(exposed):
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(exposed["dashboard"])
        for sample in family.samples
    }
    assert found["naq_up"] == 1
    assert found["naq_jobs_processed_total"] == 3
    assert found["naq_jobs_failed_total"] == found["naq_jobs_retried_total"] == 1
    assert found["naq_jobs_dead_total"] == found["naq_dead_letters"] == 1
    assert found["naq_job_wait_seconds_count"] == 3
    assert found["naq_job_run_seconds_count"] == 4
    assert 'naq_replica_restarts_total{project="' in exposed["dashboard"]


def used(text):
    """Return the metrics an expression or document names."""
    names = re.findall(r"\b(?:naq|process)_[a-z0-9_]+[a-z0-9]\b", text)
    return {SUFFIXES.sub("", name) for name in names}


def test_alerts_and_panels_name_what_there_is(known, grafana):
    alerts = (DOCS / "monitoring.md").read_text().partition("## Alerts")[2]
    assert used("\n".join(line for line in alerts.splitlines() if "summary" not in line)) <= set(
        known
    )
    panels = [panel for panel in grafana["panels"] if panel["type"] != "row"]
    for panel in panels:
        for target in panel["targets"]:
            assert target["expr"]
            assert used(target["expr"]), panel["title"]
            assert used(target["expr"]) <= set(known), panel["title"]


def test_the_grafana_file_can_be_imported(grafana):
    assert grafana["schemaVersion"] >= 36
    assert grafana["id"] is None
    variables = {variable["name"]: variable for variable in grafana["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["queue"]["datasource"]["uid"] == "${datasource}"
    panels = grafana["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] >= 0 <= at["y"]
        assert at["x"] + at["w"] <= 24
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert len({t["refId"] for t in panel["targets"]}) == len(panel["targets"]) > 0
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
