"""The end of a project: every service once its dependents are gone, in bounded time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from naq.supervisor import graph
from naq.supervisor.causes import Cause, CauseKind
from naq.supervisor.config import edges

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from naq.supervisor.roster import Roster

__all__ = ["stop_all"]

# Of the time for all of it, what is kept back for KILL and the last lines of output, seconds.
_RESERVE = 2.0


async def stop_all(
    roster: Roster, *, timeout: float, last: Collection[str], hurried: Callable[[], bool]
) -> None:
    """Stop every service, the dependents of each before it.

    Args:
        roster: the services.
        timeout: seconds for all of it.
        last: services that others stand on; they go last even where nobody wrote that down.
        hurried: whether there is to be no grace.
    """
    deadline = trio.current_time() + timeout
    before = graph.stop_order(edges(roster.specs), last=last)

    async def stop(name: str) -> None:
        await roster.until_parked(before[name])
        left = max(0.0, deadline - trio.current_time() - _RESERVE)
        for replica in roster.of(name):
            grace = 0.0 if hurried() else min(replica.spec.stop_timeout, left)
            limit = max(deadline - _RESERVE, trio.current_time() + grace)
            replica.stop(Cause(kind=CauseKind.SHUTDOWN), grace=grace, limit=limit)
        await roster.until_parked([name])

    async with trio.open_nursery() as nursery:
        for name in roster.specs:
            nursery.start_soon(stop, name)
