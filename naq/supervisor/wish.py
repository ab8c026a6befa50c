"""What is wanted of a replica, as opposed to what is the case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from naq.supervisor.causes import Cause, CauseKind

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Wish"]


class Wish:
    """What is wanted of a replica; the newest word counts."""

    def __init__(self) -> None:
        self.up = True
        self.closing = False
        self.cause = Cause(kind=CauseKind.OPERATOR)
        self.grace: float | None = None
        self._changed = trio.Event()

    def say(self) -> None:
        """Wake whoever waits for a wish."""
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; it is asked again after every word."""
        while not condition():
            await self._changed.wait()
