"""``naq topology``: what is declared on the server, and making it what the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naq.cli import render
from naq.cli.common import Common, Flag, Json, run

if TYPE_CHECKING:
    from naq.nats.connection import Connection
    from naq.queue.topology import Declared

__all__ = ["topology"]


def topology(*, apply: Flag = False, json: Json = False, common: Common | None = None) -> int:
    """Show naq's streams: what they hold, and where they differ from what the settings ask for.

    NAQ_REPLICAS, NAQ_MAX_BYTES, NAQ_MAX_CONSUMERS and NAQ_PLACEMENT_TAGS are what they ask for.

    Args:
        apply: Create streams that are missing, and change the others; jobs go on meanwhile.
        json: Print one JSON document.
    """

    async def ask(connection: Connection) -> list[Declared]:
        from naq.queue import topology as declared

        if apply:
            await declared.apply(connection)
        return await declared.topology(connection)

    found = run(common, ask)
    if json:
        render.print_json(found)
        return 0
    rows = [
        (
            one.stream,
            one.messages if one.exists else None,
            f"{one.bytes:,}" if one.exists else None,
            _replicas(one),
            _note(one),
        )
        for one in found
    ]
    render.table(["STREAM", "MESSAGES", "BYTES", "REPLICAS", "NOTE"], rows)
    if any(one.changes or not one.exists for one in found):
        render.line("`naq topology --apply` makes these streams what the settings ask for")
    return 0


def _replicas(one: Declared) -> str:
    if one.replicas == one.wanted_replicas:
        return str(one.replicas)
    return f"{one.replicas} of {one.wanted_replicas}"


def _note(one: Declared) -> str:
    if not one.exists:
        return "is not there yet"
    said = [f"{name}: {there} -> {asked}" for name, (there, asked) in one.changes.items()]
    return "; ".join([*filter(None, [one.warning]), *said])
