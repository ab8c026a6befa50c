"""A job for the tests of schedules, and the list of its runs."""

from __future__ import annotations

import time

import naq

ran: dict[str, list[tuple[str, float]]] = {}


def note(key, length=0.0):
    """Leave behind which run of a schedule this was, and when it began."""
    ran.setdefault(key, []).append((naq.current_job().id, time.time()))
    time.sleep(length)
    return key
