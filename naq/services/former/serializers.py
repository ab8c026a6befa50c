"""Now :mod:`naq.jobs.coding.codec`."""

from __future__ import annotations

from naq.jobs.coding.codec import (
    Codec,
    reference,
)

__all__ = ["Codec", "reference"]
