"""What deaths of workers say about a job: who is blamed, who is a suspect, who is poison."""

from __future__ import annotations

import signal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.jobs.job import Attempt, JobRecord, JobStatus, Suspicion
from naq.worker.life.deaths import (
    ALONE_AFTER_LOST,
    LOST_ALONE_LIMIT,
    NOTHING,
    REMEMBERED,
    Care,
    Death,
    Delivery,
    Ended,
    Note,
    Noted,
    Past,
    Stage,
    Taken,
    blamed,
    care,
    on_death,
    past,
    poison,
)

SEGFAULT = Death(status=-signal.SIGSEGV, started=1, worker="w", at=5.0)
KILLED = Death(status=-signal.SIGKILL, started=1, worker="w", at=5.0)


def record(status=JobStatus.PENDING, **fields):
    return JobRecord(id="j", queue="q", function="m:f", status=status, **fields)


def died(known, delivery, stage=Stage.STARTED, death=SEGFAULT):
    return on_death(known, delivery, stage, death, job_id="j", queue="q")


def noted(*arguments, **options):
    note = died(*arguments, **options)
    assert isinstance(note, Note)
    return note.record


@pytest.mark.parametrize(
    ("death", "own_making"),
    [
        (Death(status=0), True),  # os._exit(0) in the middle of a job
        (Death(status=9), True),
        (Death(status=-signal.SIGSEGV), True),
        (Death(status=-signal.SIGBUS), True),
        (Death(status=-signal.SIGILL), True),
        (Death(status=-signal.SIGFPE), True),
        (Death(status=-signal.SIGABRT), True),
        (Death(status=-signal.SIGSYS), True),
        (Death(status=-signal.SIGKILL, out_of_memory=True), True),
        (Death(status=-signal.SIGKILL, stalled=True), True),
        (Death(status=-signal.SIGKILL), False),
        (Death(status=-signal.SIGTERM), False),
        (Death(status=-signal.SIGTERM, out_of_memory=True), False),
        (Death(status=-signal.SIGHUP), False),
        (Death(status=-250), False),
    ],
)
def test_a_process_is_blamed_for_a_death_of_its_own_making(death, own_making):
    assert blamed(death) is own_making


def test_a_delivery_nobody_wrote_down_was_lost_and_is_no_crash():
    assert past(None, Delivery(7, 1)) == NOTHING
    before = past(None, Delivery(7, 3))

    assert (before.attempts, before.failures, before.crashes, before.lost) == (2, 0, 0, 2)
    assert [(a.attempt, a.death) for a in before.history] == [(1, "lost"), (2, "lost")]


@pytest.mark.parametrize(
    ("known", "delivery", "attempts", "lost"),
    [
        ({"attempts": 1, "seq": 7, "delivered": 1}, Delivery(7, 2), 1, 0),
        ({"attempts": 1, "seq": 7, "delivered": 1}, Delivery(7, 3), 2, 1),
        ({"attempts": 0, "seq": 7, "delivered": 4}, Delivery(7, 5), 0, 0),
        ({"attempts": 4, "lost": 2, "seq": 7, "delivered": 4}, Delivery(99, 1), 4, 2),
        ({"attempts": 4, "lost": 2, "seq": 7, "delivered": 4}, Delivery(99, 2), 5, 3),
        ({"attempts": 1, "seq": 7, "delivered": 5}, Delivery(7, 2), 1, 0),
    ],
)
def test_a_record_tells_of_all_deliveries_up_to_its_own(known, delivery, attempts, lost):
    before = past(record(**known), delivery)

    assert (before.attempts, before.lost) == (attempts, lost)


