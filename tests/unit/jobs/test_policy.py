"""What a task says of its jobs goes with every call of it, however the call is written."""

from __future__ import annotations

import functools
import gc
import pickle
import subprocess
import sys
import weakref

import cloudpickle
import msgspec
import pytest
from policy_tasks import POLICY, Group, everything, nothing

import naq
from naq.base.imports import PYTHON
from naq.exceptions import ConfigurationError
from naq.jobs import calls
from naq.jobs.calls import Call
from naq.jobs.calls.arguments import from_json, to_json
from naq.jobs.coding.codec import Codec, reference
from naq.jobs.message import Batch, prepare
from naq.queue.task import Task
from naq.services.policies import _decode

CODEC = Codec()
WAYS = {
    "task": lambda: everything,
    "call(task)": lambda: naq.call(everything, 1, text="y"),
    "task.call()": lambda: everything.call(1, text="y"),
    "text": lambda: "policy_tasks:everything",
    "call(text)": lambda: naq.call("policy_tasks:everything", 1, text="y"),
}


def alike(message):
    """A message without what differs between any two."""
    gone = {"id": "", "enqueued_at": 0.0, "expires_at": None}  # what expires_in says, too
    return msgspec.structs.replace(message, **gone)


def one(way, **options):
    function = WAYS[way]()
    if isinstance(function, Call):
        return alike(prepare(CODEC, "q", function, (), options).message)
    return alike(prepare(CODEC, "q", function, (1,), {"text": "y"} | options).message)


def many(way, **options):
    function = WAYS[way]()
    call = function if isinstance(function, Call) else naq.call(function, 1, text="y")
    batch = Batch(CODEC, "q", [call] * 2, options)
    first, second = (alike(batch.prepared(i).message) for i in range(2))
    assert first == second
    return first


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("option", ["everything", *POLICY])
def test_every_way_gives_the_same_message(way, option, monkeypatch):
    options = POLICY if option == "everything" else {option: POLICY[option]}
    monkeypatch.setattr(everything, "options", options)
    given = prepare(CODEC, "q", everything.function, (1,), {"text": "y"} | options).message
    wanted = msgspec.structs.replace(alike(given), function="policy_tasks:everything")

    assert one(way) == many(way) == wanted


@pytest.mark.parametrize("way", WAYS)
def test_who_wins(way):
    assert one(way, max_retries=9).max_retries == many(way, max_retries=9).max_retries == 9
    function = WAYS[way]()
    if isinstance(function, Call):
        own = function.with_options(max_retries=7)
        assert prepare(CODEC, "q", own, (), {"max_retries": 9}).message.max_retries == 7
        assert prepare(CODEC, "q", own, (), {}).message.timeout == 60


@pytest.mark.parametrize("way", WAYS)
def test_the_queue_goes_with_the_call(way):
    function = WAYS[way]()
    call = function if isinstance(function, Call) else naq.call(function, 1)

    assert calls.queue_of(function) == "mail"
    batch = Batch(CODEC, "default", [call, naq.call(nothing, 1), call], {}, routed=True)
    assert [batch.prepared(i).message.queue for i in range(3)] == ["mail", "default", "mail"]
    assert list(batch.queues) == ["mail", "default"]
    assert list(Batch(CODEC, "here", [call, naq.call(nothing, 1)], {}).queues) == ["here"]


def test_a_copy_of_a_task_has_a_policy_of_its_own():
    other = everything.with_options(queue="bulk", timeout=5)
    message = prepare(CODEC, "q", other.call(1), (), {}).message

    assert calls.queue_of(other.call(1)) == "bulk"
    assert (message.timeout, message.max_retries) == (5.0, 4)
    assert message.function == "policy_tasks:everything"


def test_a_class_method_may_be_a_task():
    message = prepare(CODEC, "q", Group.everything, (1,), {}).message

    assert calls.queue_of(Group.everything) == "mail"
    assert (message.function, message.max_retries) == ("policy_tasks:Group.everything", 4)


def test_a_name_is_looked_up_and_its_module_imported_if_it_is_here(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fresh_tasks.py").write_text(
        "import naq\n@naq.task(queue='mail')\ndef work(): pass\ndef plain(): pass\n"
    )
    (tmp_path / "broken_tasks.py").write_text("1 / 0\n")

    assert calls.queue_of("fresh_tasks:work") == "mail"
    for name in (
        "fresh_tasks:plain",
        "fresh_tasks:nothing",
        "fresh_tasks",
        "not_here.tasks:f",
        "broken_tasks:f",
        ":f",
        ".x:f",
        "",
    ):
        assert calls.policy_of(name) == calls.NO_POLICY
    sys.modules.pop("fresh_tasks")


