"""Numbers as Prometheus reads them: what everything that exposes metrics writes them with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from naq.base.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client.core import Metric

__all__ = ["CONTENT_TYPE", "build_info", "counter", "gauge", "process", "text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Collected:
    """Numbers that are known already; prometheus-client asks a collector for them."""

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
    """Return which version of naq this is."""
    family = InfoMetricFamily("naq_build", "Version of naq.")
    family.add_metric([], {"version": __version__})
    return family


def process() -> list[Metric]:
    """Return this process's memory, CPU and open files, by Prometheus' names (Linux only)."""
    return list(ProcessCollector(registry=None).collect())
