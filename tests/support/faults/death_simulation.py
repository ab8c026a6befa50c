"""Workers that die, simulated: which jobs are buried, by which rule, and how long it all takes.

Some jobs kill the process they run in, each time. Time is simulated; what is decided is decided by
:mod:`naq.worker.life.deaths`, or by a :class:`Policy` that differs from it in one thing.
"""

from __future__ import annotations

import heapq
import random
import signal
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from naq.worker.life.deaths import (
    PUT_OFF_LIMIT,
    Care,
    Death,
    Delivery,
    Past,
    Stage,
    care,
    on_death,
    past,
    poison,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 3
RESTART = 1.0
PATIENCE, PUT_OFF = 30.0, 10.0


@dataclass(frozen=True)
class Policy:
    """A rule: how a job with a past is run, and whether it is buried."""

    care: Callable[[Past], Care]
    buried: Callable[[Past], bool]


def _crashed_often(before: Past) -> bool:
    return before.crashes >= LIMIT


def _poison(before: Past) -> bool:
    return poison(before, crash_limit=LIMIT) is not None


POLICIES = {
    "counted only": Policy(lambda _: Care.NONE, _crashed_often),
    "one suspect at a time": Policy(
        lambda before: Care.ONE_AT_A_TIME if before.crashes else Care.NONE, _crashed_often
    ),
    "this rule": Policy(lambda before: care(before, crash_limit=LIMIT), _poison),
    "always alone": Policy(lambda before: Care.ALONE if before.crashes else Care.NONE, _poison),
}


@dataclass
class Job:
    number: int
    takes: float
    kills: bool
    record: object = None
    delivered: int = 0
    put_off: int = 0

    @property
    def past(self) -> Past:
        return past(self.record, Delivery(self.number, self.delivered + 1))


@dataclass
class Worker:
    up: bool = True
    life: int = 0
    running: dict[int, Job] = field(default_factory=dict)
    suspect: Job | None = None
    """The suspect that runs here."""
    solitary: Job | None = None
    """The job that runs alone here, or waits until it can."""


class Simulation:
    """One run; :attr:`innocents` and :attr:`killers` are how many of each were buried."""

    def __init__(
        self,
        policy: Policy,
        *,
        jobs: int = 2000,
        killers: int,
        workers: int = 4,
        slots: int = 10,
        long: float = 0.0,
        kills_per_second: float = 0,
        blame_kills: bool = False,
        seed: int = 1,
    ) -> None:
        self.chance = random.Random(seed)
        self.policy = policy
        self.slots = slots
        self.kill_every = 1 / kills_per_second if kills_per_second else None
        self.blame_kills = blame_kills
        bad = set(self.chance.sample(range(jobs), killers))
        self.fresh = deque(self._job(number, number in bad, long) for number in range(jobs))
        self.suspects: deque[Job] = deque()
        self.workers = [Worker() for _ in range(workers)]
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.now = 0.0
        self.left = jobs
        self.innocents = self.killers = self.deaths = 0
        self._order = 0

    def _job(self, number: int, kills: bool, long: float) -> Job:
        takes = self.chance.uniform(0.2, 1.8)
        if not kills and self.chance.random() < long:
            takes = 300.0
        return Job(number, takes, kills)

    def run(self) -> Simulation:
        if self.kill_every:
            self._at(self.kill_every, self._kill_one)
        for worker in self.workers:
            self._fill(worker)
        while self.left:
            self.now, _, event = heapq.heappop(self.events)
            event()
        return self

    def _at(self, delay: float, event: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self.events, (self.now + delay, self._order, event))

    # ---------------------------------------------------------------- taking

    def _fill(self, worker: Worker) -> None:
        """Start what this worker may start."""
        while worker.up and worker.solitary is None and len(worker.running) < self.slots:
            if self.suspects and worker.suspect is None:
                self._take_suspect(worker, self.suspects.popleft())
            elif self.fresh:
                self._start(worker, self.fresh.popleft())
            else:
                return

    def _take_suspect(self, worker: Worker, job: Job) -> None:
        before = job.past
        if self.policy.buried(before):
            self.left -= 1
            self.killers += job.kills
            self.innocents += not job.kills
        elif self.policy.care(before) is Care.NONE:
            self._start(worker, job)
        elif self.policy.care(before) is Care.ONE_AT_A_TIME:
            worker.suspect = job
            self._start(worker, job)
        else:
            worker.solitary = job
            if not worker.running:
                self._start(worker, job)
            elif job.put_off < PUT_OFF_LIMIT:
                self._at(PATIENCE, lambda: self._put_off(worker, job))

    def _put_off(self, worker: Worker, job: Job) -> None:
        if worker.solitary is job and job.number not in worker.running:
            worker.solitary = None
            job.put_off += 1
            self._at(PUT_OFF, lambda: self._back(job))
            self._fill(worker)

    def _back(self, job: Job) -> None:
        """Hand a job back: it comes before those that have not been tried."""
        self.suspects.append(job)
        for worker in self.workers:
            self._fill(worker)

    def _start(self, worker: Worker, job: Job) -> None:
        worker.running[job.number] = job
        job.delivered += 1
        life = worker.life
        self._at(job.takes, lambda: self._end(worker, job, life))

    # ---------------------------------------------------------------- ending

    def _end(self, worker: Worker, job: Job, life: int) -> None:
        if worker.life != life:
            return
        if job.kills:
            self._die(worker, Death(status=-signal.SIGSEGV, started=len(worker.running)))
            return
        self.left -= 1
        del worker.running[job.number]
        if worker.suspect is job:
            worker.suspect = None
        if worker.solitary is job:
            worker.solitary = None
        if worker.solitary is not None and not worker.running:
            self._start(worker, worker.solitary)
        self._fill(worker)

    def _kill_one(self) -> None:
        worker = self.chance.choice(self.workers)
        if worker.up:
            number = signal.SIGSEGV if self.blame_kills else signal.SIGKILL
            self._die(worker, Death(status=-number, started=len(worker.running)))
        self._at(self.kill_every or 0, self._kill_one)

    def _die(self, worker: Worker, death: Death) -> None:
        self.deaths += 1
        held = [(job, Stage.STARTED) for job in worker.running.values()]
        waiting = worker.solitary
        if waiting is not None and waiting.number not in worker.running:
            waiting.delivered += 1
            held.append((waiting, Stage.WAITING))
        for job, stage in held:
            delivery = Delivery(job.number, job.delivered)
            note = on_death(job.record, delivery, stage, death, job_id="j", queue="q")
            job.record = note.record
        worker.up, worker.suspect, worker.solitary = False, None, None
        worker.life += 1
        worker.running = {}
        self._at(RESTART, lambda: self._up(worker))
        for job, _ in held:
            self._back(job)

    def _up(self, worker: Worker) -> None:
        worker.up = True
        self._fill(worker)
