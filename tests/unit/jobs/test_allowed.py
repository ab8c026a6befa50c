"""What may run by name where nothing is unpickled: tasks, and an allowed module's own functions."""

from __future__ import annotations

import sys

import pytest

from naq.exceptions import SerializationError
from naq.jobs.coding.codec import Codec
from naq.jobs.job import JobMessage

MODULE = """
import functools, os, subprocess
import naq
from os.path import exists
from {name}_other import helper, Base, other_task

def plain(): ...
async def coroutine(): ...
@functools.lru_cache
def cached(): ...
@functools.wraps(os.system)
def looks_foreign(): ...
bound = functools.partial(os.system, "true")
shell = os.system
class Mailer(Base):
    def __call__(self): ...
    @classmethod
    def send(cls): ...
    @staticmethod
    def check(): ...
    class Inner:
        @staticmethod
        def deep(): ...
    run = os.system
    module = os
mailer = Mailer()
@naq.task
def task(): ...
"""
OTHER = """
import naq
def helper(): ...
class Base:
    @classmethod
    def inherited(cls): ...
@naq.task
def other_task(): ...
"""


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    name = f"allowed_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(MODULE.replace("{name}", name))
    (tmp_path / f"{name}_other.py").write_text(OTHER)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for imported in (name, f"{name}_other"):
        sys.modules.pop(imported, None)


def decoded(ref, *allow):
    codec = Codec(mode="json", allow=allow)
    job = JobMessage(
        id="1",
        queue="default",
        function=ref,
        payload=b'{"args":[]}',
        encoding="json",
        enqueued_at=0.0,
    )
    return codec.decode_call(job)[0]


@pytest.mark.parametrize(
    "path",
    [
        "plain",
        "coroutine",
        "cached",
        "Mailer.send",
        "Mailer.check",
        "Mailer.Inner.deep",
        "task",
        "other_task",  # its author has decorated it
    ],
)
def test_own_functions_and_tasks_may_run(module, path):
    assert callable(decoded(f"{module}:{path}", module))


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.check_output",
        "os.path.exists",
        "exists",
        "helper",
        "shell",
        "bound",
        "looks_foreign",
        "mailer",
        "Mailer",
        "Base.inherited",
        "Mailer.inherited",
        "Mailer.run",
        "Mailer.module.system",
        "Mailer.__subclasses__",
        "Mailer.send.__func__",
        "Mailer.__init_subclass__",
        "plain.__call__",
        "plain.__get__",
        "cached.cache_clear",
        "task.call",
        "task.function",
        "__loader__.get_data",
        "__spec__.loader.exec_module",
        "naq.connect",
    ],
)
def test_what_a_module_has_but_is_not_its_own_may_not_run(module, path):
    with pytest.raises(SerializationError, match="in JSON mode"):
        decoded(f"{module}:{path}", module)


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [
        ("{}:plain", "plain", True),
        ("{}:p*", "plain", True),
        ("{}:Mailer.*", "Mailer.send", True),
        ("{}:Mailer.*", "plain", False),
        ("*:plain", "plain", True),
        ("{}:*", "os.system", False),
        ("*", "os.system", False),
        ("*", "plain", True),
        ("{}:PLAIN", "plain", False),
    ],
)
def test_globs_match_whole_names(module, pattern, path, allowed):
    if allowed:
        assert callable(decoded(f"{module}:{path}", pattern.format(module)))
    else:
        with pytest.raises(SerializationError, match="not allowed"):
            decoded(f"{module}:{path}", pattern.format(module))


def test_what_is_not_allowed_is_not_imported(module):
    for pattern in (f"{module}_other", f"{module}:plain", module[:-1]):
        with pytest.raises(SerializationError, match="not allowed"):
            decoded(f"{module}:coroutine", pattern)
    assert module not in sys.modules
