"""Which jobs are certainly still ours. Pure: times in, answers out.

The server lends a job for ``ack_wait`` seconds, and a renewal lends it anew. Once that time may
have passed it may have given the job to another worker, and it does not say so. The subject by
which a delivery is settled names the message and not who holds it: an old one hands back a job that
runs elsewhere. So a job is handed back only while its lease is certain.
"""

from __future__ import annotations

import math

__all__ = ["Leases"]

MARGIN = 2.0
"""Seconds before its end from which on a lease is not certain: clocks and links have delays."""


class Leases:
    """What is known of the leases of one worker; times are seconds of a monotonic clock."""

    def __init__(self, ack_wait: float, now: float) -> None:
        """Begin with no jobs, leased for ``ack_wait`` seconds each."""
        self._certain = ack_wait - min(MARGIN, ack_wait / 4)
        self._renewed_at = now
        self._doubted_at = -math.inf

    def renewed(self, now: float, oldest: float) -> None:
        """Note that all leases were renewed at ``now``; the oldest job arrived at ``oldest``."""
        if now - max(oldest, self._renewed_at) >= self._certain:
            self.doubt(now)
        self._renewed_at = now

    def doubt(self, now: float) -> None:
        """Note that the link was away: what has arrived before now may be with another worker."""
        self._doubted_at = now

    def certain(self, arrived_at: float, now: float) -> bool:
        """Whether a job that was delivered at ``arrived_at`` is certainly still ours."""
        leased_at = max(arrived_at, self._renewed_at)
        return arrived_at > self._doubted_at and now - leased_at < self._certain
