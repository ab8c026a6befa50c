"""What the server sends, cut anywhere: the same messages as nats-py's own parser finds."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.protocol.parser import Parser

from naq.nats.protocol import MAX_LINE, MAX_MESSAGE, MalformedError, Splitter, parse_headers

token = st.text("abcXYZ019_-$", min_size=1, max_size=12)
subject = st.lists(token, min_size=1, max_size=3).map(".".join)
body = st.one_of(st.binary(max_size=60), st.just(b"MSG a 1 3\r\nPING\r\n"))
sid = st.sampled_from(["1", "7"])


@st.composite
def message(draw):
    words = [draw(subject), draw(sid)]
    if draw(st.booleans()):
        words.append(draw(subject))
    data, head = draw(body), b""
    if draw(st.booleans()):
        head = b"NATS/1.0\r\n" + draw(st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: :d\r\n"]))
        head += b"\r\n"
        words.append(str(len(head)))
    words.append(str(len(head) + len(data)))
    verb = "HMSG " if head else "MSG "
    return (verb + " ".join(words)).encode() + b"\r\n" + head + data + b"\r\n"


line = st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b'INFO {"max_payload":1}\r\n'])
stream = st.lists(st.one_of(message(), line), max_size=8).map(b"".join)


class Route:
    def __init__(self, heard, sid):
        self.heard = heard
        self.sid = sid

    def receive(self, message):
        self.heard.append(
            (self.sid, message.subject, message.reply, message.data, message.headers or {})
        )


class Reference:
    """The part of nats-py's client its parser talks to."""

    def __init__(self):
        self.heard = []
        self.lines = []

    async def _process_msg(self, sid, subject, reply, data, headers):
        parsed = parse_headers(headers) if headers else {}
        self.heard.append((sid, subject.decode(), reply.decode(), data, parsed))

    async def _process_ping(self):
        self.lines.append(b"PING\r\n")

    async def _process_pong(self):
        self.lines.append(b"PONG\r\n")

    async def _process_info(self, info):
        self.lines.append(b'INFO {"max_payload":1}\r\n')


def split(pieces, sids=(1, 7)):
    heard, lines = [], []
    splitter = Splitter({b"%d" % number: Route(heard, number) for number in sids})
    for piece in pieces:
        lines += splitter.feed(piece)
    return heard, lines


@given(stream, st.lists(st.integers(0, 400), max_size=6))
def test_messages_are_found_however_the_stream_is_cut(data, cuts):
    reference = Reference()
    asyncio.run(Parser(reference).parse(data))
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})

    heard, lines = split([data[a:b] for a, b in pairwise(edges)])

    assert heard == reference.heard
    assert [line for line in lines if line != b"+OK\r\n"] == reference.lines


@given(stream)
def test_the_stream_may_come_byte_by_byte(data):
    assert split([bytes([byte]) for byte in data]) == split([data])


def test_what_is_for_nobody_is_dropped():
    data = b"MSG a 9 2\r\nhi\r\nMSG b 1 3\r\nyou\r\n"
    assert split([data]) == ([(1, "b", "", b"you", {})], [])


def test_after_a_reset_nothing_is_left_of_a_message():
    heard = []
    splitter = Splitter({b"1": Route(heard, 1)})
    splitter.feed(b"MSG a 1 10\r\nhalf")
    splitter.reset()
    assert splitter.feed(b"MSG b 1 1\r\nx\r\nPI") == []
    splitter.reset()
    assert splitter.feed(b"PONG\r\n") == [b"PONG\r\n"]
    assert [subject for _, subject, *_ in heard] == ["b"]


@pytest.mark.parametrize(
    "data",
    [
        b"MSG\r\n",
        b"MSG a 1\r\n",
        b"MSG a 1 two\r\nhi\r\n",
        b"MSG a 1 -1\r\nhi\r\n",
        b"MSG a 1 r e 2\r\nhi\r\n",
        b"MSGS a 1 2\r\nhi\r\n",
        b"HMSG a 1 2\r\nhi\r\n",
        b"HMSG a 1 9 2\r\nhi\r\n",
        b"HELLO\r\n",
        b"MSG a 1 1\r\nhi\r\n",  # longer than it says
        b"MSG a 1 %d\r\n" % (MAX_MESSAGE + 1),
        b"x" * (MAX_LINE + 1),
    ],
)
def test_what_is_no_protocol_is_refused(data):
    with pytest.raises(MalformedError):
        split([data])


@given(st.binary(max_size=80), st.booleans())
def test_garbage_is_refused_or_waited_for(garbage, beginning):
    """Nothing else is raised."""
    with contextlib.suppress(MalformedError):
        split([b"MSG a 1 3\r\n" * beginning + garbage, b"\r\n", garbage])


def test_a_large_message_comes_in_many_pieces():
    size, piece = 8_000_000, 32_768
    data = b"MSG a 1 %d\r\n" % size + b"x" * size + b"\r\nPING\r\n"
    heard, lines = split([data[at : at + piece] for at in range(0, len(data), piece)])
    assert len(heard[0][3]) == size
    assert lines == [b"PING\r\n"]
