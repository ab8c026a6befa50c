"""What a schedule owes at a moment: which runs are to be queued now, which were missed. Pure.

A due time is *on time* until ``misfire_grace`` seconds later. After that it is a misfire: no worker
was there, or the server was down. The policy says what becomes of misfires:

=======  =======================================================
skip     none is run
once     the last one is run
all      all are run, the last ``misfire_cap`` of them
=======  =======================================================

What runs, runs under its own due time, in order. ``repeat`` counts runs, not due times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from naq.schedules.schedule import ScheduleStatus
from naq.schedules.timing import EARLY

if TYPE_CHECKING:
    from naq.schedules.schedule import ScheduleRecord

__all__ = ["Plan", "advanced", "plan"]

COUNTED = 1000
"""Misfires are counted up to here at a time; counting years of seconds is no use."""


class Plan(msgspec.Struct, frozen=True):
    """What to do now: due times to run, how many were missed, up to when all is settled then."""

    runs: list[float]
    missed: int
    cursor: float


def plan(record: ScheduleRecord, now: float) -> Plan:
    """Return what an active schedule owes at ``now`` (seconds since the epoch, server's clock)."""
    until = now + EARLY
    if record.next_at is not None:
        if record.next_at > until:
            return Plan([], 0, record.cursor)
        # A moment an operator chose is run even if it is late: no policy for misfires applies.
        return Plan([record.next_at], 0, max(record.cursor, record.next_at))
    timing = record.timing
    late_until = min(now - record.misfire_grace, until)
    late: list[float] = []
    missed = 0
    if late_until > record.cursor:
        wanted = {"skip": 0, "once": 1, "all": record.misfire_cap}[record.misfire]
        found = timing.last(max(wanted, COUNTED), record.cursor, late_until)
        late = found[len(found) - wanted :] if wanted else []
        missed = len(found) - len(late)
    since = max(record.cursor, late_until)
    on_time = timing.last(COUNTED, since, until)
    runs = late + on_time
    if record.repeat is not None:
        runs = runs[: max(0, record.repeat - record.runs)]
    cursor = max([record.cursor, late_until, *on_time])
    return Plan(runs, missed, cursor)


def advanced(
    record: ScheduleRecord, due: Plan, *, runs: list[float], last_job: str = ""
) -> ScheduleRecord:
    """Return the schedule with a plan settled, ``runs`` of which are to be queued.

    It is finished when nothing can come any more.
    """
    changed = msgspec.structs.replace(
        record,
        cursor=due.cursor,
        next_at=None if record.next_at is not None and due.runs else record.next_at,
        runs=record.runs + len(runs),
        missed=record.missed + due.missed + len(due.runs) - len(runs),
        pending=sorted({*record.pending, *runs}),
    )
    if runs:
        changed = msgspec.structs.replace(changed, last_run=runs[-1], last_job=last_job)
    if record.next_at is not None and due.runs and record.interval is not None:
        changed = msgspec.structs.replace(changed, anchor=record.next_at)
    changed = changed.timed()
    spent = record.repeat is not None and changed.runs >= record.repeat
    if spent or changed.next_run is None:
        changed = msgspec.structs.replace(
            changed, status=ScheduleStatus.FINISHED, next_at=None, next_run=None
        )
    return changed
