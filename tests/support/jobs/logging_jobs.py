"""Jobs that log with logging, with structlog and with print."""

from __future__ import annotations

import logging
import logging.config
import sys

import structlog

import naq


def speak():
    structlog.contextvars.bind_contextvars(request="r1")
    logging.getLogger("shop").info("bound by %s", "logging")
    structlog.contextvars.clear_contextvars()
    logging.getLogger("shop").info("by %s", "logging")
    structlog.get_logger("shop").info("by %s", "structlog", items=3)
    structlog.get_logger("shop").debug("nobody asked for this")


async def speak_on_the_loop():
    speak()


async def take_over_logging():
    """As a module of the user's does when it is imported; loggers there are disabled by default."""
    logging.config.dictConfig({"version": 1})


async def fail():
    raise ValueError("no luck")


def speak_otherwise():
    """As where the user's own module has configured structlog."""
    logger_factory = structlog.PrintLoggerFactory(sys.stdout)
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer()], logger_factory=logger_factory
    )
    structlog.get_logger().info("mine", attempt_=naq.current_job().attempt)
    logging.getLogger("shop").info("theirs")
