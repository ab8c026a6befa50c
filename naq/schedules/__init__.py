"""What runs again and again.

- ``schedule``: the values, as they are stored and held by callers
- ``options``: what may be said of a schedule and done to it
- ``timing``: when it is due, by an interval or an expression
- ``cron``: cron expressions in time zones
- ``due``: which runs are owed at a moment
- ``records``: the record and the alarm on the server
- ``manage``: make, find, list and change schedules
- ``declared``: schedules beside a function or in a file
- ``advance``: one step of a schedule: what has fired becomes jobs
- ``sweep``: what should have come and did not
- ``scheduler``: does for schedules with a policy what the server cannot
"""

from __future__ import annotations


def __getattr__(name: str) -> object:
    """Return what this module had in the first release, in which it was no package."""
    if name != "Schedules":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from naq.schedules.manage import Schedules  # noqa: PLC0415 - nothing is imported that is not used

    return Schedules
