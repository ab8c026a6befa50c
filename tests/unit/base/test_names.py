"""Which names are allowed, and what is built of them."""

from __future__ import annotations

import os

import pytest

from naq.base.names import Names, check_job_id, check_queue, new_id
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
