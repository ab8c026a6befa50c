"""From a call to the message that puts it into a queue, now or later.

:func:`prepare` turns one call into a :class:`~naq.jobs.job.JobMessage`; :func:`job_envelope` says
under which subject, and with which headers, that is sent.

Of many calls (:class:`Batch`) all are encoded first, so that one which cannot be sent stops all of
them. The rest of each message is made when its turn comes, while the server is busy with those
before it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from naq.base.names import CALL, CHECK, OWN_HEADER, new_id
from naq.jobs import calls
from naq.jobs.calls import Call
from naq.jobs.job import JobMessage
from naq.nats.jetstream import EXPECTED_SEQUENCE, MESSAGE_ID, SCHEDULE, SCHEDULE_TARGET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from naq.base.names import Names
    from naq.jobs.calls import Function
    from naq.jobs.coding.codec import Codec

__all__ = [
    "LATER_COPIES",
    "Batch",
    "Prepared",
    "at",
    "carried",
    "job_envelope",
    "prepare",
    "scheduled_for",
    "trace_headers",
]

TRACE = frozenset(
    ["traceparent", "tracestate", "b3", "uber-trace-id"]
    + [f"x-b3-{name}" for name in ("traceid", "spanid", "parentspanid", "sampled", "flags")]
)
"""Headers in which the context of a trace travels: W3C's, and those of B3 and Jaeger.

Not ``baggage``: programs act on it, and the headers of a message are not signed.
"""
MAX_TRACE_HEADER = 512
"""Characters of one of them; a longer one is left out."""
LATER_COPIES: Mapping[str, str] = MappingProxyType({CHECK: "1"})
"""Headers of every copy of a job that is sent after the first.

The server remembers for two minutes what it has stored, and forgets it when it is killed. A job
that has run by then would be stored again; its record stops the second copy.
"""
_AT = "@at "


class Prepared(NamedTuple):
    """A job that is ready to be sent, and whether the caller chose its id.

    ``trace`` holds the headers that carry the context of a trace, once there is one. ``call`` names
    the call of enqueue, where the id was chosen: another call may use the same id.
    """

    message: JobMessage
    given_id: bool
    trace: dict[str, str] | None = None
    call: str = ""


def prepare(
    codec: Codec,
    queue: str,
    function: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    due: float | None = None,
) -> Prepared:
    """Build the message from what was called, and check the options.

    Args:
        codec: encodes the call.
        queue: the job's queue.
        function: what is to be called; see :func:`naq.jobs.calls.bind`.
        args: its positional arguments.
        kwargs: its keyword arguments, and the options.
        due: when it becomes runnable, seconds since the epoch; None: at once.

    Raises:
        ConfigurationError: an option cannot be used.
        SerializationError: the function or an argument cannot be sent.
    """
    bound = calls.bind(function, args, kwargs)
    name, payload, encoding = codec.encode_call(bound.function, bound.args, bound.kwargs)
    now = time.time()
    fields = calls.normalize(bound.options, due=due or now) if bound.options else {}
    given_id = fields.pop("id", None)
    message = JobMessage(
        id=given_id or new_id(),
        queue=queue,
        function=name,
        payload=payload,
        encoding=encoding,
        enqueued_at=now,
        due_at=due,
        **fields,
    )
    if given_id is None:
        return Prepared(message, given_id=False)
    return Prepared(message, given_id=True, call=new_id())


class Batch:
    """Jobs that are sent together, encoded and checked.

    What a call has in common with the one before it, most often all but the arguments, is prepared
    once: each then costs a third of :func:`prepare`.
    """

    def __init__(
        self,
        codec: Codec,
        queue: str,
        functions: Iterable[Function],
        options: dict[str, Any],
        *,
        routed: bool = False,
    ) -> None:
        """Encode the calls.

        Args:
            codec: encodes them.
            queue: their queue.
            functions: what is to be called, without arguments or as :func:`naq.call`.
            options: of all of them; a call's own win.
            routed: a call of a task that names a queue goes there instead.

        Raises as :func:`prepare`.
        """
        calls.refuse_unknown(options)
        self.chosen = False
        """Whether the caller chose the id of one of them."""
        self.queues: dict[str, None] = {}
        """Where they go, in order."""
        # Of most only the arguments are kept: bytes, which the garbage collector skips, cost half.
        self._items: list[Prepared | JobMessage | bytes] = []
        self._likes: list[JobMessage | None] = []
        items, likes = self._items, self._likes
        like: JobMessage | None = None
        kind: tuple[object, object] | None = None
        for call in functions:
            plain = call if isinstance(call, Call) and not call.options else None
            if plain is not None and like is not None and (plain.function, plain.policy) == kind:
                items.append(
                    codec.encode_arguments(like.function, plain.args, plain.kwargs, plain.function)
                )
                likes.append(like)
                continue
            where = (calls.queue_of(call) if routed else None) or queue
            prepared = prepare(codec, where, call, (), dict(options))
            self.queues[where] = None
            items.append(prepared)
            likes.append(None)
            self.chosen = self.chosen or prepared.given_id
            like = None
            if plain is not None and _is_like_others(prepared):
                like, kind = prepared.message, (plain.function, plain.policy)

    def __len__(self) -> int:
        return len(self._items)

    def prepared(self, index: int) -> Prepared:
        """Return a job; the same one each time."""
        item = self._items[index]
        if isinstance(item, bytes):
            like = self._likes[index]
            assert like is not None
            item = self._items[index] = msgspec.structs.replace(
                like, id=new_id(), payload=item, enqueued_at=time.time()
            )
        return Prepared(item, given_id=False) if isinstance(item, JobMessage) else item

    def not_below(self, size: int) -> Iterator[int]:
        """Yield the jobs whose arguments, or anything else in them, may reach ``size`` bytes."""
        for index, (item, like) in enumerate(zip(self._items, self._likes, strict=True)):
            if like is None or like.meta or (isinstance(item, bytes) and len(item) >= size):
                yield index


def _is_like_others(prepared: Prepared) -> bool:
    """Whether another call of its function would differ only in arguments, id and time."""
    return not prepared.given_id and prepared.message.encoding != "cloudpickle"


def at(moment: float) -> str:
    """Return the server's pattern for one moment, in seconds since the epoch."""
    return f"{_AT}{datetime.fromtimestamp(moment, UTC).isoformat().replace('+00:00', 'Z')}"


