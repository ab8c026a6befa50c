"""The NATS protocol as naq writes and reads it: publishes out, messages in.

nats-py keeps the connection. Building and reading one message is done here, because there it costs
as much as all the rest of a job: a regular expression per header, a queue and a task per
subscription (measured in docs/design/performance.md).
"""

from __future__ import annotations

from datetime import datetime

import msgspec

__all__ = ["Message", "Stored", "encode", "parse_headers", "stored"]


class Message:
    """A received message. ``headers`` has ``Status`` when it is a status and nobody's message."""

    __slots__ = ("data", "headers", "reply", "subject")

    def __init__(
        self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None
    ) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self.headers = headers

    def __repr__(self) -> str:
        return f"<Message {self.subject} {len(self.data)} bytes {self.headers or ''}>"

    @property
    def status(self) -> str:
        """The number of a status line, "" for an ordinary message."""
        return self.headers.get("Status", "") if self.headers else ""


def encode(subject: str, reply: str, headers: dict[str, str] | None, data: bytes) -> bytes:
    """Return a publish as the protocol writes it.

    Subjects and headers are made by naq from checked names: ASCII without white space or line
    breaks where the protocol does not allow them.
    """
    if not headers:
        return f"PUB {subject} {reply} {len(data)}\r\n".encode() + data + b"\r\n"
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    size = len(lines) + 12  # "NATS/1.0" and an empty line around them
    head = f"HPUB {subject} {reply} {size} {size + len(data)}\r\nNATS/1.0\r\n{lines}\r\n"
    return head.encode("ascii") + data + b"\r\n"


def parse_headers(raw: bytes) -> dict[str, str]:
    """Read a header block: ``NATS/1.0[ status[ description]]``, then ``name: value`` lines."""
    lines = raw.decode("utf-8", "replace").split("\r\n")
    headers = {}
    first = lines[0]
    if len(first) > 9:
        headers["Status"] = first[9:12]
        headers["Description"] = first[13:]
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name] = value.strip()
    return headers


class Stored(msgspec.Struct, frozen=True):
    """A message as it stands in a stream."""

    subject: str
    seq: int
    time: datetime
    data: bytes
    headers: dict[str, str]


def stored(reply: Message) -> Stored:
    """Read the answer to a direct get."""
    headers = dict(reply.headers or {})
    return Stored(
        subject=headers.pop("Nats-Subject", ""),
        seq=int(headers.pop("Nats-Sequence", "0")),
        time=datetime.fromisoformat(headers.pop("Nats-Time-Stamp")),
        data=reply.data,
        headers=headers,
    )
