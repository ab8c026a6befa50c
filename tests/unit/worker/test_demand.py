"""How many jobs to ask each queue for: fair, and never more than there is room for."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from itertools import count
from math import ceil
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.worker.intake.demand import ANSWER, Demand, Turns, plan, unanswered_at


def asked(room, demands, held=None, now=0.0):
    return {demand.queue: number for demand, number in plan(room, demands, held or {}, now)}


def test_one_queue_is_asked_for_all_there_is_room_for():
    assert asked(10, [Demand("a")]) == {"a": 10}


def test_nothing_is_asked_for_without_room():
    assert asked(0, [Demand("a"), Demand("b", backlog=5)]) == {}
    assert asked(-3, [Demand("a")]) == {}


def test_a_quiet_queue_beside_others_keeps_one_request_standing():
    assert asked(10, [Demand("a"), Demand("b")]) == {"a": 1, "b": 1}
    assert asked(10, [Demand("a", outstanding=1), Demand("b", outstanding=1)]) == {}


def test_queues_with_a_backlog_share_the_room_but_none_is_asked_for_more_than_it_has():
    assert asked(10, [Demand("a", backlog=100), Demand("b", backlog=100)]) == {"a": 5, "b": 5}
    assert asked(10, [Demand("a", backlog=100), Demand("b", backlog=3)]) == {"a": 7, "b": 3}


def test_who_holds_fewest_is_asked_first_then_who_was_asked_longest_ago():
    queues = [Demand("a", backlog=9, turn=2), Demand("b", backlog=9, turn=1)]

    assert asked(1, queues) == {"b": 1}
    assert asked(1, queues, {"b": 1}) == {"a": 1}
    assert asked(3, queues, {"b": 2}) == {"a": 2, "b": 1}


def test_planning_alone_moves_no_turn():
    queues = [Demand("a", backlog=9), Demand("b", backlog=9)]

    assert asked(1, queues) == asked(1, queues) == {"a": 1}
    queues[0].asked(1, turn=1, now=0.0)
    queues[0].answered(1, backlog=8, now=0.0)
    assert asked(1, queues) == {"b": 1}


def test_silence_says_that_a_queue_is_empty_and_leaves_its_room_to_others():
    queues = [Demand("a", backlog=9, outstanding=4, heard_at=1.0), Demand("b", backlog=9)]

    assert asked(4, queues, now=1.0) == {}
    assert unanswered_at(queues) == 1.0 + ANSWER
    assert asked(4, queues, now=1.0 + ANSWER) == {"b": 4}
    assert unanswered_at(queues) is None


def test_requests_are_topped_up_by_halves_not_one_by_one():
    assert asked(10, [Demand("a", outstanding=6)]) == {}
    assert asked(10, [Demand("a", outstanding=5)]) == {"a": 5}


@given(
    room=st.integers(-5, 100),
    demands=st.lists(
        st.builds(
            Demand,
            queue=st.text("abc", min_size=1, max_size=3),
            outstanding=st.integers(0, 50),
            backlog=st.integers(0, 1000),
            turn=st.integers(0, 9),
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda demand: demand.queue,
    ),
)
def test_at_most_one_job_per_quiet_queue_can_come_unwanted(room, demands):
    requests = plan(room, demands, {}, 0.0)

    assert all(number > 0 for _, number in requests)
    busy = sum(number for demand, number in requests if demand.backlog > 0)
    quiet = [number for demand, number in requests if demand.backlog <= 0]
    assert busy <= max(0, room)
    if len(demands) > 1:
        assert all(number == 1 for number in quiet)


# ------------------------------------------------------------- a whole worker, simulated

LINK = 0.0005
"""Seconds a message takes."""
HOLD = 0.25


class Job(NamedTuple):
    number: int
    queue: str
    arrives: float
    takes: float


class Simulation:
    """A server, a link and a worker, with the decisions of the real one."""

    def __init__(self, jobs, slots):
        self.slots = slots
        self.queues = {job.queue: deque() for job in jobs}
        self.requests = dict.fromkeys(self.queues, 0)
        self.demands = [Demand(queue) for queue in self.queues]
        self.by_name = {demand.queue: demand for demand in self.demands}
        self.turns = Turns()
        self.waiting = []
        self.started = []
        self.handed_back = 0
        self.now, self.turn, self.busy = 0.0, 0, 0
        self.order = count()
        self.events = []
        for job in jobs:
            self.at(job.arrives, self.arrive, job)
        self.at(0.0, self.ask)

    def at(self, when, what, *args):
        heapq.heappush(self.events, (when, next(self.order), what, args))

    def run(self):
        while self.events:
            self.now, _, what, args = heapq.heappop(self.events)
            what(*args)
        return self

    # the server

    def arrive(self, job):
        self.queues[job.queue].append(job)
        self.deliver(job.queue)

    def requested(self, queue, number):
        self.requests[queue] += number
        self.deliver(queue)

    def deliver(self, queue):
        while self.requests[queue] and self.queues[queue]:
            self.requests[queue] -= 1
            job = self.queues[queue].popleft()
            self.at(self.now + LINK, self.take, job, len(self.queues[queue]))

    # the worker

    def take(self, job, backlog):
        self.by_name[job.queue].answered(1, backlog=backlog, now=self.now)
        self.waiting.append(job)
        self.at(self.now + HOLD, self.give_back, job)
        self.start()

    def give_back(self, job):
        if job in self.waiting:
            self.waiting.remove(job)
            self.handed_back += 1
            self.by_name[job.queue].backlog += 1
            self.queues[job.queue].appendleft(job)
            self.deliver(job.queue)
            self.ask()

    def start(self):
        while self.waiting and self.busy < self.slots:
            job = self.waiting.pop(self.turns.next(self.waiting))
            self.turns.started(job)
            self.busy += 1
            self.started.append((self.now, job))
            self.at(self.now + job.takes, self.end, job)
        self.ask()

    def end(self, job):
        self.busy -= 1
        self.turns.ended(job)
        self.ended = self.now
        self.start()

    def ask(self):
        held = Counter(job.queue for job in self.waiting)
        held.update(self.turns.running)
        room = self.slots - self.busy - len(self.waiting)
        for demand, number in plan(room, self.demands, held, self.now):
            self.turn += 1
            demand.asked(number, turn=self.turn, now=self.now)
            self.at(self.now + LINK, self.requested, demand.queue, number)
        until = unanswered_at(self.demands)
        if until is not None and until > self.now:
            self.at(until, self.ask)


@st.composite
def backlogs(draw):
    """Queues that all have work from the beginning, of any length."""
    names = [f"q{i}" for i in range(draw(st.integers(2, 8)))]
    jobs, number = [], count()
    for name in names:
        takes = st.floats(0.01, 2.0)
        jobs += [Job(next(number), name, 0.0, draw(takes)) for _ in range(draw(st.integers(1, 12)))]
    return jobs, draw(st.integers(1, 6))


@given(backlogs())
def test_each_queue_waits_for_its_turn_only(case):
    """While a queue has work and no slot, others start no more than a round of jobs."""
    jobs, slots = case
    simulation = Simulation(jobs, slots).run()

    assert sorted(job.number for _, job in simulation.started) == [job.number for job in jobs]
    queues = {job.queue for job in jobs}
    rounds = ceil(len(queues) / slots) + 1
    left = Counter(job.queue for job in jobs)
    ends = []
    since = dict.fromkeys(queues, 0)
    for now, job in simulation.started:
        ends = [(end, queue) for end, queue in ends if end > now + 4 * LINK]
        running = Counter(queue for _, queue in ends)
        for queue in queues:
            idle = left[queue] and not running[queue]
            since[queue] = since[queue] + 1 if idle and queue != job.queue else 0
            assert since[queue] <= rounds * slots + len(queues)
        left[job.queue] -= 1
        ends.append((now + job.takes, job.queue))


@given(backlogs())
def test_no_slot_is_idle_for_long_while_there_is_work(case):
    jobs, slots = case
    ended = Simulation(jobs, slots).run().ended

    work, longest = sum(job.takes for job in jobs), max(job.takes for job in jobs)
    # Graham's bound for any order that leaves no slot idle, a link's round trip for each job, and
    # the silence of a queue that has run dry.
    bound = work / slots + longest
    assert ended <= 1.03 * bound + len(jobs) * 4 * LINK + 8 * ANSWER


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_four_short_jobs_do_not_wait_behind_sixty_of_another_queue(slots):
    jobs = [Job(i, "slow", 0.0, 0.7) for i in range(60)]
    jobs += [Job(60 + i, "quick", 1.0, 0.001) for i in range(4)]
    started = Simulation(jobs, slots).run().started

    assert max(now for now, job in started if job.queue == "quick") < 1.0 + 6 * 0.7


def test_many_quiet_queues_and_one_slot_hand_few_jobs_back():
    jobs = [Job(i, f"q{i % 16}", 0.5 * (i // 16), 0.2) for i in range(64)]
    simulation = Simulation(jobs, 1).run()

    assert len(simulation.started) == 64
    assert simulation.handed_back <= 60
