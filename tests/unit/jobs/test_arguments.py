"""Arguments for people, of payloads that must not be executed."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import os
import pickle
import pickletools

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.jobs.inspect.arguments import LIMIT, shown


@dataclasses.dataclass
class Point:
    x: int
    y: list


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((), {}, ""),
        ((1, "two", 3.5, None, True), {}, "1, 'two', 3.5, None, True"),
        (([1, (2,)],), {"k": {"a": 1}}, "[1, (2,)], k={'a': 1}"),
        ((decimal.Decimal("1.5"),), {}, "decimal.Decimal('1.5')"),
        ((collections.OrderedDict(),), {}, "collections.OrderedDict()"),
    ],
)
def test_what_is_plain_is_shown(protocol, args, kwargs, expected):
    assert shown(pickle.dumps((args, kwargs), protocol), "pickle") == expected


def test_objects_are_shown_by_what_would_make_them():
    text = shown(pickle.dumps(((Point(3, [1]), dt.date(2026, 1, 2)), {})), "pickle")
    assert f"{__name__}.Point() {{'x': 3, 'y': [1]}}" in text
    assert "datetime.date(" in text


def test_nothing_is_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/pwned",))

    assert shown(pickle.dumps(((Evil(),), {})), "pickle").startswith("posix.system('touch ")
    assert not (tmp_path / "pwned").exists()


def test_json_is_shown_as_it_is():
    assert shown(b'{"args":[1,"x"],"kwargs":{"a":null}}', "json") == '1, "x", a=null'
    assert shown(b"not json", "json") == "not json"


def test_a_function_by_value_is_left_out():
    assert shown(cloudpickle.dumps((lambda x: x, (1,), {"a": 2})), "cloudpickle") == "1, a=2"


def test_a_few_bytes_cannot_stand_for_more_than_there_is_room():
    bomb: list = ["x" * 100]
    for _ in range(60):
        bomb = [bomb, bomb, bomb, bomb]
    assert len(shown(pickle.dumps(((bomb,), {})), "pickle")) < 2 * LIMIT
    deep: list = []
    for _ in range(300):
        deep = [deep]
    assert "…" in shown(pickle.dumps(((deep,), {})), "pickle")
    itself: list = []
    itself.append(itself)
    assert len(shown(pickle.dumps(((itself,), {})), "pickle")) < 2 * LIMIT


@given(st.binary(max_size=200))
def test_garbage_is_shown_as_such(payload):
    assert isinstance(shown(payload, "pickle"), str)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(st.tuples(VALUES, VALUES), st.sampled_from([2, 3, 4, 5]), st.integers(0, 400))
def test_values_are_shown_as_they_are_and_halves_of_them_do_no_harm(args, protocol, cut):
    payload = pickletools.optimize(pickle.dumps((args, {}), protocol))
    if protocol >= 3:
        assert shown(payload, "pickle") == ", ".join(map(repr, args))[:LIMIT]
    assert isinstance(shown(payload[:cut], "pickle"), str)
