"""Now :mod:`naq.nats.connection`."""

from __future__ import annotations

from naq.nats.connection import (
    Connection,
    Message,
    PubAck,
    PullHandle,
    Stored,
    connect,
    current_connection,
    use_connection,
)

__all__ = [
    "Connection",
    "Message",
    "PubAck",
    "PullHandle",
    "Stored",
    "connect",
    "current_connection",
    "use_connection",
]
