"""The forms without an event loop: what they are called, say, and take."""

from __future__ import annotations

import inspect
import pydoc

import pytest

import naq

FUNCTIONS = [name for name in naq.__all__ if name.endswith("_sync")]
METHODS = [
    getattr(owner, name)
    for owner in (naq.Job, naq.Schedule, naq.Task)
    for name in vars(owner)
    if name.endswith("_sync")
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_its_async_one_says(name):
    twin, function = getattr(naq, name), getattr(naq, name.removesuffix("_sync"))
    assert (twin.__name__, twin.__module__) == (name, "naq")
    assert inspect.signature(twin) == inspect.signature(function)
    assert not inspect.iscoroutinefunction(twin)
    first, _, rest = inspect.getdoc(twin).partition("\n\n")
    assert first == f"``{function.__name__}`` for code without an event loop."
    assert rest == inspect.getdoc(function)


@pytest.mark.parametrize("twin", METHODS, ids=lambda twin: twin.__qualname__)
def test_a_method_says_what_its_async_one_says(twin):
    assert twin.__qualname__.endswith(f".{twin.__name__}")
    assert "self" in inspect.signature(twin).parameters
    assert twin.__qualname__.rpartition(".")[2] in pydoc.render_doc(twin)
    assert "for code without an event loop." in inspect.getdoc(twin)


def test_there_are_as_many_as_there_were():
    assert len(FUNCTIONS) == 15
    assert sorted(twin.__qualname__ for twin in METHODS) == [
        "Job.cancel_sync",
        "Job.refresh_sync",
        "Job.result_sync",
        "Job.status_sync",
        "Schedule.cancel_sync",
        "Schedule.pause_sync",
        "Schedule.refresh_sync",
        "Schedule.reschedule_sync",
        "Schedule.resume_sync",
        "Schedule.run_now_sync",
        "Task.enqueue_at_sync",
        "Task.enqueue_in_sync",
        "Task.enqueue_sync",
    ]
