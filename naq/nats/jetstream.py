"""JetStream's own words: the subjects it is asked on, headers, error codes, and its answers.

JetStream is the part of nats-server that keeps messages. It is spoken to in ordinary messages: a
question goes to a subject below ``$JS.API`` and is answered in JSON; a publish into a stream says
in its headers under which condition, for how long and until when. Each of these words is written
here and nowhere else. Nothing in this module waits for anything.

What the headers and answers mean: https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from naq.exceptions import ServerRefusedError

if TYPE_CHECKING:
    from naq.nats.protocol import Message

# Where questions go; what they are about follows, with a dot before each part.
API = "$JS.API."
"""What all subjects of the API begin with, where no domain is named."""
INFO = "$JS.API.INFO"
STREAM_CREATE = "$JS.API.STREAM.CREATE"
STREAM_UPDATE = "$JS.API.STREAM.UPDATE"
STREAM_INFO = "$JS.API.STREAM.INFO"
STREAM_PURGE = "$JS.API.STREAM.PURGE"
MESSAGE_DELETE = "$JS.API.STREAM.MSG.DELETE"
MESSAGE_GET = "$JS.API.STREAM.MSG.GET"
DIRECT_GET = "$JS.API.DIRECT.GET"
CONSUMER_CREATE = "$JS.API.CONSUMER.CREATE"
CONSUMER_INFO = "$JS.API.CONSUMER.INFO"
CONSUMER_DELETE = "$JS.API.CONSUMER.DELETE"
CONSUMER_LIST = "$JS.API.CONSUMER.LIST"
CONSUMER_NEXT = "$JS.API.CONSUMER.MSG.NEXT"
CONSUMER_PAUSE = "$JS.API.CONSUMER.PAUSE"

# Headers of a publish.
MESSAGE_ID = "Nats-Msg-Id"
"""A second message with the same id is acknowledged and dropped, within the duplicate window."""
EXPECTED_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
"""The sequence of the message that is replaced, 0 for none; refused if it is another one."""
TTL = "Nats-TTL"
"""Whole seconds after which the message is removed, at least one."""
INCREMENT = "Nats-Incr"
"""What is added to a counter (NATS ADR-49)."""
SCHEDULE = "Nats-Schedule"
"""When the message is due (NATS ADR-51)."""
SCHEDULE_TARGET = "Nats-Schedule-Target"
"""Where it is published then."""
SCHEDULE_TIME_ZONE = "Nats-Schedule-Time-Zone"
"""The time zone the schedule is read in, UTC if there is none."""

# Headers of an answer.
SUBJECT = "Nats-Subject"
SEQUENCE = "Nats-Sequence"
TIME_STAMP = "Nats-Time-Stamp"
NUM_PENDING = "Nats-Num-Pending"
"""How many more messages match, after this one."""
PENDING_MESSAGES = "Nats-Pending-Messages"
"""How many messages a pull request was still owed when it ended."""

# Error codes (``err_code``).
CONFLICT = 10071
"""A compare-and-set that failed: another message stands there than was expected."""
NO_PEERS = 10005
"""There are fewer nodes now than a stream is to have copies."""
STREAM_NOT_FOUND = 10059
STREAM_NAME_IN_USE = 10058
CONSUMER_NOT_FOUND = 10014
CONSUMER_EXISTS = frozenset({10105, 10148, 10013})
NO_MESSAGE = frozenset({10057, 10043})
"""Deleted already; or its sequence was given to another one."""
NO_SUCH_MESSAGE = 10037
"""None matches."""
TRANSIENT = frozenset({10008, 10009, 10158, 10164})
"""These pass by themselves: no leader, no quorum, another write with this message id, or to this
subject, under way."""

# Settlements of a delivery, beside the two functions below.
ACK = b"+ACK"
IN_PROGRESS = b"+WPI"
"""It is still being worked on: the time for its settlement begins again."""


NAK = b"-NAK"


def nak(delay: float = 0.0) -> bytes:
    """Return the settlement of a delivery that is to come again, ``delay`` seconds from now.

    At least after a millisecond: a server that restarts forgets one without a delay, and delivers
    the message only when its time is up.
    """
    return b'%s {"delay": %d}' % (NAK, max(1_000_000, nanoseconds(delay)))


def term(reason: str) -> bytes:
    """Return the settlement of a delivery that is not to come again."""
    return f"+TERM {reason}".encode()


def nanoseconds(seconds: float) -> int:
    """Return a duration as JetStream writes it."""
    return int(seconds * 1e9)


def matches(filter_subject: str, subject: str) -> bool:
    """Whether a filter takes a subject, as the server sees it."""
    wanted, given = filter_subject.split("."), subject.split(".")
    for place, part in enumerate(wanted):
        if part == ">":
            return len(given) > place
        if place >= len(given) or part not in {"*", given[place]}:
            return False
    return len(wanted) == len(given)


class ApiError(msgspec.Struct):
    """How JetStream words an error."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class PubAck(msgspec.Struct, gc=False):
    """The answer to a publish: where the message is stored, and whether it already was."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


class StreamState(msgspec.Struct):
    """What a stream holds. ``subjects`` counts those that were asked for, by subject."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    subjects: dict[str, int] | None = None


class StreamInfo(msgspec.Struct):
    """A stream: its configuration, when it was made, and what it holds at ``ts``."""

    config: dict[str, Any]
    created: str
    state: StreamState
    ts: datetime


class Position(msgspec.Struct):
    """How far a consumer is, counted in its own deliveries and in the stream's messages."""

    consumer_seq: int = 0
    stream_seq: int = 0


class ConsumerConfig(msgspec.Struct):
    """What naq reads of a consumer's configuration."""

    ack_wait: int = 0
    """Nanoseconds."""
    pause_until: datetime | None = None


class Raft(msgspec.Struct):
    """Who leads a stream or consumer in a cluster, and since when."""

    leader: str = ""
    leader_since: str = ""


class ConsumerInfo(msgspec.Struct):
    """A consumer at ``ts``: how far it is, what waits for it, and what it has handed out."""

    name: str
    config: ConsumerConfig
    delivered: Position
    """The last message that was handed out."""
    ack_floor: Position
    """The message up to which all are settled."""
    num_pending: int
    """Messages that were never handed out."""
    num_ack_pending: int
    """Messages that were handed out and are not settled."""
    ts: datetime
    paused: bool = False
    cluster: Raft | None = None


class ConsumerPage(msgspec.Struct):
    """A part of the list of consumers."""

    total: int
    consumers: list[ConsumerInfo] | None = None


class Purged(msgspec.Struct):
    """The answer to a purge."""

    purged: int = 0


class Kept(msgspec.Struct):
    """A message as the leader of its stream gives it; ``hdrs`` are its headers as they travel."""

    subject: str
    seq: int
    time: datetime
    data: bytes = b""
    hdrs: bytes = b""


class Got(msgspec.Struct):
    """The leader's answer to a question for one message."""

    message: Kept


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
        subject=headers.pop(SUBJECT, ""),
        seq=int(headers.pop(SEQUENCE, "0")),
        time=datetime.fromisoformat(headers.pop(TIME_STAMP)),
        data=reply.data,
        headers=headers,
    )


def refused(what: str, error: ApiError) -> ServerRefusedError:
    """Make the exception for an error the server answered with."""
    return ServerRefusedError(
        f"{what}: the server refused: {error.description} ({error.err_code})",
        code=error.err_code,
        description=error.description,
    )


def is_conflict(answer: object) -> bool:
    """Whether an answer to a publish says that its compare-and-set failed."""
    return isinstance(answer, ServerRefusedError) and answer.code == CONFLICT
