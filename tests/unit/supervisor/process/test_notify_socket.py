"""What a service says over its notify socket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from naq.supervisor.process.notify_socket import parse_notification


@given(st.binary(max_size=100))
def test_any_datagram_is_parsed(datagram):
    assert all(parse_notification(datagram))


def test_notifications():
    assert parse_notification(b"READY=1\nSTATUS=a=b\nnothing\n=x\nEMPTY=") == {
        "READY": "1",
        "STATUS": "a=b",
        "EMPTY": "",
    }
