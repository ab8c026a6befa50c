"""What kinds need that run on the supervisor's own loop, as a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from naq.supervisor.kinds.kind import ReplicaContext

__all__ = ["until_stopped"]


async def until_stopped(
    replica: ReplicaContext,
    run: Callable[[], Awaitable[None]],
    stop: Callable[[], None],
    *beside: Callable[[], Awaitable[None]],
    monitor: Callable[..., Awaitable[None]] | None = None,
) -> None:
    """Run something on the supervisor's loop, and ``stop`` it when its replica is stopped.

    Args:
        replica: the replica that it is.
        run: runs it to its end.
        stop: asks it to end.
        beside: more tasks, for as long as it runs.
        monitor: one more such task; it listens before ``run`` begins.
    """
    import trio

    stopping = replica.stopping()

    async def obey() -> None:
        await stopping.wait()
        stop()

    async with trio.open_nursery() as nursery:
        for task in (obey, *beside):
            nursery.start_soon(task)
        if monitor is not None:
            await nursery.start(monitor)
        await run()
        nursery.cancel_scope.cancel()
