"""Now :mod:`naq.jobs.presence`."""

from __future__ import annotations

from naq.jobs.presence import (
    WorkerInfo,
    announced,
    list_all,
    list_workers,
)

__all__ = ["WorkerInfo", "announced", "list_all", "list_workers"]
