"""Now :mod:`naq.jobs.results`."""

from __future__ import annotations

from naq.jobs.results import (
    Results,
    job_error,
)

__all__ = ["Results", "job_error"]
