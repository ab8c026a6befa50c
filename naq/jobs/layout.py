"""What naq declares on the server: streams, a bucket, one consumer per queue.

Declaring is idempotent. What exists is compared with what is needed: a stream that lacks a
feature or has other subjects is refused with its name and the difference, never changed silently.
Why the layout is this one: docs/design/nats-layout.md.

**The stream of jobs begins with a message that stays, the keeper.** A request for the next message
at or before the beginning of a stream makes nats-server look at every subject there is, and a
consumer makes that request whenever all that came before is settled. With 600,000 jobs queued a
third of the server's time went there (2.15.1, ``fileStore.LoadNextMsg``). With the keeper in front
no consumer is ever at the beginning.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from naq.exceptions import ConfigurationError, ServerRefusedError
from naq.nats.jetstream import (
    CONSUMER_EXISTS,
    EXPECTED_SEQUENCE,
    STREAM_NAME_IN_USE,
    STREAM_NOT_FOUND,
    nanoseconds,
)

if TYPE_CHECKING:
    from naq.nats.connection import Connection
    from naq.nats.jetstream import StreamInfo

__all__ = [
    "drops",
    "ensure_consumer",
    "ensure_counters",
    "ensure_streams",
    "ensure_ticks",
    "wanted_streams",
]

log = logging.getLogger("naq.connection")

DUPLICATE_WINDOW = 120.0
"""Seconds a message id is remembered; longer than any publish is tried for."""
MAX_WAITING = 8192
"""Pull requests that may stand at one consumer; cannot be changed later."""
PRESENCE_BYTES, COUNTER_BYTES = 16 * 2**20, 64 * 2**20
"""What the small streams may take, where ``NAQ_MAX_BYTES`` asks for a limit."""
COUNTS_AGE = 7200.0
"""Seconds the counters of a minute are kept: enough for charts over an hour."""
TICK_WAIT = 5.0
"""Seconds a scheduler has for what is due of a schedule before another one is asked."""


def _asked_for(connection: Connection) -> dict[str, Any]:
    """Return what the settings say of every stream."""
    settings = connection.settings
    asked: dict[str, Any] = {
        "storage": "file",
        "num_replicas": settings.replicas,
        "discard": "old",
    }
    if settings.max_bytes is not None:
        asked["max_bytes"] = settings.max_bytes
    if settings.placement_tags:
        asked["placement"] = {"tags": list(settings.placement_tags)}
    return asked


def _at_most(connection: Connection, most: int) -> dict[str, Any]:
    """Return the limit of a small stream, where streams have one: the server reserves it."""
    asked = connection.settings.max_bytes
    return {} if asked is None else {"max_bytes": min(asked, most)}


def wanted_streams(connection: Connection) -> list[dict[str, Any]]:
    """Return the configuration of each stream, as the settings of a connection ask for it."""
    return [*_streams(connection), *_counter_streams(connection)]


def _streams(connection: Connection) -> list[dict[str, Any]]:
    names = connection.names
    prefix = names.prefix
    common = {
        **_asked_for(connection),
        "max_msgs_per_subject": 1,
        "allow_direct": True,
        "allow_msg_ttl": True,
    }
    return [
        {
            **common,
            "name": names.jobs_stream,
            "description": "naq: runnable and delayed jobs",
            "retention": "workqueue",
            "subjects": [f"{prefix}.{kind}.>" for kind in ("j", "s", "c", "cs", "t", "u", "w")],
            "allow_msg_schedules": True,
            "allow_atomic": True,
            "allow_batched": True,
            # A positive number: the server replaces -1 by its default of 1,000.
            "max_consumers": connection.settings.max_consumers,
            "duplicate_window": nanoseconds(DUPLICATE_WINDOW),
        },
        {
            **common,
            "name": names.results_stream,
            "description": "naq: results and dead letters",
            "retention": "limits",
            "subjects": [f"{prefix}.r.>", f"{prefix}.d.>"],
            # The server publishes what it stored: this is what wakes Job.result().
            "republish": {"src": f"{prefix}.>", "dest": f"{names.event_root}.>"},
        },
        {
            **common,
            "name": names.workers_stream,
            "description": "naq: presence of workers",
            "retention": "limits",
            "subjects": [names.presence(">")],
            "storage": "memory",  # after a restart workers announce themselves again
            **_at_most(connection, PRESENCE_BYTES),
            "allow_rollup_hdrs": True,
            "deny_delete": True,
        },
    ]


def _counter_streams(connection: Connection) -> list[dict[str, Any]]:
    names = connection.names
    prefix = names.prefix
    common = {
        **_asked_for(connection),
        **_at_most(connection, COUNTER_BYTES),
        "retention": "limits",
        "max_msgs_per_subject": 1,
        "allow_direct": True,
        "allow_msg_counter": True,
        "duplicate_window": nanoseconds(DUPLICATE_WINDOW),
    }
    return [
        {
            **common,
            "name": names.counts_stream,
            "description": "naq: what happened to jobs, by the minute",
            "subjects": [f"{prefix}.m.a.>", f"{prefix}.m.q.>"],
            "max_age": nanoseconds(COUNTS_AGE),
        },
        {
            **common,
            "name": names.totals_stream,
            "description": "naq: what has happened to jobs, in total",
            "subjects": [f"{prefix}.m.t.>"],
        },
    ]


async def ensure_counters(connection: Connection) -> None:
    """Create the streams of counters that are missing, once per connection.

    Apart from :func:`ensure_streams`, because a program that only enqueues needs none of them.

    Raises:
        ConfigurationError: a stream of that name exists and cannot serve.
        ServerRefusedError: the server does not let us create one.
        NaqConnectionError: no answer in time.
    """
    for wanted in _counter_streams(connection):
        name = wanted["name"]
        if name not in connection.declared:
            await _ensure_stream(connection, wanted)
            connection.declared.add(name)


async def ensure_streams(connection: Connection) -> None:
    """Create the streams that are missing, once per connection.

    Raises:
        ConfigurationError: a stream of that name exists and cannot serve.
        ServerRefusedError: the server does not let us create one.
        NaqConnectionError: no answer in time.
    """
    names = connection.names
    if {names.jobs_stream, names.results_stream, names.workers_stream} <= connection.declared:
        return
    for wanted in _streams(connection):
        name = wanted["name"]
        if name not in connection.declared:
            found = await _ensure_stream(connection, wanted, count=names.keeper)
            connection.declared.add(name)
            if name == names.jobs_stream and not found.state.subjects:
                _store_keeper(connection)


def _store_keeper(connection: Connection) -> None:
    """Store the keeper, before anything else that is sent over this connection.

    The answer does not matter: the keeper may be there already, or we may not be allowed to store
    it, and without it all works, only slower.
    """
    headers = {EXPECTED_SEQUENCE: "0"}
    connection.store_soon(lambda answer: None, connection.names.keeper, b"", headers)  # noqa: ARG005


async def _ensure_stream(
    connection: Connection, wanted: dict[str, Any], *, count: str | None = None
) -> StreamInfo:
    """Create a stream that is missing; return what the server says of it.

    Args:
        connection: to the server.
        wanted: its configuration.
        count: a subject whose messages are counted in ``state``.
    """
    name, streams = wanted["name"], connection.streams
    try:
        found = await streams.stream_info(name, count=count)
    except ServerRefusedError as exc:
        if exc.code != STREAM_NOT_FOUND:
            raise
        try:
            found = await streams.create_stream(wanted)
        except ServerRefusedError as race:
            if race.code != STREAM_NAME_IN_USE:
                raise
            found = await streams.stream_info(name, count=count)
    _compare(name, wanted, found.config)
    dropping = drops(found.config, wanted)
    if dropping:
        log.warning("the stream %s is limited by %s", name, dropping)
    there = found.config.get("num_replicas", 1)
    if there < wanted["num_replicas"]:
        log.warning(
            "the stream %s has %d of the %d replicas that NAQ_REPLICAS asks for; "
            "`naq topology --apply` adds them",
            *(name, there, wanted["num_replicas"]),
        )
    return found


def drops(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return by which limits a stream loses what was acknowledged, and what; "" if it does not.

    The server drops the oldest messages at such a limit. It knows no other way for a stream with
    schedules ("message scheduling cannot use discard new", nats-server 2.15.1).
    """
    limits = [
        f"{name} = {found[name]}"
        for name in _DROPPED_BY
        if (found.get(name) or 0) > 0 and (name == "max_bytes" or name not in wanted)
    ]
    if not limits or ("republish" not in wanted and wanted["retention"] != "workqueue"):
        return ""  # counters and presence come again
    lost = "dead letters and results" if "republish" in wanted else "jobs that wait"
    return f"{', '.join(limits)}: the server drops the oldest {lost} there, without a word"


