"""Which headers stay with a job when its message is stored again."""

from __future__ import annotations

import pytest

from naq.jobs.message import MAX_TRACE_HEADER, carried, trace_headers

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_naqs_own_and_the_traces():
    kept = {"Naq-Sig": "s", "Naq-Attempt": "2", "traceparent": PARENT, "X-B3-TraceId": "a1"}
    of_one_message = {"Nats-Msg-Id": "i", "Nats-Schedule": "@at x", "Nats-Expected-Stream": "s"}

    assert carried(kept | of_one_message | {"baggage": "user=1", "X-Mine": "1"}) == kept


@pytest.mark.parametrize(
    ("value", "stays"),
    [
        (PARENT, True),
        ("x" * MAX_TRACE_HEADER, True),
        ("x" * (MAX_TRACE_HEADER + 1), False),
        ("caf\xe9", False),
        ("a\r\nNats-TTL: 1", False),
        ("a\x00", False),
    ],
)
def test_a_trace_header_is_short_and_printable(value, stays):
    assert trace_headers({"tracestate": value}) == ({"tracestate": value} if stays else {})
