"""Calls on their way to being jobs: many at once become what each would alone."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import naq
from naq.exceptions import ConfigurationError, SerializationError
from naq.jobs.coding.codec import Codec
from naq.jobs.message import Batch, Prepared, prepare
from naq.settings import Settings


def plain(*args, **kwargs):
    return args, kwargs


@naq.task(queue="elsewhere", max_retries=3, timeout=5, meta={"team": "a"})
def decorated(*args, **kwargs):
    return args, kwargs


def here():
    def local(*args, **kwargs):
        return args, kwargs

    return local


functions = st.sampled_from([plain, decorated, here(), "some.module:function"])
arguments = st.lists(st.one_of(st.integers(), st.text(max_size=5), st.none()), max_size=3)
own = st.sampled_from([{}, {}, {"max_retries": 7}, {"meta": {"x": 1}}, {"job_id": "chosen"}])


@st.composite
def calls(draw):
    call = naq.call(draw(functions), *draw(arguments), **draw(st.sampled_from([{}, {"k": 1}])))
    options = draw(own)
    return call.with_options(**options) if options else call


@given(
    st.lists(st.one_of(calls(), st.just(plain), st.just(decorated)), max_size=12),
    st.sampled_from([{}, {"result_ttl": 60}, {"max_retries": 1}]),
)
def test_many_become_what_each_would_alone(made, options):
    codec = Codec.from_settings(Settings())
    batch = Batch(codec, "q", made, options)
    assert len(batch) == len(made)
    ids = set()
    for index, call in enumerate(made):
        alone = prepare(codec, "q", call, (), dict(options))
        one = batch.prepared(index)
        chosen = {} if alone.given_id else {"id": alone.message.id}
        same = msgspec.structs.replace(one.message, enqueued_at=alone.message.enqueued_at, **chosen)
        if alone.message.encoding != "cloudpickle":  # which writes sets in any order
            assert same == alone.message
        assert one.given_id == alone.given_id
        assert isinstance(one, Prepared)
        assert one.message is batch.prepared(index).message  # sent again it is the same job
        ids.add(one.message.id)
    assert len(ids) == len(made) or batch.chosen
    assert batch.chosen == any(batch.prepared(index).given_id for index in range(len(made)))


def test_what_is_long_or_may_be_is_told():
    codec = Codec.from_settings(Settings())
    sizes = [1, 5000, 1, 1, 9000]
    batch = Batch(codec, "q", [naq.call(plain, "x" * size) for size in sizes], {})
    found = list(batch.not_below(1000))
    assert {1, 4} <= set(found)
    assert 2 not in found
    batch = Batch(codec, "q", [naq.call(plain, 1)] * 3, {"meta": {"long": "x" * 5000}})
    assert list(batch.not_below(1000)) == [0, 1, 2]


@pytest.mark.parametrize("mode", ["pickle", "json"])
def test_one_that_cannot_be_sent_refuses_all(mode):
    codec = Codec.from_settings(Settings(job_serializer=mode))
    bad = (i for i in ())
    with pytest.raises(SerializationError, match="plain"):
        Batch(codec, "q", [naq.call(plain, 1), naq.call(plain, 2), naq.call(plain, bad)], {})
    with pytest.raises(ConfigurationError):
        Batch(codec, "q", [naq.call(plain, 1), 5], {})
