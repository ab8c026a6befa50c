"""Prepared messages through one socket to nats-server: what it takes, waiting for no client."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from naq.jobs.coding.codec import Codec
from naq.jobs.message import job_envelope
from naq.jobs.message import prepare as make

if TYPE_CHECKING:
    from collections.abc import Callable

    import naq

INBOX = "_INBOX.benchflood"
FLOW = 500
"""Messages per answer asked for, as naq does."""
WINDOW = 2000


async def prepare(
    queue: naq.Queue, function: Callable[..., Any], args: list[Any], count: int
) -> list[bytes]:
    """Return the messages of one fast-ingest batch (NATS ADR-50) as they go over the wire."""
    # One real job is enqueued, so that the streams and the queue are there, and then removed.
    await queue.enqueue(function, *args)
    await queue.purge()
    names = queue._connection.names  # noqa: SLF001
    codec = Codec.from_settings(queue._connection.settings)  # noqa: SLF001
    made = []
    for number in range(1, count + 1):
        message = make(codec, "default", function, tuple(args), {}).message
        subject, data, headers = job_envelope(names, codec, message, chosen=False)
        operation = 0 if number == 1 else 2 if number == count else 1
        reply = f"{INBOX}.batch.{FLOW}.ok.{number}.{operation}.$FI"
        made.append(_hpub(subject, reply, headers, data))
    return made


def _hpub(subject: str, reply: str, headers: dict[str, str], data: bytes) -> bytes:
    head = "NATS/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
    size = len(head)
    line = f"HPUB {subject} {reply} {size} {size + len(data)}\r\n{head}"
    return line.encode() + data + b"\r\n"


def push(url: str, messages: list[bytes]) -> None:
    """Send them, a window at a time, until the server has acknowledged all."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as link:
        link.recv(65536)
        options = {"verbose": False, "headers": True, "auth_token": parts.username}
        link.sendall(f"CONNECT {json.dumps(options)}\r\nSUB {INBOX}.> 1\r\n".encode())
        link.sendall(messages[0])
        sent, said = 1, b""
        while True:
            received = link.recv(65536)
            said = (said + received)[-65536:]
            if not received or b'"error"' in said or b"-ERR" in said or b'"gap"' in said:
                raise RuntimeError(f"nats-server refused the batch: {said[-500:]!r}")
            if b'"count":%d' % len(messages) in said:
                return
            acked = max(map(int, re.findall(rb'"seq":(\d+)[,}]', said)), default=0)
            until = min(len(messages), acked + WINDOW)
            if until > sent:
                link.sendall(b"".join(messages[sent:until]))
                sent = until
