"""Tasks of the supervisor's own: a bug in one of them must not end what it supervises."""

from __future__ import annotations

import traceback
from collections import deque
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["keep"]

_PAUSE = 1.0  # seconds before it is started again
_MOST = 5  # failures
_WITHIN = 60.0  # seconds


async def keep(
    fn: Callable[[], Awaitable[object]],
    what: str,
    *,
    say: Callable[[str], None],
    give_up: Callable[[], None],
) -> None:
    """Run ``fn`` for ever; start it again after a failure, but not without end.

    Args:
        fn: runs until cancelled.
        what: its name, for people.
        say: prints an error.
        give_up: called when it has failed too often: without it the supervisor is of no use.
    """
    failures: deque[float] = deque(maxlen=_MOST)
    while True:
        try:
            await fn()
        except Exception as exc:  # noqa: BLE001 - reported, and tried again
            say(f"{what} has failed:\n{''.join(traceback.format_exception(exc))}")
        else:
            return
        now = trio.current_time()
        failures.append(now)
        if len(failures) == _MOST and now - failures[0] < _WITHIN:
            say(f"{what} has failed {_MOST} times: stopping")
            give_up()
            return
        await trio.sleep(_PAUSE)
