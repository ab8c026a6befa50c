"""What only naq is measured on: its command line, a whole tree, its schedules."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import anyio

from benchmarks import schedules, startup

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MEASUREMENTS", "wanted"]


def command_line(rounds: int) -> list[dict[str, float]]:
    """Time ``naq --version``, ``naq ps`` and ``naq up``."""
    found = startup.version(rounds) | startup.up(rounds)
    return _rounds(found)


def of_schedules(runs: int) -> list[dict[str, float]]:
    """Measure schedules: one round takes minutes."""
    del runs
    found: dict[str, Any] = {}
    for measure in (schedules.at_rest, schedules.lateness):
        found |= anyio.run(measure, 1, backend_options={"use_uvloop": True})
    return _rounds(found)


def _rounds(found: dict[str, Any]) -> list[dict[str, float]]:
    """Return the medians as a round."""
    return [{name: statistics.median(values) for name, (values, _) in found.items()}]


MEASUREMENTS: dict[str, tuple[str, Callable[[int], list[dict[str, float]]]]] = {
    "startup": ("naq --version, naq ps, naq up", command_line),
    "schedules": ("10,000 schedules", of_schedules),
}


def wanted(only: list[str] | None, *, full: bool) -> list[str]:
    """Return which of them a run has."""
    if only:
        return [name for name in MEASUREMENTS if name in only]
    return list(MEASUREMENTS) if full else ["startup"]
