"""Tasks of the supervisor's own: a bug in one of them must not end what it supervises."""

from __future__ import annotations

import traceback
from collections import deque
from typing import TYPE_CHECKING

import trio

from naq.exceptions import NaqException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

__all__ = ["Refused", "keep", "leaves", "reason", "summary"]

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


def summary(error: BaseException) -> str:
    """Return the messages of an error, or of all errors in a group, on one line."""
    each = (" ".join(f"{type(e).__name__}: {e}".split()).removesuffix(":") for e in leaves(error))
    return "; ".join(dict.fromkeys(each))


def reason(error: Exception) -> str:
    """Return an error's message; with its type only where the text was not written for a person."""
    known = isinstance(error, (OSError, NaqException)) and str(error)
    return " ".join(str(error).split()) if known else summary(error)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group at any depth; an error that is no group is its only leaf."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from leaves(part)
    else:
        yield error


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request that is answered with an error.

    Attributes:
        code: for programs: ``bad-request``, ``version``, ``unknown-command``, ``internal``, ...
        id: of the request, where it could be read.
    """

    def __init__(self, code: str, message: str, *, id_: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.id = id_
