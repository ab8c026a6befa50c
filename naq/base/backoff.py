"""How long to wait before trying again: numbers in, seconds out.

Jobs, restarts and reconnects all use these.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["exponential", "jittered", "retry_delay"]


def exponential(
    n: int,
    *,
    initial: float,
    factor: float = 2.0,
    maximum: float,
    jitter: float = 0.0,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float:
    """Return the seconds to wait after ``n`` tries: ``min(maximum, initial * factor**n)``.

    Args:
        n: how many tries went before.
        initial: seconds for ``n`` = 0.
        factor: growth per try.
        maximum: upper bound in seconds, before jitter.
        jitter: by what share the delay may differ; 0.2 means 80 % to 120 % of it.
        uniform: source of randomness, ``uniform(low, high)``.
    """
    if initial <= 0:
        return 0.0
    # factor**n overflows a float near n = 1024; the cap is reached long before.
    grown = initial * factor ** min(n, 64)
    return jittered(min(maximum, grown), jitter, uniform=uniform)


def jittered(
    seconds: float,
    jitter: float,
    *,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float:
    """Return a random time between ``seconds * (1 - jitter)`` and ``seconds * (1 + jitter)``."""
    if jitter <= 0 or seconds <= 0:
        return max(0.0, seconds)
    return max(0.0, seconds * uniform(1 - jitter, 1 + jitter))


def retry_delay(
    failures: int,
    *,
    delay: float | Sequence[float],
    strategy: str = "constant",
    jitter: float = 0.0,
    uniform: Callable[[float, float], float] = random.uniform,
) -> float:
    """Return the seconds until a job is tried again after its ``failures``-th failure, from 1.

    With the strategy ``constant`` that is ``delay`` every time, with ``linear`` ``delay *
    failures``, with ``exponential`` ``delay * 2**(failures - 1)``. A list has one delay per
    failure, of which the last one repeats; the strategy does not matter then.
    """
    if not isinstance(delay, (int, float)):
        seconds = delay[min(failures, len(delay)) - 1] if delay else 0.0
    elif strategy == "linear":
        seconds = delay * failures
    elif strategy == "exponential":
        seconds = delay * 2.0 ** min(failures - 1, 64)
    else:
        seconds = delay
    return jittered(seconds, jitter, uniform=uniform)
