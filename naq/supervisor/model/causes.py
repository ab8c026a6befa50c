"""Why a run ended, and how it was brought to its end. Values without behaviour."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Cause", "CauseKind", "Ending"]


class CauseKind(StrEnum):
    """Why a run ended."""

    EXIT = "exit"
    SIGNAL = "signal"
    CRASH = "crash"  # of a task: an exception
    SPAWN_ERROR = "spawn_error"
    START_TIMEOUT = "start_timeout"
    LIVENESS = "liveness"
    WATCHDOG = "watchdog"
    MEMORY = "memory"
    OPERATOR = "operator"
    SHUTDOWN = "shutdown"
    SCALE = "scale"
    RELOAD = "reload"
    WATCH = "watch"
    AGE = "age"
    GROUP = "group"
    DEPENDENCY = "dependency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a run ended, or must end.

    Attributes:
        code: exit code, where there was one.
        signal: number of the signal that killed it.
        message: what a person needs to know beyond that.
    """

    kind: CauseKind
    code: int | None = None
    signal: int | None = None
    message: str = ""

    @classmethod
    def of_returncode(cls, returncode: int) -> Cause:
        """Return the cause for a status as :mod:`subprocess` gives it: negative is a signal."""
        if returncode < 0:
            return cls(kind=CauseKind.SIGNAL, signal=-returncode)
        return cls(kind=CauseKind.EXIT, code=returncode)

    @property
    def exit_code(self) -> int:
        """What a shell would report: 128 + n for signal n, 126 for a program that cannot start."""
        if self.kind is CauseKind.SPAWN_ERROR:
            return 126
        if self.signal is not None:
            return 128 + self.signal
        return 1 if self.code is None else self.code

    def __str__(self) -> str:
        match self.kind:
            case CauseKind.EXIT:
                text = f"exit code {self.code}"
            case CauseKind.SIGNAL:
                text = f"killed by {_signal_name(self.signal or 0)}"
            case CauseKind.SPAWN_ERROR if self.message:
                return self.message
            case CauseKind.OPERATOR:
                text = "on request"
            case _:
                text = self.kind.value.replace("_", " ")
        return f"{text}: {self.message}" if self.message else text


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Ending(StrEnum):
    """How what was left of a run came to its end."""

    QUIET = "quiet"  # nothing was left, or it ended when asked to
    KILLED = "killed"  # it did not end in time
    STUCK = "stuck"  # it is still there
