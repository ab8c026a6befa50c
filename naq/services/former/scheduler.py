"""Now :mod:`naq.schedules.scheduler`."""

from __future__ import annotations

from naq.schedules.scheduler import (
    Scheduler,
)

__all__ = ["Scheduler"]