def test_a_call_is_pickled_with_its_task_and_as_older_releases_read_it():
    call = everything.call(1).with_options(timeout=3)
    again = pickle.loads(pickle.dumps(call))
    assert (again.policy, again.options, again.args) == (call.policy, {"timeout": 3}, (1,))
    assert again.function is everything.function

    _, fields = call.__getstate__()
    assert fields == {"function": everything, "args": (1,), "kwargs": {}, "options": {"timeout": 3}}
    old = Call.__new__(Call)
    old.__setstate__((None, {"function": max, "args": (1,), "kwargs": {}, "options": {}}))
    assert (old.function, old.policy) == (max, calls.NO_POLICY)


def test_a_call_of_a_copy_is_pickled_with_the_copy():
    call = everything.with_options(queue="bulk", timeout=5).call(1)
    again = pickle.loads(cloudpickle.dumps(call))

    assert again.policy[:2] == ("bulk", {**everything.options, "timeout": 5})
    assert again.function(1) == (1, "x")


def test_a_task_is_pickled_by_its_name():
    assert pickle.loads(pickle.dumps(everything)) is everything
    assert len(pickle.dumps(everything)) < 100


# ------------------------------------------------------- words that are not options


@pytest.mark.parametrize(
    "word",
    [
        "depends_on",
        "unique",
        "unique_for",
        "debounce",
        "limit",
        "rate",
        "priority",
        "isolation",
        "queue",
        "on_failure",
    ],
)
def test_what_may_become_an_option_is_not_swallowed(word):
    def takes_anything(**kwargs):
        return kwargs

    for function in (takes_anything, everything, "some.module:function"):
        with pytest.raises(ConfigurationError, match=rf"{word}: not an option.*naq\.call\("):
            prepare(CODEC, "q", function, (), {word: 1})
    assert prepare(CODEC, "q", naq.call(takes_anything, **{word: 1}), (), {})
    with pytest.raises(ConfigurationError, match=f"{word}: no such option"):
        Batch(CODEC, "q", [takes_anything], {word: 1})


# ------------------------------------------------------------ unwrapping is by type


class Audited:
    """A decorator as people write them, with an attribute that naq's own has too."""

    def __init__(self, function):
        self.function = function
        functools.update_wrapper(self, function)

    def __call__(self, *args):
        return "audited", self.function(*args)


def logged(function):
    @functools.wraps(function)
    def wrapper(*args):
        return "logged", function(*args)

    return wrapper


@Audited
def by_class(x):
    return x


@logged
@naq.task
def over_task(x):
    return x


@naq.task
@logged
def under_task(x):
    return x


@logged
def plain(x):
    return x


class Thing:
    function = "an attribute of that name"

    @classmethod
    def of_class(cls, x):
        return cls.__name__, x

    @staticmethod
    def static(x):
        return "static", x


class Sub(Thing):
    pass


DECORATED = [by_class, over_task, under_task, plain, Thing.of_class, Sub.of_class, Thing.static]


@pytest.mark.parametrize("function", DECORATED, ids=lambda f: getattr(f, "__qualname__", str(f)))
@pytest.mark.parametrize("mode", ["pickle", "json"])
def test_what_runs_is_what_a_direct_call_runs(function, mode):
    codec = Codec(mode=mode, allow=(__name__,))
    message = prepare(codec, "q", function, (7,), {}).message
    assert message.encoding == mode  # by its name
    found, args, kwargs = codec.decode_call(message)

    assert calls.unwrapped(found)(*args, **kwargs) == function(7)


def test_a_task_keeps_its_own_attributes():
    def function():
        return 1

    function.function, function.queue, function.options = "mine", "mine", "mine"
    made = Task(function, queue="mail", options={})

    assert (made.function, made.queue, made.options) == (function, "mail", {})


# ------------------------------------------------------------ nothing is kept alive


@pytest.mark.parametrize("options", [{}, {"timeout": 5}])
def test_a_function_that_was_enqueued_is_not_kept_alive(options):
    def local(x):
        return x

    prepare(Codec(), "q", local, (1,), dict(options))
    assert from_json(local, "a:local", to_json("a:local", local, (1,), {})) == ((1,), {})
    assert reference(local) is None
    gone = weakref.ref(local)
    del local
    gc.collect()
    assert gone() is None


# ------------------------------------------------------------ declared in a file


def test_policies_are_asked_in_a_process_of_their_own(tmp_path):
    (tmp_path / "naq.py").write_text("raise SystemExit('not this one')")
    (tmp_path / "shop.py").write_text(
        "import naq, datetime\n"
        "print('printed while it is imported')\n"
        "@naq.task(queue='mail', expires=datetime.timedelta(hours=1), retry_on=[OSError])\n"
        "def report(): pass\n"
    )
    done = subprocess.run(
        [*PYTHON, "-m", "naq.services.policies", "shop:report", "gone:f"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )

    assert _decode(done.stdout) == {
        "shop:report": ("mail", {"retry_on": ["builtins:OSError"], "expires": 3600.0}),
        "gone:f": (None, {}),
    }
    assert b"printed" in done.stderr
