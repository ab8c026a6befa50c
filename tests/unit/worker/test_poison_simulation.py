"""Whom the rule of poison buries, simulated: 2,000 jobs, 4 workers with 10 slots each.

The table of docs/design/delivery.md, with its rows and columns.
"""

from __future__ import annotations

import pytest
from death_simulation import POLICIES, Simulation
from hypothesis import given, settings
from hypothesis import strategies as st

SEEDS = range(3)

ROWS = [
    pytest.param({"killers": 1}, id="1 killer"),
    pytest.param({"killers": 10}, id="10 killers"),
    pytest.param({"killers": 200}, id="200 killers"),
    pytest.param({"killers": 20, "long": 0.01}, id="20 killers, 1 % of jobs take 300 s"),
    pytest.param({"killers": 10, "kills_per_second": 1}, id="10 killers, a kill each second"),
]
BLAMED = {"killers": 10, "kills_per_second": 1, "blame_kills": True}


def buried(policy, row):
    """Innocents buried, on average, after having seen that every killer was."""
    ended = [Simulation(POLICIES[policy], seed=seed, **row).run() for seed in SEEDS]
    assert all(simulation.killers == row["killers"] for simulation in ended)
    return sum(simulation.innocents for simulation in ended) / len(ended)


@pytest.mark.parametrize("row", ROWS)
def test_no_innocent_job_is_buried_and_every_killer_is(row):
    innocents = {policy: buried(policy, row) for policy in POLICIES}

    assert innocents["this rule"] == innocents["always alone"] == 0
    assert innocents["counted only"] > innocents["one suspect at a time"]
    assert innocents["counted only"] >= 1


def test_blame_matters_as_much_as_solitude():
    innocents = {policy: buried(policy, BLAMED) for policy in POLICIES}

    assert min(innocents.values()) > 20


def test_running_every_suspect_alone_takes_longer():
    def took(policy):
        ended = [Simulation(POLICIES[policy], seed=seed, killers=10).run() for seed in SEEDS]
        return sum(simulation.now for simulation in ended)

    assert took("this rule") < took("always alone")


@settings(max_examples=40)
@given(
    jobs=st.integers(1, 60),
    share=st.floats(0, 1),
    workers=st.integers(1, 4),
    slots=st.integers(1, 6),
    long=st.sampled_from([0.0, 0.1]),
    kills=st.sampled_from([0, 0.2]),
    seed=st.integers(0, 2**16),
)
def test_whatever_the_jobs_and_workers(jobs, share, workers, slots, long, kills, seed):  # noqa: PLR0917
    killers = int(jobs * share)
    ended = Simulation(
        POLICIES["this rule"],
        jobs=jobs,
        killers=killers,
        workers=workers,
        slots=slots,
        long=0.0 if kills else long,  # a job that is killed each time is poison, whoever does it
        kills_per_second=kills,
        seed=seed,
    ).run()

    assert (ended.innocents, ended.killers) == (0, killers)
