"""What naq declares on the server: streams, a bucket, one consumer per queue.

Declaring is idempotent. What exists is compared with what is needed: a stream that lacks a
feature or has other subjects is refused with its name and the difference, never changed silently.
Why the layout is this one: docs/design/nats-layout.md.

**The stream of jobs begins with a message that stays.** To find the next message at or before the
beginning of a stream, nats-server looks at every subject there is, and a consumer asks just that
whenever everything before is settled. With 600,000 jobs queued a third of the server's time went
there (2.15.1, ``fileStore.LoadNextMsg``). Behind the keeper no consumer is ever at the beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from naq.exceptions import ConfigurationError, ServerRefusedError

if TYPE_CHECKING:
    from naq.nats.connection import Connection

__all__ = ["ensure_consumer", "ensure_counters", "ensure_streams", "ensure_ticks"]

DUPLICATE_WINDOW = 120.0
"""Seconds a message id is remembered; longer than any publish is tried for."""
MAX_CONSUMERS = 10_000
"""A positive number: the server replaces -1 by its default of 1,000."""
MAX_ACK_PENDING = 100_000
"""Unacknowledged jobs per queue: more than all workers of a queue run at once."""
MAX_WAITING = 8192
"""Pull requests that may stand at one consumer; cannot be changed later."""
COUNTS_AGE = 7200.0
"""Seconds the counters of a minute are kept: for charts over an hour, and some."""
TICK_WAIT = 5.0
"""Seconds a scheduler has for what is due of a schedule, before another one is asked."""

_STREAM_NOT_FOUND = 10059
_STREAM_NAME_IN_USE = 10058
_CONSUMER_EXISTS = frozenset({10105, 10148, 10013})


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _streams(connection: Connection) -> list[dict[str, Any]]:
    names = connection.names
    prefix = names.prefix
    common = {
        "storage": "file",
        "num_replicas": connection.settings.replicas,
        "discard": "old",
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
            "max_consumers": MAX_CONSUMERS,
            "duplicate_window": _nanoseconds(DUPLICATE_WINDOW),
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
            "name": f"KV_{names.workers_bucket}",
            "description": "naq: presence of workers",
            "retention": "limits",
            "subjects": [f"$KV.{names.workers_bucket}.>"],
            "storage": "memory",  # workers say again that they are there after a restart
            "allow_rollup_hdrs": True,
            "deny_delete": True,
        },
    ]


def _counter_streams(connection: Connection) -> list[dict[str, Any]]:
    names = connection.names
    prefix = names.prefix
    common = {
        "storage": "file",
        "num_replicas": connection.settings.replicas,
        "retention": "limits",
        "discard": "old",
        "max_msgs_per_subject": 1,
        "allow_direct": True,
        "allow_msg_counter": True,
        "duplicate_window": _nanoseconds(DUPLICATE_WINDOW),
    }
    return [
        {
            **common,
            "name": names.counts_stream,
            "description": "naq: what happened to jobs, by the minute",
            "subjects": [f"{prefix}.m.a.>", f"{prefix}.m.q.>"],
            "max_age": _nanoseconds(COUNTS_AGE),
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

    Apart from :func:`ensure_streams`, because a producer needs none of them.

    Raises as :func:`ensure_streams`.
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
    if {names.jobs_stream, names.results_stream, f"KV_{names.workers_bucket}"} <= (
        connection.declared
    ):
        return
    for wanted in _streams(connection):
        name = wanted["name"]
        if name not in connection.declared:
            found = await _ensure_stream(connection, wanted, count=names.keeper)
            connection.declared.add(name)
            if name == names.jobs_stream and not found["state"].get("subjects"):
                _keep_first(connection)


def _keep_first(connection: Connection) -> None:
    """Store the keeper, before anything else from here; without it all works, only slower."""
    headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
    connection.store_soon(_whatever, connection.names.keeper, b"", headers)


def _whatever(answer: object) -> None:
    """It is there, or another process was first, or we may not."""


async def _ensure_stream(
    connection: Connection, wanted: dict[str, Any], *, count: str | None = None
) -> dict[str, Any]:
    """Create a stream that is missing; return what the server says of it.

    Args:
        connection: to the server.
        wanted: its configuration.
        count: a subject whose messages are counted in ``state``.
    """
    name = wanted["name"]
    question = None if count is None else {"subjects_filter": count}
    try:
        found = await connection.api(f"STREAM.INFO.{name}", question)
    except ServerRefusedError as exc:
        if exc.code != _STREAM_NOT_FOUND:
            raise
        try:
            found = await connection.api(f"STREAM.CREATE.{name}", wanted)
        except ServerRefusedError as race:
            if race.code != _STREAM_NAME_IN_USE:
                raise
            found = await connection.api(f"STREAM.INFO.{name}", question)
    _compare(name, wanted, found["config"])
    return found


# What may differ without harm: tuning, and what an operator may have changed on purpose.
_FREE = frozenset(
    {
        "description",
        "num_replicas",
        "storage",
        "max_consumers",
        "duplicate_window",
        "deny_delete",
        "max_age",
    }
)


def _compare(name: str, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    """Raise if the stream that is there cannot do what naq needs."""
    different = []
    for key, value in wanted.items():
        if key in _FREE:
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

    One that exists is taken as it is, so that workers with other settings do not fight over it.

    Raises:
        ServerRefusedError: the server does not let us create it.
        NaqConnectionError: no answer in time.
    """
    names = connection.names
    return await _ensure(
        connection,
        names.consumer(queue),
        names.queue_filter(queue),
        description=f"naq: queue {queue}",
        ack_wait=connection.settings.ack_wait(queue),
    )


async def ensure_ticks(connection: Connection) -> float:
    """Create the consumer all schedulers share if there is none; return its ``ack_wait``.

    Raises as :func:`ensure_consumer`.
    """
    names = connection.names
    return await _ensure(
        connection,
        names.ticks_consumer,
        names.tick(">"),
        description="naq: what is due of schedules with a policy",
        ack_wait=TICK_WAIT,
    )


async def _ensure(
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
        "ack_wait": _nanoseconds(ack_wait),
        "max_deliver": -1,
        "max_ack_pending": MAX_ACK_PENDING,
        "max_waiting": MAX_WAITING,
        "num_replicas": 0,
    }
    request = {"stream_name": stream, "config": config, "action": "create"}
    try:
        info = await connection.api(
            f"CONSUMER.CREATE.{stream}.{consumer}.{filter_subject}", request
        )
    except ServerRefusedError as exc:
        if exc.code not in _CONSUMER_EXISTS:
            raise
        info = await connection.api(f"CONSUMER.INFO.{stream}.{consumer}")
    connection.declared.add(consumer)
    return float(info["config"]["ack_wait"]) / 1e9
