"""What services on the supervisor's own loop log: lines of theirs, as if they were processes.

All of them share one interpreter, and so one root logger. Whose record it is says a context
variable, which what a service starts inherits: its tasks, and the threads it sends work to.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ServiceLog", "speaking"]


@dataclass(frozen=True, slots=True)
class _Speaker:
    say: Callable[[str], None]
    token: trio.lowlevel.TrioToken
    thread: int


_speaker: ContextVar[_Speaker | None] = ContextVar("naq_speaker", default=None)


@contextmanager
def speaking(say: Callable[[str], None]) -> Iterator[None]:
    """What is logged inside becomes lines of the service that ``say`` belongs to. On Trio."""
    token = trio.lowlevel.current_trio_token()
    before = _speaker.set(_Speaker(say, token, threading.get_ident()))
    try:
        yield
    finally:
        _speaker.reset(before)


class ServiceLog(logging.Handler):
    """Gives records to whose they are; warnings of nobody go where Python sends them by default."""

    def __init__(self, make_formatter: Callable[[], logging.Formatter]) -> None:
        """Make a handler.

        Args:
            make_formatter: called at the first record, as it may have much to import.
        """
        super().__init__()
        self._make_formatter = make_formatter

    def emit(self, record: logging.LogRecord) -> None:
        """Give a record to the service it was made in."""
        speaker = _speaker.get()
        if speaker is None:
            if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
                logging.lastResort.handle(record)
            return
        if self.formatter is None:
            self.formatter = self._make_formatter()
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - logging's own rule: a bad record harms nobody
            self.handleError(record)
            return
        if threading.get_ident() == speaker.thread:
            speaker.say(text)
        else:
            with suppress(trio.RunFinishedError):
                speaker.token.run_sync_soon(speaker.say, text)
