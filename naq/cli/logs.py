"""How naq's own programs log: for people on a terminal, as plain text or JSON elsewhere.

Everything leaves through one handler on the root logger, including what a user's modules log with
structlog; so there is one level, one format and one place. A record made inside a job names that
job, which is looked up only when there is a record.

structlog brings rich along: a fifth of the time a worker takes to start. So it is imported only by
who uses it, and set up at that moment.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from naq.base.imports import when_imported
from naq.cli import visible
from naq.worker.held import job_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

__all__ = ["configure", "formatter"]

_BLOCKS = ("stack", "stack_info", "exception")
"""Fields with several lines: the stack, as structlog and logging name it, and a traceback."""
_JOB = ("job_id", "queue", "attempt", "function")
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def configure(level: str, style: str) -> None:
    """Send the log of naq, nats-py and the user's own modules to stderr.

    If structlog has been configured already, its configuration stays.

    Args:
        level: ``debug`` to ``critical``.
        style: ``text``, ``json``, or ``auto``: text, with the fields dimmed on a terminal.
    """
    dimmed = style == "auto" and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(style, dimmed=dimmed))
    _keep_enabled()
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("nats").setLevel(logging.ERROR)
    when_imported("structlog", _configure_structlog)


LOGGERS = ("connection", "dashboard", "monitor", "queue", "scheduler", "worker")
"""What naq's own loggers are called, below ``naq``."""


class _Enabled(logging.Logger):
    """A logger of naq's own, which ``dictConfig`` in a user's module cannot disable.

    It does so to every logger that it does not name, unless it is told otherwise. A level, handlers
    and filters are obeyed as ever.
    """

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        """Let it be."""


def _keep_enabled() -> None:
    for name in ("naq", *(f"naq.{name}" for name in LOGGERS)):
        logger = logging.getLogger(name)
        vars(logger).pop("disabled", None)
        logger.__class__ = _Enabled


def formatter(style: str, *, dimmed: bool = False) -> logging.Formatter:
    """Return what turns a record into text.

    Args:
        style: ``json``; anything else is text.
        dimmed: whether the fields of a line of text are dimmed.
    """
    return _Formatter(_json if style == "json" else _Line(dimmed=dimmed))


class _Formatter(logging.Formatter):
    """Makes one event of a record, whichever library it comes from, and renders that."""

    def __init__(self, render: Callable[[dict[str, Any]], str]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        message: Any = record.msg
        structured = isinstance(message, dict) and hasattr(record, "_logger")
        event = _of_structlog(message) if structured else _of_logging(record)
        for name, value in job_fields().items():
            event.setdefault(name, value)  # fields that were given explicitly stay
        raised = event.pop("exc_info", None)
        if raised:
            event["exception"] = "".join(traceback.format_exception(*raised)).removesuffix("\n")
        return self._render(event)


def _of_logging(record: logging.LogRecord) -> dict[str, Any]:
    event: dict[str, Any] = {"event": record.getMessage()}
    if record.exc_info and record.exc_info[0] is not None:
        event["exc_info"] = record.exc_info
    if record.stack_info:
        event["stack_info"] = record.stack_info
    for name, value in _bound().items():
        event.setdefault(name, value)
    event["level"] = record.levelname.lower()
    event["logger"] = record.name
    event["timestamp"] = f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    return event


def _of_structlog(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event that has gone through structlog's processors, ours or the user's own."""
    event = dict(event)
    raised = event.get("exc_info")
    if isinstance(raised, BaseException):
        event["exc_info"] = (type(raised), raised, raised.__traceback__)
    elif raised and not (isinstance(raised, tuple) and raised[0]):
        current = sys.exc_info()
        event["exc_info"] = None if current[0] is None else current
    return event


def _bound() -> dict[str, Any]:
    """Return what has been bound with ``structlog.contextvars``, if anybody uses that."""
    structlog = sys.modules.get("structlog.contextvars")
    bound: Callable[[], dict[str, Any]] | None = getattr(structlog, "get_contextvars", None)
    return {} if bound is None else bound()


def _configure_structlog(structlog: ModuleType) -> None:
    """Let structlog log through the standard library, like everything else."""
    if structlog.is_configured():
        return
    stdlib, processors = structlog.stdlib, structlog.processors
    structlog.configure(
        processors=[
            stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            stdlib.add_log_level,
            stdlib.add_logger_name,
            processors.TimeStamper(fmt="iso", utc=True),
            stdlib.PositionalArgumentsFormatter(),
            processors.StackInfoRenderer(),
            stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=stdlib.LoggerFactory(),
        wrapper_class=stdlib.BoundLogger,
        # Modules imported later may configure structlog; existing loggers then follow.
        cache_logger_on_first_use=False,
    )


def _json(event: dict[str, Any]) -> str:
    return json.dumps(event, default=repr)


class _Line:
    """Renders a record as time, level, message and further fields.

    Every line after the first is indented, so that no text can pass for a record of its own.
    """

    def __init__(self, *, dimmed: bool) -> None:
        self._before, self._after = (_DIM, _PLAIN) if dimmed else ("", "")

    def __call__(self, event: dict[str, Any]) -> str:
        level = str(event.pop("level", "")).upper()
        message = event.pop("event", "")
        event.pop("logger", None)
        job_id = event.get("job_id")
        if job_id and str(job_id) in str(message):  # the message names its job itself
            for name in _JOB:
                event.pop(name, None)
        moment = _clock(str(event.pop("timestamp", "")))
        blocks = [str(event.pop(name)) for name in _BLOCKS if event.get(name)]
        pairs = [f"{k}={_shown(v)}" for k, v in event.items() if not k.startswith("_")]
        fields = f" {self._before}{' '.join(pairs)}{self._after}" if pairs else ""
        first, *more = visible.block(str(message)).split("\n")
        for block in blocks:
            more += visible.block(block).split("\n")
        return "\n".join([f"{moment} {level:<7} {first}{fields}", *(f"  {line}" for line in more)])


def _clock(timestamp: str) -> str:
    """Return the local time of day of an ISO 8601 timestamp, to be compared with a clock."""
    try:
        return f"{datetime.fromisoformat(timestamp).astimezone():%H:%M:%S.%f}"[:-3]
    except ValueError:  # of a user's own processor
        return timestamp


def _shown(value: object) -> str:
    """Return a value as text, in quotes only where they are needed."""
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(" =\"'"):
        return value
    return visible.inline(repr(value))
