"""The lines of its own that the supervisor prints about a replica. Pure: values in, a line out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from naq.supervisor.model.causes import CauseKind, Ending
from naq.supervisor.model.lifecycle import Complete, Restart, RestartGroup

if TYPE_CHECKING:
    from naq.supervisor.model.causes import Cause
    from naq.supervisor.model.lifecycle import Decision
    from naq.supervisor.model.spec import ServiceSpec

__all__ = [
    "Said",
    "ended",
    "not_renewed",
    "ready",
    "ready_again",
    "renewing",
    "retired",
    "skipped",
    "started",
    "still_stopping",
    "stopped",
    "stopping",
    "unready",
]

# Ends on request are worth a line in debug mode only, planned ones an ordinary line.
_ASKED = frozenset({CauseKind.SHUTDOWN, CauseKind.OPERATOR})
_PLANNED = frozenset(
    {CauseKind.SCALE, CauseKind.RELOAD, CauseKind.AGE, CauseKind.GROUP, CauseKind.DEPENDENCY}
)


class Said(NamedTuple):
    """A line and its level; the name of the replica goes in front."""

    text: str
    level: str = "info"


def started(pid: int | None) -> Said:
    """It runs, and its readiness is waited for."""
    return Said(f"started{_pid(pid)}", "debug")


def ready(pid: int | None, seconds: float, *, waited: bool) -> Said:
    """It is ready, ``seconds`` after its start; ``waited`` if there was a check to pass first."""
    return Said(f"ready after {span(seconds)}{_pid(pid)}" if waited else f"running{_pid(pid)}")


def ready_again() -> Said:
    """Its readiness probe succeeds again."""
    return Said("is ready again")


def unready(why: str) -> Said:
    """Its readiness probe fails, or it said so itself."""
    return Said(f"is not ready: {why}", "warning")


def renewing(cause: Cause) -> Said:
    """A successor is started beside its current run."""
    why = "" if cause.kind in _ASKED else f" ({cause})"
    return Said(f"is being replaced{why}")


def not_renewed(problem: str) -> Said:
    """The successor did not become ready."""
    return Said(f"was not replaced: {problem}; the old one stays", "error")


def retired(pid: int | None, ending: Ending) -> Said:
    """The run that was replaced has ended."""
    level = "info" if ending is Ending.QUIET else "warning"
    return Said(
        f"old run ended{'' if ending is Ending.QUIET else f' ({ending})'}{_pid(pid)}", level
    )


def skipped(reason: str) -> Said:
    """It will not be started."""
    return Said(f"skipped: {reason}", "warning")


def stopping(cause: Cause) -> Said:
    """It is asked to end."""
    if cause.kind in _ASKED:
        return Said("stopping", "debug")
    return Said(f"stopping: {cause}", "info" if cause.kind in _PLANNED else "warning")


def still_stopping(left: float) -> Said:
    """It has not ended yet."""
    return Said(f"is still stopping; to be killed in {span(left)}")


def stopped(ending: Ending) -> Said:
    """It has been brought to its end, with everything it left behind."""
    match ending:
        case Ending.QUIET:
            return Said("stopped")
        case Ending.KILLED:
            return Said("did not stop in time and was killed", "warning")
        case Ending.STUCK:
            return Said("cannot be killed; going on without it", "error")


def ended(cause: Cause, decision: Decision, spec: ServiceSpec, failures: int) -> Said:
    """It has ended by itself, and this is what follows."""
    match decision:
        case Complete():
            return Said("completed")
        case RestartGroup(reason=reason):
            return Said(f"ended: {cause}; {reason}: its group is restarted", "error")
        case Restart(delay=delay, degraded=True):
            return Said(f"is in a crash loop: {cause}; next try in {span(delay)}", "error")
        case Restart(delay=delay):
            budget = spec.restart.max_restarts
            count = f" ({failures} of {budget} in {span(spec.restart.within)})" if budget else ""
            then = f"restart in {span(delay)}" if delay else "restart"
            return Said(f"ended: {cause}; {then}{count if failures else ''}", "warning")
        case _:
            return Said(f"failed: {cause}; not restarted: {decision.reason}", "error")


def span(seconds: float) -> str:
    """``seconds`` as a person would write them: ``20ms``, ``1.5s``, ``5m``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02}s" if rest else f"{minutes}m"


def _pid(pid: int | None) -> str:
    return "" if pid is None else f" (pid {pid})"
