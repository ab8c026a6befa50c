"""What ``naq job`` shows of the workers a job has lost."""

from __future__ import annotations

import signal

import pytest

from naq.cli.queue.jobs import _described, _show
from naq.jobs.inspect.arguments import value_of
from naq.jobs.job import JobInfo, JobStatus
from naq.worker.life.deaths import Death, Delivery, Stage, on_death, past


@pytest.fixture
def info():
    """A job whose first worker segfaulted, whose second was killed, and whose third nobody saw."""
    record = None
    for delivered, number in enumerate((signal.SIGSEGV, signal.SIGKILL), 1):
        death = Death(status=-number, started=4 - delivered, worker="w", at=1.0)
        delivery = Delivery(7, delivered)
        note = on_death(record, delivery, Stage.STARTED, death, job_id="j", queue="q")
        record = note.record
    history = past(record, Delivery(7, 4)).history
    return JobInfo(
        id="j",
        queue="q",
        function="m:f",
        status=JobStatus.PENDING,
        record=type(record)(
            id="j", queue="q", function="m:f", status=JobStatus.PENDING, history=history
        ),
    )


def test_crashed_and_lost_attempts_are_told_apart(info):
    shown = [
        (past["attempt"], past["death"], past["exit"], past["beside"])
        for past in _described(info, None, value_of)["history"]
    ]

    assert shown == [(1, "crash", -11, 2), (2, "lost", -9, 1), (3, "lost", None, None)]


def test_the_text_says_how_the_worker_ended(info, capsys):
    _show(_described(info, None, value_of))

    lines = [line.partition("  (")[0].strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line.startswith("attempt ")] == [
        "attempt 1: its worker died (SIGSEGV), beside 2 other jobs",
        "attempt 2: its worker was killed (SIGKILL), beside 1 other job",
        "attempt 3: it was lost: its worker was killed or cut off",
    ]
