"""Calls and values to bytes and back; what may be decoded, and by whom."""

from __future__ import annotations

import pickle
import socket
import sys
import threading
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.tasks import add, greet
from naq.base.text import resolve
from naq.exceptions import ConfigurationError, SerializationError
from naq.jobs.coding.codec import Codec, reference
from naq.jobs.job import JobMessage, JobRecord, JobStatus

PICKLE = Codec()
JSON = Codec(mode="json", allow=("examples",))


def message(name, payload, encoding):
    return JobMessage(
        id="j", queue="q", function=name, payload=payload, encoding=encoding, enqueued_at=0.0
    )


def round_trip(codec, function, *args, **kwargs):
    return codec.decode_call(message(*codec.encode_call(function, args, kwargs)))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    args=st.lists(values, max_size=3),
    kwargs=st.dictionaries(st.text(min_size=1), values, max_size=3),
)
def test_pickled_arguments_come_back_as_they_were(args, kwargs):
    name, payload, encoding = PICKLE.encode_call("examples.tasks:add", tuple(args), kwargs)

    function, got_args, got_kwargs = PICKLE.decode_call(message(name, payload, encoding))

    assert (function, list(got_args), got_kwargs) == (add, args, kwargs)


@given(value=values)
def test_values_come_back_as_they_were(value):
    assert PICKLE.decode_value(*PICKLE.encode_value(value)) == value


@given(value=st.none() | st.booleans() | st.text() | st.integers(-(2**53), 2**53))
def test_json_values_come_back_as_they_were(value):
    assert JSON.decode_value(*JSON.encode_value(value)) == value


def test_a_function_travels_by_reference():
    name, _, encoding = PICKLE.encode_call(add, (1, 2), {})

    assert (name, encoding) == ("examples.tasks:add", "pickle")


def test_a_lambda_and_a_closure_travel_by_value():
    offset = 10

    function, args, _ = round_trip(PICKLE, lambda x: x + offset, 5)

    assert function(*args) == 15


def test_an_argument_from_main_travels_by_value():
    """It would pickle by reference without complaint and not be found by the worker."""

    class Point:
        __module__ = "__main__"

        def __init__(self, x):
            self.x = x

    _, (got,), _ = round_trip(PICKLE, add, Point(3))

    assert got.x == 3


def test_a_decorated_function_is_found_under_its_name():
    assert reference(greet.function) == "examples.tasks:greet"
    assert resolve("examples.tasks:greet") is greet


@pytest.mark.parametrize("make", [threading.Lock, socket.socket, lambda: (i for i in range(3))])
def test_an_argument_that_cannot_be_pickled_is_a_clear_error(make):
    argument = make()
    with pytest.raises(SerializationError, match=r"arguments of .* cannot be pick"):
        PICKLE.encode_call(add, (argument,), {})
    getattr(argument, "close", lambda: None)()


@pytest.mark.parametrize("target", [5, None, object()])
def test_what_is_not_callable_is_refused(target):
    with pytest.raises(ConfigurationError, match="not callable"):
        PICKLE.encode_call(target, (), {})


@pytest.mark.parametrize("ref", ["", "add", "examples.tasks", "examples.tasks:", ":add"])
def test_a_reference_is_module_colon_function(ref):
    with pytest.raises(ValueError, match="module:function"):
        resolve(ref)


@pytest.mark.parametrize(
    ("ref", "error"),
    [
        ("no.such.module:f", ImportError),
        ("examples.tasks:nothing", AttributeError),
        ("examples.tasks:__doc__", ValueError),
    ],
)
def test_a_reference_that_leads_nowhere(ref, error):
    with pytest.raises(error):
        resolve(ref)


# --------------------------------------------------------------------------- json mode


def test_json_mode_never_unpickles():
    evil = message("examples.tasks:add", pickle.dumps(((1, 2), {})), "pickle")

    with pytest.raises(SerializationError, match="nothing is unpickled"):
        JSON.decode_call(evil)
    with pytest.raises(SerializationError, match="nothing is unpickled"):
        JSON.decode_value(pickle.dumps(1), "pickle")


def test_json_mode_runs_only_what_is_allowed():
    evil = message("os:system", b'{"args":["true"]}', "json")

    with pytest.raises(SerializationError, match="not allowed in JSON mode"):
        JSON.decode_call(evil)


def test_json_mode_does_not_import_what_is_not_allowed():
    evil = message("antigravity:fly", b"{}", "json")

    with pytest.raises(SerializationError, match="not allowed"):
        JSON.decode_call(evil)

    import sys

    assert "antigravity" not in sys.modules


