"""A little HTTP: what is answered to which bytes, and what is made of an answer."""

from __future__ import annotations

from http import HTTPStatus
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.base.http import MAX_HEAD, ClientExchange, Page, ServerExchange

GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"


def served(*chunks):
    """Return head and body of the answer to what arrives in these pieces, None without one."""
    exchange = ServerExchange()
    for chunk in chunks:
        if exchange.receive(chunk):
            answer = exchange.answer(lambda path: Page(HTTPStatus.OK, f"this is {path}\n", "a/b"))
            head, _, body = answer.partition(b"\r\n\r\n")
            return head.decode().split("\r\n"), body.decode()
    return None


def test_a_request_is_answered_whole():
    head, body = served(GET)

    assert head == [
        "HTTP/1.1 200 OK",
        "Content-Type: a/b",
        "Content-Length: 11",
        "Connection: close",
    ]
    assert body == "this is /a\n"


@given(st.lists(st.integers(1, len(GET) - 1)))
def test_a_request_may_come_in_pieces(cuts):
    bounds = [0, *sorted(set(cuts)), len(GET)]
    pieces = [GET[start:end] for start, end in pairwise(bounds)]

    assert served(*pieces) == served(GET)
    assert served(*pieces[:-1]) is None


def test_head_is_answered_as_get_but_for_the_body():
    assert served(GET.replace(b"GET", b"HEAD")) == (served(GET)[0], "")


@pytest.mark.parametrize("method", [b"POST", b"DELETE", b"OPTIONS", b"nonsense"])
def test_other_methods_are_told_which_are_allowed(method):
    head, _ = served(GET.replace(b"GET", method))

    assert head[0] == "HTTP/1.1 405 Method Not Allowed"
    assert "Allow: GET, HEAD" in head


@pytest.mark.parametrize(
    "chunks",
    [
        (b"rubbish\r\n\r\n",),
        (b"\x16\x03\x01\x02\x00", b""),  # TLS
        (b"x" * 9000,),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 2000,),
        (b"GET / HTTP/1.1\r\n\r\n",),  # no Host
        (b"GET / HT", b""),
        (b"GET \xff HTTP/1.1\r\nHost: x\r\n\r\n",),
    ],
)
def test_what_is_no_request_is_a_bad_one(chunks):
    assert served(*chunks)[0][0] == "HTTP/1.1 400 Bad Request"


def test_a_client_that_asks_for_nothing():
    with pytest.raises(EOFError):
        served(b"")


@given(st.binary(max_size=300))
def test_any_bytes_are_answered(data):
    try:
        head, _ = served(data, b"")
    except EOFError:
        assert not data
    else:
        assert head[0].startswith("HTTP/1.1 ")


def asked(*chunks):
    exchange = ClientExchange("x:1", "/")
    for chunk in chunks:
        if (status := exchange.receive(chunk)) is not None:
            return status
    return None


def test_what_is_sent():
    lines = ClientExchange("[::1]:80", "/health?a=b%20 c\xe9").request.decode().split("\r\n")

    assert lines[0] == "GET /health?a=b%20%20c%C3%A9 HTTP/1.1"
    assert "Host: [::1]:80" in lines
    assert "Connection: close" in lines
    assert lines[-2:] == ["", ""]


@pytest.mark.parametrize("host", ["a b\r\nX: y", "\xe9"])
def test_a_host_that_cannot_be(host):
    with pytest.raises(ValueError, match="is not a host"):
        ClientExchange(host, "/")


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",), (200, "OK")),
        ((b"HTTP/1.0 503 Not ", b"Now\r\n\r", b"\n"), (503, "Not Now")),
        ((b"HTTP/1.1 204\r\n\r\n",), (204, "")),
        ((b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 301 Moved\r\n\r\n",), (301, "Moved")),
        ((b"HTTP/1.1 200 OK\r\n",), None),
    ],
)
def test_the_status_of_an_answer(chunks, status):
    assert asked(*chunks) == status


@pytest.mark.parametrize(
    "chunks",
    [(b"",), (b"SSH-2.0-OpenSSH\r\n\r\n",), (b"HTTP/1.1 200 OK\r\n", b""), (b"x" * MAX_HEAD * 2,)],
)
def test_what_is_no_answer(chunks):
    with pytest.raises(ValueError, match="the answer is not HTTP"):
        asked(*chunks)


@pytest.mark.parametrize(("status", "text"), [(b"200 OK", "200 OK"), (b"204", "204")])
def test_a_status_as_text(status, text):
    assert str(asked(b"HTTP/1.1 " + status + b"\r\n\r\n")) == text
