"""What a program uses: queues, functions to enqueue with, tasks; and what is counted.

- ``queue``: ``Queue``
- ``functions``: ``naq.enqueue`` and the other module functions
- ``task``: ``@naq.task``
- ``send``: prepared jobs on their way to the server
- ``chosen``: ids that callers choose: which are known, and who queued what is there
- ``admin``: what may be done to a whole queue: pause, purge, delete
- ``delayed``: jobs that wait for their time; one rule for them and for schedules
- ``scheduled``: schedules and waiting jobs in one list
- ``topology``: streams beside what the settings ask for
- ``numbers/``: what is counted
- ``tracing``: spans of OpenTelemetry
"""

from __future__ import annotations


def __getattr__(name: str) -> object:
    """Return what this module had in the first release, in which it was no package."""
    if name != "Queue":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from naq.queue.queue import Queue  # noqa: PLC0415 - nothing is imported that is not used

    return Queue
