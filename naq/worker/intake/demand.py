"""How many jobs to ask each queue for, and whose job starts next. Pure.

A worker of one queue asks for what it has room for. With several, the rule is to be fair in slots:

* A free slot goes to the queue with a backlog that has the fewest of this worker's slots: for jobs
  that run, that wait here, and that are asked for. Among equals it goes to the queue that was asked
  longest ago. That turn moves when a request is sent, never by planning, which may lead to nothing.
* A request that is not answered within :data:`ANSWER` says that the queue is empty. What it asked
  for takes no room any more, or slots would stay free for jobs that do not come.
* A queue without a backlog has one request standing, so that its next job comes at once; it gets
  it only while a slot is free. A worker may so be handed a few jobs more than it has room for, one
  per such queue; they wait a moment for a slot and are handed back if none comes free.
* Jobs that wait here start in the same order: :class:`Turns`.

With K queues that always have work, and s slots, a queue that holds none waits for about K / s
turns, however many jobs the others have and however long those run.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ANSWER", "Demand", "Turns", "plan", "unanswered_at"]

ANSWER = 0.02
"""Seconds after which a request without an answer says that the queue is empty."""


@dataclass(slots=True)
class Demand:
    """What is known of one queue.

    Attributes:
        queue: its name.
        outstanding: jobs asked for that have not come.
        backlog: jobs that wait there, as far as is known.
        turn: the number of the last request, among all of this worker.
        heard_at: when it was last asked or last answered; seconds of any clock.
        newest: the sequence of the last job that has come: no later one is before it unless it
            comes again.
    """

    queue: str
    outstanding: int = 0
    backlog: int = 0
    turn: int = 0
    heard_at: float = 0.0
    newest: int = 0

    def asked(self, count: int, *, turn: int, now: float) -> None:
        """Note that a request was sent."""
        self.outstanding += count
        self.turn = turn
        self.heard_at = now

    def answered(self, count: int, *, backlog: int, now: float) -> None:
        """Note that jobs have come, and how many are left."""
        self.outstanding = max(0, self.outstanding - count)
        self.backlog = backlog
        self.heard_at = now

    def lost(self, count: int) -> None:
        """Note that some of what was asked for will not come."""
        self.outstanding = max(0, self.outstanding - count)


def plan(
    room: int, demands: Sequence[Demand], held: Mapping[str, int], now: float
) -> list[tuple[Demand, int]]:
    """Return how many more jobs to ask each queue for, in the order in which to ask.

    Args:
        room: how many jobs more the worker can take.
        demands: its queues; what has not answered is noted here as empty.
        held: how many jobs of each queue run or wait at this worker.
        now: seconds of the clock of ``heard_at``.
    """
    if len(demands) == 1:
        (only,) = demands
        return _topped_up([(only, room - only.outstanding)])
    for demand in demands:
        if demand.outstanding and now - demand.heard_at >= ANSWER:
            demand.backlog = 0
    if room <= 0:
        return []
    quiet = [(d, 1) for d in demands if d.backlog <= 0 and d.outstanding == 0]
    busy = [demand for demand in demands if demand.backlog > 0]
    free = room - sum(demand.outstanding for demand in busy)
    granted = _shared(free, busy, held)
    return quiet + _topped_up([(d, granted[d.queue]) for d in sorted(busy, key=_turn)])


def _turn(demand: Demand) -> int:
    return demand.turn


def _shared(free: int, busy: Sequence[Demand], held: Mapping[str, int]) -> Counter[str]:
    """Give each slot to whoever has the fewest, then to whoever was asked longest ago."""
    granted: Counter[str] = Counter()
    order = [
        (held.get(d.queue, 0) + d.outstanding, d.turn, i)
        for i, d in enumerate(busy)
        if d.outstanding < d.backlog
    ]
    heapq.heapify(order)
    while free > 0 and order:
        has, turn, index = order[0]
        demand = busy[index]
        granted[demand.queue] += 1
        free -= 1
        if demand.outstanding + granted[demand.queue] < demand.backlog:
            heapq.heapreplace(order, (has + 1, turn, index))
        else:
            heapq.heappop(order)
    return granted


def _topped_up(missing: Sequence[tuple[Demand, int]]) -> list[tuple[Demand, int]]:
    """Return what is worth a request: when half of what should stand is used up, not for each."""
    return [(d, count) for d, count in missing if count > 0 and count >= d.outstanding]


def unanswered_at(demands: Sequence[Demand]) -> float | None:
    """Return when a request will tell, by its silence, that room is free for another queue."""
    busy = [demand for demand in demands if demand.backlog > 0]
    if len(busy) < 2:
        return None
    return min((d.heard_at + ANSWER for d in busy if d.outstanding), default=None)


class _Job(Protocol):
    @property
    def queue(self) -> str:
        """The name of its queue."""


J = TypeVar("J", bound=_Job)


class Turns:
    """Whose job starts next: of the queue that runs fewest, then of that which began longest ago.

    Of one queue, the job that came first.
    """

    def __init__(self) -> None:
        """Begin with nothing that runs."""
        self.running: Counter[str] = Counter()
        self._begun: dict[str, int] = {}
        self._count = 0

    def next(self, waiting: Sequence[J]) -> int:
        """Return the index of the job to start."""
        best = 0
        least: tuple[int, int] | None = None
        for index, job in enumerate(waiting):
            rank = self.running[job.queue], self._begun.get(job.queue, 0)
            if least is None or rank < least:
                best, least = index, rank
        return best

    def started(self, job: _Job) -> None:
        """Note that a job has been given a slot."""
        self._count += 1
        self._begun[job.queue] = self._count
        self.running[job.queue] += 1

    def ended(self, job: _Job) -> None:
        """Note that its slot is free again."""
        self.running[job.queue] -= 1
