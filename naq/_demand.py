"""How many jobs to ask each queue for. Pure: counts in, requests out.

The rule is fairness with full use of the worker:

* Queues known to have a backlog share the free slots evenly, whatever their order; what does not
  divide goes round in turn.
* A queue without one keeps one request standing, so that its next job comes at once. A worker of
  many queues may thus be handed a few jobs more than it has room for (at most one per quiet
  queue); they wait a moment for a slot and are handed back if none comes free.
* A worker of one queue asks for exactly what it has room for.
* Requests are topped up when half of what should stand is used up, not for every single job.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Demand", "plan"]


@dataclass(slots=True)
class Demand:
    """What is known of one queue: requests that stand, and jobs that wait there."""

    queue: str
    outstanding: int = 0
    backlog: int = 0


def plan(free: int, queues: list[Demand], *, turn: int = 0) -> list[tuple[Demand, int]]:
    """Return how many more jobs to ask each queue for.

    Args:
        free: slots without a job.
        queues: the worker's queues.
        turn: moves the remainder of the division from queue to queue.
    """
    if free <= 0:
        return []
    busy = [demand for demand in queues if demand.backlog > 0]
    requests: list[tuple[Demand, int]] = []
    for demand in queues:
        if len(queues) == 1:
            target = free
        elif demand.backlog <= 0:
            target = 1
        else:
            share, rest = divmod(free, len(busy))
            index = (busy.index(demand) + turn) % len(busy)
            target = share + (index < rest)
        missing = target - demand.outstanding
        if missing > 0 and demand.outstanding * 2 <= target:
            requests.append((demand, missing))
    return requests
