"""Options of an enqueue: what is taken, what is refused with a reason, what they become."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from naq.exceptions import ConfigurationError
from naq.jobs import calls
from naq.jobs.calls import Call, call
from naq.queue.task import Task, task


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"max_retries": 3}, {"max_retries": 3}),
        ({"retry_delay": timedelta(minutes=1)}, {"retry_delay": 60.0}),
        ({"retry_delay": [1, timedelta(seconds=2)]}, {"retry_delay": [1.0, 2.0]}),
        ({"retry_strategy": "linear"}, {"retry_strategy": "linear"}),
        ({"retry_jitter": 0.5}, {"retry_jitter": 0.5}),
        ({"retry_on": ValueError}, {"retry_on": ["builtins:ValueError"]}),
        (
            {"ignore_on": [OSError, "my.mod:Error"]},
            {"ignore_on": ["builtins:OSError", "my.mod:Error"]},
        ),
        ({"timeout": 1.5}, {"timeout": 1.5}),
        ({"expires": 10}, {"expires_at": 110.0, "expires_in": 10.0}),
        ({"expires": datetime.fromtimestamp(500, UTC)}, {"expires_at": 500.0}),
        ({"result_ttl": 60}, {"result_ttl": 60.0}),
        ({"meta": {"user": 7}}, {"meta": {"user": 7}}),
        ({"job_id": "mine"}, {"id": "mine"}),
        ({"timeout": None, "job_id": None}, {}),
    ],
)
def test_what_options_become(options, fields):
    assert calls.normalize(options, due=100.0) == fields


ENDLESS = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    "options",
    [
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"max_retries": True},
        {"max_retries": 2**70},
        {"retry_delay": -1},
        {"retry_delay": []},
        {"retry_delay": "soon"},
        {"retry_strategy": "quadratic"},
        {"retry_jitter": 2},
        {"retry_on": [int]},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"expires": 0},
        {"expires": datetime(2030, 1, 1)},  # noqa: DTZ001 - that is the point
        {"result_ttl": 0.5},
        {"meta": [1]},
        {"meta": {1: 2}},
        {"meta": {"object": object()}},
        {"meta": {"deep": [{"x": {1, print}}]}},
        {"meta": {"surrogate": "r\udce9"}},
        {"meta": {"large": 2**70}},
        {"meta": {"endless": ENDLESS}},
        {"retry_on": "r\udce9"},
        {"ignore_on": ["r\udce9"]},
        {"job_id": "a.b"},
    ],
)
def test_what_is_refused_names_the_option(options):
    with pytest.raises(ConfigurationError, match=next(iter(options)).replace("_", "[_ ]")):
        calls.normalize(options, due=0.0)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ConfigurationError) as caught:
        calls.normalize({"timeout": -1, "max_retries": -1, "retry_jitter": 9}, due=0.0)

    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("value", ["1", None, True, [1]])
def test_seconds_are_numbers_or_timedeltas(value):
    with pytest.raises(ConfigurationError):
        calls.seconds("delay", value)


def test_a_naive_datetime_is_refused_with_advice():
    with pytest.raises(ConfigurationError, match="time zone"):
        calls.when("when", datetime(2030, 1, 1))  # noqa: DTZ001


def takes_a_timeout(timeout):
    return timeout


def test_an_option_that_is_a_parameter_too_is_refused_with_advice():
    with pytest.raises(ConfigurationError, match=r"naq\.call"):
        calls.refuse_clashes(takes_a_timeout, {"timeout": 1})


def test_a_call_keeps_every_keyword_for_the_function():
    made = call(takes_a_timeout, timeout=5)

    assert isinstance(made, Call)
    assert made.kwargs == {"timeout": 5}
    assert made.options == {}


def test_a_call_may_have_options_of_its_own():
    made = call(takes_a_timeout, 5).with_options(job_id="x")

    assert made.options == {"job_id": "x"}
    with pytest.raises(ConfigurationError, match="no such option"):
        made.with_options(colour="red")


@task(queue="mail", max_retries=2)
def send(to: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


@task
async def ping() -> str:
    return "pong"


def test_a_task_is_still_the_function():
    assert isinstance(send, Task)
    assert send("bo") == "sent to bo"
    assert send.__name__ == "send"
    assert send.__doc__ == "Send a mail."


async def test_an_async_task_is_still_awaitable(anyio_backend):
    assert await ping() == "pong"


def test_a_task_can_be_given_other_options():
    other = send.with_options(queue="bulk", timeout=5)

    assert (other.queue, other.options) == ("bulk", {"max_retries": 2, "timeout": 5})
    assert (send.queue, send.options) == ("mail", {"max_retries": 2})


@pytest.mark.parametrize(
    "options", [{"colour": 1}, {"max_retries": -1}, {"job_id": "x"}, {"queue": "a.b"}]
)
def test_a_task_with_wrong_options_is_refused_when_it_is_made(options):
    with pytest.raises(ConfigurationError):
        task(**options)(takes_a_timeout)
