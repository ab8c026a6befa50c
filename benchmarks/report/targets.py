"""What naq must reach, measured in the same run: each target with its ratio, and yes or no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.report.rows import median, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ASYNC_PEERS", "Verdict", "table", "verdicts"]

ASYNC_PEERS = ("streaq", "saq", "arq", "taskiq-redis", "taskiq-nats")
PEERS = (*ASYNC_PEERS, "rq", "dramatiq", "celery", "huey")


@dataclass(frozen=True)
class Target:
    """One sentence of the promise.

    Attributes:
        title: the sentence.
        ours: workload, figure and contestant that are measured against it.
        theirs: the same of each it is compared with; of several the best counts. Empty: ``limit``
            is no ratio.
        limit: what the ratio ours/theirs must reach, or stay under.
        at_most: whether it must stay under.
        plus: what is added to theirs.
        aside: figures that say what limits it, each with the words they are shown with.
    """

    title: str
    ours: tuple[str, str, str]
    theirs: tuple[tuple[str, str, str], ...]
    limit: float
    at_most: bool = False
    plus: float = 0.0
    aside: tuple[tuple[tuple[str, str, str], str], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What became of a target; ``met`` is None when one of both was not measured.

    ``aside`` says what it ran into.
    """

    title: str
    ours: float | None
    theirs: float | None
    whom: str
    ratio: float | None
    limit: str
    met: bool | None
    aside: str = ""


def _of(workload: str, figure: str, names: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    return tuple((workload, figure, name) for name in names)


NOOP = ("noop", "rate", "naq")
P50 = ("latency", "p50_ms", "naq")
TARGETS = (
    *(
        Target(f"no-op: {times:g} times {name}", NOOP, (("noop", "rate", name),), times)
        for name, times in (("taskiq-nats", 2), ("streaq", 8), ("saq", 8), ("taskiq-redis", 8))
    ),
    Target("no-op: 85 % of a bare nats-py loop", NOOP, (("noop", "rate", "bare"),), 0.85),
    Target("no-op on Trio: 60 % of asyncio", ("noop", "rate", "naq-trio"), (NOOP,), 0.6),
    Target(
        "bulk: 2 times the best peer's",
        ("enqueue", "bulk_rate", "naq"),
        _of("enqueue", "bulk_rate", PEERS),
        2,
    ),
    Target(
        "bulk: 80 % of what the server takes",
        ("enqueue", "bulk_rate", "naq"),
        (("enqueue", "bulk_rate", "bare"),),
        0.8,
    ),
    Target(
        "32 in flight: 1.5 times the best",
        ("enqueue", "flight_rate", "naq"),
        _of("enqueue", "flight_rate", PEERS),
        1.5,
    ),
    Target(
        "latency p50: 0.6 times the best", P50, _of("latency", "p50_ms", PEERS), 0.6, at_most=True
    ),
    Target(
        "latency p99: 2 times its own p50",
        ("latency", "p99_ms", "naq"),
        (P50,),
        2,
        at_most=True,
    ),
    *(
        Target(
            f"sync in threads: 2 times {name}",
            ("sync", "rate", "naq"),
            (("sync", "rate", name),),
            2,
        )
        for name in ("huey", "celery")
    ),
    Target(
        "idle worker: the smallest async peer + 10 MB",
        ("memory", "rss_mb", "naq"),
        _of("memory", "rss_mb", ASYNC_PEERS),
        1,
        at_most=True,
        plus=10,
    ),
    Target("naq --version: 120 ms", ("startup", "version_ms", "naq"), (), 120, at_most=True),
    Target("naq ps: 200 ms", ("startup", "ps_ms", "naq"), (), 200, at_most=True),
    Target(
        "2 processes: 1.5 times one",
        ("noop2", "rate", "naq"),
        (NOOP,),
        1.5,
        aside=(
            (("noop2", "busy_percent", "naq"), "% of all processors busy"),
            (("noop2", "broker_cpu_percent", "naq"), "% of one by nats-server"),
        ),
    ),
    Target(
        "1,000,000 queued: 20 % slower", ("flat", "slower_percent", "naq"), (), 20, at_most=True
    ),
)


def verdicts(found: Mapping[str, Any]) -> list[Verdict]:
    """Return what became of each target."""
    return [_judge(target, found) for target in TARGETS]


def _judge(target: Target, found: Mapping[str, Any]) -> Verdict:
    ours = median(found, *target.ours)
    sign = "≤" if target.at_most else "≥"
    limit = f"{sign} {target.limit:g}"
    if not target.theirs:
        met = None if ours is None else _holds(ours, target)
        return Verdict(target.title, ours, None, "", ours, limit, met)
    measured = {key[2]: median(found, *key) for key in target.theirs}
    known = {name: value for name, value in measured.items() if value is not None}
    if ours is None or not known:
        return Verdict(target.title, ours, None, "", None, limit, None)
    whom = (min if target.at_most else max)(known, key=lambda name: known[name])
    theirs = known[whom] + target.plus
    ratio = ours / theirs if theirs else None
    return Verdict(
        target.title,
        ours,
        theirs,
        whom,
        ratio,
        limit,
        None if ratio is None else _holds(ratio, target),
        _aside(target, found),
    )


def _aside(target: Target, found: Mapping[str, Any]) -> str:
    figures = [(median(found, *key), words) for key, words in target.aside]
    return ", ".join(f"{shown(value)} {words}" for value, words in figures if value is not None)


def _holds(value: float, target: Target) -> bool:
    return value <= target.limit if target.at_most else value >= target.limit


def table(judged: Sequence[Verdict]) -> str:
    """Return the verdicts as a Markdown table."""
    lines = [
        "| target | naq | compared with | ratio | limit | reached |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for one in judged:
        whom = f"{shown(one.theirs)} ({one.whom})" if one.whom else shown(None)
        reached = {True: "yes", False: "**no**", None: "not measured"}[one.met]
        if one.aside and not one.met:
            reached += f": {one.aside}"
        lines.append(
            f"| {one.title} | {shown(one.ours)} | {whom} | {shown(one.ratio)} | {one.limit} "
            f"| {reached} |"
        )
    return "\n".join(lines) + "\n"
