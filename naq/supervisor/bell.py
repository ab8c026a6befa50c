"""Waiting for something to look at, without a task for each thing that may happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Bell"]

T = TypeVar("T")


class Bell:
    """Rung when something changed; whoever waits looks again.

    What is looked at is state, not a message: ten rings while nobody looks cost one look, and a
    change between two looks cannot be lost.
    """

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """Make everybody look."""
        self._event.set()
        self._event = trio.Event()

    async def until(self, *looks: Callable[[], T | None]) -> T:
        """Return what the first of ``looks`` finds that finds something; wait until one does.

        Args:
            looks: each returns None for "nothing"; an earlier one wins.
        """
        while True:
            event = self._event
            for look in looks:
                if (found := look()) is not None:
                    return found
            await event.wait()
