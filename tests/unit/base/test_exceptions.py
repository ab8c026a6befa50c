"""Errors leave a process: each can be pickled, whatever its constructor asks for."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil

import pytest

import naq
from naq import exceptions
from naq.exceptions import EnqueueError, JobExecutionError, NaqException, PayloadTooLargeError

MADE = [
    exceptions.ConfigurationError("one", "two"),
    exceptions.ServerRefusedError("no", code=10071, description="wrong last sequence"),
    PayloadTooLargeError("large", size=7, limit=5),
    EnqueueError([None, None], {1: ValueError("x")}),
    JobExecutionError("failed", job_id="j", error_type="E", attempts=3, traceback="…"),
    exceptions.SupervisorError("away", exit_code=3),
]


def every_exception():
    """All exceptions naq defines, wherever it does."""
    for found in pkgutil.walk_packages(naq.__path__, "naq."):
        if not found.name.endswith("__main__"):
            module = importlib.import_module(found.name)
            for _, cls in inspect.getmembers(module, inspect.isclass):
                if issubclass(cls, NaqException):
                    yield cls


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("there", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_an_error_comes_back_as_it_was(error, there):
    found = there(error)

    assert type(found) is type(error)
    assert str(found) == str(error)
    assert str(vars(found)) == str(vars(error))


def test_every_exception_of_naqs_does():
    for cls in set(every_exception()):
        made = cls.__new__(cls, "text")
        made.note = 1
        found = pickle.loads(pickle.dumps(made))
        assert (type(found), found.args, found.note) == (cls, ("text",), 1)
