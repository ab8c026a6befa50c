"""A job in a worker's hands: the message, what is known of it, and what is being done with it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import anyio

    from naq._decide import Delivery, Run
    from naq._tracing import AttemptSpan
    from naq.connection import Message
    from naq.job import Failure, JobMessage, JobRecord

__all__ = ["Held"]


class Held:
    """A job a worker was given and has not settled.

    ``reply`` and ``delivery`` change when the server delivers it again while it is held;
    ``record`` is what was known of it when it was taken, and ``expected`` that record's sequence.
    ``scope`` is there while it runs, to cancel it; ``concluded`` from when its outcome is known.
    ``span`` is there from when it runs, if traces are made.
    """

    __slots__ = (
        "arrived_at",
        "body",
        "cancelled",
        "concluded",
        "delivery",
        "expected",
        "headers",
        "id",
        "job",
        "problem",
        "queue",
        "record",
        "reply",
        "run",
        "scope",
        "span",
        "started_at",
    )

    def __init__(self, job_id: str, queue: str, message: Message, delivery: Delivery) -> None:
        self.id = job_id
        self.arrived_at = time.monotonic()
        self.queue = queue
        self.body = message.data
        self.headers = message.headers or {}
        self.reply = message.reply
        self.delivery = delivery
        self.job: JobMessage | None = None
        self.record: JobRecord | None = None
        self.expected = 0
        self.run: Run | None = None
        self.scope: anyio.CancelScope | None = None
        self.cancelled = False
        self.concluded = False
        self.problem: Failure | None = None
        self.started_at: float | None = None
        self.span: AttemptSpan | None = None
