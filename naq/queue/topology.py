"""What naq has declared on a server, beside what the settings ask for.

Streams are made by whoever needs one first, with the settings it has. What exists then is never
changed in passing: another program may know better. Here somebody asks for it. The server moves the
copies of a stream while jobs flow; one copy more is there once it has caught up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from naq.exceptions import ServerRefusedError
from naq.jobs.layout import drops, wanted_streams
from naq.nats.jetstream import STREAM_NOT_FOUND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from naq.nats.connection import Connection
    from naq.nats.jetstream import StreamInfo

__all__ = ["Declared", "apply", "topology"]

CHANGED = ("num_replicas", "max_bytes", "max_consumers", "placement")
"""What the settings say of streams, and an update of a stream can change."""
NO_LIMIT = {"max_bytes": -1}


class Declared(msgspec.Struct):
    """A stream: what it holds, and what the settings ask for.

    Attributes:
        stream: its name.
        exists: whether it is there.
        messages: how many it has.
        bytes: how many bytes they take.
        replicas: how many copies there are.
        wanted_replicas: how many copies are asked for.
        changes: what an update would change: from what, to what; empty if it is as asked for.
        warning: which limit makes it lose what was acknowledged; empty if none does.
    """

    stream: str
    exists: bool
    messages: int = 0
    bytes: int = 0
    replicas: int = 0
    wanted_replicas: int = 1
    changes: dict[str, tuple[Any, Any]] = {}
    warning: str = ""


async def topology(connection: Connection) -> list[Declared]:
    """Return what is declared, in the order in which it is needed.

    Raises:
        NaqConnectionError: the server cannot be reached.
    """
    found: list[Declared] = []
    for wanted in wanted_streams(connection):
        info = await _info(connection, wanted["name"])
        if info is None:
            found.append(
                Declared(wanted["name"], exists=False, wanted_replicas=wanted["num_replicas"])
            )
            continue
        found.append(
            Declared(
                wanted["name"],
                exists=True,
                messages=info.state.messages,
                bytes=info.state.bytes,
                replicas=info.config.get("num_replicas", 1),
                wanted_replicas=wanted["num_replicas"],
                changes=dict(_changes(info.config, wanted)),
                warning=drops(info.config, wanted),
            )
        )
    return found


async def apply(connection: Connection) -> None:
    """Create the streams that are missing, and give the others what the settings ask for.

    It may be repeated.

    Raises:
        ServerRefusedError: the server does not let us: it has too few nodes, or no such limit.
        NaqConnectionError: the server cannot be reached.
    """
    for wanted in wanted_streams(connection):
        info = await _info(connection, wanted["name"])
        if info is None:
            await connection.streams.create_stream(wanted)
        elif changes := dict(_changes(info.config, wanted)):
            config = {**info.config, **{name: to for name, (_, to) in changes.items()}}
            await connection.streams.update_stream(config)


async def _info(connection: Connection, stream: str) -> StreamInfo | None:
    try:
        return await connection.streams.stream_info(stream)
    except ServerRefusedError as exc:
        if exc.code != STREAM_NOT_FOUND:
            raise
        return None


def _changes(
    found: dict[str, Any], wanted: dict[str, Any]
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for name in CHANGED:
        there, asked = found.get(name, NO_LIMIT.get(name)), wanted.get(name, NO_LIMIT.get(name))
        if name == "placement" and there:
            there = {"tags": there.get("tags") or []}
        if asked is not None and there != asked:
            yield name, (there, asked)
