"""Which names are allowed, and what is built of them."""

from __future__ import annotations

import os

import pytest

from naq.base.names import Counter, Kind, Names, Parts, check_job_id, check_queue, new_id
from naq.exceptions import ConfigurationError


@pytest.mark.parametrize("name", ["default", "mail-2", "A_b", "x" * 64])
def test_queue_names_that_are_allowed(name):
    assert check_queue(name) == name


@pytest.mark.parametrize(
    "name", ["", "a.b", "a b", "a*", ">", "ä", "a\n", "x" * 65, "a/b", None, 7, b"a"]
)
def test_queue_names_that_are_refused(name):
    with pytest.raises(ConfigurationError, match="queue name"):
        check_queue(name)


@pytest.mark.parametrize("job_id", ["1", "order:42", "a/b=c,d+e", "~!#$%&'()", "x" * 128])
def test_job_ids_that_are_allowed(job_id):
    assert check_job_id(job_id) == job_id


@pytest.mark.parametrize("job_id", ["", "a.b", "a b", "*", "a>", "ä", "\r\n", "x" * 129, None, 7])
def test_job_ids_that_are_refused(job_id):
    with pytest.raises(ConfigurationError, match="job id"):
        check_job_id(job_id)


def test_ids_are_never_given_twice():
    ids = [new_id() for _ in range(1000)]

    assert len(set(ids)) == 1000
    assert all(check_job_id(job_id) and len(job_id) == 24 for job_id in ids)


def test_a_forked_child_does_not_give_the_ids_of_its_parent():
    new_id()  # there is a block to share now
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    theirs = os.read(read, 100).decode()
    os.close(read)

    assert theirs not in [new_id() for _ in range(300)]


def test_a_consumer_tells_its_queue():
    names = Names("naq")

    assert names.queue_of_consumer(names.consumer("mail_normal")) == "mail_normal"
    assert names.queue_of_consumer("t_tick") is None


NAMES = Names("t1")


@pytest.mark.parametrize(
    ("subject", "parts"),
    [
        (NAMES.job("mail", "a@b:1"), Parts(Kind.JOB, "a@b:1", "mail")),
        (NAMES.fire("mail", "sums"), Parts(Kind.JOB, "sums@", "mail")),
        (NAMES.delayed("mail", "1"), Parts(Kind.DELAYED, "1", "mail")),
        (NAMES.schedule("sums"), Parts(Kind.SCHEDULE, "sums")),
        (NAMES.alarm("sums"), Parts(Kind.ALARM, "sums")),
        (NAMES.gap_alarm("sums"), Parts(Kind.ALARM, "sums")),
        (NAMES.tick("sums"), Parts(Kind.TICK, "sums")),
        (NAMES.result("1"), Parts(Kind.RESULT, "1")),
        (NAMES.result_event("1"), Parts(Kind.RESULT, "1")),
        (NAMES.dead_letter("mail", "1"), Parts(Kind.DEAD_LETTER, "1", "mail")),
    ],
)
def test_subjects_are_read_as_they_were_written(subject, parts):
    assert NAMES.parts(subject) == parts


def test_subjects_of_counters_are_read_as_they_were_written():
    assert NAMES.counter(NAMES.count(7, "done")) == Counter("done", 7, None)
    assert NAMES.counter(NAMES.count(7, "done", "mail")) == Counter("done", 7, "mail")
    assert NAMES.counter(NAMES.total("mail", "done")) == Counter("done", None, "mail")


@pytest.mark.parametrize("subject", ["", "naq", NAMES.keeper, NAMES.lock("x"), "naq.j.mail.1"])
def test_other_subjects_are_refused(subject):
    with pytest.raises(ValueError, match="not the subject"):
        NAMES.parts(subject)
    with pytest.raises(ValueError, match="not the subject"):
        NAMES.counter(subject)
