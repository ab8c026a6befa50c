"""What only naq is measured on: its command line, a whole project, its schedules."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import anyio

from benchmarks.measures import schedules, startup
from benchmarks.staging import venvs
from benchmarks.staging.contestants import NAQ, at_revision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.staging.contestants import Contestant

    Rounds = dict[str, list[dict[str, float]]]
    """By contestant, the figures of each round."""

__all__ = ["MEASUREMENTS", "measure", "wanted"]


def command_line(contestants: Sequence[Contestant], rounds: int) -> Rounds:
    """Time ``naq --version``, ``naq ps`` and ``naq up``, of all revisions in turns."""
    found: Rounds = {one.name: [] for one in contestants}
    for number in range(rounds):
        for one in contestants[:: -1 if number % 2 else 1]:
            found[one.name].append(startup.measure(one))
    return found


def of_schedules(contestants: Sequence[Contestant], rounds: int) -> Rounds:
    """Measure schedules, of today's naq alone: one round takes minutes."""
    del contestants, rounds
    found: dict[str, Any] = {}
    for measurement in (schedules.at_rest, schedules.lateness):
        found |= anyio.run(measurement, 1, backend_options={"use_uvloop": True})
    return {NAQ.name: [{name: statistics.median(values) for name, (values, _) in found.items()}]}


MEASUREMENTS: dict[str, tuple[str, Callable[[Sequence[Contestant], int], Rounds]]] = {
    "startup": ("naq --version, naq ps, naq up", command_line),
    "schedules": ("10,000 schedules", of_schedules),
}


def wanted(only: list[str] | None, *, full: bool) -> list[str]:
    """Return which of them a run has."""
    if only:
        return [name for name in MEASUREMENTS if name in only]
    return list(MEASUREMENTS) if full else ["startup"]


def measure(name: str, revisions: Sequence[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Run one of them with today's naq and those of some revisions."""
    contestants = [NAQ, *(at_revision(NAQ, revision) for revision in revisions)]
    absent = {one.name: why for one in contestants if (why := venvs.ensure(one))}
    there = [one for one in contestants if one.name not in absent]
    found = MEASUREMENTS[name][1](there, rounds)
    return {who: {"rounds": figures, "why": ""} for who, figures in found.items()} | {
        who: {"rounds": [], "why": why} for who, why in absent.items()
    }
