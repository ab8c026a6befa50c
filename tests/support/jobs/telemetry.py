"""A user's module that sets up tracing; spans go to the file TRACES as JSON, one per line."""

from __future__ import annotations

import os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

provider = TracerProvider()
exporter = ConsoleSpanExporter(
    out=Path(os.environ["TRACES"]).open("a"),  # noqa: SIM115 - open as long as the program
    formatter=lambda span: span.to_json(indent=None) + "\n",
)
provider.add_span_processor(BatchSpanProcessor(exporter))
trace.set_tracer_provider(provider)
