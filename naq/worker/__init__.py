"""What runs jobs: one worker, from the first request to the last acknowledgement.

* ``worker`` — a worker's life, from its start until it is drained; :class:`naq.Worker`
* ``intake/`` — how jobs come: standing requests, planned by demand
* ``handler`` — one job from its delivery until its function has returned
* ``slots`` — a few long-lived tasks that run one job after another
* ``suspects`` — jobs whose workers died, kept apart: one at a time, or alone
* ``execute`` — one job becomes an outcome; the only place that calls user code
* ``conclude`` — the end of a job: settled, counted, logged and let go of
* ``settle`` — an outcome becomes stores and one settlement; their order is the delivery guarantee
* ``decide`` — what a delivery and a failure lead to; pure
* ``life/`` — leases, stalls, and what a death says and leaves behind
* ``held`` — a job in a worker's hands, and which job a log record is about
* ``monitor`` — ``/healthz``, ``/readyz`` and ``/metrics`` of a worker or scheduler
"""

from __future__ import annotations


def __getattr__(name: str) -> object:
    """Return what this module had in the first release, in which it was no package."""
    if name != "Worker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from naq.worker.worker import Worker  # noqa: PLC0415 - nothing is imported that is not used

    return Worker