def scheduled_for(headers: dict[str, str] | None) -> float | None:
    """Return the one moment a stored message fires at; None if it does not, or repeatedly."""
    pattern = (headers or {}).get(SCHEDULE, "")
    if not pattern.startswith(_AT):
        return None
    try:
        return datetime.fromisoformat(pattern[len(_AT) :]).timestamp()
    except ValueError:
        return None


def trace_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those headers that carry the context of a trace and may be sent on."""
    return {
        name: value
        for name, value in headers.items()
        if name.lower() in TRACE
        and len(value) <= MAX_TRACE_HEADER
        and value.isascii()
        and value.isprintable()
    }


def carried(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers a job keeps when its message is stored again: naq's and the trace's.

    The server's own headers concern one message: its place, its time, its id.
    """
    own = {name: value for name, value in headers.items() if name.startswith(OWN_HEADER)}
    return own | trace_headers(headers)


def job_envelope(
    names: Names, codec: Codec, message: JobMessage, *, chosen: bool, call: str = ""
) -> tuple[str, bytes, dict[str, str]]:
    """Return subject, body and headers that queue a job.

    It is queued once, however often this envelope is sent: the compare-and-set refuses it while it
    is queued, the message id for two minutes after that. The message id guards one call against
    its own copies and nothing else; whether an id is known is asked of what is queued and of the
    record.

    Args:
        names: the subjects.
        codec: seals it.
        message: the job; delayed if ``due_at`` is later than ``enqueued_at``.
        chosen: whether its id was chosen, so that a job with this id may have run before.
        call: names the call of enqueue; none if nothing else can queue a job of this id.
    """
    body, headers = codec.seal(message)
    headers[MESSAGE_ID] = message.id
    if call:
        headers[MESSAGE_ID] = f"{message.id}:{call}"
        headers[CALL] = call
    headers[EXPECTED_SEQUENCE] = "0"
    if chosen:
        headers[CHECK] = "1"
    subject = names.job(message.queue, message.id)
    due = message.due_at
    if due is not None and due > message.enqueued_at:
        headers[SCHEDULE] = at(due)
        headers[SCHEDULE_TARGET] = subject
        subject = names.delayed(message.queue, message.id)
    return subject, body, headers