# What may differ without harm: tuning, and what an operator may have changed on purpose.
_MAY_DIFFER = frozenset(
    {
        "description",
        "num_replicas",
        "storage",
        "max_consumers",
        "max_bytes",
        "placement",
        "duplicate_window",
        "deny_delete",
        "max_age",
    }
)
_DROPPED_BY = ("max_bytes", "max_msgs", "max_age")
"""Limits by which a server drops the oldest messages, where it is told to."""


def _compare(name: str, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    """Check that a stream that exists can do what naq needs.

    Raises:
        ConfigurationError: it cannot; with what is different.
    """
    different = []
    for key, value in wanted.items():
        if key in _MAY_DIFFER:
            continue
        there = found.get(key)
        if key == "subjects":
            same = set(value) <= set(there or ())
        elif key == "republish":
            same = all((there or {}).get(k) == v for k, v in value.items())
        else:
            same = there == value
        if not same:
            different.append(f"{key} is {there!r}, naq needs {value!r}")
    if different:
        raise ConfigurationError(
            f"the stream {name} exists and is not one of naq's: {'; '.join(different)}. "
            "Use another NAQ_PREFIX, or remove that stream"
        )


async def ensure_consumer(connection: Connection, queue: str) -> float:
    """Create the consumer of ``queue`` if there is none; return its ``ack_wait`` in seconds.

    One that exists is used as it is, so that workers with other settings do not fight over it.

    Raises:
        ServerRefusedError: the server does not let us create it.
        NaqConnectionError: no answer in time.
    """
    names = connection.names
    return await _ensure_consumer(
        connection,
        names.consumer(queue),
        names.queue_filter(queue),
        description=f"naq: queue {queue}",
        ack_wait=connection.settings.ack_wait(queue),
    )


async def ensure_ticks(connection: Connection) -> float:
    """Create the consumer all schedulers share if there is none; return its ``ack_wait``.

    Raises:
        ServerRefusedError: the server does not let us create it.
        NaqConnectionError: no answer in time.
    """
    names = connection.names
    return await _ensure_consumer(
        connection,
        names.ticks_consumer,
        names.tick(">"),
        description="naq: what is due of schedules with a policy",
        ack_wait=TICK_WAIT,
    )


async def _ensure_consumer(
    connection: Connection, consumer: str, filter_subject: str, *, description: str, ack_wait: float
) -> float:
    stream = connection.names.jobs_stream
    config = {
        "durable_name": consumer,
        "name": consumer,
        "description": description,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "filter_subject": filter_subject,
        "ack_wait": nanoseconds(ack_wait),
        "max_deliver": -1,
        "max_ack_pending": connection.settings.max_ack_pending,
        "max_waiting": MAX_WAITING,
        "num_replicas": 0,
    }
    try:
        info = await connection.streams.create_consumer(stream, config)
    except ServerRefusedError as exc:
        if exc.code not in CONSUMER_EXISTS:
            raise
        info = await connection.streams.consumer_info(stream, consumer)
    connection.declared.add(consumer)
    return info.config.ack_wait / 1e9
