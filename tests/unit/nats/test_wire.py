"""The protocol as naq writes and reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.nats.protocol import encode, parse_headers
from naq.nats.pull import metadata


def test_a_plain_publish():
    assert encode("a.b", "", None, b"hi") == b"PUB a.b  2\r\nhi\r\n"
    assert encode("a.b", "re.ply", {}, b"") == b"PUB a.b re.ply 0\r\n\r\n"


@given(
    headers=st.dictionaries(
        st.text("ABCabc-", min_size=1, max_size=8),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
        min_size=1,
        max_size=5,
    ),
    data=st.binary(max_size=50),
)
def test_a_publish_with_headers_has_true_sizes_and_reads_back(headers, data):
    line, _, rest = encode("s", "r", headers, data).partition(b"\r\n")
    verb, subject, reply, header_size, total = line.split(b" ")

    assert (verb, subject, reply) == (b"HPUB", b"s", b"r")
    assert len(rest) == int(total) + 2
    raw, body = rest[: int(header_size)], rest[int(header_size) : int(total)]
    assert body == data
    assert raw.startswith(b"NATS/1.0\r\n")
    assert raw.endswith(b"\r\n\r\n")
    assert parse_headers(raw) == headers


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        (b"NATS/1.0 503\r\n\r\n", {"Status": "503", "Description": ""}),
        (b"NATS/1.0 404 No Messages\r\n\r\n", {"Status": "404", "Description": "No Messages"}),
        (
            b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 3\r\n\r\n",
            {"Status": "408", "Description": "Request Timeout", "Nats-Pending-Messages": "3"},
        ),
        (b"NATS/1.0\r\nA: b: c\r\nNo-Space:x\r\n\r\n", {"A": "b: c", "No-Space": "x"}),
    ],
)
def test_headers_and_statuses(raw, headers):
    assert parse_headers(raw) == headers


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.NAQ.q_default_normal.2.17.18.1700000000000000000.5",
        "$JS.ACK._.abc123.NAQ.q_default_normal.2.17.18.1700000000000000000.5.token",
        "$JS.ACK.hub.abc123.NAQ.q_default_normal.2.17.18.1700000000000000000.5",
    ],
)
def test_both_forms_of_acknowledgement_subjects(reply):
    assert metadata(reply) == (2, 17, 5)