def test_json_mode_runs_registered_tasks_and_allowed_modules():
    strict = Codec(mode="json")

    function, args, _ = round_trip(strict, greet, "bo")
    assert (function, args) == (greet, ("bo",))
    with pytest.raises(SerializationError, match="not allowed"):
        round_trip(strict, add, 1, 2)
    assert round_trip(JSON, add, 1, 2)[1] == (1, 2)


def test_an_allowed_module_is_not_a_prefix_of_its_name():
    with pytest.raises(SerializationError, match="not allowed"):
        Codec(mode="json", allow=("exam",)).decode_call(
            message("examples.tasks:add", b'{"args":[1,2]}', "json")
        )


def test_json_arguments_are_checked_against_annotations():
    with pytest.raises(SerializationError, match="argument 'a'"):
        round_trip(JSON, add, "one", 2)
    with pytest.raises(SerializationError, match="missing a required argument"):
        round_trip(JSON, add, 1)


def when(moment: datetime) -> datetime:
    return moment


def test_json_arguments_become_what_annotations_say():
    codec = Codec(mode="json", allow=(__name__,))
    moment = datetime(2030, 1, 1, tzinfo=UTC)

    _, args, _ = round_trip(codec, when, moment)

    assert args == (moment,)


def test_json_refuses_what_json_cannot_say():
    with pytest.raises(SerializationError, match="not JSON"):
        JSON.encode_call(add, (object(), 1), {})
    with pytest.raises(SerializationError, match="not JSON"):
        JSON.encode_value(object())
    with pytest.raises(SerializationError, match="only pickle"):
        JSON.encode_call(lambda: None, (), {})


# --------------------------------------------------------------------------- signatures

KEYED = Codec(key=b"secret")


def result(**fields):
    return JobRecord(id="j", queue="q", function="f", status=JobStatus.COMPLETED, **fields)


def test_a_signed_message_opens():
    body, headers = KEYED.seal(result(value=b"1"))

    assert KEYED.open(JobRecord, body, headers).value == b"1"


@pytest.mark.parametrize("headers", [{}, None, {"Naq-Sig": ""}])
def test_an_unsigned_message_is_refused(headers):
    body, _ = PICKLE.seal(result())

    with pytest.raises(SerializationError, match="not signed"):
        KEYED.open(JobRecord, body, headers)


def test_a_changed_message_is_refused():
    body, headers = KEYED.seal(result(value=b"1"))

    with pytest.raises(SerializationError, match="signature is wrong"):
        KEYED.open(JobRecord, body.replace(b"q", b"Q"), headers)


def test_another_key_is_refused():
    body, headers = Codec(key=b"other").seal(result())

    with pytest.raises(SerializationError, match="signature is wrong"):
        KEYED.open(JobRecord, body, headers)


def test_a_result_cannot_be_replayed_as_a_job():
    body, headers = KEYED.seal(result())

    with pytest.raises(SerializationError, match="signature is wrong"):
        KEYED.open(JobMessage, body, headers)


@given(garbage=st.binary(max_size=200))
def test_garbage_is_an_error_and_nothing_else(garbage):
    for codec in (PICKLE, JSON, KEYED):
        try:
            codec.open(JobMessage, garbage, None)
        except SerializationError:
            continue
        assert msgspec.msgpack.decode(garbage)  # a message after all


@given(garbage=st.binary(max_size=100))
def test_a_garbage_payload_is_an_error_and_nothing_else(garbage):
    with pytest.raises(SerializationError):
        JSON.decode_call(message("examples.tasks:add", b"\x00" + garbage, "json"))


class Later:
    """Stands for a class that the next deploy brings."""


def test_a_class_in_an_argument_that_is_not_here_is_missing_like_a_function(monkeypatch):
    job = message(*PICKLE.encode_call("examples.tasks:add", (Later(),), {}))
    by_value = message("m:f", pickle.dumps((add, (Later(),), {})), "cloudpickle")
    monkeypatch.delattr(sys.modules[__name__], "Later")
    for missing in (job, by_value):
        with pytest.raises(AttributeError, match="Later"):
            PICKLE.decode_call(missing)


def test_a_module_in_an_argument_that_is_not_here_is_missing_too():
    payload = b"cno_such_module\nThing\n."
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        PICKLE.decode_call(message("examples.tasks:add", payload, "pickle"))
    with pytest.raises(SerializationError, match="no_such_module"):
        PICKLE.decode_value(payload, "pickle")
