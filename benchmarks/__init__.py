"""What naq costs, beside its peers; ``docs/benchmarks.md`` says how it is measured."""

from __future__ import annotations
