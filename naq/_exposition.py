"""Numbers as Prometheus reads them: what the metrics of queues and of one process share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from naq import __version__
from naq._tally import BOUNDS_MS, WAIT_BOUNDS_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from naq._tally import Totals

__all__ = ["CONTENT_TYPE", "build_info", "counter", "gauge", "jobs", "process", "text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Collected:
    """Numbers that are there already: prometheus-client asks a collector for them."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> list[Metric]:
        return self._metrics


def text(metrics: Iterable[Metric]) -> str:
    """Return metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(metrics))
    return generate_latest(registry).decode()


def gauge(
    name: str, help_: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float]]
) -> Metric:
    """Return a number that goes up and down."""
    family = GaugeMetricFamily(name, help_, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def counter(
    name: str, help_: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float]]
) -> Metric:
    """Return a number that only goes up; ``name`` without its ``_total``."""
    family = CounterMetricFamily(name, help_, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def build_info() -> Metric:
    """Return which naq this is."""
    family = InfoMetricFamily("naq_build", "Version of naq.")
    family.add_metric([], {"version": __version__})
    return family


def process() -> list[Metric]:
    """Return this process's memory, CPU and open files, by Prometheus' names (Linux only)."""
    return list(ProcessCollector(registry=None).collect())


_COUNTED: Sequence[tuple[str, str, Callable[[Totals], int]]] = (
    (
        "processed",
        "Jobs that ended, with a value or for good without one.",
        lambda t: t.done + t.failed,
    ),
    ("failed", "Jobs that ended without a value, for good.", lambda t: t.failed),
    ("retried", "Attempts that failed and were followed by another.", lambda t: t.retried),
    ("dead", "Dead letters made.", lambda t: t.dead),
)


def jobs(prefix: str, found: Iterable[Totals]) -> Iterable[Metric]:
    """Yield what happened to jobs, per queue; the names begin with ``prefix``."""
    found = list(found)
    for name, help_, number in _COUNTED:
        samples = [([totals.queue], number(totals)) for totals in found]
        yield counter(f"{prefix}jobs_{name}", help_, ["queue"], samples)
    run = HistogramMetricFamily(
        f"{prefix}job_run_seconds", "How long attempts ran.", labels=["queue"]
    )
    waits = HistogramMetricFamily(
        f"{prefix}job_wait_seconds",
        "From when jobs were due to their first start.",
        labels=["queue"],
    )
    for totals in found:
        labels = [totals.queue]
        run.add_metric(labels, _cumulative(totals.buckets, BOUNDS_MS), totals.run_ms / 1000)
        buckets = _cumulative(totals.wait_buckets, WAIT_BOUNDS_MS)
        waits.add_metric(labels, buckets, totals.wait_ms / 1000)
    yield run
    yield waits


def _cumulative(buckets: Sequence[int], bounds_ms: Sequence[int]) -> list[tuple[str, float]]:
    """Return buckets as Prometheus has them: each includes the smaller ones."""
    bounds = [*(str(bound / 1000) for bound in bounds_ms), "+Inf"]
    found: list[tuple[str, float]] = []
    number = 0
    for bound, count in zip(bounds, buckets, strict=True):
        number += count
        found.append((bound, number))
    return found
