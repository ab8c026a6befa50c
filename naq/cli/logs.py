"""How naq's own programs log: for people on a terminal, as plain text or JSON elsewhere.

Everything leaves through one handler on the root logger, including what a user's modules log with
structlog; so there is one level, one format and one place. A record made inside a job names that
job, which is looked up only when there is a record.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import structlog
from structlog.stdlib import ProcessorFormatter

from naq.cli import visible
from naq.worker.held import job_fields

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

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
    if not structlog.is_configured():
        _configure_structlog(_shared())


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


def formatter(style: str, *, dimmed: bool = False) -> ProcessorFormatter:
    """Return what turns a record into text.

    Args:
        style: ``json``; anything else is text.
        dimmed: whether the fields of a line of text are dimmed.
    """
    return ProcessorFormatter(
        foreign_pre_chain=_shared(),
        processors=[
            _add_job,  # not in the chains before, which others may configure
            structlog.processors.format_exc_info,
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer() if style == "json" else _Line(dimmed=dimmed),
        ],
    )


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _configure_structlog(shared: list[Processor]) -> None:
    """Let structlog log through the standard library, like everything else."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # Modules imported later may configure structlog; existing loggers then follow.
        cache_logger_on_first_use=False,
    )


def _add_job(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Add the job in which this is logged; fields that were given explicitly stay."""
    for name, value in job_fields().items():
        event.setdefault(name, value)
    return event


class _Line:
    """Renders a record as time, level, message and further fields.

    Every line after the first is indented, so that no text can pass for a record of its own.
    """

    def __init__(self, *, dimmed: bool) -> None:
        self._before, self._after = (_DIM, _PLAIN) if dimmed else ("", "")

    def __call__(self, _logger: object, _method: str, event: EventDict) -> str:
        level = str(event.pop("level", "")).upper()
        message = event.pop("event", "")
        event.pop("logger", None)
        job_id = event.get("job_id")
        if job_id and str(job_id) in str(message):  # the message names its job itself
            for name in _JOB:
                event.pop(name, None)
        moment = str(event.pop("timestamp", ""))[11:23]
        blocks = [str(event.pop(name)) for name in _BLOCKS if event.get(name)]
        pairs = [f"{k}={_shown(v)}" for k, v in event.items() if not k.startswith("_")]
        fields = f" {self._before}{' '.join(pairs)}{self._after}" if pairs else ""
        first, *more = visible.block(str(message)).split("\n")
        for block in blocks:
            more += visible.block(block).split("\n")
        return "\n".join([f"{moment} {level:<7} {first}{fields}", *(f"  {line}" for line in more)])


def _shown(value: object) -> str:
    """Return a value as text, in quotes only where they are needed."""
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(" =\"'"):
        return value
    return visible.inline(repr(value))
