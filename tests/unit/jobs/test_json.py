"""JSON mode: an argument arrives as what was given, or is refused; never as something else."""

from __future__ import annotations

import dataclasses
import enum
import math
import sys
import types
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.exceptions import SerializationError
from naq.jobs.calls.arguments import from_json, to_json
from naq.jobs.coding.codec import Codec

if TYPE_CHECKING:
    from somewhere import Context

JSON = Codec(mode="json", allow=(__name__,))


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: float | None = None


class Order(pydantic.BaseModel):
    number: int
    due: date | None = None


def bare(x, y=None, *rest, **more):
    return x


def vague(x: Any, y: list, z: object = None):
    return x


def vague_too(x: Any, y: object = None, z: Any = None):
    return x


def typed(  # noqa: PLR0917 - one of each
    when: datetime,
    price: Decimal = Decimal(1),
    who: uuid.UUID | None = None,
    color: Color = Color.RED,
    point: Point | None = None,
    raw: bytes = b"",
    tags: set[str] = frozenset(),
    pair: tuple[int, str] = (1, ""),
    span: timedelta = timedelta(0),
    by: dict[int, Point] | None = None,
    order: Order | None = None,
    orders: list[Order] = (),
    paths: list[str] = (),
    context: Context | None = None,
    *moments: date,
    **named: datetime,
):
    return when


NOW = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
NOT_JSON = {
    "datetime": NOW,
    "date": NOW.date(),
    "decimal": Decimal("1.10"),
    "uuid": uuid.uuid4(),
    "enum": Color.RED,
    "dataclass": Point(1, 2.5),
    "bytes": b"\x00\xff",
    "set": {"a"},
    "tuple": (1, "a"),
    "in a list": [1, {"deep": [NOW]}],
    "keys": {1: "a"},
    "model": Order(number=1),
}
NEVER = {
    "nan": math.nan,
    "infinity": [1, -math.inf],
    "deep": {"x": [{"y": math.nan}]},
    "in a dataclass": Point(1, math.nan),
    "object": object(),
    "surrogate": "r\udce9",
    "function": len,
}
ENDLESS: list = []
ENDLESS.append(ENDLESS)
NEVER["endless"] = ENDLESS


def sent(function, *args, **kwargs):
    return from_json(function, "m:f", to_json("m:f", function, args, kwargs))


@pytest.mark.parametrize("value", NOT_JSON.values(), ids=NOT_JSON)
def test_without_an_annotation_it_is_refused(value):
    for function in (bare, vague):
        with pytest.raises(
            SerializationError, match=r"m:f: argument 'x', an? \w+, would arrive as"
        ):
            to_json("m:f", function, (value, []), {})
        with pytest.raises(SerializationError, match="argument 'x'"):
            to_json("m:f", function, (), {"x": value, "y": []})
    for args, kwargs, name in (((1, 2, 3, value), {}, "rest"), ((1,), {"k": value}, "more")):
        with pytest.raises(SerializationError, match=f"argument '{name}'"):
            to_json("m:f", bare, args, kwargs)


@pytest.mark.parametrize("value", NOT_JSON.values(), ids=NOT_JSON)
def test_from_a_producer_without_the_function_the_worker_refuses_it(value):
    for args, kwargs in (((1, 2, value), {}), ((value, 1), {}), ((), {"x": value, "y": 1})):
        payload = to_json("m:f", None, args, kwargs)
        for function in (bare, vague_too):
            with pytest.raises(
                SerializationError, match=r"argument '(x|rest|z)' was given as a type"
            ):
                from_json(function, "m:f", payload)


@pytest.mark.parametrize("value", NEVER.values(), ids=NEVER)
def test_what_has_no_json_is_refused_at_once(value):
    for function in (bare, vague, None):
        with pytest.raises(SerializationError, match="not JSON"):
            to_json("m:f", function, (value, []), {})
    with pytest.raises(SerializationError, match="not JSON"):
        JSON.encode_value(value)


