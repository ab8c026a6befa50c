"""What a schedule owes at a moment: misfires, repeats, ends."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.exceptions import ConfigurationError
from naq.jobs.job import JobMessage
from naq.schedules.due import advanced, plan
from naq.schedules.schedule import (
    ScheduleRecord,
    ScheduleStatus,
    check_schedule_id,
    run_id,
    run_of,
)
from naq.schedules.timing import EARLY

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
JOB = JobMessage(id="", queue="q", function="m:f", payload=b"", encoding="json", enqueued_at=0.0)


def schedule(**fields):
    fields = {"interval": 60.0, "anchor": NOON, "cursor": NOON - 1} | fields
    return ScheduleRecord(id="s", job=JOB, **fields)


def test_nothing_is_due_before_its_time_and_a_hair_before_it_is():
    assert plan(schedule(), NOON - 1).runs == []
    assert plan(schedule(), NOON - EARLY / 2).runs == [NOON]


def test_what_is_in_time_runs_whatever_the_policy():
    for misfire in ("skip", "once", "all"):
        due = plan(schedule(misfire=misfire), NOON + 9)
        assert (due.runs, due.missed, due.cursor) == ([NOON], 0, NOON)


@pytest.mark.parametrize(
    ("misfire", "runs", "missed"),
    [("skip", [], 5), ("once", [4], 4), ("all", [0, 1, 2, 3, 4], 0)],
)
def test_the_policies_for_misfires(misfire, runs, missed):
    due = plan(schedule(misfire=misfire), NOON + 4 * 60 + 30)
    assert due.runs == [NOON + 60 * n for n in runs]
    assert due.missed == missed
    assert due.cursor >= NOON + 4 * 60


def test_late_and_in_time_together():
    due = plan(schedule(misfire="once"), NOON + 4 * 60 + 5)
    assert due.runs == [NOON + 180, NOON + 240]
    assert due.missed == 3


def test_all_has_a_cap():
    due = plan(schedule(misfire="all", misfire_cap=3), NOON + 86_400 + 30)
    assert due.runs == [NOON + 86_400 - 60 * n for n in (2, 1, 0)]


def test_years_of_seconds_are_not_walked_through():
    due = plan(schedule(cron="* * * * * *", interval=None, misfire="all"), NOON + 10 * 365 * 86_400)
    assert len(due.runs) == 100 + 10
    assert due.missed <= 1000


def test_repeat_counts_runs_and_finishes():
    record = schedule(repeat=3, runs=1, misfire="all")
    due = plan(record, NOON + 300)
    assert len(due.runs) == 2
    after = advanced(record, due, runs=due.runs, last_job="x")
    assert (after.status, after.runs, after.pending) == (ScheduleStatus.FINISHED, 3, due.runs)
    assert after.next_run is None


def test_it_finishes_at_its_end():
    record = schedule(end=NOON + 60)
    after = advanced(record, plan(record, NOON), runs=[NOON])
    assert after.status is ScheduleStatus.ACTIVE
    due = plan(after, NOON + 60)
    after = advanced(after, due, runs=due.runs)
    assert after.status is ScheduleStatus.FINISHED


def test_a_wished_run_replaces_what_is_due_until_then():
    record = schedule(next_at=NOON + 150)
    assert plan(record, NOON + 100).runs == []
    due = plan(record, NOON + 151)
    assert due.runs == [NOON + 150]
    after = advanced(record, due, runs=due.runs)
    assert after.next_run == NOON + 150 + 60  # an interval counts from there


def test_a_wished_run_earlier_than_the_next_one_is_an_extra_one():
    record = schedule(cron="0 * * * *", interval=None, cursor=NOON, next_at=NOON + 600)
    due = plan(record, NOON + 600)
    after = advanced(record, due, runs=due.runs)
    assert (due.runs, after.next_run) == ([NOON + 600], NOON + 3600)


@given(
    misfire=st.sampled_from(["skip", "once", "all"]),
    looks=st.lists(st.floats(0.1, 400.0), min_size=1, max_size=12),
    grace=st.floats(0.0, 120.0),
)
def test_no_due_time_is_settled_twice_and_none_is_lost(misfire, looks, grace):
    """However often and late one looks, each due time runs once or is counted as missed once."""
    record = schedule(misfire=misfire, misfire_grace=grace)
    ran, missed, now = [], 0, NOON - 1
    for pause in looks:
        now += pause
        due = plan(record, now)
        ran += due.runs
        missed += due.missed
        record = advanced(record, due, runs=due.runs)
        assert record.cursor <= now + EARLY
    settled = list(record.timing.between(NOON - 1, record.cursor))
    assert ran == sorted(set(ran))
    assert set(ran) <= set(settled)
    assert len(ran) + missed == len(settled)
    if misfire == "all":
        assert missed == 0


def test_ids_of_runs():
    assert run_id("sums", NOON) == "sums-20261124T120000Z"
    assert run_id("sums", NOON + 0.25) == "sums-20261124T120000_250Z"
    assert run_of("sums-20261124T120000Z") == "sums"
    assert run_of("a-b-20261124T120000_250Z") == "a-b"
    assert run_of("sums") is None


@pytest.mark.parametrize("wrong", ["", "a.b", "a b", "a*", "a@", "x" * 97, "ä", None, 5])
def test_ids_of_schedules(wrong):
    with pytest.raises(ConfigurationError, match="schedule id"):
        check_schedule_id(wrong)


def test_plain_is_what_the_server_can_do_alone():
    assert schedule().plain
    assert schedule(cron="0 0 * * *", interval=None).plain
    assert schedule(start=NOON).plain
    for policy in (
        {"repeat": 3},
        {"end": NOON},
        {"jitter": 1.0},
        {"misfire": "once"},
        {"overlap": "skip"},
        {"interval": 1.5},
        {"interval": None, "cron": "0 0 L * *"},
    ):
        assert not schedule(**policy).plain, policy


def test_a_record_survives_its_way_to_the_server():
    record = schedule(pending=[NOON], last_job="x", status=ScheduleStatus.PAUSED)
    body = msgspec.msgpack.encode(record)
    assert msgspec.msgpack.decode(body, type=ScheduleRecord) == record
