"""From what was asked for to figures: rounds in which the contestants take turns."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from benchmarks.measures.workloads import quick
from benchmarks.staging import brokers, venvs
from benchmarks.staging.stage import CannotError, staged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.measures.workloads import Workload
    from benchmarks.staging.contestants import Contestant
    from benchmarks.staging.stage import Options, Stage

    Found = dict[str, dict[str, Any]]
    """Contestant → ``rounds`` (figures of each) and ``why`` there are none."""

__all__ = ["ready", "run", "run_quick"]


def ready(contestants: Sequence[Contestant]) -> dict[str, str]:
    """Prepare all environments; return who cannot take part, and why."""
    absent = {}
    for contestant in contestants:
        if why := brokers.missing(contestant.broker) or venvs.ensure(contestant):
            absent[contestant.name] = why
    return absent


def run(
    workload: Workload,
    contestants: Sequence[Contestant],
    options: Options,
    rounds: int,
    *,
    found: Found,
    say: Callable[[str], None],
) -> None:
    """Run a workload: A B C, C B A, …; so that a slow minute of the machine is shared by all.

    What is measured stands in ``found`` at once, for who does not wait for the end.
    """
    found |= {contestant.name: {"rounds": [], "why": ""} for contestant in contestants}
    for number in range(rounds):
        for contestant in contestants[:: -1 if number % 2 else 1]:
            entry = found[contestant.name]
            if entry["why"]:
                continue
            say(f"{workload.name}, round {number + 1} of {rounds}: {contestant.name}")

            def measure(stage: Stage, entry: dict[str, Any] = entry) -> None:
                if why := stage.facts["cannot"].get(workload.name):
                    raise CannotError(why)
                entry["rounds"].append(workload.run(stage))

            _one(contestant, options, entry, measure, results=workload.results, say=say)


def run_quick(
    contestants: Sequence[Contestant],
    options: Options,
    rounds: int,
    *,
    found: dict[str, Found],
    say: Callable[[str], None],
) -> None:
    """Run :func:`workloads.quick` in turns; what it measures stands in ``found``, by workload."""
    entries: dict[str, dict[str, Any]] = {one.name: {"why": ""} for one in contestants}
    for number in range(rounds):
        for contestant in contestants[:: -1 if number % 2 else 1]:
            entry = entries[contestant.name]
            if entry["why"]:
                continue
            say(f"round {number + 1} of {rounds}: {contestant.name}")

            def measure(stage: Stage, name: str = contestant.name) -> None:
                for workload, figures in quick(stage).items():
                    places = found.setdefault(workload, {})
                    place = places.setdefault(name, {"rounds": [], "why": ""})
                    place["rounds"].append(figures)

            _one(contestant, options, entry, measure, results=False, say=say)
    for name, entry in entries.items():
        for places in found.values():
            why = entry["why"] or "only in a full run, or not at all: python -m benchmarks --full"
            place = places.setdefault(name, {"rounds": [], "why": why})
            place.update({key: value for key, value in entry.items() if key != "why"})


def _one(
    contestant: Contestant,
    options: Options,
    entry: dict[str, Any],
    measure: Callable[[Stage], None],
    *,
    results: bool,
    say: Callable[[str], None],
) -> None:
    """Set a stage and measure; what goes wrong is told and kept, and ends nobody else's run."""
    try:
        with staged(contestant, options, results=results) as stage:
            entry["settings"] = stage.facts["settings"]
            entry["cannot"] = stage.facts["cannot"]
            measure(stage)
    except CannotError as exc:
        entry["why"] = str(exc)
    except Exception as exc:  # noqa: BLE001 - see above
        entry["why"] = f"failed: {str(exc).splitlines()[0] if str(exc) else exc!r}"
        entry["error"] = traceback.format_exc()
        say(f"{contestant.name} failed:\n{entry['error']}")