@pytest.mark.parametrize(
    ("before", "limit", "expected"),
    [
        (Past(), 3, Care.NONE),
        (Past(), 1, Care.NONE),
        (Past(failures=9), 3, Care.NONE),
        (Past(lost=ALONE_AFTER_LOST - 1), 3, Care.NONE),
        (Past(lost=ALONE_AFTER_LOST), 3, Care.ALONE),
        (Past(crashes=1), 3, Care.ONE_AT_A_TIME),
        (Past(crashes=1), 2, Care.ALONE),
        (Past(crashes=1), 1, Care.ALONE),
        (Past(crashes=2), 3, Care.ALONE),
        (Past(crashes=5), 3, Care.ALONE),
    ],
)
def test_suspects_are_kept_apart_and_run_alone_before_they_are_buried(before, limit, expected):
    assert care(before, crash_limit=limit) is expected


@pytest.mark.parametrize(
    ("before", "limit", "buried"),
    [
        (Past(crashes=2, suspicion=Suspicion(alone=True)), 3, False),
        (Past(crashes=3, suspicion=Suspicion(alone=True)), 3, True),
        (Past(crashes=3), 3, False),
        (Past(crashes=9), 3, False),
        (Past(crashes=1, suspicion=Suspicion(alone=True)), 1, True),
        (Past(crashes=3, suspicion=Suspicion(culprit=3)), 3, True),
        (Past(crashes=3, suspicion=Suspicion(culprit=2)), 3, False),
        (Past(lost=LOST_ALONE_LIMIT), 3, False),
        (Past(lost=90, suspicion=Suspicion(lost_alone=LOST_ALONE_LIMIT - 1)), 3, False),
        (Past(lost=40, suspicion=Suspicion(lost_alone=LOST_ALONE_LIMIT)), 3, True),
    ],
)
def test_poison_is_what_died_alone_or_was_seen_to_be_the_cause(before, limit, buried):
    reason = poison(before, crash_limit=limit)

    assert (reason is not None) is buried
    assert reason is None or reason.startswith("poison: ")


def test_a_note_of_a_crash_says_how_and_beside_what():
    death = Death(status=9, started=4, worker="w", at=5.0)
    note = noted(record(attempts=1, seq=7, delivered=1), Delivery(7, 2), death=death)

    assert (note.status, note.seq, note.delivered) == (JobStatus.PENDING, 7, 2)
    assert (note.attempts, note.crashes, note.lost) == (2, 1, 0)
    assert note.suspicion is None
    assert note.history == (
        Attempt(
            2,
            "w",
            finished_at=5.0,
            error="its worker died (exit code 9), beside 3 other jobs",
            death="crash",
            exit=9,
            beside=3,
        ),
    )


def test_a_note_of_a_kill_from_outside_is_of_a_lost_job():
    note = noted(None, Delivery(7, 1), death=KILLED)

    assert (note.attempts, note.crashes, note.lost) == (1, 0, 1)
    assert note.suspicion == Suspicion(lost_alone=1)
    assert note.history[0].error == "its worker was killed (SIGKILL), nothing beside it"
    assert (note.history[0].death, note.history[0].exit) == ("lost", -9)


def test_the_cause_takes_the_blame_from_its_neighbours():
    death = Death(status=1, stalled=True, started=3, culprit=True, worker="w")
    cause = noted(None, Delivery(7, 1), Stage.CULPRIT, death)
    other = noted(None, Delivery(8, 1), Stage.STARTED, death)

    assert (cause.crashes, cause.lost, cause.suspicion) == (1, 0, Suspicion(culprit=1))
    assert (other.crashes, other.lost, other.suspicion) == (0, 1, None)
    assert "this job was the cause" in cause.history[0].error
    assert "another job was the cause" in other.history[0].error


def test_a_job_that_waited_has_not_been_tried():
    known = record(attempts=1, failures=1, seq=7, delivered=1, history=(Attempt(1),))
    note = noted(known, Delivery(7, 2), Stage.WAITING)

    assert (note.attempts, note.failures, note.crashes, note.lost) == (1, 1, 0, 0)
    assert note.history == known.history
    assert (note.seq, note.delivered) == (7, 2)


