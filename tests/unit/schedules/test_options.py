"""The options of ``schedule``: all that is wrong is said, at once."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

import naq
from naq.exceptions import ConfigurationError
from naq.jobs.job import JobMessage
from naq.schedules import declared
from naq.schedules.options import normalize, rescheduled
from naq.schedules.schedule import ScheduleRecord

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NAIVE = NOW.replace(tzinfo=None)
JOB = JobMessage(id="", queue="q", function="m:f", payload=b"", encoding="json", enqueued_at=0.0)


def problems(**options):
    with pytest.raises(ConfigurationError) as caught:
        normalize(options, now=NOW.timestamp())
    return caught.value.problems


def test_all_problems_at_once():
    found = problems(cron="61 * * * *", repeat=0, timezone="Mars", misfire="maybe", overlap=3)
    assert len(found) == 5
    assert any("cron='61 * * * *': minute" in text for text in found)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "give cron or interval"),
        ({"cron": "* * * * *", "interval": 5}, "not both"),
        ({"interval": 5, "timezone": "UTC"}, "timezone is for cron"),
        ({"interval": 0.5}, "interval=0.5: must be 1 or more"),
        ({"interval": float("inf")}, "interval=inf"),
        ({"interval": "5m"}, "give seconds or a timedelta"),
        ({"interval": 5, "start": NAIVE}, "start=.*time zone"),
        ({"interval": 5, "start": NOW, "end": NOW - timedelta(1)}, "end is before start"),
        ({"interval": 5, "repeat": True}, "repeat=True"),
        ({"interval": 5, "jitter": -1}, "jitter=-1"),
        ({"cron": 5}, "cron=5"),
        ({"cron": "* * * * *", "schedule_id": "a b"}, "schedule id"),
    ],
)
def test_what_is_wrong_with_one(options, problem):
    assert any(re.search(problem, text) for text in problems(**options))


def test_an_interval_begins_one_interval_from_now_or_at_its_start():
    now = NOW.timestamp()
    assert normalize({"interval": timedelta(minutes=1)}, now=now + 0.7)["anchor"] == now + 60
    assert normalize({"interval": 60, "start": NOW}, now=now)["anchor"] == now


def record(**fields):
    return ScheduleRecord(id="s", job=JOB, **({"cron": "0 * * * *"} | fields))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, "nothing to change"),
        ({"cron": "nope"}, "has 1 fields"),
        ({"cron": "* * * * *", "interval": 5}, "not both"),
        ({"interval": 5, "timezone": "UTC"}, "timezone is for cron"),
        ({"repeat": 2}, "it has run 3 times already"),
        ({"next_run": NAIVE}, "time zone"),
        ({"queue": "x"}, "queue: cannot be changed"),
    ],
)
def test_what_cannot_be_rescheduled(changes, problem):
    with pytest.raises(ConfigurationError, match=problem):
        rescheduled(record(runs=3), changes, NOW.timestamp())


def test_from_cron_to_interval_and_back():
    now = NOW.timestamp()
    changed = rescheduled(record(timezone="Europe/Berlin"), {"interval": 60}, now)
    assert (changed["cron"], changed["timezone"], changed["anchor"]) == (None, "UTC", now + 60)
    back = rescheduled(record(cron=None, interval=60.0), {"cron": "* * * * *"}, now)
    assert (back["interval"], back["cursor"]) == (None, now)


def test_a_task_declares_its_schedule(monkeypatch):
    monkeypatch.setattr(declared, "tasks", {})

    @naq.task(queue="mail", cron="0 7 * * *", timezone="Europe/Berlin", schedule_id="t1", timeout=5)
    def report():
        return 1

    found = declared.tasks["t1"]
    assert found.call.function is report.function
    assert found.call.options == {"timeout": 5}
    assert found.queue == "mail"
    assert found.options["cron"] == "0 7 * * *"
    assert report() == 1
    assert report.options == {"timeout": 5}

    with pytest.raises(ConfigurationError, match="minute"):
        naq.task(cron="61 * * * *")
    with pytest.raises(ConfigurationError, match="give cron or interval"):
        naq.task(repeat=3)
