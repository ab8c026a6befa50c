"""How naq's own programs log: for people on a terminal, plain text or JSON elsewhere."""

from __future__ import annotations

import logging
import sys

import structlog

__all__ = ["configure"]


def configure(level: str, style: str) -> None:
    """Send the log of naq, nats-py and the user's own modules to stderr.

    Args:
        level: ``debug`` to ``critical``.
        style: ``text``, ``json``, or ``auto``: text, in colour on a terminal.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if style == "json":
        last: list[structlog.typing.Processor] = [
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ]
    else:
        last = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("nats").setLevel(logging.ERROR)


def _render(_logger: object, _method: str, event: structlog.typing.EventDict) -> str:
    """One line: level, what happened, and further fields; the supervisor adds the rest."""
    level = str(event.pop("level", "")).upper()
    message = event.pop("event", "")
    event.pop("logger", None)
    moment = str(event.pop("timestamp", ""))[11:23]
    trace = event.pop("exception", "") or _trace(event.pop("exc_info", None))
    fields = "".join(f" {name}={value!r}" for name, value in event.items() if name[0] != "_")
    return f"{moment} {level:<7} {message}{fields}" + (f"\n{trace}" if trace else "")


def _trace(exc_info: object) -> str:
    if not isinstance(exc_info, tuple) or exc_info[0] is None:
        return ""
    import traceback

    return "".join(traceback.format_exception(*exc_info)).rstrip()
