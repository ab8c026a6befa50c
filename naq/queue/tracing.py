"""Spans of OpenTelemetry around jobs, where opentelemetry-api is installed (``naq[otel]``).

Whoever enqueues makes a producer span, and its context travels in the headers of the job's message,
which are kept wherever that message is stored again (:func:`naq.jobs.message.carried`). Each
attempt is a consumer span: a child of that producer span, however many there are. It is current
while the job runs, so what the job does, and enqueues, is below it.

Names follow the semantic conventions for messaging
(https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/): a bulk is one span, whose
context is injected into each message, because no span is made for each; a consumer span has its
producer as parent, and links to it too. They are in development there, so they may change here.

Without the package this module costs the attempt to import it, when the first queue is opened.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

from naq.base.version import __version__
from naq.exceptions import ConfigurationError
from naq.jobs.message import trace_headers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from opentelemetry.trace import Span, SpanKind, TracerProvider

    from naq.jobs.job import Failure, JobMessage, JobStatus

__all__ = ["AttemptSpan", "SendSpan", "Tracing", "tracing"]

ASK_AFTER = 0.1
"""Seconds between two checks whether the process has an SDK by now."""


@cache
def tracing() -> Tracing | None:
    """Return what makes spans; None where opentelemetry-api is not installed.

    Raises:
        ConfigurationError: ``OTEL_PROPAGATORS`` names what is not there.
    """
    try:
        return Tracing()
    except ImportError:
        return None
    except ValueError as exc:
        raise ConfigurationError(f"OpenTelemetry cannot be loaded: {exc}") from exc


class Tracing:
    """Makes spans.

    As long as the process has no SDK it makes none, but it still hands on a context that comes from
    elsewhere, as the API does.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        """Load opentelemetry-api.

        Args:
            provider: what receives the spans; None: the process's own.

        Raises:
            ImportError: it is not there.
            ValueError: a propagator is not there.
        """
        from opentelemetry import context, propagate, trace  # noqa: PLC0415 - an optional package

        self.context, self.propagate, self.trace = context, propagate, trace
        self._tracer = trace.get_tracer("naq", __version__, provider)
        self._heard = provider is not None
        self._ask_at = 0.0

    def _is_heard(self) -> bool:
        """Whether the process has set up an SDK; once it has, that stays."""
        # The API reads the environment each time it is asked, which is a part of what a job costs.
        if not self._heard and (now := time.monotonic()) >= self._ask_at:
            trace = self.trace
            self._heard = not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
            self._ask_at = now + ASK_AFTER
        return self._heard

    def sending(self, job: JobMessage, *, of: int | None = None) -> SendSpan | None:
        """Return the span of an enqueue, to be entered; None if nothing would record it.

        Args:
            job: what is enqueued, or the first of many for one queue.
            of: how many there are; None: it is enqueued alone.
        """
        trace = self.trace
        if not self._is_heard() and not trace.get_current_span().get_span_context().is_valid:
            return None
        attributes: dict[str, Any] = {
            "messaging.operation.type": "send",
            "messaging.operation.name": "enqueue" if of is None else "enqueue_many",
        }
        if of is None:
            attributes["messaging.message.id"] = job.id
            attributes["naq.job.function"] = job.function
        else:
            attributes["messaging.batch.message_count"] = of
        return SendSpan(self, job.queue, attributes)

    def attempt(
        self, job: JobMessage, number: int, headers: Mapping[str, str]
    ) -> AttemptSpan | None:
        """Return the span of an attempt, to be entered while it runs and ended when it is settled.

        None if nothing would record it.

        Args:
            job: what is run.
            number: of the attempt, from 1.
            headers: of its message; those that are too long or not about traces are ignored.
        """
        given = trace_headers(headers)
        return AttemptSpan(self, job, number, given) if given or self._is_heard() else None

    def start(
        self, kind: SpanKind, queue: str, attributes: dict[str, Any], parent: Any = None
    ) -> Span:
        """Start a span; with ``parent``, a context, it is a child of that and linked to it."""
        trace = self.trace
        links = []
        if parent is not None:
            creation = trace.get_current_span(parent).get_span_context()
            links = [trace.Link(creation)] if creation.is_valid else []
        attributes |= {"messaging.system": "nats", "messaging.destination.name": queue}
        name = f"{attributes['messaging.operation.name']} {queue}"
        span: Span = self._tracer.start_span(
            name, context=parent, kind=kind, attributes=attributes, links=links
        )
        return span


class SendSpan:
    """The producer span of an enqueue; entering it returns the headers that carry its context."""

    def __init__(self, tracing: Tracing, queue: str, attributes: dict[str, Any]) -> None:
        self._tracing = tracing
        self._queue = queue
        self._attributes = attributes
        self._span: Span

    def __enter__(self) -> dict[str, str]:
        trace = self._tracing.trace
        self._span = self._tracing.start(trace.SpanKind.PRODUCER, self._queue, self._attributes)
        carrier: dict[str, str] = {}
        self._tracing.propagate.inject(carrier, context=trace.set_span_in_context(self._span))
        return trace_headers(carrier)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None and exc is not None:
            trace, span = self._tracing.trace, self._span
            span.record_exception(exc)
            span.set_attribute("error.type", f"{kind.__module__}.{kind.__qualname__}")
            span.set_status(trace.Status(trace.StatusCode.ERROR, str(exc)))
        self._span.end()


class AttemptSpan:
    """The consumer span of an attempt.

    It lasts as long as the function, but what became of the job is known only when that is stored:
    so it is ended later, for the time at which it was left.
    """

    def __init__(
        self, tracing: Tracing, job: JobMessage, number: int, headers: Mapping[str, str]
    ) -> None:
        self.failure: Failure | None = None
        """Set when the attempt has failed."""
        self._tracing = tracing
        # Nothing of the worker's own context: a job of a schedule begins a trace.
        parent = tracing.propagate.extract(headers, context=tracing.context.Context())
        self._span: Span = tracing.start(
            tracing.trace.SpanKind.CONSUMER,
            job.queue,
            {
                "messaging.operation.type": "process",
                "messaging.operation.name": "process",
                "messaging.message.id": job.id,
                "naq.job.function": job.function,
                "naq.job.attempt": number,
            },
            parent,
        )
        self._context = tracing.trace.set_span_in_context(self._span, parent)
        self._left_at: int | None = None
        self._token: Any = None
        self._ended = False

    def __enter__(self) -> None:
        self._token = self._tracing.context.attach(self._context)

    def __exit__(self, *_: object) -> None:
        self._tracing.context.detach(self._token)
        self._left_at = time.time_ns()

    def end(self, status: JobStatus | None) -> None:
        """End the span; only the first call counts.

        Args:
            status: of the job, now that the attempt is settled; ``pending`` if it was handed to
                another worker; None if it was not settled and will be delivered again.
        """
        if self._ended:
            return
        self._ended = True
        trace, span, failure = self._tracing.trace, self._span, self.failure
        span.set_attribute("naq.job.outcome", "unsettled" if status is None else status.value)
        if failure is not None:
            # What record_exception would write, of an exception that is not there any more.
            span.add_event(
                "exception",
                {
                    "exception.type": failure.type,
                    "exception.message": failure.message,
                    "exception.stacktrace": failure.traceback,
                },
                timestamp=self._left_at,
            )
            span.set_attribute("error.type", failure.type)
            span.set_status(trace.Status(trace.StatusCode.ERROR, failure.message))
        span.end(end_time=self._left_at)
