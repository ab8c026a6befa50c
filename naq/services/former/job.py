"""Now :mod:`naq.jobs.job`."""

from __future__ import annotations

from naq.jobs.job import (
    DeadLetter,
    Failure,
    Job,
    JobInfo,
    JobMessage,
    JobRecord,
    JobStatus,
    utc,
)

__all__ = ["DeadLetter", "Failure", "Job", "JobInfo", "JobMessage", "JobRecord", "JobStatus", "utc"]