def test_annotations_bring_everything_back():
    given = {
        "price": Decimal("1.10"),
        "who": uuid.uuid4(),
        "color": Color.RED,
        "point": Point(1, 2.5),
        "raw": b"\x00\xff",
        "tags": {"a"},
        "pair": (1, "a"),
        "span": timedelta(minutes=1),
        "by": {1: Point(2)},
        "order": Order(number=1, due=NOW.date()),
        "orders": [Order(number=2)],
    }
    for function in (typed, None):  # None: the producer does not have it
        payload = to_json("m:f", function, (NOW,), given)
        args, kwargs = from_json(typed, "m:f", payload)
        assert args == (NOW, *given.values())
        assert kwargs == {}
    assert sent(typed, NOW, orders=[], named=NOW)[1]["named"] == NOW
    args, kwargs = sent(typed, NOW, paths=("a", "b"))
    assert ["a", "b"] in (*args, *kwargs.values())  # a list was asked for
    assert sent(vague, 1, (2, 3)) == ((1, [2, 3]), {})
    with pytest.raises(SerializationError):
        sent(vague, 1, (2, (3,)))


def test_rest_and_more_are_converted_too():
    def of_dates(*days: date, **times: datetime):
        return days, times

    days, times = sent(of_dates, NOW.date(), NOW.date(), now=NOW)

    assert (days, times) == ((NOW.date(),) * 2, {"now": NOW})


def test_one_annotation_that_cannot_be_evaluated_leaves_the_others():
    assert sent(typed, NOW, Decimal(2), context={"plain": 1})[0][:2] == (NOW, Decimal(2))
    with pytest.raises(SerializationError, match="argument 'context'"):
        to_json("m:f", typed, (NOW,), {"context": NOW})
    with pytest.raises(SerializationError, match="argument 'when'"):
        from_json(typed, "m:f", b'{"args":["tomorrow"]}')


def test_a_model_that_does_not_fit_is_said_by_name():
    with pytest.raises(SerializationError, match=r"m:f: argument 'order'.*number"):
        from_json(typed, "m:f", b'{"args":["2030-01-01T00:00:00Z"],"kwargs":{"order":{}}}')


def test_a_class_without_json_is_refused():
    class Strange:
        pass

    def takes(it: Strange | None):
        return it

    takes.__annotations__["it"] = Strange | None
    assert sent(takes, None) == ((None,), {})
    with pytest.raises(SerializationError, match=r"argument 'it'.*which has no JSON"):
        from_json(takes, "m:f", b'{"args":[{"a":1}]}')


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
anything = st.recursive(
    plain
    | st.floats()
    | st.datetimes()
    | st.dates()
    | st.decimals()
    | st.uuids()
    | st.binary(max_size=4)
    | st.sampled_from([Color.RED, Point(1), Order(number=1)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.lists(plain, max_size=3), st.dictionaries(st.sampled_from("abc"), plain))
def test_what_json_has_arrives_as_it_was(args, kwargs):
    assert sent(bare, 0, *args, **kwargs) == ((0, *([*args] or [None])), kwargs) or not args
    got = sent(bare, 0, 1, *args, **kwargs)
    assert (list(got[0]), got[1]) == ([0, 1, *args], kwargs)


@given(anything)
def test_an_argument_arrives_as_it_was_or_not_at_all(value):
    try:
        (found,), _ = sent(bare, value)
    except SerializationError:
        return
    assert found == value


def test_nothing_is_added_where_json_is_enough():
    assert (
        to_json("m:f", None, (1, "a", [None]), {"k": {}})
        == b'{"args":[1,"a",[null]],"kwargs":{"k":{}}}'
    )


def test_a_module_that_is_reloaded_is_asked_anew():
    module = types.ModuleType("reloaded_tasks")
    sys.modules["reloaded_tasks"] = module
    try:
        exec("from datetime import date\ndef f(x: date): return x", vars(module))
        assert sent(module.f, NOW.date())[0] == (NOW.date(),)
        exec("def f(x): return x", vars(module))
        with pytest.raises(SerializationError):
            sent(module.f, NOW.date())
    finally:
        del sys.modules["reloaded_tasks"]