def test_a_job_that_had_returned_was_tried_but_is_not_blamed():
    note = noted(None, Delivery(7, 1), Stage.RETURNED)

    assert (note.attempts, note.crashes, note.lost, note.suspicion) == (1, 0, 0, None)
    assert "after it had returned" in note.history[0].error
    assert note.history[0].death == ""


@pytest.mark.parametrize("status", [status for status in JobStatus if status.final])
def test_a_job_that_has_ended_is_acked(status):
    assert died(record(status), Delivery(7, 1)) == Ended()


def test_a_note_is_written_once_and_not_over_that_of_a_later_holder():
    first = noted(None, Delivery(7, 2))

    assert died(first, Delivery(7, 2)) == Noted()
    assert died(first, Delivery(7, 1)) == Taken()
    assert isinstance(died(first, Delivery(8, 1)), Note)


def test_the_next_worker_counts_a_noted_death_once():
    note = noted(None, Delivery(7, 1))
    after = past(note, Delivery(7, 2))

    assert (after.attempts, after.crashes, after.lost) == (1, 1, 0)
    assert after.suspicion == Suspicion(alone=True)


def test_a_job_that_kills_its_own_process_is_poison_in_the_end():
    known, starts = None, 0
    while not poison(past(known, Delivery(7, starts + 1)), crash_limit=3):
        starts += 1
        known = noted(known, Delivery(7, starts), death=KILLED)

    assert starts == LOST_ALONE_LIMIT
    assert past(known, Delivery(7, starts + 1)).crashes == 0


def test_losses_nobody_saw_count_as_alone_once_the_job_ran_alone():
    before = past(None, Delivery(7, 1 + ALONE_AFTER_LOST + LOST_ALONE_LIMIT - 1))

    assert poison(before, crash_limit=3) is None
    assert poison(past(None, Delivery(7, 1 + ALONE_AFTER_LOST + LOST_ALONE_LIMIT)), crash_limit=3)


DEATHS = st.builds(
    Death,
    status=st.sampled_from([0, 1, 137, -signal.SIGSEGV, -signal.SIGKILL, -signal.SIGTERM]),
    out_of_memory=st.booleans(),
    stalled=st.booleans(),
    started=st.integers(0, 12),
    culprit=st.booleans(),
    worker=st.just("w"),
)
STAGES = st.sampled_from(Stage)


@given(st.lists(st.tuples(STAGES, DEATHS, st.integers(0, 3)), max_size=40), st.integers(1, 4))
def test_whatever_happens_counts_only_grow_and_add_up(ends, limit):
    known, delivered, starts = None, 0, 0
    for stage, death, unseen in ends:
        delivered += 1 + unseen
        note = noted(known, Delivery(7, delivered), stage, death)
        starts += unseen + (stage is not Stage.WAITING)
        assert note.attempts == starts
        assert note.crashes >= (known.crashes if known else 0)
        assert note.lost >= (known.lost if known else 0) + unseen
        assert note.crashes + note.lost <= note.attempts
        assert len(note.history) == min(starts, REMEMBERED)
        assert [a.attempt for a in note.history] == list(range(1, starts + 1))[-REMEMBERED:]
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(note), type=JobRecord) == note
        known = note
        before = past(known, Delivery(7, delivered + 1))
        if poison(before, crash_limit=limit):
            proven = before.crashes >= limit or before.suspicion.lost_alone >= LOST_ALONE_LIMIT
            assert proven


@given(st.lists(st.integers(2, 12), max_size=30), st.integers(1, 5))
def test_a_job_that_never_died_alone_is_never_buried(neighbours, limit):
    known = None
    for delivered, started in enumerate(neighbours, 1):
        death = Death(status=-signal.SIGSEGV, started=started)
        known = noted(known, Delivery(7, delivered), death=death)

        assert poison(past(known, Delivery(7, delivered + 1)), crash_limit=limit) is None
