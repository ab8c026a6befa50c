"""Whatever user code leaves in a record, the record can be stored."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.exceptions import SerializationError
from naq.jobs.coding.codec import Codec
from naq.jobs.coding.storable import plain, storable
from naq.jobs.job import Attempt, DeadLetter, Failure, JobRecord, JobStatus

SURROGATE = "r\udce9sum\udce9.txt"


class Markup(str):
    __slots__ = ()

    def encode(self, *_args):
        raise AssertionError("overridden, as templating libraries do")


class Nasty:
    def __repr__(self):
        raise RuntimeError


def record(**fields):
    return JobRecord(id="j", queue="q", function="m:f", status=JobStatus.FAILED, **fields)


ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
ANYTHING = st.recursive(
    ANY_TEXT
    | ANY_TEXT.map(Markup)
    | st.integers()
    | st.floats(allow_nan=False)
    | st.binary()
    | st.none()
    | st.builds(Nasty)
    | st.just(object),
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    max_leaves=8,
)


@given(ANY_TEXT)
def test_a_text_is_left_alone_unless_it_cannot_be_encoded(text):
    made = plain(Markup(text))

    assert type(made) is str
    assert made.encode().decode() == made
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert made == text


@given(ANYTHING, ANYTHING, ANYTHING)
def test_every_record_and_letter_can_be_encoded(text, number, detail):
    error = Failure(text, detail, detail)
    past = (Attempt(number, text, error=text),)
    for struct in (
        record(error=error, history=past, attempts=number, worker=text),
        DeadLetter(
            id="j", queue="q", reason=text, failed_at=0.0, body=b"x", headers=detail, error=error
        ),
    ):
        msgspec.msgpack.encode(storable(struct))


def test_what_can_be_stored_is_stored_as_it_is():
    kept = record(error=Failure("a", "b"), history=(Attempt(1, "w"),), value=b"\xff", attempts=3)

    assert storable(kept) == kept
    assert storable(kept).status is JobStatus.FAILED


@pytest.mark.parametrize("text", [SURROGATE, Markup("x")], ids=["surrogate", "subclass"])
def test_the_codec_needs_it(text):
    with pytest.raises(SerializationError):
        Codec().seal(record(worker=text))
    Codec().seal(storable(record(worker=text)))
