"""From a call as it is written to a job: what is the function's own, and what is an option.

Many calls at once (:class:`Batch`) are encoded first, so that one which cannot be sent stops all
of them; the rest of each is made when its turn to be sent comes, while the server is busy with
those before it.

A job as the message that puts it into a queue, now or later.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from naq.base.names import new_id
from naq.exceptions import ConfigurationError
from naq.jobs import calls as _options
from naq.jobs.calls import Call, Declared
from naq.jobs.job import JobMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from naq.base.names import Names
    from naq.jobs.codec import Codec

    Function = Callable[..., Any] | Declared[..., Any] | Call | str

__all__ = [
    "ATTEMPT",
    "CHECK",
    "REVISION",
    "Batch",
    "Prepared",
    "at",
    "carried",
    "job_envelope",
    "prepare",
    "scheduled_for",
    "trace_headers",
]


class Prepared(NamedTuple):
    """A job that is ready to be sent, and whether its id was given by the caller.

    ``trace`` are the headers that carry the context of a trace, once there is one.
    """

    message: JobMessage
    given_id: bool
    trace: dict[str, str] | None = None


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
        function: what was called, bound or decorated or not.
        args: its positional arguments.
        kwargs: its keyword arguments, and the options.
        due: when it becomes runnable, seconds since the epoch; None: at once.

    Raises:
        ConfigurationError: an option cannot be used.
        SerializationError: the function or an argument cannot be sent.
    """
    options, own = _options.split(kwargs)
    if isinstance(function, Call):
        if args or own:
            raise ConfigurationError("give the arguments to naq.call, not beside it")
        bound = function
        options = {**options, **bound.options}
        function, args, own = bound.function, bound.args, bound.kwargs
    elif options:
        target = function.function if isinstance(function, Declared) else function
        _options.clashing(target, options)
    if isinstance(function, Declared):
        options = {**function.options, **options}
        function = function.function
    name, payload, encoding = codec.encode_call(function, args, own)
    now = time.time()
    fields = _options.normalize(options, due=due or now) if options else {}
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
    return Prepared(message, given_id is not None)


class Batch:
    """Jobs of one queue that are to be sent together; none of them can be refused here any more.

    What a call has in common with the one before it, most often all but the arguments, is looked
    at once: each then costs a third of :func:`prepare`.
    """

    def __init__(
        self, codec: Codec, queue: str, calls: Iterable[Function], options: dict[str, Any]
    ) -> None:
        """Encode ``calls``.

        Args:
            codec: encodes them.
            queue: their queue.
            calls: what was called.
            options: of all of them; a call's own win.

        Raises as :func:`prepare`.
        """
        self.chosen = False
        """Whether somebody has chosen the id of one of them."""
        # Of most only the arguments: what the garbage collector need not look at costs half.
        self._items: list[Prepared | JobMessage | bytes] = []
        self._likes: list[JobMessage | None] = []
        items, likes = self._items, self._likes
        like: JobMessage | None = None
        function: object = None
        for call in calls:
            plain = call if isinstance(call, Call) and not call.options else None
            if plain is not None and like is not None and plain.function is function:
                items.append(codec.encode_arguments(like.function, plain.args, plain.kwargs))
                likes.append(like)
                continue
            prepared = prepare(codec, queue, call, (), dict(options))
            items.append(prepared)
            likes.append(None)
            self.chosen = self.chosen or prepared.given_id
            like = None
            if plain is not None and _is_like_others(prepared):
                like, function = prepared.message, plain.function

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
        """Return which jobs have arguments of at least ``size`` bytes, or what else may be long."""
        for index, (item, like) in enumerate(zip(self._items, self._likes, strict=True)):
            if like is None or like.meta or (isinstance(item, bytes) and len(item) >= size):
                yield index


def _is_like_others(prepared: Prepared) -> bool:
    """Whether another call of its function differs in nothing but arguments, id and time."""
    return not prepared.given_id and prepared.message.encoding != "cloudpickle"


CHECK = "Naq-Check"
"""Header of a job whose id somebody chose: it may have run before, so its record is read."""


TRACE = frozenset(
    ["traceparent", "tracestate", "b3", "uber-trace-id"]
    + [f"x-b3-{name}" for name in ("traceid", "spanid", "parentspanid", "sampled", "flags")]
)
"""Headers in which the context of a trace travels: W3C's, and those of B3 and Jaeger.

Not ``baggage``: programs act upon that, and a message's headers are not signed.
"""


MAX_TRACE_HEADER = 512
"""Characters of one of them; a longer one is left out."""


_AT = "@at "


def at(moment: float) -> str:
    """Return the server's pattern for one moment, in seconds since the epoch."""
    return f"{_AT}{datetime.fromtimestamp(moment, UTC).isoformat().replace('+00:00', 'Z')}"


def scheduled_for(headers: dict[str, str] | None) -> float | None:
    """Return the moment a stored schedule fires at once; None if it is another kind."""
    pattern = (headers or {}).get("Nats-Schedule", "")
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

    The server's own are about one message: their place, their time, their id.
    """
    own = {name: value for name, value in headers.items() if name.startswith("Naq-")}
    return own | trace_headers(headers)


def job_envelope(
    names: Names, codec: Codec, message: JobMessage, *, chosen: bool
) -> tuple[str, bytes, dict[str, str]]:
    """Return subject, body and headers that queue a job.

    It is queued once, however often it is sent: the compare-and-set refuses it while it is queued,
    the message id for two minutes after.

    Args:
        names: what things are called.
        codec: seals it.
        message: the job; delayed if ``due_at`` is later than ``enqueued_at``.
        chosen: whether its id was chosen by somebody, so that it may have run before.
    """
    body, headers = codec.seal(message)
    headers["Nats-Msg-Id"] = message.id
    headers["Nats-Expected-Last-Subject-Sequence"] = "0"
    if chosen:
        headers[CHECK] = "1"
    subject = names.job(message.queue, message.id)
    due = message.due_at
    if due is not None and due > message.enqueued_at:
        headers["Nats-Schedule"] = at(due)
        headers["Nats-Schedule-Target"] = subject
        subject = names.delayed(message.queue, message.id)
    return subject, body, headers


ATTEMPT = "Naq-Attempt"
"""Header of a message that is a scheduled retry: its record must be read before it runs."""


REVISION = "Naq-Revision"
"""Header of an alarm, and of what it fires: the revision of the record it was made for."""
