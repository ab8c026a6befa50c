"""Now :mod:`naq.jobs.deadletters`."""

from __future__ import annotations

from naq.jobs.deadletters import (
    DeadLetters,
)

__all__ = ["DeadLetters"]
