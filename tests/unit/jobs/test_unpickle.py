"""Pickles of older releases are read, and those of this one name no internal module."""

from __future__ import annotations

import pickle
import typing
from importlib import import_module

import msgspec
import pytest

import naq
from naq.exceptions import JobError, JobExecutionError, SerializationError
from naq.jobs.coding import unpickle
from naq.jobs.coding.codec import Codec
from naq.jobs.job import Failure, JobRecord, JobStatus
from naq.jobs.results import job_error

PUBLIC = [name for name in naq.__all__ if name not in {"__version__", "Supervisor"}]


def of(module, name):
    """Return the pickle of a class or function, as a release that had it there wrote it."""
    return (
        b"\x80\x04\x8c"
        + bytes([len(module)])
        + module.encode()
        + (b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93.")
    )


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_belong_to_naq(name):
    value = getattr(naq, name)
    assert value.__module__ in {"naq", "naq.exceptions"}
    assert pickle.loads(pickle.dumps(value)) is value


@pytest.mark.parametrize("cls", [naq.JobInfo, naq.CurrentJob])
def test_public_values_can_still_be_decoded(cls):
    made = naq.CurrentJob(id="1", queue="q", function_name="m:f", attempt=1, meta={})
    if cls is naq.JobInfo:
        made = naq.JobInfo(id="1", queue="q", function="m:f", status=JobStatus.FAILED)
    assert msgspec.json.Decoder(cls).decode(msgspec.json.encode(made)) == made
    assert "id" in typing.get_type_hints(cls)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("naq._task", "Task"),
        ("naq._task", "call"),
        ("naq._functions", "enqueue_sync"),
        ("naq.queue", "Queue"),
        ("naq.worker", "Worker"),
        ("naq.job", "JobStatus"),
        ("naq.connection", "connect"),
    ],
)
def test_public_names_are_found_where_they_were(module, name):
    assert unpickle.loads(of(module, name)) is getattr(naq, name)


@pytest.mark.parametrize(("old", "new"), unpickle._MOVED.items())
def test_moved_values_are_found(old, new):
    module, _, name = new.partition(":")
    assert unpickle.loads(of(*old.split(":"))) is getattr(import_module(module), name)


@pytest.mark.parametrize(
    ("module", "name"), [("naq._task", "nothing"), ("os", "nothing"), ("nowhere", "Queue")]
)
def test_what_is_nowhere_is_said(module, name):
    with pytest.raises(SerializationError, match=f"{name}|{module}"):
        Codec().decode_value(of(module, name), "pickle")


def test_an_exception_that_is_gone_is_read():
    assert unpickle.loads(of("naq.exceptions", "DuplicateJobError")) is JobError
    failure = Failure("naq.exceptions.DuplicateJobError", "queued already")
    record = JobRecord(
        id="1", queue="q", function="m:f", status=JobStatus.FAILED, error=failure, attempts=1
    )
    error = job_error(record)
    assert type(error) is JobExecutionError
    assert error.error_type == "naq.exceptions.DuplicateJobError"
