"""What may be enqueued, and the options that go with it.

call        a call in any of the ways it can be written, and the policy of its task
options     the options of an enqueue: checked, and as fields of a job
arguments   arguments as JSON, and back to what the function's annotations ask for
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from naq.jobs.calls.call import (
    NO_POLICY,
    Call,
    Declared,
    Policy,
    bind,
    call,
    policy_of,
    queue_of,
    split,
    unwrapped,
)
from naq.jobs.calls.options import OPTIONS, normalize, refuse_clashes, refuse_unknown, seconds, when

if TYPE_CHECKING:
    from naq.jobs.calls.call import Function as Function

__all__ = [
    "NO_POLICY",
    "OPTIONS",
    "Call",
    "Declared",
    "Policy",
    "bind",
    "call",
    "normalize",
    "policy_of",
    "queue_of",
    "refuse_clashes",
    "refuse_unknown",
    "seconds",
    "split",
    "unwrapped",
    "when",
]
